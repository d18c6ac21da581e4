/*
 * A YAML file as a tree of nodes, each with the place where it stands.
 *
 * Scalars mean what YAML 1.2's core schema says, with less: null (also ~ and nothing), true and
 * false (also True, TRUE, ...), decimal numbers (8, 1e-3, .5). Everything else is text, above all
 * no, yes, on, off, 1_000, 0x1F, 0o17, 017, 1:30 and .nan; so is whatever stands in quotes. An
 * alias is a copy of its anchor. Refused with one line that names the place: duplicate keys, cyclic
 * or unknown aliases, merge keys (<<), tags, keys that are no scalars, several documents, no
 * document, more than NODE_MAX_DEPTH levels or NODE_MAX_NODES nodes.
 */
#ifndef SPEC_NODE_H
#define SPEC_NODE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

enum {
	NODE_MAX_DEPTH = 64,
	NODE_MAX_NODES = 100000,	/* aliases count with all that they copy */
	NODE_MAX_BYTES = 4 << 20,
};

enum node_kind { NODE_NULL, NODE_BOOL, NODE_INT, NODE_REAL, NODE_TEXT, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	const char *file;		/* as given to the reader */
	int line, column;		/* from 1; 0: the node comes from no file */
	const char *text;		/* scalars: as written, without quotes and escapes */
	bool boolean;			/* NODE_BOOL */
	long long integer;		/* NODE_INT */
	double real;			/* NODE_INT and NODE_REAL */
	const char *key;		/* inside a map: the key, */
	int key_line, key_column;	/* and its place */
	struct node *first, *next;	/* lists and maps: children in the order of the file */
	int n;				/* number of children */
};

/* The file's only document, or the pipe's; it and all texts live in a. NULL after one message. */
struct node *node_read(struct arena *a, const char *path);
/* The same for n bytes of text; name stands for the file in messages (kept, not copied). */
struct node *node_parse(struct arena *a, const char *name, const char *text, size_t n);
/*
 * A value without a place (line 0), from a default or the command line: YAML if it begins with a
 * bracket or a quote, else one scalar up to its end, whatever it holds. NULL after one message.
 */
struct node *node_value(struct arena *a, const char *name, const char *text);
/* What plain (unquoted) text means: sets kind, text (kept) and the value. */
void node_set_plain(struct node *n, const char *text);

const struct node *node_get(const struct node *map, const char *key);	/* NULL: absent */
bool node_is_scalar(const struct node *n);	/* a truth value, number or text; not null */
const char *node_kind_name(const struct node *n);	/* "a list", "a number": for messages */

/* One line at the node's place, or at its key's (in a map); returns -1. */
int node_error(const struct node *n, const char *format, ...) PRINTF_LIKE(2, 3);
int node_key_error(const struct node *n, const char *format, ...) PRINTF_LIKE(2, 3);

/*
 * Canonical text: JSON on one line (which is YAML, too), map keys sorted, numbers by value, so
 * equal texts are equal trees: 1e-3 and 0.001, 8 and 8.0 are one.
 */
void node_canonical(const struct node *n, struct str *out);
void text_canonical(const char *text, struct str *out);	/* in quotes, with JSON's escapes */
void real_canonical(double value, struct str *out);	/* the shortest digits that read back */

#endif
