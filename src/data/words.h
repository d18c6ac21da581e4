/* Words of text, runs of letters and apostrophes, and tables that count them. */
#ifndef DATA_WORDS_H
#define DATA_WORDS_H

#include <stdbool.h>

#include "base/arena.h"
#include "data/dataset.h"
#include "data/tokenizer.h"

bool is_letter(char c);		/* of a word: A-Z, a-z, ' */

struct word {
	const char *text;	/* in the table's arena */
	long count;
	const char *next;	/* of a table of words in front: the word that follows most often, so often */
	long next_count;
};

struct words {
	struct arena arena;
	struct word *slots;	/* owned; text NULL: free */
	long size, n;
};

/* The word, added with count 0 if `add` says so; else NULL where it is not there. Adding may move others. */
struct word *words_find(struct words *w, const char *text, size_t n, bool add);
void words_release(struct words *w);

/* Of at most n_tokens tokens of a split: told of each word, and of the one in front of it where one blank or
   line feed parts them, else NULL. 0, or -1 after a message. */
typedef void words_told(void *to, const char *word, size_t n, const char *before, size_t n_before);
int words_scan(const struct dataset *d, enum split split, long n_tokens, words_told *told, void *to);

#endif
