/*
 * Questions to the database that more than one command or report asks. Results live in the caller's
 * arena. Functions returning int give 0, or -1 after one message. All else: plain SQL by store/db.h
 * on the views `runs` and `curve`.
 */
#ifndef STORE_QUERY_H
#define STORE_QUERY_H

#include "base/arena.h"
#include "store/db.h"

struct sweep_row {
	long long sweep_id;
	const char *name, *file, *question;	/* the last two may be NULL */
	const char *baseline;			/* label; NULL: none */
};

/* By name, or by the path of its file ("sweeps/micro/table1.yaml"). */
int query_sweep(struct db *db, const char *name, struct arena *a, struct sweep_row *sweep);

struct run_row {			/* a row of the view `runs` */
	long long run_id;
	const char *sweep, *label, *variant;	/* sweep: NULL if it is in none */
	long seed;
	const char *identity, *dir, *state, *reason;	/* dir: as query_dir() resolves it */
	const char *arch;			/* NULL until its first attempt */
	long long step, steps;			/* done; when complete */
	double loss, train_loss;		/* NaN: none yet */
	const char *tags;			/* "a b", in order; NULL: none */
	const char *excluded;			/* why tables leave it out; NULL: they do not */
};

/* Runs of a sweep in its order (variants, points, seeds). */
int query_runs(struct db *db, long long sweep_id, struct arena *a, struct run_row **runs, int *n);

/*
 * Runs by selector; no selector means all runs. A run is listed once. Forms:
 *   label glob               moe_mamba*; of one seed: moe_mamba-s1
 *   identity, 4 digits on    3f2a9c
 *   run directory            moe_mamba-s1-3f2a9c01, with or without a path before it; also without
 *                            the hash: moe_mamba-s1
 *   KEY=GLOB                 state (or status), sweep, label, variant, arch, seed, tag, or a config key
 *                            ("model.moe.n_experts=8")
 * A label that looks like the last form is found as well. Several must all hold. where: an SQL
 * condition on the columns of `runs`, or NULL. An error where nothing is found and a key is unknown.
 */
struct selection {
	const char *const *selectors;
	int n;
	const char *where;
};
int query_select(struct db *db, const struct selection *s, struct arena *a,
	struct run_row **runs, int *n);
/* Exactly one run; none or several is an error that lists the candidates. */
int query_one(struct db *db, const struct selection *s, struct arena *a, struct run_row *run);

/* Column `dir` of the view `runs` as a path from here: it is seen from the database's folder. */
char *query_dir(struct db *db, const char *dir, struct arena *a);

struct curve_rows {			/* of one run, in order of steps */
	int n;
	long long *step;
	double *tokens, *seconds, *flops;
	double *loss;			/* NaN: not finite */
};
/* kind: "train", "val", "val_dropless" */
int query_curve(struct db *db, long long run_id, const char *kind, struct arena *a,
	struct curve_rows *curve);

struct slice_rows {			/* classes of tokens, rising */
	int n;
	long long *low, *high;
	double *loss, *tokens;
};
/* Of the run's last evaluation of kind "val"; by: "position", "frequency", "recall". None in an older database
   that has not been written since. */
int query_slices(struct db *db, long long run_id, const char *by, struct arena *a,
	struct slice_rows *rows);
bool query_has_slices(struct db *db, long long run_id, const char *by);

/* Columns of the table recall; length, items -1: NULL. */
struct recall_row {
	const char *test;
	long long length, items, n_tokens, n_answers;
	double accuracy, answer_accuracy, mse, mae;	/* mse: the loss of forecasts; NaN: none */
	double majority, last_mse, last_mae, season_mse, season_mae;
};
/* The last of the run for each set of examples, by length and items. None in an older database that has
   not been written since. */
int query_recall(struct db *db, long long run_id, struct arena *a, struct recall_row **rows, int *n);
/* Has it scores of answers, or of forecasts? */
bool query_has_recall(struct db *db, long long run_id, bool forecasts);

/* Columns of the table calibration; measured is NULL where the run has no row. */
struct calibration_row {
	double seconds_per_step, busy;
	long threads;
	const char *measured, *host;
};
int query_calibration(struct db *db, long long run_id, struct arena *a, struct calibration_row *row);

/* A value of the run's config as text; NULL if it has no such key. */
const char *query_param(struct db *db, long long run_id, const char *key, struct arena *a);

#endif
