#include "data/slice.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/bigram.h"

/* Open addressing; a slot holds 2^32 times the document's number and the bigram, + 1, so that zero is
   empty. */
struct bigram_set {
	uint64_t *slots;
	uint32_t mask;		/* number of slots - 1 */
};

/* Returns 1 if the bigram was there before. */
static uint8_t add(struct bigram_set *set, uint64_t document, uint32_t bigram)
{
	uint64_t value = (document << 32 | bigram) + 1;
	uint32_t i = (uint32_t)(value * 0x9E3779B97F4A7C15u >> 32) & set->mask;

	while (set->slots[i] && set->slots[i] != value)
		i = (i + 1) & set->mask;
	if (set->slots[i])
		return 1;
	set->slots[i] = value;
	return 0;
}

void slice_repeated_bigram(const int32_t *tokens_BT, const int32_t *targets_BT, int B, int T,
	uint8_t *mask_BT)
{
	slice_repeats(tokens_BT, targets_BT, B, T, -1, mask_BT);
}

void slice_repeats(const int32_t *tokens_BT, const int32_t *targets_BT, int B, int T, int eot,
	uint8_t *mask_BT)
{
	size_t n = 16;

	while (n < 2 * (size_t)T)
		n *= 2;
	struct bigram_set set = {.slots = xmalloc(n * sizeof *set.slots), .mask = (uint32_t)n - 1};
	for (long b = 0; b < B; b++) {
		uint64_t document = 0;
		memset(set.slots, 0, n * sizeof *set.slots);
		for (long i = b * T; i < (b + 1) * T; i++) {
			mask_BT[i] = add(&set, document, bigram_of(tokens_BT[i], targets_BT[i]));
			document += tokens_BT[i] == eot;
		}
	}
	free(set.slots);
}

long slice_recall_limit(long n_train)
{
	long limit = lround(1250e-10 * (double)n_train);

	return limit < 1 ? 1 : limit;
}

/* The class of a value, whose bounds rise; values come in any order up to the last bound. */
static uint8_t class_of(const struct token_classes *c, long value)
{
	int i = 0;

	while (value > c->high[i])
		i++;
	return (uint8_t)i;
}

static void add_class(struct token_classes *c, long high)
{
	CHECK(c->n < MAX_CLASSES);
	c->low[c->n] = c->n ? c->high[c->n - 1] + 1 : c->low[0];
	c->high[c->n++] = high;
}

void classes_by_position(struct token_classes *c, int T)
{
	*c = (struct token_classes){.by = "position", .low = {1}, .of = xmalloc((size_t)T)};
	for (long high = 1; !c->n || c->high[c->n - 1] < T; high *= 2)
		add_class(c, high < T ? high : T);
	for (int t = 0; t < T; t++)
		c->of[t] = class_of(c, t + 1);
}

void classes_by_frequency(struct token_classes *c, const long *counts_V, int V)
{
	long most = 0;

	*c = (struct token_classes){.by = "frequency", .of = xmalloc((size_t)V)};
	for (int i = 0; i < V; i++)
		most = counts_V[i] > most ? counts_V[i] : most;
	add_class(c, 0);
	for (long next = 10; c->high[c->n - 1] < most; next *= 10)
		add_class(c, next - 1);
	for (int i = 0; i < V; i++)
		c->of[i] = class_of(c, counts_V[i]);
}

void classes_by_recall(struct token_classes *c, long limit)
{
	*c = (struct token_classes){.by = "recall"};
	add_class(c, 0);
	add_class(c, limit);
}

void classes_release(struct token_classes *c)
{
	free(c->of);
	c->of = NULL;
}
