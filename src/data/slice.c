#include "data/slice.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Open addressing; a slot holds a bigram + 1, so that zero is empty. */
struct bigram_set {
	uint64_t *slots;
	uint32_t mask;		/* number of slots - 1 */
};

/* Returns 1 if the bigram was there before. */
static uint8_t add(struct bigram_set *set, uint32_t bigram)
{
	uint64_t value = (uint64_t)bigram + 1;
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
	size_t n = 16;

	while (n < 2 * (size_t)T)
		n *= 2;
	struct bigram_set set = {.slots = xmalloc(n * sizeof *set.slots), .mask = (uint32_t)n - 1};
	for (long b = 0; b < B; b++) {
		memset(set.slots, 0, n * sizeof *set.slots);
		for (long i = b * T; i < (b + 1) * T; i++) {
			uint32_t bigram = (uint32_t)tokens_BT[i] << 16 | (uint32_t)targets_BT[i];
			mask_BT[i] = add(&set, bigram);
		}
	}
	free(set.slots);
}
