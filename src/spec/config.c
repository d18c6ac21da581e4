#include "spec/config.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "spec/schema.h"
#include "spec/settings.h"

int spec_load(struct arena *a, const char *path, const char *const *overrides, int n_overrides,
	const struct schema *schema, struct config *config)
{
	struct settings spec = {0}, given = {0}, *const stack[] = {&spec, &given};
	struct spec_reader r;

	spec_reader_init(&r, a, schema);
	if (settings_add_spec(&r, &spec, path))
		return -1;
	for (int i = 0; i < n_overrides; i++)
		if (settings_add_override(&r, &given, overrides[i]))
			return -1;
	return settings_resolve(&r, stack, 2, path, false, config);
}

int config_read(
	struct arena *a, const char *path, const struct schema *schema, struct config *config)
{
	struct settings spec = {0}, *const stack[] = {&spec};
	struct spec_reader r;

	spec_reader_init(&r, a, schema);
	if (settings_add_spec(&r, &spec, path))
		return -1;
	return settings_resolve(&r, stack, 1, path, true, config);
}

int config_parse(struct arena *a, const char *name, const char *text, const char *const *overrides,
	int n_overrides, const struct schema *schema, struct config *config)
{
	struct settings spec = {0}, given = {0}, *const stack[] = {&spec, &given};
	struct spec_reader r;
	const struct node *root = node_parse(a, name, text, strlen(text));

	spec_reader_init(&r, a, schema);
	if (!root || settings_add_spec_node(&r, &spec, root))
		return -1;
	for (int i = 0; i < n_overrides; i++)
		if (settings_add_override(&r, &given, overrides[i]))
			return -1;
	return settings_resolve(&r, stack, 2, name, true, config);
}

static int compare_key(const void *key, const void *value)
{
	return strcmp(key, ((const struct config_value *)value)->field->key);
}

const struct config_value *config_find(const struct config *c, const char *key)
{
	return bsearch(key, c->values, (size_t)c->n, sizeof *c->values, compare_key);
}

void config_set(struct config *c, struct arena *a, const char *key, const char *text,
	const char *origin)
{
	struct config_value *v = (struct config_value *)config_find(c, key);

	CHECK(v);
	value_set_own(a, v->field, origin, text, v);
}

void config_bind(const struct config *c, const struct field_table *table, void *into)
{
	for (int i = 0; i < table->n; i++) {
		const struct field *f = &table->rows[i];
		const struct config_value *v = config_find(c, f->key);
		if (!v || v->field->type != f->type)
			BUG("%s \"%s\" does not have key %s of this type", c->file, c->choice,
				f->key);
		value_store(v, (char *)into + f->offset);
	}
}

int config_diff(struct arena *a, const struct config *before, const struct config *after,
	struct config_change **changes)
{
	struct config_change *out = ARENA_ARRAY(a, struct config_change, before->n + after->n);
	int i = 0, j = 0, n = 0;

	while (i < before->n || j < after->n) {
		const struct config_value *x = i < before->n ? &before->values[i] : NULL;
		const struct config_value *y = j < after->n ? &after->values[j] : NULL;
		int order = !x ? 1 : !y ? -1 : strcmp(x->field->key, y->field->key);
		const struct field *f = order <= 0 ? x->field : y->field;
		const char *was = order <= 0 ? x->text : NULL, *is = order >= 0 ? y->text : NULL;
		if (!was || !is || strcmp(was, is))
			out[n++] = (struct config_change){f->key, was, is, field_is_provenance(f)};
		i += order <= 0;
		j += order >= 0;
	}
	*changes = out;
	return n;
}
