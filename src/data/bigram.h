/* How often chosen bigrams, a token and the one after it, occur in the training split. */
#ifndef DATA_BIGRAM_H
#define DATA_BIGRAM_H

#include "data/dataset.h"

static inline uint32_t bigram_of(int32_t token, int32_t next)
{
	return (uint32_t)token << 16 | (uint32_t)next;
}

/* Sorts the bigrams and drops the same ones; returns how many are left. */
long bigrams_sort(uint32_t *bigrams, long n);
/* Place of one among those sorted; -1: not there. */
long bigrams_find(const uint32_t *bigrams, long n, uint32_t bigram);

/*
 * counts[i] of bigrams[i], sorted, each once. Counted on first use (on all threads, a few nanoseconds a
 * token) and kept as train_bigrams.json beside the token files, for this split and these bigrams; other
 * bigrams take its place. A folder that cannot be written is counted anew each time. 0, or -1 after a
 * message: a damaged token file.
 */
int dataset_bigrams(const struct dataset *d, const uint32_t *bigrams, long n, long *counts);

#endif
