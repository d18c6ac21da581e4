/*
 * Cutting one input into documents, by the rules that data/import.h describes. Memory is bounded by
 * the longest document (text) or line (JSON lines).
 */
#ifndef DATA_DOCUMENT_H
#define DATA_DOCUMENT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "data/source.h"

enum {
	DOCUMENT_MAX = 16 << 20,	/* bytes of a document of plain text; longer ones are cut */
	JSON_LINE_MAX = 256 << 20,	/* bytes of a line; a longer one is an error */
};

struct cut_rule {
	enum cut { CUT_BLANK, CUT_ENTRY, CUT_LINE, CUT_FILE, CUT_MARK } cut;
	size_t min_bytes;	/* CUT_BLANK, CUT_ENTRY */
	const char *mark;	/* CUT_MARK: points into the text of the rule */
};

/* Read a rule, "blank:4096". 0, or -1 after a message. */
int cut_rule_parse(struct cut_rule *rule, const char *text);

struct document {
	const char *text;	/* not terminated; valid until the next call */
	size_t n;
	const char *url;	/* NULL if it has none */
};

struct document_reader {
	struct source *source;	/* kept; still owned by the caller */
	bool json, strict;
	struct cut_rule rule;
	char *buffer;		/* the text not handed out yet is buffer[at .. n - 1] */
	size_t at, n, size;
	size_t scanned;		/* bytes from `at` on known to hold no cut */
	bool after_blank;	/* the line before those is blank */
	bool ended;		/* nothing is left in the source */
	long line, n_bad_lines;	/* JSON lines: current line; lines skipped */
	json_t *record;		/* of the current document */
};

/* rule is NULL for JSON lines; with strict a bad line ends the reading with an error. */
void document_reader_init(struct document_reader *r, struct source *source,
	const struct cut_rule *rule, bool strict);
void document_reader_release(struct document_reader *r);
/* 1: a document; 0: the end; -1 after a message. */
int document_next(struct document_reader *r, struct document *d);

#endif
