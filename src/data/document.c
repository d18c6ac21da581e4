#include "data/document.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "data/token_file.h"

enum { FILL_BYTES = 1 << 20 };

static const struct cut_name {
	const char *name;
	enum cut cut;
	long min_bytes;		/* default; -1: the rule takes no number */
} cut_names[] = {
	{"blank", CUT_BLANK, 4096},
	{"entry", CUT_ENTRY, 1},
	{"line", CUT_LINE, -1},
	{"file", CUT_FILE, -1},
};

int cut_rule_parse(struct cut_rule *rule, const char *text)
{
	size_t word = strcspn(text, ":");
	long long min;

	if (text[0] == '=' && text[1]) {
		*rule = (struct cut_rule){.by = CUT_MARK, .mark = text + 1};
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(cut_names); i++) {
		const struct cut_name *c = &cut_names[i];
		if (strlen(c->name) != word || memcmp(c->name, text, word))
			continue;
		min = c->min_bytes;
		if (text[word] && (min < 0 || !str_to_long(text + word + 1, &min) || min < 1 ||
			min > DOCUMENT_MAX))
			break;
		*rule = (struct cut_rule){.by = c->cut, .min_bytes = (size_t)min};
		return 0;
	}
	return error("split \"%s\": not blank[:BYTES], entry[:BYTES], line, file or =TEXT "
		"(1 to %d bytes)", text, DOCUMENT_MAX);
}

int form_parse(enum form *form, const char *name)
{
	static const char *const names[] = {[FORM_TEXT] = "text", [FORM_JSONL] = "jsonl",
		[FORM_NANOGPT] = "nanogpt", [FORM_LLMC] = "llmc"};
	int i = str_index(name, names, ARRAY_SIZE(names));

	if (i < 0)
		return error("format \"%s\": not text, jsonl, nanogpt or llmc", name);
	*form = (enum form)i;
	return 0;
}

void document_reader_init(struct document_reader *r, struct source *source,
	const struct document_rule *rule)
{
	*r = (struct document_reader){.source = source, .rule = *rule, .header_tokens = -1};
	GROW(r->buffer, (size_t)FILL_BYTES, r->size);
}

void document_reader_release(struct document_reader *r)
{
	free(r->buffer);
	json_line_release(&r->record);
	*r = (struct document_reader){0};
}

/* Read on, behind what the buffer holds. */
static int fill(struct document_reader *r)
{
	long got;

	if (r->at) {
		memmove(r->buffer, r->buffer + r->at, r->n - r->at);
		r->n -= r->at;
		r->at = 0;
	}
	GROW(r->buffer, r->n + FILL_BYTES, r->size);
	got = source_read(r->source, r->buffer + r->n, FILL_BYTES);
	if (got < 0)
		return -1;
	r->ended = !got;
	r->n += (size_t)got;
	return 0;
}

int document_look(struct document_reader *r, struct content *content)
{
	while (r->n < CONTENT_LOOKED_AT && !r->ended)
		if (fill(r))
			return -1;
	*content = content_look(r->buffer, r->n);
	r->at = content_mark(r->buffer, r->n);
	return 0;
}

static bool is_blank(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isspace((unsigned char)text[i]))
			return false;
	return true;
}

/* May a document of n bytes end where this line begins? */
static bool cut_before(const struct document_reader *r, size_t n, char first, bool blank)
{
	switch (r->rule.cut.by) {
	case CUT_BLANK:
		return r->after_blank && !blank && n >= r->rule.cut.min_bytes;
	case CUT_ENTRY:
		return r->after_blank && !isspace((unsigned char)first) &&
			n >= r->rule.cut.min_bytes;
	case CUT_LINE:
		return true;
	default:
		return false;
	}
}

/* Length of the document at the start of the buffer; 0: its end is not in sight. */
static size_t end_by_line(struct document_reader *r)
{
	const char *text = r->buffer + r->at, *eol;
	size_t n = r->n - r->at;

	while ((eol = memchr(text + r->scanned, '\n', n - r->scanned))) {
		size_t line = r->scanned, next = (size_t)(eol - text) + 1;
		bool blank = is_blank(text + line, next - line);
		if (line && cut_before(r, line, text[line], blank))
			return line;
		r->after_blank = blank;
		r->scanned = next;
	}
	if (r->ended && r->scanned && r->scanned < n &&
		cut_before(r, r->scanned, text[r->scanned],
			is_blank(text + r->scanned, n - r->scanned)))
		return r->scanned;
	return 0;
}

static size_t end_by_mark(struct document_reader *r, size_t *skip)
{
	const char *text = r->buffer + r->at;
	size_t n = r->n - r->at, length = strlen(r->rule.cut.mark);
	const char *found = memmem(text + r->scanned, n - r->scanned, r->rule.cut.mark, length);

	if (!found) {
		r->scanned = n < length ? 0 : n - length + 1;
		return 0;
	}
	*skip = length;
	return (size_t)(found - text);
}

/* Where to cut a document that is too long: behind a line, or at least not inside a character. */
static size_t forced_end(const char *text)
{
	const char *eol = memrchr(text, '\n', DOCUMENT_MAX);
	size_t n = DOCUMENT_MAX;

	if (eol)
		return (size_t)(eol - text) + 1;
	while (n > DOCUMENT_MAX - 3 && ((unsigned char)text[n] & 0xC0) == 0x80)
		n--;
	return n;
}

