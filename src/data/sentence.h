/* Sentences that are asked about, as words in a text that others own. */
#ifndef DATA_SENTENCE_H
#define DATA_SENTENCE_H

#include <stdbool.h>
#include <stddef.h>

enum { SENTENCE_LEAST = 6, SENTENCE_MOST = 64 };	/* words */

struct span {
	const char *at;
	size_t n;
};

struct sentence {
	struct span text;
	struct span words[SENTENCE_MOST];	/* runs of letters and apostrophes (data/words.h) */
	int n;
};

/* Reads the words of the text; false where nothing is asked of it: no UTF-8, a NUL, too few words or too many,
   or not one mark alone behind the last word. */
bool sentence_read(struct sentence *s, struct span text);

bool span_is(struct span s, const char *text);
bool span_is_small(struct span s);	/* a to z alone */
bool span_is_text(struct span s);	/* UTF-8 without NUL: questions can hold it, which are JSON */
/* Is there one blank or line feed in front of the word, and then the other? */
bool span_parted(struct span before, struct span word);
char *span_text(struct span s);		/* a copy, which the caller frees */

#endif
