/*
 * Decoding with a set-up of setup_open_decoding(): a sequence comes in pieces, long ones by windows, the
 * last token by itself, and each piece goes on where the one before ended.
 */
#ifndef TRAIN_DECODE_H
#define TRAIN_DECODE_H

#include "train/sampler.h"
#include "train/setup.h"

/* A sequence begins. */
void decode_begin(struct setup *s);
/* Begins as if n tokens were there already: what they left is whatever memory holds. For timing. */
void decode_skip(struct setup *s, long n);
/* n further tokens of it, at least one; logits_V (n_vocab of them) behind the last. */
void decode_tokens(struct setup *s, const int *tokens, long n, double *logits_V);

struct generation {
	const int *prompt;
	long n_prompt, n_tokens;	/* at least one; at most so many are drawn */
	const struct sampler *sampler;
	int end;			/* this token ends the text, and is not told; -1: none does */
	void (*tell)(void *to, int token);	/* each token as it is drawn */
	void *to;
	int (*stop)(void);		/* optional; asked before each token: not 0 ends the text there */
};

/* Tokens drawn, or -1 after a message: weights that are no numbers. */
long decode_generate(struct setup *s, const struct generation *g);

#endif
