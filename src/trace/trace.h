/*
 * A trace: one training step laid open as named tensors in a safetensors file, to be held against
 * any other implementation (tests/oracle/README.md). B, T: the whole batch of the step.
 *
 *	tokens, targets		I32 [B, T]
 *	param.NAME		each parameter before the step; true vocabulary only
 *	moment1.NAME,		AdamW's moments before the step; left out at step 0, where all
 *	moment2.NAME		are 0
 *	MOE.route, MOE.keep	I32 [B, T], of K choices a token [B, T, K]: the expert that is chosen (with
 *				overflow next, that the choice went to), -1: none; 1 if it took the token
 *	MOE.gate		the same shape: what its output is weighted with; 0 where it was dropped
 *	output.MODULE		[B, T, width], if asked for: of embedding, norms and layers
 *	logits			[B, n, V], if asked for: of the last n tokens of each sequence
 *	grad.NAME		gradient of the loss, before clipping
 *	new.NAME		the parameter after the step
 *
 * NAME, MOE and MODULE are names as in checkpoints: layers.0.mixer.in_proj.weight, layers.1.moe,
 * layers.1.norm. Real tensors are F32, on device ref F64. Metadata, all of them texts: format, spec
 * (the resolved spec as JSON, dotted keys), step (updates done before), data (the data's hash,
 * "random", or "trace"), device, ce, aux, loss = ce + aux, grad_norm, lr.
 *
 * Tensors stand in the file in the order above, and within a kind in the order of the forward pass.
 */
#ifndef TRACE_TRACE_H
#define TRACE_TRACE_H

#include <stdbool.h>
#include <stdio.h>

enum {
	TRACE_LOGITS_ALL = -1,
	TRACE_LOGITS_AUTO = -2,	/* all, unless they take more than 1 GiB: then none */
};

struct trace_options {
	const char *device;	/* NULL: cpu */
	const char *const *overrides;	/* "key=value" */
	int n_overrides;
	long step;		/* of a spec: updates to make first */
	long logits;		/* last tokens of each sequence, or one of the above */
	bool outputs;
	bool random;		/* tokens by the seed instead of the dataset's */
};

/*
 * what: a spec (its first step, or the one after options->step updates), RUN@STEP (the step after a
 * checkpoint; RUN: a run directory), or the file of another trace: the
 * same step once more, from its spec, weights and tokens. A spec whose dataset is not there gets
 * random tokens, and a warning. 0; after a message TRACE_NOT_WRITTEN, where all is well but the output,
 * else -1.
 */
enum { TRACE_NOT_WRITTEN = -2 };
int trace_write(const char *what, const struct trace_options *options, const char *output);

enum { TRACE_SAME, TRACE_PARTS };

/*
 * Holds b against a, tensor by tensor in the order of computing: forward, then gradients from the
 * head back, then new parameters (of these the change). Two real tensors part if the relative L2
 * error |a - b| / |a| is above `tolerance` (gradients and changes: ten times that), integers if any
 * differs, and shapes. What only one file has is named and not compared. Prints a table of errors
 * (of integers the share that differs) and largest differences, and a verdict that names the first
 * that parts. TRACE_SAME, TRACE_PARTS, or -1 after a message.
 */
int trace_compare(const char *a, const char *b, double tolerance, FILE *out);

#endif
