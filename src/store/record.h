/*
 * What a run tells while it trains: one JSON object a line, appended to metrics.jsonl and sent up
 * the pipe to the supervisor, which puts it into the table of its kind. Key "t" names the kind,
 * all else are fields; what a field means stands at the column of the same name in schema.sql.
 *
 *   {"t":"step","step":1,"tokens":4096,"seconds":0.41,...}
 *
 * Absent and non-finite numbers are null. Steps count updates done, from 1; tokens, seconds and
 * flops are cumulative and go on across resumes. Records are flushed to the file before a
 * checkpoint counts as written, so a resumed run leaves no gap; it repeats the steps since its
 * checkpoint, and the later record of a step replaces the earlier one. Unknown keys and kinds (of
 * a newer writer) are skipped; a torn last line (of a killed writer) is no record.
 *
 * A field is declared once, here, for the struct, the writer, the reader and the INSERT; its column
 * stands in schema.sql. A kind is a list of X(type, name):
 *   INT long long, absent RECORD_NONE;  REAL double, absent NAN;  TEXT const char *, absent NULL;
 *   JSON the same, holding JSON;  REALS an array of float.
 */
#ifndef STORE_RECORD_H
#define STORE_RECORD_H

#include <limits.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/str.h"
#include "store/db.h"

#define RECORD_NONE LLONG_MIN

#define RECORD_STEP(X)                                                                             \
	X(INT, step) X(INT, tokens) X(REAL, seconds) X(REAL, flops)                                \
	X(REAL, ce) X(REAL, aux) X(REAL, balance) X(REAL, z)                                       \
	X(REAL, lr) X(REAL, grad_norm) X(INT, clipped) X(REAL, tokens_per_s) X(REAL, drop)

#define RECORD_EVAL(X)                                                                             \
	X(TEXT, kind) X(INT, step) X(INT, tokens) X(REAL, seconds) X(REAL, flops)                  \
	X(REAL, loss) X(REAL, bpb) X(REAL, accuracy) X(REAL, loss_bigram) X(REAL, share_bigram)    \
	X(REAL, drop) X(INT, n_tokens) X(TEXT, windows) X(TEXT, capacity) X(REAL, choices)         \
	X(REAL, unserved)

/* A class of an evaluation's tokens. */
#define RECORD_SLICE(X)                                                                            \
	X(TEXT, kind) X(INT, step) X(TEXT, by) X(INT, low) X(INT, high) X(REAL, loss)              \
	X(INT, n_tokens)

/* Answers of one set of examples. */
#define RECORD_RECALL(X)                                                                           \
	X(TEXT, test) X(INT, step) X(INT, tokens) X(INT, length) X(INT, items) X(REAL, loss)       \
	X(REAL, accuracy) X(REAL, answer_accuracy) X(INT, n_tokens) X(INT, n_answers)              \
	X(REAL, mae) X(REAL, majority) X(REAL, last_mse) X(REAL, last_mae) X(REAL, season_mse)     \
	X(REAL, season_mae)

/* One router, table `router`. load: share of its choices by expert, table `expert`. */
#define RECORD_EXPERT(X)                                                                           \
	X(INT, step) X(INT, router) X(REALS, load) X(INT, dead) X(REAL, entropy) X(REAL, drop)      \
	X(REAL, choices) X(REAL, unserved) X(REAL, width) X(REAL, importance) X(REAL, load_cv2)     \
	X(REAL, mean_entropy)

/* A layer that mixes two paths: the share of the first, of channels its mean and their deviation; or picks tokens:
   their share. */
#define RECORD_MIX(X) X(INT, step) X(INT, mix) X(REAL, share) X(REAL, spread)

/* What training moves by a rule (train/control.h), by name, over its elements, behind the step. */
#define RECORD_STATE(X)                                                                            \
	X(INT, step) X(TEXT, state) X(REAL, least) X(REAL, mean) X(REAL, most)

#define RECORD_GROUP(X)                                                                            \
	X(INT, step) X(TEXT, group) X(REAL, grad_norm) X(REAL, update_ratio) X(REAL, weight_norm)

#define RECORD_EVENT(X)                                                                            \
	X(TEXT, kind) X(INT, step) X(TEXT, wall) X(TEXT, text)

/* A worker starts: whose it is, what the run is (table `run`), what the process is (`attempt`). */
#define RECORD_OF_RUN(X)                                                                           \
	X(TEXT, arch) X(TEXT, data_hash) X(INT, data_tokens) X(TEXT, tokenizer) X(INT, vocab)      \
	X(TEXT, precision) X(JSON, semantics) X(INT, params_total) X(INT, params_active)           \
	X(INT, params_embedding) X(REAL, flops_per_token) X(TEXT, depends)
