/*
 * Questions made of a dataset's own text, for models that have seen its training split and not the one
 * asked about. Seven sets, of sentences that end with a full stop, question or exclamation mark:
 *   order   minimal pairs (the form of BLiMP, Warstadt et al. 2020, arXiv:1912.00582): a sentence, and the same
 *           with two neighbouring words of small letters exchanged; no context
 *   cloze   a word of small letters, and three others about as frequent in training, behind the text in front
 *   last    the last word of a sentence behind the text in front, where it stands before and does not
 *           follow the word in front of it most often in training (the form of LAMBADA, Paperno et al. 2016,
 *           arXiv:1606.06031): one choice
 *   copy    the rest of a sentence, five words at most, behind the text that ends with it, a blank line, and that text
 *           once more up to there (as Jelassi et al. 2024, arXiv:2402.01032, ask pretrained models): one choice
 *   agreement, article, pronoun   minimal pairs of one word exchanged for another (data/pairs.h); no context
 * What is no UTF-8, or has a NUL, is not asked about and is no context. Words of `cloze` and `last` have at least
 * four letters and `least` occurrences in training. A sentence gives at most one question of each set; which ones are
 * taken is a function of the seed.
 */
#ifndef DATA_ASK_H
#define DATA_ASK_H

#include "base/str.h"
#include "data/dataset.h"
#include "data/questions.h"

struct ask_options {
	enum split split;
	const char *sets;	/* names between commas; NULL: all */
	long n;			/* of each set, at most */
	long context;		/* bytes in front, or of a sentence of minimal pairs or a text of `copy`, at most */
	long least;
	long train_tokens;	/* of the training split, from its beginning, that words are counted in */
	uint64_t seed;
};

void ask_set_names(struct str *names);	/* appends all, between commas */
/* -1 after a message: no such set, rows of examples, damage, or no question found. Released by questions_release(). */
int data_ask(const struct dataset *d, const struct ask_options *o, struct questions *q);

#endif
