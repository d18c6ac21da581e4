/* A run as its directory keeps it, for whoever uses the model: spec, a checkpoint, how text becomes tokens. */
#ifndef TRAIN_TRAINED_H
#define TRAIN_TRAINED_H

#include "data/dataset.h"
#include "data/tokenizer.h"
#include "spec/config.h"

struct trained {
	struct arena arena;
	struct config config;
	const char *checkpoint;		/* its path */
	long step;			/* updates done */
	long n_vocab;			/* of the checkpoint's embedding, or of values, head */
	bool experts_choose;		/* in a mixture of it (nn/moe.h) */
};

/* step: of the checkpoint; -1: the newest. 0, or -1 after a message: no such checkpoint is kept. */
int trained_open(struct trained *t, const char *run_dir, long step);
void trained_close(struct trained *t);
/* By what rule its mixtures take tokens outside of training, for notes. */
const char *trained_rule(const struct trained *t);
/* For who gives the model text: -1 after a message if it reads values. */
int trained_check_text(const struct trained *t);
/* Opens the dataset in a folder, NULL: the run's; where that is gone the message asks for option --data. Its tokens
   must be the model's. 0, or -1 after a message. */
int trained_data(const struct trained *t, const char *folder, struct dataset *d);
/* For who shows its tokens as text: -1 after a message if they are ids of a task's own. */
int trained_check_words(const struct dataset *d);
/* By name; NULL: the tokenizer of the run's dataset, or where that is gone, the one with as many tokens.
   0, or -1 after a message. */
int trained_tokenizer(const struct trained *t, const char *name, struct tokenizer *tokenizer);

#endif