#define RECORD_OF_PROCESS(X)                                                                       \
	X(TEXT, started) X(TEXT, host) X(INT, pid) X(TEXT, boot_id) X(INT, start_time)             \
	X(TEXT, device) X(INT, threads) X(INT, jobs) X(TEXT, blas) X(TEXT, blas_core)              \
	X(TEXT, cpu) X(TEXT, git) X(TEXT, build) X(JSON, argv) X(INT, memory_planned_bytes)        \
	X(TEXT, gpu)
#define RECORD_ATTEMPT(X)                                                                          \
	X(TEXT, run) X(TEXT, label) X(INT, seed) X(TEXT, sweep) X(JSON, parts)                     \
	RECORD_OF_RUN(X) RECORD_OF_PROCESS(X)

/* Written by the supervisor when a worker has ended: of its process, the newest with that pid. */
#define RECORD_EXIT(X)                                                                             \
	X(INT, pid) X(TEXT, ended) X(INT, exit_code) X(INT, exit_signal)

/* Told of a run by who timed its configuration alone, when it had ended. */
#define RECORD_CALIBRATION(X)                                                                      \
	X(REAL, seconds_per_step) X(INT, n_steps) X(REAL, busy) X(TEXT, measured) X(TEXT, host)    \
	X(TEXT, device) X(INT, threads) X(TEXT, cpu) X(TEXT, blas_core) X(TEXT, git) X(TEXT, build)

struct record_reals {
	const float *at;
	int n;
};

#define RECORD_C_INT	long long
#define RECORD_C_REAL	double
#define RECORD_C_TEXT	const char *
#define RECORD_C_JSON	const char *
#define RECORD_C_REALS	struct record_reals
#define RECORD_MEMBER(type, name) RECORD_C_##type name;

struct step_record { RECORD_STEP(RECORD_MEMBER) };
struct eval_record { RECORD_EVAL(RECORD_MEMBER) };
struct slice_record { RECORD_SLICE(RECORD_MEMBER) };
struct recall_record { RECORD_RECALL(RECORD_MEMBER) };
struct expert_record { RECORD_EXPERT(RECORD_MEMBER) };
struct mix_record { RECORD_MIX(RECORD_MEMBER) };
struct state_record { RECORD_STATE(RECORD_MEMBER) };
struct group_record { RECORD_GROUP(RECORD_MEMBER) };
struct event_record { RECORD_EVENT(RECORD_MEMBER) };
struct attempt_record { RECORD_ATTEMPT(RECORD_MEMBER) };
struct exit_record { RECORD_EXIT(RECORD_MEMBER) };
struct calibration_record { RECORD_CALIBRATION(RECORD_MEMBER) };

enum record_type {
	RECORD_IS_STEP, RECORD_IS_EVAL, RECORD_IS_SLICE, RECORD_IS_RECALL, RECORD_IS_EXPERT,
	RECORD_IS_MIX, RECORD_IS_STATE, RECORD_IS_GROUP, RECORD_IS_EVENT, RECORD_IS_ATTEMPT, RECORD_IS_EXIT,
	RECORD_IS_CALIBRATION, N_RECORD_TYPES
};

struct record {
	enum record_type type;
	union {
		struct step_record step;
		struct eval_record eval;
		struct slice_record slice;
		struct recall_record recall;
		struct expert_record expert;
		struct mix_record mix;
		struct state_record state;
		struct group_record group;
		struct event_record event;
		struct attempt_record attempt;
		struct exit_record exit;
		struct calibration_record calibration;
	};
};

/* All fields absent. */
struct record record_new(enum record_type type);
/* Appends the record as one line with its line feed. */
void record_write(const struct record *r, struct str *out);
/* Adds the record to metrics.jsonl of a run directory where no worker is. -1 after a message. */
int record_append(const struct record *r, const char *run_dir);
/*
 * Reads n bytes of one line. Texts and arrays live in the arena. False, without a message, if the
 * line is no record that this moelab knows.
 */
bool record_parse(struct record *r, const char *line, size_t n, struct arena *a);

/* Inserts records: the statements, prepared once. Call within a transaction. */
struct recorder {
	struct db_statement insert[N_RECORD_TYPES];	/* of an attempt: the row of the process */
	struct db_statement load;	/* expert loads */
	struct db_statement of_run, parts;	/* what an attempt tells of its run, and of the model's parts */
};

void recorder_open(struct recorder *r, struct db *db);
void recorder_add(struct recorder *r, long long run_id, const struct record *record);
int recorder_close(struct recorder *r);		/* 0, or -1 if any insert failed */

#endif
