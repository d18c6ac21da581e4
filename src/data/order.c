#include "data/order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"

enum { ROUNDS = 8 };
enum { EVAL_SEED = 1 };		/* of the order of evaluation windows; must never change */

void permutation_init(struct permutation *p, uint64_t n, uint64_t seed, uint32_t epoch)
{
	CHECK(n > 0 && n <= INT64_MAX);
	*p = (struct permutation){.n = n, .seed = seed, .epoch = epoch};
	p->stream = hash_u64("data order");
	p->rows = (uint64_t)sqrt((double)n);
	while (p->rows * p->rows < n)
		p->rows++;
	p->columns = (n + p->rows - 1) / p->rows;
}

/* The round function: a number that depends on the key, the round and one half. */
static uint64_t mix(const struct permutation *p, uint64_t round, uint64_t half)
{
	struct rng_key key = {.seed = p->seed, .stream = p->stream, .step = p->epoch};
	struct rng_block b = rng_block(key, round << 32 | half);

	return (uint64_t)b.word[0] << 32 | b.word[1];
}

/* One to one on the rectangle: each round adds to one half what only the other half decides. */
static uint64_t pass(const struct permutation *p, uint64_t i)
{
	uint64_t row = i / p->columns, column = i % p->columns;

	for (uint64_t round = 0; round < ROUNDS; round += 2) {
		row = (row + mix(p, round, column) % p->rows) % p->rows;
		column = (column + mix(p, round + 1, row) % p->columns) % p->columns;
	}
	return row * p->columns + column;
}

uint64_t permutation_at(const struct permutation *p, uint64_t i)
{
	CHECK(i < p->n);
	do
		i = pass(p, i);
	while (i >= p->n);	/* follows the cycle of i, which comes back into [0, n) */
	return i;
}

int sequences_init(struct sequences *s, const struct dataset *d, enum split split, int context,
	uint64_t seed)
{
	const struct dataset_split *of = &d->splits[split];
	long n = of->n_tokens;

	CHECK(context > 0);
	*s = (struct sequences){.dataset = d, .split = split, .context = context, .seed = seed};
	if (of->row && of->row != context)
		return error("%s: its rows are of %ld tokens, not %d: set train.context=%ld", d->folder,
			of->row, context, of->row);
	s->per_epoch = of->row ? n / (2 * of->row) : n > 0 ? (n - 1) / context : 0;
	if (!n)
		return error("%s: split %s is empty: make the dataset again with a share for it", d->folder, of->name);
	if (!s->per_epoch)
		return error("%s: split %s has %ld tokens, too few for one sequence of %d: import "
			"more text or a larger share, or use a shorter context", d->folder,
			of->name, n, context);
	return 0;
}

int sampling_parse(enum sampling *sampling, const char *name)
{
	if (!strcmp(name, "shuffle"))
		*sampling = SAMPLING_SHUFFLE;
	else if (!strcmp(name, "paper"))
		*sampling = SAMPLING_PAPER;
	else if (!strcmp(name, "stream"))
		*sampling = SAMPLING_STREAM;
	else
		return error("sampling \"%s\": not shuffle, paper or stream", name);
	return 0;
}

static int cut_streams(struct sequences *s, long streams)
{
	const struct dataset_split *of = &s->dataset->splits[s->split];

	s->streams = streams;
	s->length = (of->n_tokens - s->context) / s->context / streams;
	s->per_epoch = s->length * streams;
	return s->length > 0 ? 0 : error("%s: split %s has %ld tokens, too few for %ld streams of windows of %d: "
		"lower train.batch or train.context", s->dataset->folder, of->name, of->n_tokens, streams,
		s->context);
}

int sequences_sample(struct sequences *s, enum sampling sampling, long streams)
{
	sequences_release(s);
	s->sampling = sampling;
	if (sampling == SAMPLING_SHUFFLE)
		return 0;
	if (s->dataset->splits[s->split].row)
		return error("%s: holds rows of examples, no documents to pack or go on in: set "
			"data.sampling=shuffle", s->dataset->folder);
	if (sampling == SAMPLING_STREAM)
		return cut_streams(s, streams);
	packing_init(&s->packing, s->dataset, s->split);
	return 0;
}

void sequences_release(struct sequences *s)
{
	packing_release(&s->packing);
}

