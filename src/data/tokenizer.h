/*
 * Tokenizers turn bytes into token ids below a fixed vocabulary, and back. Every tokenizer is
 * lossless: decoding the encoding of any bytes, valid UTF-8 or not, gives the same bytes.
 *
 * A tokenizer is one file that defines a `struct tokenizer_type`, and one row in tokenizer.c.
 */
#ifndef DATA_TOKENIZER_H
#define DATA_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct token_list {
	uint16_t *id;		/* owned */
	size_t n, size;		/* ids used, ids allocated */
};

void token_list_add(struct token_list *l, uint16_t id);
/* The ids may not be those of l. */
void token_list_append(struct token_list *l, const uint16_t *ids, size_t n);
void token_list_release(struct token_list *l);

/* What a tokenizer's file provides. `state` is what open() made: merge tables and the like. */
struct tokenizer_type {
	const char *name;	/* "byte" */
	const char *help;	/* one line */
	int vocab;		/* ids are 0 .. vocab - 1, and vocab is at most 65,536 */
	int eot;		/* the end-of-text id, the last of all: ends each document, stands for
				   no bytes */
	void *(*open)(void);	/* NULL: there is no state. Returns NULL after a message */
	void (*close)(void *state);
	/* May remember in the state what it met: one thread at a time. */
	void (*encode)(void *state, const uint8_t *bytes, size_t n, struct token_list *out);
	/* Bytes of one id, which is below vocab and not eot. */
	void (*decode)(const void *state, int id, struct str *out);
};

struct tokenizer {
	const struct tokenizer_type *type;
	void *state;		/* owned */
};

/* 0, or -1 after a message that lists the names there are. */
int tokenizer_open(struct tokenizer *t, const char *name);
const struct tokenizer_type *tokenizer_find(const char *name);	/* NULL: there is none of this name */
void tokenizer_close(struct tokenizer *t);
/* Append the ids of n bytes. Text that reads like the end-of-text mark is text like any other.
   A tokenizer encodes for one thread at a time; each thread opens its own. */
void tokenizer_encode(const struct tokenizer *t, const void *bytes, size_t n,
	struct token_list *out);
/* Append the bytes of n ids. End of text appends nothing; ids must be below the vocabulary. */
void tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, struct str *out);

/* The types there are, ended by NULL: for help texts and tests. */
extern const struct tokenizer_type *const tokenizer_types[];

#endif
