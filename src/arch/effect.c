/* Keys that nothing reads, rules of a mixture or layers of a pattern: at another value than where nobody sets them
   they would make another run of the same numbers. */
#include <string.h>

#include "arch/check.h"
#include "arch/fields.h"
#include "arch/routers.h"
#include "base/error.h"
#include "spec/schema.h"

static bool selects(const struct moe_spec *s, const char *select)
{
	return !strcmp(s->select, select);
}

static bool by_sum(const struct moe_spec *s)
{
	return selects(s, "topp");
}

static bool by_threshold(const struct moe_spec *s)
{
	return selects(s, "threshold");
}

static bool has_router(const struct moe_spec *s)
{
	return !selects(s, "hash") && !selects(s, "place");
}

static bool anneals(const struct moe_spec *s)
{
	return has_router(s) && s->temperature_decay > 0;
}

static bool falls(const struct moe_spec *s)
{
	return s->capacity_decay > 0;
}

static bool is_noisy(const struct moe_spec *s)
{
	return strcmp(s->noise, "none");
}

static bool is_controlled(const struct moe_spec *s)
{
	return s->balance_target > 0 || s->drop_target > 0;
}

/* Are there choices of one token that could come before or behind those of another, or scores for that? */
static bool is_ordered(const struct moe_spec *s)
{
	bool ordered = strcmp(s->order, "gate") ? moe_choices(s) * s->granularity > 1 : has_router(s);

	return !moe_holds_all(s) && !moe_takes(s) && ordered;
}

/* Is there an expert that a token has not named? */
static bool leaves_some(const struct moe_spec *s)
{
	return !selects(s, "topk") || s->top_k < s->n_experts;
}

/* Of a capacity that holds all choices nothing ever goes on. */
static bool overflows(const struct moe_spec *s)
{
	return !moe_holds_all(s) && !moe_takes(s) && leaves_some(s);
}

/* Places are given by group, and means taken, be it only to log them. */
static bool has_groups(const struct moe_spec *s)
{
	return moe_takes(s) || !moe_holds_all(s) || !strcmp(s->balance_scope, "group");
}

/* Of experts of one width loads and parameters at work are the same. */
static bool balances_unequal(const struct moe_spec *s)
{
	return s->balance != 0 && *s->expert_sizes;
}

static bool has_hidden(const struct moe_spec *s)
{
	return strcmp(s->expert, "linear");
}

#define SCARCE "a capacity that can run out (capacity_factor above 0, times top_k below n_experts)"

static const struct reader {
	const char *key;
	bool (*reads)(const struct moe_spec *s);
	const char *who;
} readers[] = {
	{"model.moe.top_p", by_sum, "select topp (router topp)"},
	{"model.moe.max_k", by_threshold, "select threshold (router threshold)"},
	{"model.moe.threshold_rate", by_threshold, "select threshold (router threshold)"},
	{"model.moe.cutoff_rate", moe_takes, "experts that choose (routers expert_choice, expert_choice_batch)"},
	{"model.moe.noise_scale", is_noisy, "noise other than none (routers noisy, gumbel)"},
	{"model.moe.frozen", has_router, "routers with weights (all but hash and fixed)"},
	{"model.moe.score", has_router, "routers with weights (all but hash and fixed)"},
	{"model.moe.temperature", has_router, "routers with weights (all but hash and fixed)"},
	{"model.moe.temperature_decay", has_router, "routers with weights (all but hash and fixed)"},
	{"model.moe.temperature_least", anneals, "temperature_decay above 0 (any router with weights)"},
	{"model.moe.capacity_least", falls, "capacity_decay above 0 (router switch)"},
	{"model.moe.bias_rate", leaves_some, "more than top_k experts, between which it decides"},
	{"model.moe.order", is_ordered, SCARCE " with several choices of a token (router gshard), or with scores for order "
		"gate"},
	{"model.moe.overflow", overflows, SCARCE " and more than top_k experts (router switch)"},
	{"model.moe.group_tokens", has_groups, SCARCE " or balance_scope group (router switch)"},
	{"model.moe.control_rate", is_controlled, "balance_target or drop_target above 0 (router switch)"},
	{"model.moe.balance_by", balances_unequal, "balance above 0 with expert_sizes (router hmoe)"},
	{"model.moe.balance_scope", moe_has_losses, "losses of the router (router switch)"},
	{"model.moe.aux_reduce", moe_has_losses, "losses of the router (router switch)"},
	{"model.moe.activation", has_hidden, "expert ffn or gated"},
	{"model.moe.init_fan", has_hidden, "expert ffn or gated"},
};

/* What a key is where nobody sets it. */
static const char *unset(const struct field *f, const struct moe_spec *s)
{
	for (int i = 0; i < n_router_presets; i++)
		if (!strcmp(router_presets[i].key, f->key) && !strcmp(router_presets[i].when_value, s->router))
			return router_presets[i].value;
	return f->initial;
}

