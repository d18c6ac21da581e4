/* Nodes as typed values, checked against a row of a field table. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "spec/schema.h"

bool field_is_provenance(const struct field *f)
{
	return f->provenance || f->type == FIELD_PATH;
}

/* Bounds this far out only say "none". */
static const double unbounded = 1e15;

const char *field_range(const struct field *f, char *buffer, size_t size)
{
	const char *gap = f->unit ? " " : "", *unit = f->unit ? f->unit : "";

	if (f->min > -unbounded && f->max < unbounded)
		snprintf(buffer, size, "%.10g to %.10g%s%s", f->min, f->max, gap, unit);
	else if (f->min > -unbounded)
		snprintf(buffer, size, "at least %.10g%s%s", f->min, gap, unit);
	else if (f->max < unbounded)
		snprintf(buffer, size, "at most %.10g%s%s", f->max, gap, unit);
	else
		snprintf(buffer, size, "any%s%s", gap, unit);
	return buffer;
}

static int type_error(const struct field *f, const struct node *n, const char *wanted)
{
	if (node_is_scalar(n))
		return node_error(n, "%s: \"%s\" is not %s", f->key, n->text, wanted);
	return node_error(n, "%s: %s, where %s must stand", f->key, node_kind_name(n), wanted);
}

static int check_range(const struct field *f, const struct node *n, double value)
{
	char range[128];

	if (value >= f->min && value <= f->max)
		return 0;
	return node_error(n, "%s: %s is out of range (%s)", f->key, n->text,
		field_range(f, range, sizeof range));
}

/* 1e9 and 8.0 are whole numbers, too. */
static int set_int(const struct field *f, const struct node *n, struct config_value *v)
{
	bool whole = n->kind == NODE_REAL && n->real == floor(n->real);

	if (n->kind != NODE_INT && !whole)
		return type_error(f, n, "a whole number");
	if (whole && fabs(n->real) > 0x1p53)
		return node_error(n, "%s: %s is too large for a whole number", f->key, n->text);
	if (check_range(f, n, n->real))
		return -1;
	v->integer = whole ? (long)n->real : (long)n->integer;
	return 0;
}

static int set_real(const struct field *f, const struct node *n, struct config_value *v)
{
	if (n->kind != NODE_INT && n->kind != NODE_REAL)
		return type_error(f, n, "a number");
	v->real = n->real;
	return check_range(f, n, n->real);
}

int unknown_word(const struct node *n, const char *what, const char *const *allowed, int n_allowed)
{
	const char *nearest = str_nearest(n->text, allowed, n_allowed);
	struct str list;

	if (nearest)
		return node_error(
			n, "unknown %s \"%s\" (did you mean \"%s\"?)", what, n->text, nearest);
	str_init(&list);
	for (int i = 0; i < n_allowed; i++)
		str_add_item(&list, "%s", allowed[i]);
	node_error(n, "unknown %s \"%s\" (there are %s)", what, n->text, list.text);
	str_release(&list);
	return -1;
}

/* The choices "a|b|c" of a row whose choices are NULL are the schema's: checked there. */
static int set_choice(const struct field *f, const struct node *n, struct config_value *v)
{
	enum { MAX_CHOICES = 32 };
	const char *words[MAX_CHOICES];
	char *copy, *rest = NULL;
	int n_words = 0, ret = 0;

	if (!node_is_scalar(n))
		return type_error(f, n, "a word");
	v->word = n->text;
	if (!f->choices)
		return 0;
	copy = xstrdup(f->choices);
	for (char *w = strtok_r(copy, "|", &rest); w; w = strtok_r(NULL, "|", &rest)) {
		CHECK(n_words < MAX_CHOICES);
		words[n_words++] = w;
	}
	if (str_index(n->text, words, n_words) < 0)
		ret = unknown_word(n, f->key, words, n_words);
	free(copy);
	return ret;
}

