#include "data/synthetic.h"

#include "base/hash.h"
#include "base/rng.h"

enum { SYMBOLS = 27, CHOICES = 4, LINE = 1022 };

struct chain {
	uint8_t next[SYMBOLS][SYMBOLS][CHOICES];
};

/* Four distinct symbols: the start of a Fisher-Yates shuffle. */
static void choose(uint8_t choice[CHOICES], struct rng_block b)
{
	uint8_t symbols[SYMBOLS];

	for (uint8_t i = 0; i < SYMBOLS; i++)
		symbols[i] = i;
	for (uint32_t i = 0; i < CHOICES; i++) {
		uint32_t other = i + b.word[i] % (SYMBOLS - i);
		choice[i] = symbols[other];
		symbols[other] = symbols[i];
	}
}

static void chain_init(struct chain *c, uint64_t seed)
{
	struct rng_key key = {.seed = seed, .stream = hash_u64("synthetic chain")};

	for (uint64_t a = 0; a < SYMBOLS; a++)
		for (uint64_t b = 0; b < SYMBOLS; b++)
			choose(c->next[a][b], rng_block(key, a * SYMBOLS + b));
}

void synthetic_text(struct str *out, uint64_t seed, size_t n)
{
	static const uint8_t choice_of[8] = {0, 0, 0, 0, 1, 1, 2, 3};
	struct rng_key key = {.seed = seed, .stream = hash_u64("synthetic text")};
	struct chain chain;
	uint8_t before = 0, last = 0;

	chain_init(&chain, seed);
	for (size_t i = 0; i < n; i++) {
		char c = '\n';
		if (i % (LINE + 2) < LINE) {
			uint8_t choice = choice_of[rng_block(key, i).word[0] % 8];
			uint8_t next = chain.next[before][last][choice];
			before = last;
			last = next;
			c = next < 26 ? (char)('a' + next) : ' ';
		}
		str_add_bytes(out, &c, 1);
	}
}
