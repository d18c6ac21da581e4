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

/* The same within documents: a window's bigrams are forgotten behind each token eot, so that only what
   stands in the target's own document counts. eot -1: all of the window does. */
void slice_repeats(const int32_t *tokens_BT, const int32_t *targets_BT, int B, int T, int eot,
	uint8_t *mask_BT);

/*
 * Most occurrences in the training split that a bigram may have for its repeats to be recalled rather than
 * known: 1250 at ten billion tokens (Arora et al. 2023, sec. 3), in proportion to the split, at least 1.
 */
long slice_recall_limit(long n_train);

/*
 * Classes of targets: by position, 1, 2, 3-4, 5-8, ... tokens of context (the input among them); by
 * frequency, 0, 1-9, 10-99, ... occurrences in the training split.
 */
enum { MAX_CLASSES = 64 };

struct token_classes {
	const char *by;			/* "position", "frequency", "recall": column "by" of the table slice */
	int n;
	long low[MAX_CLASSES], high[MAX_CLASSES];	/* of class i, both included */
	uint8_t *of;			/* class of position t = 0 .. T - 1, or of each token id */
};

void classes_by_position(struct token_classes *c, int T);
void classes_by_frequency(struct token_classes *c, const long *counts_V, int V);
/* Two classes by no table: 0 for other targets, 1 to limit for recalled ones. */
void classes_by_recall(struct token_classes *c, long limit);
void classes_release(struct token_classes *c);

#endif
