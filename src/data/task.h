/*
 * Tasks of recall and copying, images, series: examples that a rule and a seed make, with the answers marked. A file
 * src/data/task/NAME.c defines `const struct task task_NAME` and is its registration; data_make() writes
 * its examples as a dataset of rows (data/dataset.h), `moelab data make` is the command.
 *
 * An example is a sequence of tokens with a target at each: what the model has to say there, or nothing
 * (the end-of-text id, the last of the vocabulary). Its draws depend on the task's name, the seed, the
 * set (train, val, tune, or a test set's name) and the example's number alone.
 */
#ifndef DATA_TASK_H
#define DATA_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"

/* The random numbers of one example, one after the other. */
struct draw {
	struct rng_key key;
	uint64_t next;
	struct rng_block block;
	bool half;		/* the second half of the block is not used yet */
};

struct draw draw_begin(struct rng_key key, uint64_t first);
double draw_uniform(struct draw *d);			/* in (0, 1) */
double draw_between(struct draw *d, double least, double most);
long draw_below(struct draw *d, long n);		/* 0 .. n - 1, each as likely but for n 2^-52 */
/* k different ones of 0 .. n - 1, in any order as likely: the first k of a random permutation. */
void draw_distinct(struct draw *d, long n, long k, long *out);

enum { TASK_SETTINGS = 5 };

struct task_setting {
	const char *key, *help;
	double initial, min, max;
	const char *words[3];	/* or its values are these; the first is 0 */
};

struct example {
	struct draw draw;
	long length, items;		/* of the shape asked for */
	const double *value;		/* of the task's settings, in their order */
	bool training, tune, test;	/* of the set train, of tune, of a test set; none of them: of val */
	uint16_t *tokens, *targets;	/* room for task.tokens(); the targets say nothing yet */
};

struct task {
	const char *name, *help;
	const char *shape;		/* "LENGTHxPAIRS", or "LENGTH" where nothing else is counted */
	const char *train, *tests;	/* shapes and numbers of examples by default */
	long pack;			/* tokens of a training row by default; 0: a row an example */
	const char *tokenizer;		/* whose ids these are; NULL: the task's own */
	struct task_setting settings[TASK_SETTINGS];	/* ended by key NULL */
	int (*vocab)(const double *value);	/* ids, the end-of-text id among them */
	/* Most tokens of an example of this shape; 0: the shape is impossible. */
	long (*tokens)(const double *value, long length, long items);
	const char *possible;		/* what shapes must fulfil, for people */
	/* Returns its tokens; 0: none was found with these settings, in as many draws as are worth trying. */
	long (*make)(struct example *e);
	const char *unfound;		/* what then to do, for people; NULL: that cannot be */
	long (*season)(const double *value);	/* struct dataset\'s; NULL: it has none */
};

extern const struct task *const tasks[];	/* ended by NULL */
const struct task *task_find(const char *name);	/* NULL after a message */

struct make_options {
	const char *folder;
	const char *const *settings;	/* key=value: those of the task, and train, tests, val, tune, pack, seed */
	int n_settings;
	bool force;			/* replace an existing dataset (nothing but a dataset) */
};

/* 0; or after a message and with nothing left behind, -1 for wrong settings and DATASET_UNWRITTEN if the
   dataset could not be written. */
int data_make(const struct task *t, const struct make_options *o);
/* A text of all keys with defaults and help, a line each; caller frees. */
char *task_settings_help(const struct task *t);

#endif
