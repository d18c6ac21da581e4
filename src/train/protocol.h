/*
 * Loss of a trained model by a stated protocol, at lengths it has not been trained with. All protocols and
 * lengths score the same tokens: those of segments of a split, evenly spread over it, whose length is that
 * of the longest. A segment of N tokens is seen
 *   reset    in windows of L tokens, each by itself
 *   sliding  in windows of L tokens that begin S tokens apart: behind the first one a window scores its last
 *            S tokens alone, so each token has at least L - S in front (Press et al. 2021, arXiv:2012.15832)
 *   carried  in one pass: states go on from the first token to the last, attention sees L tokens in front
 *            of each; of L = N it sees what reset does
 */
#ifndef TRAIN_PROTOCOL_H
#define TRAIN_PROTOCOL_H

#include "data/dataset.h"
#include "data/slice.h"
#include "train/setup.h"
#include "train/trained.h"

enum protocol { PROTOCOL_RESET, PROTOCOL_SLIDING, PROTOCOL_CARRIED, N_PROTOCOLS };
extern const char *const protocol_name[N_PROTOCOLS];

/* Segment i: tokens [first(i), first(i) + length], the last one as a target alone. */
struct segments {
	const struct dataset *data;	/* not owned */
	enum split split;
	long length, n;
};

/* As many as n_tokens hold, at least one. 0, or -1 after a message: the split has none of this length. */
int segments_open(struct segments *s, const struct dataset *d, enum split split, long length, long n_tokens);

/* The first token of segment i: evenly spread, each at a multiple of the length. */
long segment_first(const struct segments *s, long i);

struct protocol_loss {
	double nll, tokens;		/* sums */
	/* By tokens of context, the input among them: since the window began (carried: the segment), with
	   data.reset_at_eot the document where that is later. */
	struct token_classes classes;
	double nll_of[MAX_CLASSES], tokens_of[MAX_CLASSES];
};

/* length and stride divide that of the segments; stride: of PROTOCOL_SLIDING. 0, or -1 after a message.
   The loss is released by classes_release(). */
int protocol_run(const struct trained *t, const struct device *device, const struct segments *segments,
	enum protocol how, long length, long stride, struct protocol_loss *loss);

#endif
