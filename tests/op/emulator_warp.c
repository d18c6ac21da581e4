/* The collectives of a warp, made of emulator_collect(). */
#include <stdint.h>
#include <string.h>

#include "emulator.h"
#include "emulator_memory.h"

#define COLLECT(what, mask, given, bytes, orders) \
	emulator_collect(&(struct emulator_collective){what, mask, given, bytes, orders}, \
		__builtin_return_address(0))

void emulator_syncwarp(unsigned mask)
{
	COLLECT("__syncwarp", mask, "", 0, true);
}

void emulator_shuffle(unsigned mask, const char *what, void *value, size_t bytes, int from)
{
	const char (*given)[EMULATOR_GIVEN] = COLLECT(what, mask, value, bytes, false);

	if (!(mask >> from & 1))
		memory_fault(__builtin_return_address(0),
			"%s: lane %d wants the value of lane %d, which the mask %x lacks", what,
			emulator_lane(), from, mask);
	emulator_copy(value, given[from], bytes);
}

unsigned emulator_ballot(unsigned mask, const char *what, int value)
{
	const char (*given)[EMULATOR_GIVEN] = COLLECT(what, mask, &value, sizeof value, false);
	unsigned lanes = 0;

	for (int l = 0; l < WARP; l++)
		if (mask >> l & 1)
			lanes |= (unsigned)(*(const int *)given[l] != 0) << l;
	return lanes;
}

unsigned emulator_match(unsigned mask, const void *value, size_t bytes)
{
	const char (*given)[EMULATOR_GIVEN] = COLLECT("__match_any_sync", mask, value, bytes, false);
	unsigned lanes = 0;

	for (int l = 0; l < WARP; l++)
		if (mask >> l & 1)
			lanes |= (unsigned)!memcmp(given[l], value, bytes) << l;
	return lanes;
}

static unsigned reduced(char by, bool is_signed, unsigned a, unsigned b)
{
	bool less = is_signed ? (int)a < (int)b : a < b;

	switch (by) {
	case '+': return a + b;
	case '<': return less ? a : b;
	case '>': return less ? b : a;
	case '&': return a & b;
	case '|': return a | b;
	default: return a ^ b;
	}
}

unsigned emulator_reduce(unsigned mask, const char *what, char by, bool is_signed, unsigned value)
{
	const char (*given)[EMULATOR_GIVEN] = COLLECT(what, mask, &value, sizeof value, false);
	int first = __builtin_ctz(mask);
	unsigned sum = *(const unsigned *)given[first];

	for (int l = first + 1; l < WARP; l++)
		if (mask >> l & 1)
			sum = reduced(by, is_signed, sum, *(const unsigned *)given[l]);
	return sum;
}
