#include "data/packing.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"

struct range {			/* of tokens of the split */
	long start, n;
};

void packing_init(struct packing *p, const struct dataset *d, enum split split)
{
	const struct dataset_split *s = &d->splits[split];
	long size = s->n_documents + 1, at = 0;

	CHECK(s->n_tokens > 0);
	*p = (struct packing){.dataset = d, .split = split, .stream = hash_u64("data packing")};
	p->ends = xmalloc((size_t)size * sizeof *p->ends);
	for (int i = 0; i < s->n_files; i++)
		for (long j = 0; j < s->files[i].n; j++) {
			at++;
			if (s->files[i].tokens[j] != d->eot && at < s->n_tokens)
				continue;
			GROW(p->ends, p->n_documents + 1, size);
			p->ends[p->n_documents++] = at;
		}
}

void packing_release(struct packing *p)
{
	free(p->ends);
	*p = (struct packing){0};
}

/* Uniform in 0 .. n - 1, but for n / 2^64. */
static long uniform(uint32_t high, uint32_t low, long n)
{
	uint64_t bits = (uint64_t)high << 32 | low;

	return (long)((unsigned __int128)bits * (uint64_t)n >> 64);
}

static struct range document(const struct packing *p, struct rng_block b)
{
	long i = uniform(b.word[0], b.word[1], p->n_documents), start = i ? p->ends[i - 1] : 0;

	return (struct range){start, p->ends[i] - start};
}

/* Draw documents until all but the longest have more than T tokens, at most T + 2 of them. Returns
   their number; *total is set to their tokens. */
static int draw(const struct packing *p, struct rng_key key, long i, int T, struct range *drawn,
	long *total)
{
	long longest = 0;

	*total = 0;
	for (key.step = 0; *total - longest <= T; key.step++) {
		struct range d = document(p, rng_block(key, (uint64_t)i));
		drawn[key.step] = d;
		*total += d.n;
		longest = d.n > longest ? d.n : longest;
	}
	return (int)key.step;
}

/* n tokens from `at` on of the drawn documents, one behind the other in a circle. */
static int copy(const struct packing *p, const struct range *drawn, int n_drawn, long at, long n,
	int32_t *out)
{
	int k = 0;

	while (at >= drawn[k].n)
		at -= drawn[k++].n;
	while (n) {
		long part = drawn[k].n - at < n ? drawn[k].n - at : n;
		if (dataset_read(p->dataset, p->split, drawn[k].start + at, part, out))
			return -1;
		out += part;
		n -= part;
		at = 0;
		k = (k + 1) % n_drawn;
	}
	return 0;
}

int packing_read(const struct packing *p, uint64_t seed, long i, int T, int32_t *tokens,
	int32_t *targets)
{
	struct rng_key key = {.seed = seed, .stream = p->stream};
	struct range *drawn = xmalloc(((size_t)T + 2) * sizeof *drawn);
	int32_t *row = xmalloc(((size_t)T + 1) * sizeof *row);
	struct rng_block first = rng_block(key, (uint64_t)i);
	long total, start;
	int n, ret;

	n = draw(p, key, i, T, drawn, &total);
	start = uniform(first.word[2], first.word[3], total);	/* words that no draw used */
	ret = copy(p, drawn, n, start, T + 1L, row);
	if (!ret) {
		memcpy(tokens, row, (size_t)T * sizeof *row);
		memcpy(targets, row + 1, (size_t)T * sizeof *row);
	}
	free(row);
	free(drawn);
	return ret;
}
