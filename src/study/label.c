/* What configurations are called and in which order they stand: as the user asks. */
#include "study/study.h"

#include "base/str.h"

#include <string.h>

/* `own` is a name of the configuration in the database; of several sweeps, also "SWEEP:own". */
static bool is_name(const struct arm *v, const char *own, const char *name)
{
	const char *sweep = v->own->sweep->name;
	size_t n = strlen(sweep);

	return !strcmp(own, name) ||
		(!strncmp(name, sweep, n) && name[n] == ':' && !strcmp(own, name + n + 1));
}

static bool is_called(const struct arm *v, const char *name)
{
	return is_name(v, v->own->label, name) || is_name(v, v->own->variant, name);
}

static bool is_known(const struct study *s, const char *name)
{
	for (int i = 0; i < s->n_arms; i++)
		if (is_called(&s->arms[i], name))
			return true;
	return false;
}

static int unknown(struct study *s, const char *option, const char *name)
{
	const char **known = ARENA_ARRAY(&s->arena, const char *, 2 * s->n_arms);

	for (int i = 0; i < s->n_arms; i++) {
		known[2 * i] = s->arms[i].own->label;
		known[2 * i + 1] = s->arms[i].own->variant;
	}
	const char *near = str_nearest(name, known, 2 * s->n_arms);
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
static void rename_arm(struct study *s, struct arm *v, const char *from, const char *to)
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
	for (const struct arm *a = s->arms; a < s->arms + s->n_arms; a++)
		for (const struct arm *b = s->arms; b < a; b++) {
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
		for (int k = 0; k < s->n_arms; k++)
			rename_arm(s, &s->arms[k], from, to);
	}
	return labels->n ? check_distinct(s) : 0;
}

/* --- order ----------------------------------------------------------------------------------- */

static bool is_meant(const struct arm *v, const char *name)
{
	return is_called(v, name) || !strcmp(v->label, name) || !strcmp(v->variant, name);
}

/* Those of this name, unless they stand there already, behind the first n; n afterwards. */
static int take(const struct study *s, const char *name, bool *taken, struct arm *ordered, int n)
{
	for (int i = 0; i < s->n_arms; i++)
		if (!taken[i] && (!name || is_meant(&s->arms[i], name))) {
			taken[i] = true;
			ordered[n++] = s->arms[i];
		}
	return n;
}

int study_reorder(struct study *s)
{
	struct arm *ordered = ARENA_ARRAY(&s->arena, struct arm, s->n_arms);
	bool *taken = ARENA_ARRAY(&s->arena, bool, s->n_arms);
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
	CHECK(n == s->n_arms);
	s->arms = ordered;
	for (int i = 0; i < n; i++)
		if (ordered[i].place == place)
			s->baseline = &ordered[i];
	return 0;
}

const struct arm **study_rows(struct study *s, const double *value)
{
	if (!s->options.order)
		return arms_sorted(s, value);
	const struct arm **rows = ARENA_ARRAY(&s->arena, const struct arm *, s->n_arms);
	for (int i = 0; i < s->n_arms; i++)
		rows[i] = &s->arms[i];
	return rows;
}
