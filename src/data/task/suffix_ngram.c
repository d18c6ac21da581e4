/*
 * Lookup by suffix: the question is an n-gram that stands once in the string, the answer what follows it
 * there (data/task/letters.h). LENGTH is the string's.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/task/letters.h"

enum { ANSWER = LETTERS_NGRAM + 1, TRIES = 10000 };

static long tokens(const double *value, long length, long items)
{
	long n = (long)value[LETTERS_NGRAM], answer = (long)value[ANSWER];

	return length >= n + (answer > 1 ? answer : 1) ? letters_tokens(value, length, items) : 0;
}

static bool stands_once(const uint16_t *s, long length, long at, long n)
{
	for (long i = 0; i + n <= length; i++)
		if (i != at && !memcmp(s + i, s + at, (size_t)n * sizeof *s))
			return false;
	return true;
}

/* A place in a string: both are drawn anew until the n-gram there stands once; -1: none did. */
static long draw_place(struct example *e, uint16_t *s, long n, long answer)
{
	for (int i = 0; i < TRIES; i++) {
		letters_draw(e, s);
		long at = draw_below(&e->draw, e->length - n - (answer ? answer : 1) + 1);
		if (stands_once(s, e->length, at, n))
			return at;
	}
	return -1;
}

static long make(struct example *e)
{
	uint16_t *s = xmalloc((size_t)e->length * sizeof *s);
	long n = (long)e->value[LETTERS_NGRAM], answer = (long)e->value[ANSWER], at;

	at = draw_place(e, s, n, answer);
	n = at < 0 ? 0 : letters_write(e, s, s + at, n, s + at + n, answer ? answer : e->length - at - n);
	free(s);
	return n;
}

const struct task task_suffix_ngram = {
	.name = "suffix_ngram",
	.help = "say what follows an n-gram in a string (Jelassi et al. 2024)",
	.shape = "LENGTH",
	.train = "8-50:16000",
	.tests = "20:1000,50:1000,100:1000,200:1000",
	.pack = 220,
	.settings = {SETTING_LETTERS, SETTING_NGRAM("letters of the question"),
		{.key = "answer", .help = "letters of the answer; 0: all that follow", .min = 0, .max = 1e6}},
	.vocab = letters_vocab, .tokens = tokens, .make = make,
	.possible = "LENGTH >= ngram + answer, and a letter to say",
	.unfound = "no n-gram that stands once: set more letters, a longer ngram or shorter strings",
};
