/*
 * What a trace is made of, found and made ready: spec, weights and tokens from a spec, from a run's
 * checkpoint, or from the file of another trace (trace/trace.h).
 */
#ifndef TRACE_TRACER_H
#define TRACE_TRACER_H

#include "tensor/safetensors.h"
#include "trace/trace.h"
#include "train/feed.h"
#include "train/setup.h"

struct tracer {
	struct arena arena;
	const struct trace_options *options;
	const struct device *device;
	struct config config;
	struct setup setup;		/* with the weights in front of the step */
	long step;			/* updates done before */
	long logits;			/* tokens of each sequence with logits; 0: none */
	bool has_data;			/* tokens from the dataset; else of the trace, or random */
	struct dataset data;
	struct feed feed;
	bool has_trace;			/* a trace is repeated */
	struct safetensors trace;
	const char *weights;		/* checkpoint or trace; NULL: as the spec says */
	bool is_run;			/* weights are a checkpoint */
};

/* Keeps a pointer to the options. 0, or -1 after a message, and nothing is left to close. */
int tracer_open(struct tracer *t, const char *what, const struct trace_options *options);
void tracer_close(struct tracer *t);
/* The micro-batch of a step: step_input.read. */
int tracer_read(const struct tracer *t, long step, long micro, int *tokens_BT, int *targets_BT);

#endif
