#include "train/sampler.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"

struct candidate {
	double logit, p;	/* p: up to a common factor, 1 for the greatest */
	int token;
};

int sampler_check(const struct sampler *s)
{
	if (!(s->temperature >= 0))
		return error("temperature %g: it is 0 or more", s->temperature);
	if (!(s->top_p > 0 && s->top_p <= 1))
		return error("top-p %g: it is above 0 and at most 1", s->top_p);
	if (!(s->min_p >= 0 && s->min_p <= 1))
		return error("min-p %g: it is between 0 and 1", s->min_p);
	return 0;
}

/* The greatest logit's place, the lowest of equal ones; -1: none is finite, or there is NaN. */
static long greatest(const double *logits_V, long n)
{
	long best = 0;

	for (long i = 0; i < n; i++) {
		if (isnan(logits_V[i]))
			return -1;
		if (logits_V[i] > logits_V[best])
			best = i;
	}
	return isfinite(logits_V[best]) ? best : -1;
}

static int likelier_first(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return x->logit != y->logit ? (x->logit < y->logit ? 1 : -1) : x->token - y->token;
}

static double sum_of(const struct candidate *c, long n)
{
	double sum = 0;

	for (long i = 0; i < n; i++)
		sum += c[i].p;
	return sum;
}

/* How many of n candidates, the likelier first, the filters leave. */
static long filter(const struct sampler *s, const struct candidate *c, long n)
{
	double enough, sum = 0;
	long kept = s->top_k && s->top_k < n ? s->top_k : n;

	while (kept < n && c[kept].logit == c[kept - 1].logit)
		kept++;
	enough = s->top_p * sum_of(c, kept);
	for (long i = 0; i < kept && s->top_p < 1; i++) {
		sum += c[i].p;
		if (sum >= enough)
			kept = i + 1;
	}
	while (c[kept - 1].p < s->min_p * c[0].p)
		kept--;
	return kept;
}

static int draw(const struct sampler *s, const struct candidate *c, long n, uint64_t at)
{
	struct rng_key key = {s->seed, hash_u64("sample"), 0};
	double left = rng_uniform(rng_block(key, at), 0) * sum_of(c, n);
	long i = 0;

	for (; i < n - 1 && left >= c[i].p; i++)
		left -= c[i].p;
	return c[i].token;
}

int sampler_choose(const struct sampler *s, const double *logits_V, long n_vocab, uint64_t at)
{
	long best = greatest(logits_V, n_vocab);
	struct candidate *c;
	int token;

	if (best < 0 || s->temperature == 0)
		return (int)best;
	c = xcalloc((size_t)n_vocab, sizeof *c);
	for (long i = 0; i < n_vocab; i++)
		c[i] = (struct candidate){logits_V[i],
			exp((logits_V[i] - logits_V[best]) / s->temperature), (int)i};
	qsort(c, (size_t)n_vocab, sizeof *c, likelier_first);
	token = draw(s, c, filter(s, c, n_vocab), at);
	free(c);
	return token;
}
