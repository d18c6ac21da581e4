/*
 * Choosing the next token from logits. The filters come in this order, each on what the one before left:
 *   temperature  l / T; T = 0 takes the greatest logit, of equal ones the lowest token, and ends here
 *   top-k        keeps l no less than the k-th greatest: ties with it stay
 *   top-p        keeps the fewest tokens of greatest probability whose sum reaches p of what is left
 *                (Holtzman et al. 2020, arXiv:1904.09751); of equal ones the lowest tokens first
 *   min-p        keeps probabilities no less than m times the greatest
 * and one is drawn from the rest. The draw is a function of seed and place in the text alone.
 */
#ifndef TRAIN_SAMPLER_H
#define TRAIN_SAMPLER_H

#include <stdint.h>

struct sampler {
	double temperature;	/* 0 and more */
	long top_k;		/* 0: all */
	double top_p, min_p;	/* in (0, 1], 1: all; in [0, 1], 0: all */
	uint64_t seed;
};

/* 0, or -1 after a message that names what is out of range. */
int sampler_check(const struct sampler *s);
/* The token behind logits_V, as number `at` of those drawn; -1 if no logit is finite, or one is NaN. */
int sampler_choose(const struct sampler *s, const double *logits_V, long n_vocab, uint64_t at);

#endif
