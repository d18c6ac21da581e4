/*
 * Text without a corpus: an order-2 Markov chain whose entropy is known.
 */
#ifndef TESTS_SYNTHETIC_H
#define TESTS_SYNTHETIC_H

#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/rng.h"
#include "base/str.h"

enum { CHAIN_SYMBOLS = 27, CHAIN_CHOICES = 4, CHAIN_LINE = 1022 };

struct synthetic_chain {
	uint8_t next[CHAIN_SYMBOLS][CHAIN_SYMBOLS][CHAIN_CHOICES];
};

/* Four distinct symbols: the start of a Fisher-Yates shuffle. */
static inline void synthetic_choose(uint8_t choice[CHAIN_CHOICES], struct rng_block b)
{
	uint8_t symbols[CHAIN_SYMBOLS];

	for (uint8_t i = 0; i < CHAIN_SYMBOLS; i++)
		symbols[i] = i;
	for (uint32_t i = 0; i < CHAIN_CHOICES; i++) {
		uint32_t other = i + b.word[i] % (CHAIN_SYMBOLS - i);
		choice[i] = symbols[other];
		symbols[other] = symbols[i];
	}
}

static inline void synthetic_chain_init(struct synthetic_chain *c, uint64_t seed)
{
	struct rng_key key = {.seed = seed, .stream = hash_u64("synthetic chain")};

	for (uint64_t a = 0; a < CHAIN_SYMBOLS; a++)
		for (uint64_t b = 0; b < CHAIN_SYMBOLS; b++)
			synthetic_choose(c->next[a][b], rng_block(key, a * CHAIN_SYMBOLS + b));
}

/*
 * Append n bytes that depend on (seed, n) only. The next of 27 symbols (a-z and space) is one of
 * four distinct ones fixed by the seed and the two symbols before, with probabilities 1/2, 1/4,
 * 1/8, 1/8: 1.75 bits = 1.213 nats a symbol for whoever knows the two before, far more for a
 * model of fewer. A blank line follows each 1,022 symbols, so that the text can be cut into
 * documents.
 */
static inline void synthetic_text(struct str *out, uint64_t seed, size_t n)
{
	static const uint8_t choice_of[8] = {0, 0, 0, 0, 1, 1, 2, 3};
	struct rng_key key = {.seed = seed, .stream = hash_u64("synthetic text")};
	struct synthetic_chain chain;
	uint8_t before = 0, last = 0;

	synthetic_chain_init(&chain, seed);
	for (size_t i = 0; i < n; i++) {
		char c = '\n';
		if (i % (CHAIN_LINE + 2) < CHAIN_LINE) {
			uint8_t choice = choice_of[rng_block(key, i).word[0] % 8];
			uint8_t next = chain.next[before][last][choice];
			before = last;
			last = next;
			c = next < 26 ? (char)('a' + next) : ' ';
		}
		str_add_bytes(out, &c, 1);
	}
}

#endif