static int next_text(struct document_reader *r, struct document *d)
{
	for (;;) {
		size_t skip = 0;
		size_t end = r->rule.cut.by == CUT_MARK ? end_by_mark(r, &skip) : end_by_line(r);
		size_t left = r->n - r->at;
		if (end > DOCUMENT_MAX || (!end && !skip && left > DOCUMENT_MAX)) {
			end = forced_end(r->buffer + r->at);
			skip = 0;
		} else if (!end && !skip && r->ended) {
			end = left;
		}
		if (end || skip) {
			*d = (struct document){.text = r->buffer + r->at, .n = end};
			r->at += end + skip;
			r->scanned = 0;
			return 1;
		}
		if (r->ended)
			return 0;
		if (fill(r))
			return -1;
	}
}

static int bad_line(struct document_reader *r)
{
	const struct json_line *l = &r->record;

	if (r->rule.strict)
		return error_at(r->source->name, (int)r->line, (int)l->at + 1, "bad JSON line: %s",
			l->why);
	if (!r->n_bad_lines++) {
		r->first_bad = r->line;
		snprintf(r->first_why, sizeof r->first_why, "%s", l->why);
	}
	return 0;
}

/* 1: a document; 0: a bad line was skipped; -1: it must not be. */
static int parse_line(struct document_reader *r, char *line, size_t n, struct document *d)
{
	size_t mark = content_mark(line, n);	/* where files were put one behind the other */

	r->n_lines++;
	if (json_line_read(&r->record, line + mark, n - mark))
		return bad_line(r);
	*d = (struct document){.text = json_string_value(r->record.text),
		.n = json_string_length(r->record.text),
		.url = json_string_value(r->record.url)};
	return 1;
}

static int next_json(struct document_reader *r, struct document *d)
{
	for (;;) {
		size_t n = r->n - r->at;
		char *line = r->buffer + r->at;
		const char *eol = memchr(line + r->scanned, '\n', n - r->scanned);
		if (!eol && !r->ended) {
			r->scanned = n;
			if (n > JSON_LINE_MAX)
				return error("%s:%ld: line of more than %d bytes: not JSON lines?",
					r->source->name, r->line + 1, JSON_LINE_MAX);
			if (fill(r))
				return -1;
			continue;
		}
		if (!n)
			return 0;
		r->line++;
		r->scanned = 0;
		r->at += eol ? (size_t)(eol - line) + 1 : n;
		n = eol ? (size_t)(eol - line) : n;
		if (is_blank(line, n))
			continue;
		int ret = parse_line(r, line, n, d);
		if (ret)
			return ret;
	}
}

int document_check_lines(const struct document_reader *r)
{
	const char *name = r->source->name;

	if (!r->n_bad_lines)
		return 0;
	if (!r->rule.lenient && r->n_bad_lines > r->n_lines / 100)
		return error("%s: %ld of %ld lines are bad JSON, the first is line %ld: %s; "
			"--lenient skips them, --format text takes the lines as they are", name,
			r->n_bad_lines, r->n_lines, r->first_bad, r->first_why);
	warning("%s: %ld of %ld lines skipped as bad JSON, the first is line %ld: %s", name,
		r->n_bad_lines, r->n_lines, r->first_bad, r->first_why);
	return 0;
}

/* --- tokens -------------------------------------------------------------------------------- */

static int read_header(struct document_reader *r)
{
	int32_t header[TOKEN_FILE_HEADER / sizeof(int32_t)];

	while (r->n < sizeof header && !r->ended)
		if (fill(r))
			return -1;
	if (r->n < sizeof header)
		return error("%s: %zu bytes are too few for a token file", r->source->name, r->n);
	memcpy(header, r->buffer, sizeof header);
	r->header_tokens = token_header_count(header, r->source->name);
	r->at = sizeof header;
	return r->header_tokens < 0 ? -1 : 0;
}

static int check_end(const struct document_reader *r, size_t bytes_left)
{
	if (bytes_left)
		return error("%s: ends inside a token of two bytes: truncated, or another format?",
			r->source->name);
	if (r->rule.form == FORM_LLMC && r->n_tokens != r->header_tokens)
		return error("%s: holds %ld tokens, but its header says %ld: truncated?",
			r->source->name, r->n_tokens, r->header_tokens);
	return 0;
}

/* Bytes of the document at the start of the buffer; 0: its end is not in sight. */
static size_t end_by_token(struct document_reader *r)
{
	const uint16_t *ids = (const uint16_t *)(r->buffer + r->at);
	size_t n = (r->n - r->at) / 2, i = r->scanned / 2;

	while (i < n && ids[i] != r->rule.eot && i < DOCUMENT_MAX / 2 - 1)
		i++;
	r->scanned = 2 * i;
	return i < n ? 2 * (i + 1) : r->ended ? 2 * n : 0;
}

static int next_tokens(struct document_reader *r, struct document *d)
{
	size_t end;

	if (r->rule.form == FORM_LLMC && r->header_tokens < 0 && read_header(r))
		return -1;
	while (!(end = end_by_token(r))) {
		if (r->ended)
			return check_end(r, r->n - r->at);
		if (fill(r))
			return -1;
	}
	*d = (struct document){.text = r->buffer + r->at, .n = end};
	r->at += end;
	r->scanned = 0;
	r->n_tokens += (long)end / 2;
	return 1;
}

int document_next(struct document_reader *r, struct document *d)
{
	if (form_is_tokens(r->rule.form))
		return next_tokens(r, d);
	return r->rule.form == FORM_JSONL ? next_json(r, d) : next_text(r, d);
}
