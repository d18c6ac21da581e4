/*
 * Cutting one input into documents, by the rules that data/import.h describes. Memory is bounded by
 * the longest document (text, tokens) or line (JSON lines).
 */
#ifndef DATA_DOCUMENT_H
#define DATA_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/source.h"
#include "data/content.h"
#include "data/json_line.h"

enum {
	DOCUMENT_MAX = 16 << 20,	/* bytes of a document but in JSON lines; longer: cut */
	JSON_LINE_MAX = 256 << 20,	/* bytes of a line; longer: an error */
};

enum form { FORM_TEXT, FORM_JSONL, FORM_NANOGPT, FORM_LLMC };

/* "text", "jsonl", "nanogpt", "llmc". 0, or -1 after a message. */
int form_parse(enum form *form, const char *name);
static inline bool form_is_tokens(enum form form)
{
	return form == FORM_NANOGPT || form == FORM_LLMC;
}

struct cut_rule {
	enum cut { CUT_BLANK, CUT_ENTRY, CUT_LINE, CUT_FILE, CUT_MARK } by;
	size_t min_bytes;	/* CUT_BLANK, CUT_ENTRY */
	const char *mark;	/* CUT_MARK: points into the text of the rule */
};

/* Read a rule, "blank:4096". 0, or -1 after a message. */
int cut_rule_parse(struct cut_rule *rule, const char *text);

struct document {
	const char *text;	/* not terminated; valid until the next call; tokens: uint16 */
	size_t n;		/* bytes */
	const char *url;	/* NULL if it has none */
};

struct document_rule {
	enum form form;
	struct cut_rule cut;	/* text */
	bool strict;		/* JSON lines: a bad one is an error, not skipped and counted */
	bool lenient;		/* any number of them is skipped, not 1 % at most */
	int eot;		/* tokens: the last of a document */
};

struct document_reader {
	struct source *source;	/* kept; still owned by the caller */
	struct document_rule rule;
	char *buffer;		/* the text not handed out yet is buffer[at .. n - 1] */
	size_t at, n, size;
	size_t scanned;		/* bytes from `at` on known to hold no cut */
	bool after_blank;	/* the line before those is blank */
	bool ended;		/* nothing is left in the source */
	struct json_line record;	/* JSON lines: of the current document */
	long line;		/* the current one; */
	long n_lines, n_bad_lines;	/* not blank, so far; of these skipped */
	long first_bad;		/* line, and what is wrong with it */
	char first_why[128];
	long n_tokens;		/* tokens handed out */
	long header_tokens;	/* llm.c: as its header says; -1 before that is read */
};

void document_reader_init(struct document_reader *r, struct source *source,
	const struct document_rule *rule);
void document_reader_release(struct document_reader *r);
/* What the input is by its content. Before the first document, whose form may then still be set in
   r->rule; a byte order mark is dropped. 0, or -1 after a message or by a stop of the source. */
int document_look(struct document_reader *r, struct content *content);
/* 1: a document; 0: the end; -1 after a message, or by a stop of the source. */
int document_next(struct document_reader *r, struct document *d);
/* After the end: a warning if lines were skipped; or -1 after a message if they were too many. */
int document_check_lines(const struct document_reader *r);

#endif
