/*
 * Texts that a model writes while it trains (keys samples.*), as events "sample" of the run: each prompt
 * with what follows. The draws depend on the run's seed alone; the run's numbers on none of it.
 */
#ifndef TRAIN_SAMPLES_H
#define TRAIN_SAMPLES_H

#include "data/dataset.h"
#include "data/tokenizer.h"
#include "train/setup.h"
#include "train/worker_link.h"

struct samples {
	struct tokenizer words;
	const struct run_spec *spec;	/* NULL: none are asked for */
};

/* Tokens of the longest text that the spec asks for, at most. */
long samples_longest(const struct run_spec *s);

/* Can texts become tokens of the dataset, if any are asked for? 0, or -1 after a message. */
int samples_check(const struct run_spec *spec, const struct dataset *d);
/* Keeps a pointer to the spec. 0, or -1 after a message: data that no tokenizer has made. */
int samples_open(struct samples *x, const struct run_spec *spec, const struct dataset *d);
void samples_close(struct samples *x);
/* One event for each prompt. The signal that asks the worker to stop, if it came before the last, else 0. */
int samples_write(struct samples *x, struct setup *s, struct worker_link *link, long step);

#endif
