/*
 * Sequences as the code of the MoE-Mamba paper makes them (Pioro et al. 2024, arXiv:2401.04081;
 * github.com/llm-random/llm-random): documents are drawn uniformly and with replacement, and laid
 * one behind the other, each with its end of text, until all but the longest have more than T
 * tokens in sum. The inputs are the T tokens from a uniformly drawn start on, circularly: behind
 * the last token follows the first. The targets are one token further on. Here all draws are a
 * function of the seed and the number of the sequence.
 *
 * So long documents are seen in part, short ones as often as long ones, and a token may be seen
 * twice or never in as many sequences as make an epoch.
 */
#ifndef DATA_PACKING_H
#define DATA_PACKING_H

#include <stdint.h>

#include "data/dataset.h"

struct packing {
	const struct dataset *dataset;	/* kept */
	enum split split;
	long n_documents;
	long *ends;			/* of the documents: token behind the last; 8 bytes each */
	uint64_t stream;
};

/* Reads the whole split once to find its documents: each ends with an end of text, the last also
   with the split. The split must not be empty. */
void packing_init(struct packing *p, const struct dataset *d, enum split split);
void packing_release(struct packing *p);
/* Sequence i: T inputs and T targets. 0, or -1 after a message (damaged file). */
int packing_read(const struct packing *p, uint64_t seed, long i, int T, int32_t *tokens,
	int32_t *targets);

#endif
