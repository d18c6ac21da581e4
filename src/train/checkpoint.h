/*
 * Checkpoints: RUN_DIR/ckpt/step_N.safetensors with the weights under their names, the moments as
 * moment1.NAME and moment2.NAME, and as metadata what else a run needs to go on bit for bit (its
 * random numbers and data order are functions of the step). Padding rows are left out.
 */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "tensor/safetensors.h"
#include "train/setup.h"

struct progress {
	long step;		/* updates done */
	double seconds;		/* of training so far, over all attempts */
	double flops;		/* model FLOPs so far; read from a file that lacks it: NAN */
	bool told;		/* what was due at this step is recorded: evaluation, scores, texts */
};

/* A parameter as files have it, true rows only, in a host copy of a blob. */
struct safetensor checkpoint_tensor(const struct setup *s, const struct param *p, const char *name,
	const void *blob);
/* Writes one, then deletes all but the newest spec.checkpoint_keep (at least one) up to its step. 0, or -1
   after a message; what was there before is left as it was. claim (NULL: none): the token with which the run must
   still be claimed when the file is complete (cluster/claim.h). */
int checkpoint_write(const struct setup *s, const char *run_dir, const struct progress *p, const char *claim);
void checkpoint_remove(const char *run_dir);	/* all of a run's */
/* Weights alone, from a checkpoint, a trace (there they are called param.NAME), or any other file
   with tensors of the model's names and shapes, in F64, F32 or BF16; with their moments, if asked
   for and if the file has them. 0, or -1 after a message. */
int checkpoint_weights(struct setup *s, const char *path, bool moments);
/* Weights, moments, states of streams and progress from a file; of another device's type they are converted, so what
   goes on from there need not have the run's bits. -1 after a message: missing tensors, other shapes. */
int checkpoint_read(struct setup *s, const char *path, struct progress *p);
/* The newest checkpoint of the run that reads well, of this device's types; another is told and passed over.
   1: read, 0: there is none. */
int checkpoint_resume(struct setup *s, const char *run_dir, struct progress *p);

#endif