/* part: the struct that has the key; s: the mixture, whose router has a say in what is unset, NULL for other keys. */
static bool is_unset(const struct field *f, const void *part, const struct moe_spec *s, struct arena *a)
{
	const void *at = (const char *)part + f->offset;
	struct config_value v;

	value_set_own(a, f, "default", unset(f, s), &v);
	switch (f->type) {
	case FIELD_INT: return *(const long *)at == v.integer;
	case FIELD_REAL: return *(const double *)at == v.real;
	case FIELD_BOOL: return *(const bool *)at == v.boolean;
	default: return !strcmp(*(const char *const *)at, v.word);
	}
}

/* The key in an entry of a pattern; NULL: it has none. */
static const struct node *own_key(const struct node *entry, const char *key)
{
	return entry ? node_get(entry, strrchr(key, '.') + 1) : NULL;
}

/* Where the key was set: in an entry of a pattern, or for the model. */
static const char *origin(const struct config *c, const struct node *entry, const char *key, struct arena *a)
{
	const struct node *own = own_key(entry, key);

	return own && own->line ? arena_printf(a, "%s:%d", own->file, own->line) : config_find(c, key)->origin;
}

/* What is set for the model is set for every layer of a pattern that has no value of its own. */
static const char *elsewhere(const struct config *c, const struct node *entry, const char *key)
{
	return config_find(c, "model.pattern") && !own_key(entry, key)
		? ", or set it in the entries of model.pattern that are such" : "";
}

/* More than there are would be cut to those. */
static int check_most(const struct config *c, const struct moe_spec *s, const struct node *entry, struct arena *a)
{
	static const char key[] = "model.moe.max_k";

	if (!by_threshold(s) || s->max_k <= s->n_experts || is_unset(moe_field(key), s, s, a))
		return 0;
	return error("%s: %s %ld (%s) is more than model.moe.n_experts %ld: set it to %ld at most", c->file, key, s->max_k,
		origin(c, entry, key, a), s->n_experts, s->n_experts);
}

int check_effect(const struct config *c, const struct moe_spec *s, const struct node *entry, struct arena *a)
{
	if (c->stored)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(readers); i++) {
		const struct field *f = moe_field(readers[i].key);
		if (!readers[i].reads(s) && !is_unset(f, s, s, a))
			return error("%s: %s has no effect here (%s): it is for %s; leave it at %s%s", c->file, f->key,
				origin(c, entry, f->key, a), readers[i].who, unset(f, s), elsewhere(c, entry, f->key));
	}
	return check_most(c, s, entry, a);
}

static bool is_segmented(const void *attn_spec)
{
	return ((const struct attn_spec *)attn_spec)->segment > 0;
}

static bool chooses_segments(const void *attn_spec)
{
	return is_segmented(attn_spec) && !strcmp(((const struct attn_spec *)attn_spec)->earlier, "chosen");
}

static bool has_places(const void *attn_spec)
{
	return ((const struct attn_spec *)attn_spec)->rope;
}

static bool copies(const void *skeleton)
{
	return !strcmp(((const struct skeleton *)skeleton)->head, "copy");
}

static const struct part_reader {
	const struct field_table *table;
	const char *key;
	bool (*reads)(const void *part);
	const char *who;
} part_readers[] = {
	{&attn_fields, "model.attn.earlier", is_segmented, "model.attn.segment above 0"},
	{&attn_fields, "model.attn.chosen", chooses_segments, "model.attn.segment above 0, earlier chosen"},
	{&attn_fields, "model.attn.rope_base", has_places, "model.attn.rope"},
	{&skeleton_fields, "model.copy_width", copies, "model.head copy"},
};

static const struct field *field_of(const struct field_table *table, const char *key)
{
	for (int i = 0; i < table->n; i++)
		if (!strcmp(table->rows[i].key, key))
			return &table->rows[i];
	BUG("no key %s", key);
}

int check_part_effect(const struct config *c, const struct field_table *table, const void *part,
	const struct node *entry, struct arena *a)
{
	for (size_t i = 0; i < ARRAY_SIZE(part_readers) && !c->stored; i++) {
		const struct part_reader *r = &part_readers[i];
		if (r->table != table || r->reads(part))
			continue;
		const struct field *f = field_of(table, r->key);
		if (!is_unset(f, part, NULL, a))
			return error("%s: %s has no effect here (%s): it is for %s; leave it at %s",
				c->file, f->key, origin(c, entry, f->key, a), r->who, f->initial);
	}
	return 0;
}

int check_no_conv(const struct config *c, const struct ssm_spec *ssm, const struct node *entry, struct arena *a)
{
	static const char key[] = "model.ssm.d_conv";
	const struct field *f = field_of(&ssm_fields, key);

	if (c->stored || is_unset(f, ssm, NULL, a))
		return 0;
	return error("%s: %s has no effect here (%s): place conv of the layer local leaves out the convolution; leave it "
		"at %s, or set it in the entries that have one", c->file, key, origin(c, entry, key, a), f->initial);
}

int check_unread(const struct config *c, const struct field_table *table, const void *part, const struct moe_spec *s,
	struct arena *a)
{
	for (int i = 0; i < table->n && !c->stored; i++) {
		const struct field *f = &table->rows[i];
		if (!is_unset(f, part, s, a))
			return error("%s: %s has no effect here (%s): no layer of model.pattern reads it; leave it out",
				c->file, f->key, origin(c, NULL, f->key, a));
	}
	return 0;
}
