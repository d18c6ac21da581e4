#include "data/document.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"

enum { FILL_BYTES = 1 << 20 };
enum { BAD_LINES_SHOWN = 3 };

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
		*rule = (struct cut_rule){.cut = CUT_MARK, .mark = text + 1};
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
		*rule = (struct cut_rule){.cut = c->cut, .min_bytes = (size_t)min};
		return 0;
	}
	return error("split \"%s\": not blank[:BYTES], entry[:BYTES], line, file or =TEXT "
		"(1 to %d bytes)", text, DOCUMENT_MAX);
}

void document_reader_init(struct document_reader *r, struct source *source,
	const struct cut_rule *rule, bool strict)
{
	*r = (struct document_reader){.source = source, .json = !rule, .strict = strict};
	if (rule)
		r->rule = *rule;
	GROW(r->buffer, (size_t)FILL_BYTES, r->size);
}

void document_reader_release(struct document_reader *r)
{
	free(r->buffer);
	json_decref(r->record);
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
	switch (r->rule.cut) {
	case CUT_BLANK:
		return r->after_blank && !blank && n >= r->rule.min_bytes;
	case CUT_ENTRY:
		return r->after_blank && !isspace((unsigned char)first) && n >= r->rule.min_bytes;
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
	size_t n = r->n - r->at, length = strlen(r->rule.mark);
	const char *found = memmem(text + r->scanned, n - r->scanned, r->rule.mark, length);

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
		size_t end = r->rule.cut == CUT_MARK ? end_by_mark(r, &skip) : end_by_line(r);
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

static int bad_line(struct document_reader *r, int column, const char *why)
{
	if (r->strict)
		return error_at(r->source->name, (int)r->line, column, "bad JSON line: %s", why);
	if (r->n_bad_lines++ < BAD_LINES_SHOWN)
		warning("%s:%ld: skipped, bad JSON line: %s", r->source->name, r->line, why);
	return 0;
}

/* 1: a document; 0: a bad line was skipped; -1: it must not be. */
static int parse_line(struct document_reader *r, const char *line, size_t n, struct document *d)
{
	json_error_t e;
	json_t *text;

	json_decref(r->record);
	r->record = json_loadb(line, n, JSON_ALLOW_NUL, &e);
	if (!r->record)
		return bad_line(r, e.column > 0 ? e.column : 1, e.text);
	text = json_object_get(r->record, "text");
	if (!json_is_string(text))
		return bad_line(r, 1, "no member \"text\" that is a string");
	*d = (struct document){.text = json_string_value(text), .n = json_string_length(text),
		.url = json_string_value(json_object_get(r->record, "url"))};
	return 1;
}

static int next_json(struct document_reader *r, struct document *d)
{
	for (;;) {
		size_t n = r->n - r->at;
		const char *line = r->buffer + r->at;
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

int document_next(struct document_reader *r, struct document *d)
{
	return r->json ? next_json(r, d) : next_text(r, d);
}
