/*
 * A telephone book (Jelassi et al. 2024, arXiv:2402.01032, sec. 4.2): LENGTH lines "Name: 10 digits", a blank
 * line, two of them again as examples, a blank line, and the name of a third, whose number is asked for,
 * digit by digit. Bytes of text, so that a model of text can be tested too. Names are of random syllables,
 * each name once.
 */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/task.h"

enum { NAME = 14, DIGITS = 10, LINE = NAME - 1 + 2 + DIGITS + 1 };

struct subscriber {
	char name[NAME], number[DIGITS + 1];
};

static int vocab(const double *value)
{
	(void)value;
	return 257;
}

static long tokens(const double *value, long length, long items)
{
	(void)value, (void)items;
	return length >= 3 ? (length + 3) * LINE + 2 : 0;
}

/* Two or three syllables, with a capital. */
static char *add_word(struct draw *d, char *out)
{
	static const char consonants[] = "bdfghjklmnprstvz", vowels[] = "aeiou";
	long n = 2 + draw_below(d, 2);
	char *begin = out;

	for (long i = 0; i < n; i++) {
		*out++ = consonants[draw_below(d, (long)sizeof consonants - 1)];
		*out++ = vowels[draw_below(d, (long)sizeof vowels - 1)];
	}
	*begin = (char)(*begin - 'a' + 'A');
	return out;
}

static void draw_name(struct draw *d, char *out)
{
	out = add_word(d, out);
	*out++ = ' ';
	*add_word(d, out) = '\0';
}

static int by_name(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void keep_name(void *name)
{
	(void)name;
}

/* Numbers begin with 6 to 9. */
static void draw_entry(struct draw *d, struct subscriber *one, void **names)
{
	void *found;

	do {
		draw_name(d, one->name);
		found = tsearch(one->name, names, by_name);
		if (!found)
			die("out of memory: names of a telephone book");
	} while (*(char **)found != one->name);
	for (int i = 0; i < DIGITS; i++)
		one->number[i] = (char)(i ? '0' + draw_below(d, 10) : '6' + draw_below(d, 4));
}

static long add_text(struct example *e, long at, const char *text)
{
	for (; *text; text++)
		e->tokens[at++] = (unsigned char)*text;
	return at;
}

static long add_line(struct example *e, long at, const struct subscriber *one)
{
	at = add_text(e, at, one->name);
	at = add_text(e, at, ": ");
	at = add_text(e, at, one->number);
	return add_text(e, at, "\n");
}

static long make(struct example *e)
{
	struct subscriber *book = xcalloc((size_t)e->length, sizeof *book);
	long shown[3], n = 0, begin;
	void *names = NULL;

	for (long i = 0; i < e->length; i++)
		draw_entry(&e->draw, &book[i], &names);
	tdestroy(names, keep_name);
	draw_distinct(&e->draw, e->length, 3, shown);
	for (long i = 0; i < e->length; i++)
		n = add_line(e, n, &book[i]);
	n = add_text(e, n, "\n");
	n = add_line(e, n, &book[shown[0]]);
	n = add_line(e, n, &book[shown[1]]);
	n = add_text(e, n, "\n");
	begin = n + (long)strlen(book[shown[2]].name) + 2;
	n = add_line(e, n, &book[shown[2]]);
	for (long t = begin; t < begin + DIGITS; t++)
		e->targets[t - 1] = e->tokens[t];
	free(book);
	return n;
}

const struct task task_phonebook = {
	.name = "phonebook",
	.help = "say the number of a name in a telephone book (Jelassi et al. 2024)",
	.shape = "LENGTH",
	.train = "3-20:65536",
	.tests = "10:500,20:500,40:500,70:500,100:500",
	.tokenizer = "byte",
	.vocab = vocab, .tokens = tokens, .make = make,
	.possible = "LENGTH >= 3",
};
