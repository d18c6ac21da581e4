/* A growing text: always terminated, so s->text can be read as a C string at any time. */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

struct str {
	char *text;		/* owned; "" (not NULL) after str_init */
	size_t length, size;	/* bytes used without the terminator; bytes allocated */
};

void str_init(struct str *s);
void str_release(struct str *s);
void str_clear(struct str *s);					/* empty, memory kept */
void str_add(struct str *s, const char *text);
void str_add_bytes(struct str *s, const void *bytes, size_t n);
void str_printf(struct str *s, const char *format, ...)	/* appends */
	__attribute__((format(printf, 2, 3)));
void str_add_item(struct str *s, const char *format, ...)	/* of a list: ", " in front of all but the first */
	__attribute__((format(printf, 2, 3)));
char *str_keep(struct str *s, struct arena *a);			/* the text, in a; releases s */

/* Bytes as printable ASCII: others as "\x0a". */
void str_add_printable(struct str *s, const void *bytes, size_t n);

/* A blank and the word, in quotes where a shell would not take it for this one word. */
void str_add_word(struct str *s, const char *word);

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
bool str_ends_nocase(const char *s, const char *suffix);	/* capitals count as small letters */
/* Code point at *p, which moves on; -1: no valid UTF-8. */
long str_next_code(const char **p);
int str_index(const char *s, const char *const *list, int n);	/* its place in the list; -1: it is not there */
/* Valid UTF-8 without control characters but tab and line feed; a line has neither of these. */
bool str_is_text(const char *s);
bool str_is_line(const char *s);
/* A few texts that others own: an option given several times. */
struct texts {
	const char *items[64];
	int n;
};
/* The candidate nearest to `word` by edit distance, or NULL when none is near enough to suggest. */
const char *str_nearest(const char *word, const char *const *candidates, int n);
/* Whole text as a number; false (and *value untouched) if anything is left over. */
bool str_to_long(const char *s, long long *value);
bool str_to_double(const char *s, double *value);
/* "1.5 GiB", "12,345", "2 h 5 min": for people. The buffer is the caller's, at least 32 bytes. */
const char *str_bytes(double bytes, char *buffer);
const char *str_count(long long n, char *buffer);
const char *str_duration(double seconds, char *buffer);

#endif
