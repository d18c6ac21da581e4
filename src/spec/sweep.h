/*
 * A sweep file: which runs answer one question.
 *
 *   question: text               base: [specs]          set: {key: value}
 *   grid: {key: [values]}        every combination
 *   zip: {key: [values]}         lists of one length, taken row by row
 *   variants: {LABEL: {base:, set:, grid:, zip:}}
 *   exclude: [{key: value or [values]}]     include: [{variant: LABEL, key: value}]
 *   seeds: [1, 2, 3]             baseline: LABEL        name: default is the file's place
 *   targets: [baseline, 2.1, {perplexity: 8}]
 *   tune: {over: {key: [rising numbers]}, set: {key: value}, seeds: [8, 9], extend: true,
 *          metric: val_loss}
 *   published: {LABEL: {loss:, perplexity:, speedup:, params:, active:}}
 *   limits: {runs:, hours:, memory_gib:, disk_gib:}
 *
 * Runs = variants x (grid x zip rows) + include - exclude, x seeds. Later wins: base, variant base,
 * set, variant set, axis or included value, command line; a `set` that decides nothing in any run
 * is an error. `exclude` and --restrict match resolved values, and also `variant`. A key that an
 * architecture lacks is dropped when it comes from the sweep's own set, grid or zip, and
 * combinations that thereby become equal are merged; everywhere else it is an error. A plain spec
 * is a sweep of one variant.
 *
 * `tune` lets each configuration choose its value of one key by trials: a sweep of their own, called
 * NAME.tune, with that key as one more axis, `set` over all variants' and seeds of its own, to which
 * --restrict seed=... does not apply (struct sweep_trials). Who loads the sweep does the choosing (plan/tune.h).
 *
 * Labels are LABEL[-key=value...] with as many last parts of a key as tell it from the other axes;
 * without variants LABEL is the file's name.
 */
#ifndef SPEC_SWEEP_H
#define SPEC_SWEEP_H

#include "spec/config.h"

struct sweep_axis {
	const char *key, *short_key;	/* "model.moe.n_experts", "n_experts" */
	const char *text;		/* canonical value */
};

struct sweep_run {
	const char *label;		/* "moe_mamba-n_experts=8"; fit as a file's name */
	const char *variant;		/* "moe_mamba" */
	struct sweep_axis *axes;	/* of this configuration, inactive ones left out */
	int n_axes;
	long seed;			/* also the value of the config's key "seed" */
	struct config config;
	const char *note;		/* what was dropped and merged into this run, or NULL */
};

enum target_kind { TARGET_BASELINE, TARGET_LOSS, TARGET_PERPLEXITY };

struct sweep_target {
	enum target_kind kind;		/* as written; TARGET_BASELINE: the baseline's final loss */
	double loss;			/* nats per token, also for a perplexity; or NAN */
};

struct sweep_published {
	const char *label, *quantity;	/* quantity: loss, perplexity, speedup, params, active */
	const char *text;		/* as written, for instance "<1" */
	double value;			/* NAN where text is no number */
};

/* 0: no limit. sweep_load() keeps to `runs`, the supervisor to the others. */
struct sweep_limits {
	long runs;
	double hours, memory_gib, disk_gib;
};

/* `tune`: what the trials vary; key NULL: nothing is tuned. */
struct sweep_tune {
	const char *key;
	bool extend;			/* one more value where the best is the first or the last */
};

struct sweep {
	const char *name;		/* "micro/table1" for .../sweeps/micro/table1.yaml */
	const char *file, *question;	/* question: NULL if none */
	struct sweep_run *runs;		/* by variant, then point, then seed */
	int n_runs;
	const char *baseline;		/* a label, even if --restrict left it out; NULL: none */
	struct sweep_target *targets;	/* none: the baseline's final loss */
	int n_targets;
	struct sweep_published *published;
	int n_published;
	struct sweep_limits limits;
	struct sweep_tune tune;
	int n_combinations, n_merged, n_excluded;	/* configurations, seeds not counted */
	int n_unselected;				/* left out by --restrict */
};

/* The trials of a sweep's `tune` instead of its runs; they have no baseline, targets, published. */
struct sweep_trials {
	const char *set;		/* "key=value" for all trials, if the schema has the key */
	bool lower, higher;		/* one more value before the first, after the last */
};

struct sweep_options {
	const char *const *overrides;	/* "key=value" for all runs; a swept key is an error */
	int n_overrides;
	const char *const *restrict_to;	/* "key=value", "variant=LABEL": keep what matches all */
	int n_restrict;
	const struct sweep_trials *trials;	/* NULL: the sweep itself */
};

/* All runs of the file, resolved. In arena a. 0, or -1 after one message. */
int sweep_load(struct arena *a, const char *path, const struct sweep_options *options,
	const struct schema *schema, struct sweep *sweep);
/* "12 combinations, 3 inactive duplicates merged, 1 excluded": one line without line feed. */
void sweep_summary(const struct sweep *s, struct str *out);

#endif
