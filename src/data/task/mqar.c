/*
 * Multi-query associative recall (Arora et al. 2023, arXiv:2312.04927; HazyResearch/zoology,
 * data/multiquery_ar.py): PAIRS keys, each with its value, k1 v1 k2 v2 ...; behind them slots of two
 * tokens, in the first of which each key stands once more and asks for its value. Slot i = 1, 2, ... is
 * drawn without replacement with weight i^(power - 1), so near ones are likelier. Keys (1 .. vocab/2 - 1)
 * and values (vocab/2 .. vocab - 1) are different ones in an example. What is left is 0, or any token.
 */
#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "data/task.h"

enum { VOCAB, POWER, FILL };

static int vocab(const double *value)
{
	return (int)value[VOCAB] + 1;
}

static long tokens(const double *value, long length, long items)
{
	return items > 0 && length % 2 == 0 && 4 * items <= length && items < (long)value[VOCAB] / 2
		? length : 0;
}

struct slot {
	double key;
	long i;
};

static int by_key(const void *a, const void *b)
{
	const struct slot *x = a, *y = b;

	return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : (x->i > y->i) - (x->i < y->i);
}

/* The first of n slots drawn one after the other by weight w are those of smallest -log(u) / w, in this
   order (Efraimidis and Spirakis 2006). */
static struct slot *draw_slots(struct draw *d, long n, double power)
{
	struct slot *slots = xmalloc((size_t)n * sizeof *slots);

	for (long i = 0; i < n; i++)
		slots[i] = (struct slot){-log(draw_uniform(d)) / pow((double)i + 1, power - 1), i};
	qsort(slots, (size_t)n, sizeof *slots, by_key);
	return slots;
}

static long make(struct example *e)
{
	long k = e->items, half = (long)e->value[VOCAB] / 2, rest = (long)e->value[VOCAB] - half;
	long *keys = xmalloc(2 * (size_t)k * sizeof *keys), *values = keys + k;
	struct slot *slots;

	for (long t = 0; t < e->length; t++)
		e->tokens[t] = e->value[FILL] > 0 ? (uint16_t)draw_below(&e->draw, half + rest) : 0;
	draw_distinct(&e->draw, half - 1, k, keys);
	draw_distinct(&e->draw, rest, k, values);
	slots = draw_slots(&e->draw, (e->length - 2 * k) / 2, e->value[POWER]);
	for (long i = 0; i < k; i++) {
		long at = 2 * k + 2 * slots[i].i;
		e->tokens[2 * i] = e->tokens[at] = (uint16_t)(1 + keys[i]);
		e->tokens[2 * i + 1] = e->targets[at] = (uint16_t)(half + values[i]);
	}
	free(slots);
	free(keys);
	return e->length;
}

const struct task task_mqar = {
	.name = "mqar",
	.help = "say the value of each key that stands again (Arora et al. 2023)",
	.shape = "LENGTHxPAIRS",
	.train = "64x4:100000,128x8:20000,256x16:20000,256x32:20000,256x64:20000",
	.tests = "64x4:1000,64x8:1000,64x16:1000,128x32:1000,256x64:1000,512x64:1000,512x128:1000,"
		"1024x128:1000,1024x256:1000",
	.settings = {{.key = "vocab", .help = "keys, values and 0", .initial = 8192, .min = 4, .max = 65535},
		{.key = "power", .help = "weight of slot i is i^(power - 1)", .initial = 0.01, .min = 0,
			.max = 10},
		{.key = "fill", .help = "where no key stands again: 0, or any token",
			.words = {"zero", "random"}}},
	.vocab = vocab, .tokens = tokens, .make = make,
	.possible = "LENGTH even and >= 4 PAIRS, vocab / 2 > PAIRS > 0",
};
