/* What scalars mean, and the one text for each value. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spec/node.h"

static const char *skip_digits(const char *p)
{
	while (isdigit((unsigned char)*p))
		p++;
	return p;
}

/* [+-] (0 | [1-9]digits) [. digits] [e [+-] digits], or with no digit before the point. */
static enum node_kind number_kind(const char *text)
{
	const char *p = text + (*text == '+' || *text == '-'), *whole = p, *part;
	enum node_kind kind = NODE_INT;
	size_t n_digits;

	p = skip_digits(p);
	if (whole[0] == '0' && p - whole > 1)
		return NODE_TEXT; /* 017: octal to some readers, decimal to others */
	n_digits = (size_t)(p - whole);
	if (*p == '.') {
		kind = NODE_REAL;
		part = ++p;
		p = skip_digits(p);
		n_digits += (size_t)(p - part);
	}
	if (!n_digits)
		return NODE_TEXT;
	if (*p == 'e' || *p == 'E') {
		kind = NODE_REAL;
		p++;
		p += *p == '+' || *p == '-';
		part = p;
		p = skip_digits(p);
		if (p == part)
			return NODE_TEXT;
	}
	return *p ? NODE_TEXT : kind;
}

void node_set_plain(struct node *n, const char *text)
{
	static const char *const nulls[] = {"", "~", "null", "Null", "NULL"};
	static const char *const trues[] = {"true", "True", "TRUE"};
	static const char *const falses[] = {"false", "False", "FALSE"};

	n->text = text;
	n->kind = number_kind(text);
	if (n->kind == NODE_INT && str_to_long(text, &n->integer))
		n->real = (double)n->integer;
	else if (n->kind != NODE_TEXT) /* a whole number beyond 64 bits is a real one */
		n->kind = str_to_double(text, &n->real) ? NODE_REAL : NODE_TEXT;
	else if (str_index(text, nulls, ARRAY_SIZE(nulls)) >= 0)
		n->kind = NODE_NULL;
	else if (str_index(text, trues, ARRAY_SIZE(trues)) >= 0)
		n->kind = NODE_BOOL, n->boolean = true;
	else if (str_index(text, falses, ARRAY_SIZE(falses)) >= 0)
		n->kind = NODE_BOOL;
}

struct node *node_value(struct arena *a, const char *name, const char *text)
{
	struct node *n;

	for (const char *p = text; *p;) {
		if (str_next_code(&p) < 0) {
			error("%s: \"%s\" is no valid UTF-8", name, text);
			return NULL;
		}
	}
	if (*text && strchr("[{\"'", *text)) {
		n = node_parse(a, name, text, strlen(text));
		if (n)
			n->line = n->column = 0;
		return n;
	}
	n = ARENA_NEW(a, struct node);
	n->file = name;
	node_set_plain(n, arena_strdup(a, text));
	if (!*text)
		n->kind = NODE_TEXT; /* key= gives the empty text */
	return n;
}

/* YAML takes these for line breaks or refuses them when they stand unescaped. */
static bool needs_escape(long code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x2028 || code == 0x2029 ||
	       code == 0xfeff || code == 0xfffe || code == 0xffff;
}

void text_canonical(const char *text, struct str *out)
{
	str_add(out, "\"");
	for (const char *p = text, *start = p; *p; start = p) {
		long code = str_next_code(&p);
		CHECK(code >= 0); /* readers let nothing else in */
		if (code == '"' || code == '\\')
			str_printf(out, "\\%c", (int)code);
		else if (code == '\n')
			str_add(out, "\\n");
		else if (needs_escape(code))
			str_printf(out, "\\u%04lx", code);
		else
			str_add_bytes(out, start, (size_t)(p - start));
	}
	str_add(out, "\"");
}

void real_canonical(double value, struct str *out)
{
	char text[32];

	CHECK(isfinite(value));
	if (value == floor(value) && fabs(value) < 0x1p63) {
		str_printf(out, "%.0f", value + 0.0); /* + 0.0: no "-0" */
		return;
	}
	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, value);
		if (strtod(text, NULL) == value)
			break;
	}
	str_add(out, text);
}

static int compare_keys(const void *a, const void *b)
{
	return strcmp((*(const struct node *const *)a)->key, (*(const struct node *const *)b)->key);
}

static void map_canonical(const struct node *map, struct str *out)
{
	const struct node **entries = xcalloc((size_t)map->n, sizeof *entries);
	int n = 0;

	for (const struct node *child = map->first; child; child = child->next)
		entries[n++] = child;
	qsort(entries, (size_t)n, sizeof *entries, compare_keys);
	str_add(out, "{");
	for (int i = 0; i < n; i++) {
		str_add(out, i ? ", " : "");
		text_canonical(entries[i]->key, out);
		str_add(out, ": ");
		node_canonical(entries[i], out);
	}
	str_add(out, "}");
	free(entries);
}

void node_canonical(const struct node *n, struct str *out)
{
	switch (n->kind) {
	case NODE_NULL:
		str_add(out, "null");
		break;
	case NODE_BOOL:
		str_add(out, n->boolean ? "true" : "false");
		break;
	case NODE_INT:
		str_printf(out, "%lld", n->integer);
		break;
	case NODE_REAL:
		real_canonical(n->real, out);
		break;
	case NODE_TEXT:
		text_canonical(n->text, out);
		break;
	case NODE_LIST:
		str_add(out, "[");
		for (const struct node *child = n->first; child; child = child->next) {
			node_canonical(child, out);
			str_add(out, child->next ? ", " : "");
		}
		str_add(out, "]");
		break;
	case NODE_MAP:
		map_canonical(n, out);
		break;
	}
}
