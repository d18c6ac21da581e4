/*
 * Runs into configurations. Of several sweeps, a configuration that more than one has stands once,
 * under its name in the first; names get the sweep before them only where they would clash.
 */
#include "study/study.h"

#include <string.h>

/* The seed, and where data and first weights lie: what they are, their hashes say. */
static bool may_differ(const char *key)
{
	return !strcmp(key, "seed") || !strcmp(key, "data.path") || !strcmp(key, "train.init_from");
}

static bool same_config(const struct run_data *a, const struct run_data *b)
{
	if (a->n_params != b->n_params || !a->data_hash || !b->data_hash ||
		strcmp(a->data_hash, b->data_hash))
		return false;
	for (int i = 0; i < a->n_params; i++) {	/* sorted by key */
		if (strcmp(a->params[i].key, b->params[i].key))
			return false;
		if (!may_differ(a->params[i].key) && strcmp(a->params[i].text, b->params[i].text))
			return false;
	}
	return true;
}

/* Keys of the model and of its training, but those that cannot change a number, and first weights, which each seed may
   have of its own. */
static bool makes_a_row(const char *key)
{
	static const char *const others[] = {"train.init_from", "train.init_hash", "train.micro_batch", "train.recompute",
		"model.moe.allow_future"};

	return str_index(key, others, ARRAY_SIZE(others)) < 0 &&
		(str_starts(key, "model.") || str_starts(key, "train."));
}

const char *arm_key_apart(const struct arm *v, const struct run_data *two[2])
{
	two[0] = v->runs[0];
	for (int i = 1; i < v->n; i++) {
		two[1] = v->runs[i];
		for (int k = 0; k < two[0]->n_params; k++) {
			const struct run_param *p = &two[0]->params[k];
			const char *other = makes_a_row(p->key) ? run_text(two[1], p->key) : NULL;
			if (other && strcmp(p->text, other))
				return p->key;
		}
	}
	return NULL;
}

static bool is_own(const struct arm *v, const struct run_data *r)
{
	return v->own->sweep == r->sweep && !strcmp(v->own->label, r->label);
}

/* Is it one more seed of what another sweep has? */
static bool is_common(const struct arm *v, const struct run_data *r)
{
	return v->own->sweep != r->sweep && !arm_seed(v, r->seed) && same_config(v->own, r);
}

static struct arm *arm_of(struct study *s, const struct run_data *r)
{
	for (int i = 0; i < s->n_arms; i++)
		if (is_own(&s->arms[i], r))
			return &s->arms[i];
	for (int i = 0; i < s->n_arms; i++)
		if (is_common(&s->arms[i], r))
			return &s->arms[i];
	s->arms[s->n_arms] = (struct arm){.label = r->label,
		.variant = r->variant,
		.arch = r->arch,
		.own = r,
		.place = s->n_arms,
		.runs = ARENA_ARRAY(&s->arena, struct run_data *, s->n_runs)};
	return &s->arms[s->n_arms++];
}

const char *arm_run_ids(struct study *s, const struct arm *v)
{
	const char *ids = "[";

	for (int i = 0; i < v->n; i++)
		ids = arena_printf(&s->arena, "%s%s%lld", ids, i ? "," : "", v->runs[i]->id);
	return arena_printf(&s->arena, "%s]", ids);
}

/* --- names over several sweeps --------------------------------------------------------------- */

/* Variants of one name are one if their sweeps have a run of it in common. */
static bool same_variant(struct study *s, const struct run_data *a, const struct run_data *b)
{
	struct db_statement row;
	bool found;

	if (a->sweep == b->sweep || strcmp(a->variant, b->variant))
		return !strcmp(a->variant, b->variant);
	db_prepare(&row, s->db, "SELECT 1 FROM member a JOIN member b USING (run_id)"
		" WHERE a.sweep_id = :a AND b.sweep_id = :b"
		" AND a.variant = :variant AND b.variant = :variant LIMIT 1");
	db_bind_int(&row, ":a", a->sweep->sweep_id);
	db_bind_int(&row, ":b", b->sweep->sweep_id);
	db_bind_text(&row, ":variant", a->variant);
	found = db_step(&row);
	return !db_finish(&row) && found;
}

static int family_of(struct study *s, const struct arm *v)
{
	for (const struct arm *u = s->arms; u < v; u++)
		if (same_variant(s, u->own, v->own))
			return u->family;
	return v->place;
}

static const char *with_sweep(struct study *s, const struct run_data *r, const char *name)
{
	return arena_printf(&s->arena, "%s:%s", r->sweep->name, name);
}

static void name_apart(struct study *s, struct arm *v)
{
	for (const struct arm *u = s->arms; u < s->arms + s->n_arms; u++) {
		if (u != v && !strcmp(u->own->label, v->own->label))
			v->label = with_sweep(s, v->own, v->own->label);
		if (u->family != v->family && !strcmp(u->own->variant, v->own->variant))
			v->variant = with_sweep(s, s->arms[v->family].own, v->own->variant);
	}
}

static void find_baseline(struct study *s)
{
	const struct sweep_row *w = &s->sweeps[0];

	for (int i = 0; i < s->n_arms && w->baseline; i++)
		if (s->arms[i].own->sweep == w && !strcmp(s->arms[i].own->label, w->baseline))
			s->baseline = &s->arms[i];
}

void study_group(struct study *s)
{
	s->arms = ARENA_ARRAY(&s->arena, struct arm, s->n_runs);
	for (int i = 0; i < s->n_runs; i++) {
		struct arm *arm = arm_of(s, &s->runs[i]);
		int at = arm->n++;
		for (; at > 0 && arm->runs[at - 1]->seed > s->runs[i].seed; at--)
			arm->runs[at] = arm->runs[at - 1];
		arm->runs[at] = &s->runs[i];
	}
	for (int i = 0; i < s->n_arms; i++)
		s->arms[i].family = family_of(s, &s->arms[i]);
	for (int i = 0; i < s->n_arms; i++)
		name_apart(s, &s->arms[i]);
	find_baseline(s);
}
