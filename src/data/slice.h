/*
 * Slices of the evaluation: which targets of a window belong to a class of tokens that tells
 * something about the model beyond the mean loss.
 */
#ifndef DATA_SLICE_H
#define DATA_SLICE_H

#include <stdint.h>

/*
 * Repeated bigrams: mask_BT[b][t] = 1 if the bigram (tokens[b][t], targets[b][t]) occurred before
 * in the same window b, at a smaller t; else 0. A model that recalls its context predicts such a
 * target; one that only knows frequencies does not (Arora et al. 2023, arXiv:2312.04927, sec. 3).
 * O(B T). Any T; ids are below 65,536.
 */
void slice_repeated_bigram(const int32_t *tokens_BT, const int32_t *targets_BT, int B, int T,
	uint8_t *mask_BT);

/*
 * Classes of targets: by position, 1, 2, 3-4, 5-8, ... tokens of context (the input among them); by
 * frequency, 0, 1-9, 10-99, ... occurrences in the training split.
 */
enum { MAX_CLASSES = 64 };

struct token_classes {
	const char *by;			/* "position", "frequency": column "by" of the table slice */
	int n;
	long low[MAX_CLASSES], high[MAX_CLASSES];	/* of class i, both included */
	uint8_t *of;			/* class of position t = 0 .. T - 1, or of each token id */
};

void classes_by_position(struct token_classes *c, int T);
void classes_by_frequency(struct token_classes *c, const long *counts_V, int V);
void classes_release(struct token_classes *c);

#endif
