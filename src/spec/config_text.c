/* A config as text: YAML for people and for reading back, JSON, the lines its identity hashes. */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "spec/schema.h"

/* Length of the groups that two dotted keys share, with the last dot: "a.b.c", "a.b.d": 4. */
static size_t shared_groups(const char *a, const char *b)
{
	size_t shared = 0;

	for (size_t i = 0; a[i] && a[i] == b[i]; i++)
		if (a[i] == '.')
			shared = i + 1;
	return shared;
}

static void add_indent(struct str *out, int depth)
{
	for (int i = 0; i < depth; i++)
		str_add(out, "  ");
}

/* Group lines that `previous` has not opened, then the indented last part of key. */
static void add_key(struct str *out, const char *key, const char *previous)
{
	size_t shared = shared_groups(key, previous), start = 0;
	int depth = 0;

	for (size_t i = 0; key[i]; i++) {
		if (key[i] != '.')
			continue;
		if (i >= shared) {
			add_indent(out, depth);
			str_add_bytes(out, key + start, i - start);
			str_add(out, ":\n");
		}
		start = i + 1;
		depth++;
	}
	add_indent(out, depth);
	str_add(out, key + start);
}

void config_yaml(const struct config *c, bool origins, struct str *out)
{
	const char *previous = "";

	for (int i = 0; i < c->n; i++) {
		const struct config_value *v = &c->values[i];
		add_key(out, v->field->key, previous);
		str_printf(out, ": %s", v->text);
		if (origins) {
			str_add(out, "  # ");
			for (const char *p = v->origin; *p;
				p++) /* no line break of a file's name */
				str_add_bytes(out, (unsigned char)*p < ' ' ? "?" : p, 1);
		}
		str_add(out, "\n");
		previous = v->field->key;
	}
}

int config_write(const struct config *c, const char *path)
{
	struct str s;
	int ret;

	str_init(&s);
	config_yaml(c, true, &s);
	ret = path_write(path, s.text, s.length);
	str_release(&s);
	return ret;
}

json_t *config_json(const struct config *c)
{
	json_t *object = json_object();

	for (int i = 0; i < c->n; i++) {
		const struct config_value *v = &c->values[i];
		json_t *value = v->field->type == FIELD_CHOICE
					? json_string(v->word)
					: json_loads(v->text, JSON_DECODE_ANY, NULL);
		CHECK(value); /* canonical texts are JSON */
		json_object_set_new(object, v->field->key, value);
	}
	return object;
}

static bool at_legacy_value(struct arena *a, const struct config_value *v)
{
	struct config_value legacy;

	if (!v->field->legacy)
		return false;
	value_set_own(a, v->field, "legacy", v->field->legacy, &legacy);
	return !strcmp(v->text, legacy.text);
}

static int compare_semantics(const void *a, const void *b)
{
	const struct semantics *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->number > y->number) - (x->number < y->number);
}

static void add_semantics(
	struct arena *a, const struct semantics *semantics, int n, struct str *out)
{
	struct semantics *sorted = ARENA_ARRAY(a, struct semantics, n);

	if (n)
		memcpy(sorted, semantics, (size_t)n * sizeof *sorted);
	qsort(sorted, (size_t)n, sizeof *sorted, compare_semantics);
	for (int i = 0; i < n; i++)
		if (!i || compare_semantics(&sorted[i], &sorted[i - 1]))
			str_printf(out, "semantics %s: %d\n", sorted[i].name, sorted[i].number);
}

void config_identity_text(const struct config *c, const char *data_hash, const char *precision,
	const struct semantics *semantics, int n_semantics, struct str *out)
{
	struct arena a = {0};

	for (int i = 0; i < c->n; i++) {
		const struct config_value *v = &c->values[i];
		if (!field_is_provenance(v->field) && !at_legacy_value(&a, v))
			str_printf(out, "%s: %s\n", v->field->key, v->text);
	}
	str_printf(out, "data: %s\nprecision: %s\n", data_hash, precision);
	add_semantics(&a, semantics, n_semantics, out);
	arena_release(&a);
}

void config_identity(const struct config *c, const char *data_hash, const char *precision,
	const struct semantics *semantics, int n_semantics, char hex[HASH_HEX])
{
	struct str text;

	str_init(&text);
	config_identity_text(c, data_hash, precision, semantics, n_semantics, &text);
	hash_bytes(text.text, text.length, hex);
	str_release(&text);
}
