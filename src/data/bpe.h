/*
 * Byte-pair encoding: the bytes of a word become token ids by joins learnt beforehand (Sennrich,
 * Haddow, Birch 2016, arXiv:1508.07909, algorithm 1; on bytes as in GPT-2).
 *
 * Ids 0 .. 255 are the bytes, in an order that the vocabulary gives. Each further id joins two
 * earlier ones. A word is encoded by doing, as long as there is one, the join of the lowest id
 * that two neighbours have, leftmost first. A heap of the possible joins makes that O(n log n) for
 * words of any length.
 */
#ifndef DATA_BPE_H
#define DATA_BPE_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "data/tokenizer.h"

struct bpe {
	uint16_t id_of_byte[256];
	int n_tokens;			/* bytes and joins so far */
	struct bpe_join *joins;		/* open addressing by the pair */
	struct str text;		/* the bytes of all tokens, one after the other */
	uint32_t *ends;			/* by id: where its bytes end in text */
	/* While a word is encoded: */
	struct bpe_piece *pieces;
	uint64_t *heap;			/* possible joins: id << 32 | index of the left piece */
	size_t n_heap, pieces_size, heap_size;
};

/* bytes[id] is the byte of an id below 256. */
void bpe_init(struct bpe *b, const uint8_t bytes[256]);
void bpe_release(struct bpe *b);
/* Add the token of these bytes, with the next id. By the tokens so far they are two ids: that is
   its join. (In a vocabulary that was learnt in this order it cannot be otherwise: no join crosses
   the border between the two, so inside each of them the same joins are done as in the word.) */
void bpe_add_token(struct bpe *b, const uint8_t *bytes, size_t n);
/* Append the ids of n < 2^32 bytes. Uses memory of b: one thread at a time. */
void bpe_encode(struct bpe *b, const uint8_t *word, size_t n, struct token_list *out);
/* Append the bytes of an id. */
void bpe_decode(const struct bpe *b, int id, struct str *out);

#endif