static int read_row(const struct sequences *s, long row, int32_t *tokens, int32_t *targets)
{
	long T = s->context, at = row * 2 * T;

	if (dataset_read(s->dataset, s->split, at, T, tokens) ||
		dataset_read(s->dataset, s->split, at + T, T, targets))
		return -1;
	for (long t = 0; t < T; t++)
		if (targets[t] == s->dataset->eot)
			targets[t] = -1;
	return 0;
}

/* Sequence i of the shuffled order; p is its permutation, made anew where an epoch begins. */
static int read_shuffled(const struct sequences *s, struct permutation *p, long i, int32_t *tokens,
	int32_t *targets)
{
	long T = s->context, epoch = i / s->per_epoch, at;

	if (!p->n || p->epoch != (uint32_t)epoch)
		permutation_init(p, (uint64_t)s->per_epoch, s->seed, (uint32_t)epoch);
	at = (long)permutation_at(p, (uint64_t)(i % s->per_epoch)) * T;
	if (s->dataset->splits[s->split].row)
		return read_row(s, at / T, tokens, targets);
	if (dataset_read(s->dataset, s->split, at, T, tokens))
		return -1;
	return dataset_read(s->dataset, s->split, at + 1, T, targets);
}

/* Where the windows of an epoch begin, 0 to T - 1. */
static long stream_offset(const struct sequences *s, long epoch)
{
	struct rng_key key = {.seed = s->seed, .stream = hash_u64("data stream"), .step = (uint32_t)epoch};

	return (long)(rng_block(key, 0).word[0] % (uint32_t)s->context);
}

static int read_stream(const struct sequences *s, long i, int32_t *tokens, int32_t *targets)
{
	long window = i / s->streams, stream = i % s->streams, T = s->context;
	long at = (stream * s->length + window % s->length) * T + stream_offset(s, window / s->length);

	if (dataset_read(s->dataset, s->split, at, T, tokens))
		return -1;
	return dataset_read(s->dataset, s->split, at + 1, T, targets);
}

static int read_sequence(const struct sequences *s, struct permutation *p, long i, int32_t *tokens,
	int32_t *targets)
{
	if (s->sampling == SAMPLING_STREAM)
		return read_stream(s, i, tokens, targets);
	return s->sampling == SAMPLING_PAPER ? packing_read(&s->packing, s->seed, i, s->context, tokens, targets)
		: read_shuffled(s, p, i, tokens, targets);
}

int sequences_read(const struct sequences *s, long first, int n, int32_t *tokens_BT,
	int32_t *targets_BT)
{
	struct permutation p = {.n = 0};
	long T = s->context;

	CHECK(first >= 0 && n >= 0);
	for (long b = 0; b < n; b++) {
		int ret = read_sequence(s, &p, first + b, tokens_BT + b * T, targets_BT + b * T);
		if (ret)
			return ret;
	}
	return 0;
}

long sequences_eval(struct sequences *s, const struct dataset *d, enum split split, int context,
	long n_tokens)
{
	long n = n_tokens / context;

	if (sequences_init(s, d, split, context, EVAL_SEED))
		return -1;
	if (n < 1)
		n = 1;
	return n < s->per_epoch ? n : s->per_epoch;
}

long sequences_eval_streams(struct sequences *s, const struct dataset *d, enum split split, int context,
	long n_tokens, long streams)
{
	long windows = (d->splits[split].n_tokens - context) / context, n;

	if (sequences_init(s, d, split, context, EVAL_SEED) ||
		sequences_sample(s, SAMPLING_STREAM, windows > 0 && windows < streams ? windows : streams))
		return -1;
	n = n_tokens / context / s->streams;
	n = n < 1 ? 1 : n < s->length ? n : s->length;
	return n * s->streams;
}

int sequences_hash(const struct sequences *s, long n, char hex[HASH_HEX])
{
	size_t T = (size_t)s->context;
	int32_t *row = xmalloc(2 * T * sizeof *row);
	struct hash *h = hash_open();
	int ret = 0;

	hash_add(h, &s->context, sizeof s->context);
	for (long i = 0; i < n && !ret; i++) {
		ret = sequences_read(s, i, 1, row, row + T);
		hash_add(h, row, 2 * T * sizeof *row);
	}
	hash_close(h, hex);
	free(row);
	return ret;
}
