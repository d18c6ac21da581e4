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