static char *append_parts(char *path, const char *rest)
{
	while (*rest) {
		size_t n = strcspn(rest, "/");
		char *slash = strrchr(path, '/'), *longer;
		if (n == 2 && !strncmp(rest, "..", 2) && slash) {
			*slash = '\0';
		} else if (n && !(n == 1 && *rest == '.')) {
			longer = xasprintf("%s/%.*s", path, (int)n, rest);
			free(path);
			path = longer;
		}
		rest += n;
		rest += *rest == '/';
	}
	return path;
}

/* Names in a file are relative to its folder, all others to the current one. */
static int set_path(
	struct arena *a, const struct field *f, const struct node *n, struct config_value *v)
{
	char *folder, *real, *path;

	if (!node_is_scalar(n))
		return type_error(f, n, "a path");
	v->word = n->text;
	if (n->text[0] == '/' || !n->text[0])
		return 0;
	folder = n->line ? path_folder(n->file) : xstrdup(".");
	real = realpath(folder, NULL);
	if (!real) {
		error_errno("cannot find folder %s", folder);
		free(folder);
		return -1;
	}
	path = append_parts(strcmp(real, "/") ? xstrdup(real) : xstrdup(""), n->text);
	v->word = arena_strdup(a, *path ? path : "/");
	free(path);
	free(real);
	free(folder);
	return 0;
}

static int set_typed(
	struct arena *a, const struct field *f, const struct node *n, struct config_value *v)
{
	switch (f->type) {
	case FIELD_INT:
		return set_int(f, n, v);
	case FIELD_REAL:
		return set_real(f, n, v);
	case FIELD_BOOL:
		v->boolean = n->boolean;
		return n->kind == NODE_BOOL ? 0 : type_error(f, n, "true or false");
	case FIELD_CHOICE:
		return set_choice(f, n, v);
	case FIELD_TEXT:
		v->word = n->text;
		return node_is_scalar(n) ? 0 : type_error(f, n, "a text");
	case FIELD_PATH:
		return set_path(a, f, n, v);
	case FIELD_TREE:
		v->tree = n;
		return n->kind == NODE_LIST || n->kind == NODE_MAP
			       ? 0
			       : type_error(f, n, "a list or a map");
	}
	BUG("%s: field type %d", f->key, (int)f->type);
}

static const char *canonical(struct arena *a, const struct config_value *v)
{
	struct str s;

	str_init(&s);
	switch (v->field->type) {
	case FIELD_INT:
		str_printf(&s, "%ld", v->integer);
		break;
	case FIELD_REAL:
		real_canonical(v->real, &s);
		break;
	case FIELD_BOOL:
		str_add(&s, v->boolean ? "true" : "false");
		break;
	case FIELD_CHOICE:
		str_add(&s, v->word);
		break;
	case FIELD_TEXT:
	case FIELD_PATH:
		text_canonical(v->word, &s);
		break;
	case FIELD_TREE:
		node_canonical(v->tree, &s);
		break;
	}
	return str_keep(&s, a);
}

int value_set(struct arena *a, const struct field *f, const struct node *n, struct config_value *v)
{
	*v = (struct config_value){.field = f};
	if (set_typed(a, f, n, v))
		return -1;
	v->text = canonical(a, v);
	v->origin = n->line ? arena_printf(a, "%s:%d", n->file, n->line) : n->file;
	return 0;
}

void value_set_own(struct arena *a, const struct field *f, const char *origin, const char *text,
	struct config_value *v)
{
	const struct node *n = node_value(a, origin, text);

	if (!n || value_set(a, f, n, v))
		BUG("key %s: bad %s value %s in its table", f->key, origin, text);
}

void value_store(const struct config_value *v, void *member)
{
	switch (v->field->type) {
	case FIELD_INT:
		*(long *)member = v->integer;
		break;
	case FIELD_REAL:
		*(double *)member = v->real;
		break;
	case FIELD_BOOL:
		*(bool *)member = v->boolean;
		break;
	case FIELD_CHOICE:
	case FIELD_TEXT:
	case FIELD_PATH:
		*(const char **)member = v->word;
		break;
	case FIELD_TREE:
		*(const struct node **)member = v->tree;
		break;
	}
}
