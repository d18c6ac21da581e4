/* What configurations are called and in which order they stand: as the user asks. */
#include "study/study.h"

#include "base/str.h"

#include <stdlib.h>
#include <string.h>

/* `own` is a name of the configuration in the database; of several sweeps, also "SWEEP:own". */
static bool is_name(const struct setup *v, const char *own, const char *name)
{
	const char *sweep = v->own->sweep->name;
	size_t n = strlen(sweep);

	return !strcmp(own, name) ||
		(!strncmp(name, sweep, n) && name[n] == ':' && !strcmp(own, name + n + 1));
}

static bool is_called(const struct setup *v, const char *name)
{
	return is_name(v, v->own->label, name) || is_name(v, v->own->variant, name);
}

static bool is_known(const struct study *s, const char *name)
{
	for (int i = 0; i < s->n_setups; i++)
		if (is_called(&s->setups[i], name))
			return true;
	return false;
}

static int unknown(struct study *s, const char *option, const char *name)
{
	const char **known = ARENA_ARRAY(&s->arena, const char *, 2 * s->n_setups);

	for (int i = 0; i < s->n_setups; i++) {
		known[2 * i] = s->setups[i].own->label;
		known[2 * i + 1] = s->setups[i].own->variant;
	}
	const char *near = str_nearest(name, known, 2 * s->n_setups);
	return error("--%s: sweep %s has no label \"%s\"%s%s%s", option, s->name, name,
		near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
}

/* --- labels ---------------------------------------------------------------------------------- */

/* Labels hold "=" themselves: OLD reaches to the first one behind which it is a known name. */
static int split(struct study *s, const char *text, const char **from, const char **to)
{
	char *old = arena_strdup(&s->arena, text), *equals = strrchr(old, '=');

	if (!equals || !equals[1] || equals == old)
		return error("--label takes OLD=NEW, not \"%s\"", text);
	for (size_t i = 1; text[i]; i++) {
		if (text[i] != '=' || !text[i + 1])
			continue;
		old[i] = '\0';
		*from = old;
		*to = text + i + 1;
		if (is_known(s, old))
			return 0;
		old[i] = '=';
	}
	*equals = '\0';
	return unknown(s, "label", old);
}

/* A variant's name begins the labels of all its configurations. */
static void rename_setup(struct study *s, struct setup *v, const char *from, const char *to)
{
	const char *label = v->own->label, *variant = v->own->variant;

	if (is_name(v, variant, from)) {
		v->variant = to;
		if (str_starts(label, variant) && !strcmp(v->label, label))
			v->label = arena_printf(&s->arena, "%s%s", to, label + strlen(variant));
	}
	if (is_name(v, label, from))
		v->label = to;
}

static int check_distinct(const struct study *s)
{
	for (const struct setup *a = s->setups; a < s->setups + s->n_setups; a++)
		for (const struct setup *b = s->setups; b < a; b++) {
			if (!strcmp(a->label, b->label))
				return error("--label: two configurations would be called \"%s\"",
					a->label);
			if (!strcmp(a->variant, b->variant) && a->family != b->family)
				return error("--label: two variants would be called \"%s\"",
					a->variant);
		}
	return 0;
}

int study_relabel(struct study *s)
{
	const struct texts *labels = &s->options.labels;

	for (int i = 0; i < labels->n; i++) {
		const char *from = NULL, *to = NULL;
		if (split(s, labels->items[i], &from, &to))
			return -1;
		for (int k = 0; k < s->n_setups; k++)
			rename_setup(s, &s->setups[k], from, to);
	}
	return labels->n ? check_distinct(s) : 0;
}

/* --- order ----------------------------------------------------------------------------------- */

static bool is_meant(const struct setup *v, const char *name)
{
	return is_called(v, name) || !strcmp(v->label, name) || !strcmp(v->variant, name);
}

/* Those of this name, unless they stand there already, behind the first n; n afterwards. */
static int take(const struct study *s, const char *name, bool *taken, struct setup *ordered, int n)
{
	for (int i = 0; i < s->n_setups; i++)
		if (!taken[i] && (!name || is_meant(&s->setups[i], name))) {
			taken[i] = true;
			ordered[n++] = s->setups[i];
		}
	return n;
}

int study_reorder(struct study *s)
{
	struct setup *ordered = ARENA_ARRAY(&s->arena, struct setup, s->n_setups);
	bool *taken = ARENA_ARRAY(&s->arena, bool, s->n_setups);
	int place = s->baseline ? s->baseline->place : -1, n = 0;

	if (!s->options.order)
		return 0;
	char *names = arena_strdup(&s->arena, s->options.order);
	for (char *name = strsep(&names, ","); name; name = strsep(&names, ",")) {
		int before = n;
		n = take(s, name, taken, ordered, n);
		if (n == before && is_known(s, name))
			return error("--order: \"%s\" stands there twice", name);
		if (n == before)
			return unknown(s, "order", name);
	}
	n = take(s, NULL, taken, ordered, n);
	CHECK(n == s->n_setups);
	s->setups = ordered;
	for (int i = 0; i < n; i++)
		if (ordered[i].place == place)
			s->baseline = &ordered[i];
	return 0;
}

const struct setup **study_rows(struct study *s, const double *value)
{
	if (!s->options.order)
		return setups_sorted(s, value);
	const struct setup **rows = ARENA_ARRAY(&s->arena, const struct setup *, s->n_setups);
	for (int i = 0; i < s->n_setups; i++)
		rows[i] = &s->setups[i];
	return rows;
}
