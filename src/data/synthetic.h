/*
 * Text without a corpus, for tests: an order-2 Markov chain whose entropy is known.
 */
#ifndef DATA_SYNTHETIC_H
#define DATA_SYNTHETIC_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

/*
 * Append n bytes that depend on (seed, n) only. The next of 27 symbols (a-z and space) is one of
 * four distinct ones fixed by the seed and the two symbols before, with probabilities 1/2, 1/4,
 * 1/8, 1/8: 1.75 bits = 1.213 nats a symbol for whoever knows the two before, far more for a
 * model of fewer. A blank line follows each 1,022 symbols, so that the text can be cut into
 * documents.
 */
void synthetic_text(struct str *out, uint64_t seed, size_t n);

#endif
