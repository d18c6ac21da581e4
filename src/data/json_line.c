#include "data/json_line.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"

struct cursor {
	char *text;
	size_t at, n;
};

struct slice {			/* text[begin .. end - 1] */
	size_t begin, end;
};

static void skip_blanks(struct cursor *c)
{
	while (c->at < c->n && isspace((unsigned char)c->text[c->at]))
		c->at++;
}

/* Skips blanks, then takes the character if it is there. */
static bool take(struct cursor *c, char wanted)
{
	skip_blanks(c);
	if (c->at >= c->n || c->text[c->at] != wanted)
		return false;
	c->at++;
	return true;
}

/* From a quote to behind the next that no backslash precedes. */
static bool skip_string(struct cursor *c)
{
	if (!take(c, '"'))
		return false;
	while (c->at < c->n && c->text[c->at] != '"')
		c->at += c->text[c->at] == '\\' ? 2 : 1;
	return c->at++ < c->n;
}

/* A string, an object or array with all within, or a run of what numbers and words are made of. */
static bool skip_value(struct cursor *c)
{
	size_t depth = 0, begin;

	skip_blanks(c);
	begin = c->at;
	while (c->at < c->n) {
		char here = c->text[c->at];
		if (here == '"') {
			if (!skip_string(c))
				return false;
		} else if (!depth && (strchr(",]}", here) || isspace((unsigned char)here))) {
			break;
		} else {
			depth += here == '{' || here == '[';
			depth -= here == '}' || here == ']';
			c->at++;
		}
		if (!depth && strchr("\"]}", here))
			break;
	}
	return !depth && c->at > begin;
}

static const char *read_members(struct cursor *c, struct slice *text, struct slice *url)
{
	if (!take(c, '{'))
		return "no object";
	if (take(c, '}'))
		return NULL;
	do {
		struct slice key, value;
		skip_blanks(c);
		key.begin = c->at;
		if (!skip_string(c))
			return "no name of a member";
		key.end = c->at;
		if (!take(c, ':'))
			return "':' is missing";
		skip_blanks(c);
		value.begin = c->at;
		if (!skip_value(c))
			return "a value without an end";
		value.end = c->at;
		if (key.end - key.begin == 6 && !memcmp(c->text + key.begin, "\"text\"", 6))
			*text = value;
		if (key.end - key.begin == 5 && !memcmp(c->text + key.begin, "\"url\"", 5))
			*url = value;
	} while (take(c, ','));
	return take(c, '}') ? NULL : "'}' is missing";
}

/* The number of \uXXXX, or -1 if that is not what stands here. */
static int escape_value(const char *at, const char *end)
{
	int value = 0;

	if (end - at < 6 || at[0] != '\\' || at[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++) {
		int digit = tolower((unsigned char)at[i]);
		if (!isxdigit(digit))
			return -1;
		value = value * 16 + (digit <= '9' ? digit - '0' : digit - 'a' + 10);
	}
	return value;
}

/* In place: an escape of U+FFFD is as long as any, and its UTF-8 as long as that of half a pair. */
static void mend_surrogates(char *text, size_t n)
{
	char *at = text, *end = text + n;

	while (at < end) {
		unsigned char here = (unsigned char)*at;
		int value = here == '\\' ? escape_value(at, end) : 0;
		bool first = value >= 0xd800 && value < 0xdc00;
		int second = first ? escape_value(at + 6, end) : 0;
		if (first && second >= 0xdc00 && second < 0xe000) {
			at += 12;
		} else if (value >= 0xd800 && value < 0xe000) {
			memcpy(at + 2, "fffd", 4);
			at += 6;
		} else if (here == 0xed && end - at > 2 && (unsigned char)at[1] >= 0xa0) {
			memcpy(at, "\xef\xbf\xbd", 3);
			at += 3;
		} else {
			at += here == '\\' ? 2 : 1;
		}
	}
}

/* The value of a member that is a string; else NULL, with *l saying why. */
static json_t *decode(struct json_line *l, char *line, struct slice s, const char *why)
{
	json_t *value;

	if (s.begin == s.end || line[s.begin] != '"') {
		l->why = why;
		l->at = s.begin;
		return NULL;
	}
	mend_surrogates(line + s.begin, s.end - s.begin);
	value = json_loadb(line + s.begin, s.end - s.begin, JSON_DECODE_ANY | JSON_ALLOW_NUL,
		&l->detail);
	if (!value) {
		l->why = l->detail.text;
		l->at = s.begin + (l->detail.position > 0 ? (size_t)l->detail.position - 1 : 0);
	}
	return value;
}

int json_line_read(struct json_line *l, char *line, size_t n)
{
	struct cursor c = {.text = line, .n = n};
	struct slice text = {0}, url = {0};

	json_line_release(l);
	l->why = read_members(&c, &text, &url);
	skip_blanks(&c);
	if (!l->why && c.at < n)
		l->why = "more behind the object";
	l->at = c.at < n ? c.at : n;
	if (l->why)
		return -1;
	l->text = decode(l, line, text, "no member \"text\" that is a string");
	if (!l->text)
		return -1;
	l->url = decode(l, line, url, NULL);	/* a bad one counts as none */
	return 0;
}

void json_line_release(struct json_line *l)
{
	json_decref(l->text);
	json_decref(l->url);
	l->text = l->url = NULL;
}
