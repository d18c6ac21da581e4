/*
 * Copying where lookup by n-gram fails: in the strings of the test sets one n-gram is overwritten by
 * another of the string, which so stands twice. Training and validation are plain copies
 * (data/task/copy.c). LENGTH is the string's.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/task/letters.h"

/* Two places that do not overlap, each pair as likely. */
static void duplicate(struct example *e, uint16_t *s, long n)
{
	long room = e->length - 2 * n, a, b;

	do {
		a = draw_below(&e->draw, room + 1);
		b = draw_below(&e->draw, room + 1);
	} while (a > b);
	b += n;
	if (draw_below(&e->draw, 2))
		memcpy(s + a, s + b, (size_t)n * sizeof *s);
	else
		memcpy(s + b, s + a, (size_t)n * sizeof *s);
}

static long make(struct example *e)
{
	long n = (long)e->value[LETTERS_NGRAM];
	uint16_t *s;

	if (e->test && e->length < 2 * n)
		return 0;
	s = xmalloc((size_t)e->length * sizeof *s);
	letters_draw(e, s);
	if (e->test)
		duplicate(e, s, n);
	n = letters_write(e, s, NULL, 0, s, e->length);
	free(s);
	return n;
}

const struct task task_duplicate_ngram = {
	.name = "duplicate_ngram",
	.help = "copy, tested on strings in which an n-gram stands twice (Jelassi et al. 2024)",
	.shape = "LENGTH",
	.train = "5-20:16000",
	.tests = "10:1000,20:1000,30:1000,40:1000,50:1000,100:1000",
	.pack = 220,
	.settings = {SETTING_LETTERS, SETTING_NGRAM("letters that stand twice")},
	.vocab = letters_vocab,
	.tokens = letters_tokens,
	.make = make,
	.possible = "LENGTH > 0, in tests >= 2 ngram",
	.unfound =
		"strings shorter than two n-grams have none twice: set longer tests or a smaller ngram",
};
