/*
 * A sweep, or several together, as tables and plots see it: finished runs, grouped by configuration,
 * read from the database once. No sweep file is needed.
 *
 * A run counts if it is done or diverged; a diverged one has reached nothing and has no final
 * loss. Others are left out, and a note says so; so are runs that somebody excluded, and done ones whose
 * records lack the last evaluation, each by name.
 */
#ifndef STUDY_STUDY_H
#define STUDY_STUDY_H

#include <stddef.h>

#include "base/str.h"
#include "show/note.h"
#include "store/db.h"
#include "store/query.h"
#include "study/curve.h"
#include "study/speedup.h"

struct study_options {
	const char *rule;	/* NULL: "default" */
	const char *target;	/* "baseline", a loss in nats, or NULL: the sweep's targets */
	bool force;		/* stamp instead of refuse */
	bool no_head_flops;	/* leave the output head out of all FLOPs */
	struct texts labels;	/* "OLD=NEW": a label, or a variant in all its labels, is shown as NEW */
	const char *order;	/* "A,B": labels or variants that come first; NULL: the sweep's order */
};

struct run_param {
	const char *key, *text;
	double number;		/* NaN: not a number */
};

struct run_data {
	long long id;
	const struct sweep_row *sweep;	/* the first of the study's that has it */
	const char *label, *variant, *arch, *state;
	const char *depends;		/* "A", "B", "F" as in table `run`; "" of older runs */
	long seed;
	bool diverged;
	double params_total, params_active, params_embedding;
	double flops_per_token, head_flops_per_token;	/* model FLOPs; the head's are among them */
	double mamba_share;		/* of the active parameters; as arm_mamba_share() */
	double vocab, memory_bytes;
	double data_tokens;		/* of the training split */
	const char *data_hash, *tokenizer, *precision;
	const char *windows;		/* of the validation */
	const char *host, *device, *cpu, *blas_core, *git, *build;	/* of the last attempt */
	double threads, jobs;		/* jobs: side by side, largest of all attempts; or by beside_count() */
	/* Last validation. */
	double bpb, accuracy, loss_bigram, share_bigram, drop, eval_tokens;
	double eval_choices, unserved;	/* experts of a token, tokens without any */
	const char *capacity_rule;	/* factor, "cutoff", "none"; "": not told */
	double final_loss;		/* under the rule; NaN if diverged */
	double loss_dropless;
	double clipped, still;		/* shares of the steps; still: without any gradient */
	double least_load;		/* smallest share of an expert at the end, times E */
	double routers;			/* that told their loads at the end; 0: no mixtures */
	double capacity;		/* factor at the end, where training moves it the mean over routers */
	double steps, tokens, seconds, flops, tokens_per_s;	/* at its end */
	double other;			/* room for a number that plot_by() is to show */
	struct curve val, train, curve;	/* curve: as the rule sees it; train: empty if not needed */
	const struct run_param *params;	/* sorted by key */
	int n_params;
};

/* A configuration and its runs in order of seed. */
struct arm {
	const char *label, *variant;	/* as shown; `own` has those of the database */
	const char *arch;
	const struct run_data *own;	/* the run that it is named by */
	int place;			/* in the sweep, whatever order is asked for */
	int family;			/* place of the first of its variant, which several sweeps may have */
	struct run_data **runs;
	int n;
};

struct published {
	long long sweep_id;
	const char *label, *quantity, *text;
	double value;
};

struct study {
	struct arena arena;
	struct db *db;
	struct study_options options;
	const struct rule *rule;
	struct sweep_row *sweeps;	/* baseline and targets are those of the first */
	const char *name, *question;	/* of all of them: "micro/table1+micro/table4" */
	const char *sweep_ids;		/* for SQL: a JSON list */
	struct run_data *runs;		/* that count, in the sweeps' order, each once */
	struct arm *arms;		/* in the order asked for, else the sweep's */
	const struct arm *baseline;	/* NULL: none is named, or it has no run that counts */
	double *targets;		/* NaN: the baseline's final loss */
	bool perplexity;		/* one of them was given as such */
	struct published *published;
	const char **axes;		/* swept keys */
	int n_sweeps, n_runs, n_arms, n_targets, n_published, n_axes;
	int n_unfinished, n_excluded, n_cut;	/* left out */
	struct notes notes;		/* what every table and plot of it has to say */
};

/* For SQL, of the view `runs`: metrics.jsonl was damaged, and the last loss that is left is no final one. */
#define RUN_IS_CUT                                                                                 \
	"(state = 'done' AND steps > coalesce(loss_step, -1) AND excluded IS NULL AND NOT EXISTS"   \
	" (SELECT 1 FROM param f WHERE f.run_id = runs.run_id AND f.key = 'foreign'))"

struct study_query {
	const char *db;
	struct texts sweeps;		/* names or files, also several in one text; none: the only one */
	struct study_options options;
};
/* Database and study, for a command. An exit code; not 0: after a message, with nothing to end. */
int study_begin(struct study *s, struct db *db, const struct study_query *q);
void study_end(struct study *s, struct db *db);

/*
 * sweeps: a name or file, or several, "A,B". Then a configuration that more than one of them has
 * stands once (its seeds in all of them together), and baseline and targets are those of the first.
 * The database stays the caller's and must outlive the study. 0, or -1 after one message.
 */
int study_open(struct study *s, struct db *db, const char *sweeps, const struct study_options *o);
void study_close(struct study *s);

