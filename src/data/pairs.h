/*
 * Minimal pairs by rule, in the spirit of BLiMP (Warstadt et al. 2020, arXiv:1912.00582): an English sentence,
 * and the same with one word exchanged for its counterpart, which the rest of the sentence does not allow:
 *   agreement  is/are, was/were, has/have, does/do with their subject; this/these, that/those with their noun
 *   article    a/an with the sound that the next word begins with
 *   pronoun    he/him, they/them, we/us, I/me: case (her is two cases, you and it have one form)
 * No word's class is known: the table in pairs.c names the neighbours by which both forms may be right, and what is
 * left of that is noise, a few in a hundred sentences (collective nouns, two subjects joined by "and").
 * Of the two words of a pair each is the right one equally often, so that who only knows how frequent words are
 * has one half right; what the text has, pairs share evenly. Memory is bounded by the number asked for.
 */
#ifndef DATA_PAIRS_H
#define DATA_PAIRS_H

#include <stdint.h>

#include "data/questions.h"
#include "data/sentence.h"

enum { PAIR_AGREEMENT, PAIR_ARTICLE, PAIR_PRONOUN, N_PAIR_KINDS };
extern const char *const pair_kind_names[N_PAIR_KINDS];	/* of their sets of questions */

enum { N_PAIRS = 11 };

struct held_sentences {
	struct held *list;		/* owned, texts too */
	long n, size;
};

struct pairs {
	long most;			/* questions of a kind */
	uint64_t seed;
	struct held_sentences held[N_PAIRS][2];
};

/* At most one of the kind in a sentence, the number-th. Each sentence that has one is as likely as others to be
   among those taken; which they are is a function of the seed. */
void pairs_ask(struct pairs *p, int kind, const struct sentence *s, uint64_t number);
/* Adds the kind's questions in the order of the text; answer 0. */
void pairs_take(struct pairs *p, int kind, struct questions *q);
void pairs_release(struct pairs *p);

#endif
