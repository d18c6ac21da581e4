/*
 * The training data of a run: which sequences of the dataset are a micro-batch of a step. A function of
 * spec and step alone, so training, resuming and tracing read the same.
 */
#ifndef TRAIN_FEED_H
#define TRAIN_FEED_H

#include "data/order.h"
#include "spec/run_spec.h"

struct feed {
	struct sequences sequences;
	long batch, micro_batch;	/* sequences */
};

/* Keeps a pointer to the dataset. 0, or -1 after a message. */
int feed_open(struct feed *f, const struct run_spec *s, const struct dataset *d);
void feed_close(struct feed *f);
/* Do streams (data.sampling: stream) begin with this step: the first of an epoch? */
bool feed_begins(const struct feed *f, long step);
/* tokens_BT and targets_BT [micro_batch, context]. 0, or -1 after a message. */
int feed_read(const struct feed *f, long step, long micro, int *tokens_BT, int *targets_BT);

#endif
