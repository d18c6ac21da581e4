/* Labels: LABEL[-key=value...], one per configuration, fit as the name of a folder. */
#include <string.h>

#include "spec/sweep_file.h"

/* The keys of all axes, so that short names mean one thing in the whole sweep. */
static bool clashes(const struct settings *s, const char *key, const char *short_key)
{
	for (int i = 0; i < s->n; i++) {
		const char *other = s->at[i].key;
		size_t n = strlen(other), m = strlen(short_key);
		if (strcmp(other, key) && n >= m && !strcmp(other + n - m, short_key) &&
			(n == m || other[n - m - 1] == '.'))
			return true;
	}
	return false;
}

static bool ambiguous(const struct sweep_file *f, const char *key, const char *short_key)
{
	bool clash =
		clashes(&f->wide.grid, key, short_key) || clashes(&f->wide.zip, key, short_key);

	for (int i = 0; i < f->n_variants; i++)
		clash |= clashes(&f->variants[i].grid, key, short_key) ||
			 clashes(&f->variants[i].zip, key, short_key);
	for (int i = 0; i < f->n_include; i++)
		clash |= clashes(&f->include[i].keys, key, short_key);
	return clash;
}

/* As many last parts of the key as tell it from all other axes. */
static const char *short_key(const struct sweep_file *f, const char *key)
{
	const char *p = key + strlen(key);

	for (;;) {
		while (p > key && p[-1] != '.')
			p--;
		if (p == key || !ambiguous(f, key, p))
			return p;
		p--;
	}
}

const char *file_label(struct arena *a, const char *text, int most)
{
	const char *const safe =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.+-_";
	char *label = arena_get(a, (size_t)most + 1);
	int n = 0;

	for (; *text && n < most; text++) {
		if (strchr(safe, *text) && (n || !strchr("._-", *text)))
			label[n++] = *text;
		else if (n && label[n - 1] != '_')
			label[n++] = '_';
	}
	while (n && label[n - 1] == '_')
		n--;
	label[n] = '\0';
	return n ? label : "_";
}

int point_axes(const struct sweep_file *f, const struct point *p, struct sweep_axis **axes)
{
	struct sweep_axis *out = ARENA_ARRAY(f->reader.arena, struct sweep_axis, p->axes.n);
	int n = 0;

	for (int i = 0; i < p->axes.n; i++) {
		const char *key = p->axes.at[i].key;
		const struct config_value *v = config_find(&p->config, key);
		if (v)
			out[n++] = (struct sweep_axis){key, short_key(f, key), v->text};
	}
	*axes = out;
	return n;
}

/* Texts and paths without their quotes, paths also without their folder. */
static const char *label_value(struct arena *a, const struct config_value *v)
{
	const char *slash;

	switch (v->field->type) {
	case FIELD_TEXT:
		return file_label(a, v->word, MAX_LABEL);
	case FIELD_PATH:
		slash = strrchr(v->word, '/');
		return file_label(a, slash ? slash + 1 : v->word, MAX_LABEL);
	default:
		return file_label(a, v->text, MAX_LABEL);
	}
}

const char *point_label(const struct sweep_file *f, const struct point *p)
{
	struct arena *a = f->reader.arena;
	struct sweep_axis *axes;
	int n = point_axes(f, p, &axes);
	const char *label = p->variant->label;

	for (int i = 0; i < n; i++)
		label = arena_printf(a, "%s-%s=%s", label, axes[i].short_key,
			label_value(a, config_find(&p->config, axes[i].key)));
	return label;
}