/* A key of a run's config; NULL: it has none. */
const char *run_text(const struct run_data *r, const char *key);

/* The runs of one seed in both, as pairs for speedup_of(); arrays in the study's arena. */
struct pairs study_pairs(struct study *s, const struct arm *variant, double target);
/* Mean of a double of struct run_data over the seeds that did not diverge and have it. */
#define ARM_MEAN(arm, member) arm_mean((arm), offsetof(struct run_data, member))
static inline const char *run_member_text(const struct run_data *r, size_t member)
{
	return *(const char *const *)(const void *)((const char *)r + member);
}
struct interval arm_mean(const struct arm *s, size_t member);
static inline double run_member(const struct run_data *r, size_t member)
{
	return *(const double *)(const void *)((const char *)r + member);
}
int arm_diverged(const struct arm *s);
const struct run_data *arm_seed(const struct arm *s, long seed);	/* NULL: no such run */
/* Paired difference of the final losses to another's; base NULL: NaN. */
struct interval study_loss_difference(struct study *s, const struct arm *variant, const struct arm *base);
/* Smallest difference of final losses that these seeds could show; NaN below two and for NULL. */
double arm_loss_unseen(const struct arm *base);

/* Of losses, by model.head (NULL: of an older run): "nats per token", or of forecasts "squared error". */
const char *loss_unit(const char *head);
const char *study_loss_unit(const struct study *s);
bool run_forecasts(const struct run_data *r);
/* The baseline's loss before training, if that is below the target, which then gives no ratio; else NaN. */
double study_begins_below(const struct study *s, double target);
/* Most passes of any run over its data; NaN: unknown. */
double study_epochs(const struct study *s);
bool study_has_axis(const struct study *s, const char *key);
/* The published value of a quantity for a label, or for its variant if it has no other; or NULL. */
const struct published *study_published(const struct study *s, const struct arm *arm,
	const char *quantity);
/* A key of model or training in which two runs of the row differ, or NULL; keys that one lacks count as equal. */
const char *arm_key_apart(const struct arm *v, const struct run_data *two[2]);
double arm_number(const struct arm *s, const char *key);	/* of its first run's config; NaN: has none */
/* Ordered by a value of each (value[i] of arms[i]), NaN first; the order of the sweep where values
   are equal. In the study's arena. */
const struct arm **arms_sorted(struct study *s, const double *value);
/* Such values: of a numeric key, which the dense baseline may lack. */
const double *arms_numbers(struct study *s, const char *key);
/*
 * Share of the active parameters in Mamba layers (and norms), the rest being in channel mixers behind
 * or beside them: dense ones, or of a mixture one expert and the router. 1: Mamba alone; NaN: no Mamba
 * layers, or others than these (attention, mixtures inside Mamba), or an older run that does not tell.
 */
double arm_mamba_share(const struct arm *v);
bool study_has_shares(const struct study *s);	/* two that lie more than half a sixth apart, below 1 */
bool arm_foreign(const struct arm *v);	/* a run of it was imported, not run by moelab */
bool arm_alone(const struct arm *v);	/* every run had the machine to itself */

/* --- grouping (group.c) --- */

void study_group(struct study *s);	/* runs into arms, with the baseline among them */
const char *arm_run_ids(struct study *s, const struct arm *v);	/* for SQL: a JSON list */

/* --- names and order (label.c) --- */

/* Apply options.labels and options.order. 0, or -1 after a message. */
int study_relabel(struct study *s);
int study_reorder(struct study *s);
/* The rows of a table, sorted by a value of each (arms_sorted) unless the user gave an order. */
const struct arm **study_rows(struct study *s, const double *value);

/* --- learning rates and trials (tune.c) --- */

/* Is it a sweep of trials, NAME.tune, by which each configuration of NAME chooses a value? */
bool study_is_trials(const struct study *s);
/* The name of a sweep's trials; NULL: none of them has ended. */
const char *study_trials(struct study *s, const struct sweep_row *w);
/* The key that the trials of NAME.tune vary and NAME itself does not; NULL: there are none. */
const char *study_tuned_key(struct study *s, const char *trials);
/* Configurations that differ from v in this key alone, v among them, by rising value. */
const struct arm **arms_like(struct study *s, const struct arm *v, const char *key, int *n);
/* Variants that come to one configuration have the same runs: the first of them; NULL: none came before. */
const struct arm *arm_same_before(const struct study *s, const struct arm *v);
/* Have both this value of the key, or none? */
bool arms_agree(const struct arm *a, const struct arm *b, const char *key);
/* The label, and behind it the key's value in v, if it has one: "moe_mamba-n_experts=8". */
const char *label_add(struct arena *a, const char *label, const struct arm *v, const char *key);
/* The label of arms_like(): its variant with the values of all other axes. */
const char *label_without(struct study *s, const struct arm *v, const char *key);
/* Mean final loss; infinite if a seed diverged, as when a value is chosen. */
double trial_loss(const struct arm *v);
/* The place of the lowest of these, the first if all diverged. */
int trials_best(const struct arm **trials, int n);
/* "tuned": one of the rates tried for it in NAME.tune; "paper": of recipe paper, for a published row;
   "-": imported; else "untuned". */
const char *study_rate_choice(struct study *s, const struct arm *v);
/* Tuned, and the smallest or the largest of the rates tried? */
bool study_tuned_at_edge(struct study *s, const struct arm *v);
/* Tuned, by trials of less than half of its tokens? */
bool study_tuned_in_short(struct study *s, const struct arm *v);

#endif
