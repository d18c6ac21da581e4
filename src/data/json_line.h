/*
 * One line of JSON lines: its members "text" and "url". Other members may hold whatever they like
 * (numbers of any size, NaN, broken characters): of those only the ends are looked for.
 */
#ifndef DATA_JSON_LINE_H
#define DATA_JSON_LINE_H

#include <jansson.h>
#include <stddef.h>

struct json_line {
	json_t *text, *url;	/* strings, owned; url: NULL if there is none */
	const char *why;	/* a bad line: what is wrong, */
	size_t at;		/* and at which byte */
	json_error_t detail;
};

/*
 * Reads n bytes of `line`, which it may change: halves of surrogate pairs that stand alone, whether
 * escaped or as bytes, become U+FFFD. 0, or -1 with why and at set. What l held before is released.
 */
int json_line_read(struct json_line *l, char *line, size_t n);
void json_line_release(struct json_line *l);

#endif
