/*
 * What an input is by the text at its start: JSON lines, text, or something else, which is named.
 */
#ifndef DATA_CONTENT_H
#define DATA_CONTENT_H

#include <stddef.h>

enum { CONTENT_LOOKED_AT = 1 << 16 };	/* bytes that are enough to tell */

struct content {
	enum content_kind { CONTENT_TEXT, CONTENT_JSON_LINES, CONTENT_OTHER } kind;
	const char *name;	/* CONTENT_OTHER: "Parquet" */
	const char *remedy;	/* of that: what makes text of it */
};

/*
 * JSON lines begin with an object of at least one member. Something else begins with one of the
 * marks of its format, has NUL bytes, or is a JSON array.
 */
struct content content_look(const char *bytes, size_t n);

/* Bytes of a byte order mark of UTF-8 at the start: 3, or 0. */
size_t content_mark(const char *bytes, size_t n);

#endif
