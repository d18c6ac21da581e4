/*
 * Any order of layers, without C: model.pattern is a list of residual layers, repeated n_blocks times.
 *
 *	pattern: [mamba, attn, {moe: {n_experts: 16}}, {parallel: [mamba, {ffn: {d_hidden: 512}}]}]
 *
 * An entry is a word, or a map of one word to keys that differ from the model's for this entry:
 *	mamba, attn, ffn, moe	model.ssm, model.attn, model.ffn, model.moe
 *	mamba2, mamba3, gdn	model.mamba2, model.mamba3, model.gdn
 *	inner			a Mamba layer with mixtures in place of projections; also model.inner
 *	xattn, local		a Mamba layer that attention helps (nn/lookup.h); also model.xattn, model.local
 *	hymba			attention and Mamba side by side in one layer (nn/mix.h)
 *	shared			Mamba behind an attention block that all such layers share (nn/shared.h);
 *				model.ssm alone may differ
 * `parallel` puts two layers behind one norm; {mix: [a, b]} or {mix: {of: [a, b], alpha: fixed}} norms and
 * weighs what they give (nn/mix.h, model.mix); {mod: [attn, ffn]}, or one of them, or {mod: {of: [attn], share:
 * 0.25}}, is for picked tokens alone (nn/mod.h, model.mod).
 */
#include <string.h>

#include "arch/arch.h"
#include "arch/check.h"
#include "arch/fields.h"
#include "arch/routers.h"
#include "base/error.h"
#include "nn/shared.h"
#include "spec/schema.h"

/* The specs that an entry can differ in; each entry has a copy. */
struct parts {
	struct ssm_spec ssm;
	struct mamba2_spec mamba2;
	struct mamba3_spec mamba3;
	struct gdn_spec gdn;
	struct attn_spec attn;
	struct ffn_spec ffn;
	struct moe_spec moe;
	struct inner_spec inner;
	struct mix_spec mix;
	struct mod_spec mod;
	struct xattn_spec xattn;
	struct local_spec local;
	/* layers that are made of several of these */
	struct mamba_inner of_inner;
	struct hymba of_hymba;
	struct lookup of_lookup;
	struct shared of_shared;
};

struct layer {
	layer_fn *fn;
	const void *spec;
};

struct entry {
	struct layer layer[2];	/* the second for `parallel` */
};

extern const struct arch arch_stack;

struct stack {
	struct skeleton base;
	struct parts parts;
	const struct node *pattern;
	struct entry *entries;
	int n_entries;
	bool reads[ARCH_MAX_PARTS];	/* has the architecture's part a layer here that reads it? */
};

static const struct field rows[] = {
	FIELD(struct stack, pattern, "model.pattern", TREE, NULL, 0, 0,
		.help = "list of residual layers: mamba, mamba2, mamba3, gdn, attn, ffn, moe, inner, xattn, local, "
			"hymba, shared, {WORD: {key: value}}, {parallel: [two of them]}, {mix: [two of them]}, "
			"{mod: [attn, ffn]}; repeated model.n_blocks times"),
};
static const struct field_table stack_fields = FIELD_TABLE(rows);

#define PART(member) offsetof(struct parts, member)

/* A word of the pattern: the layer, the tables whose keys it reads, and what these begin with where its map may
   hold them. */
static const struct word {
	const char *name;
	layer_fn *fn;
	size_t spec;
	struct arch_part tables[3];
	const char *prefix[3];
} words[] = {
	{"mamba", mamba, PART(ssm), {{&ssm_fields, PART(ssm)}}, {"model.ssm."}},
	{"mamba2", mamba2, PART(mamba2), {{&mamba2_fields, PART(mamba2)}}, {"model.mamba2."}},
	{"mamba3", mamba3, PART(mamba3), {{&mamba3_fields, PART(mamba3)}}, {"model.mamba3."}},
	{"gdn", gdn, PART(gdn), {{&gdn_fields, PART(gdn)}}, {"model.gdn."}},
	{"attn", attn, PART(attn), {{&attn_fields, PART(attn)}}, {"model.attn."}},
	{"ffn", ffn, PART(ffn), {{&ffn_fields, PART(ffn)}}, {"model.ffn."}},
	{"moe", moe, PART(moe), {{&moe_fields, PART(moe)}}, {"model.moe."}},
	{"inner", mamba_with_inner_moe, PART(of_inner),
		{{&inner_fields, PART(inner)}, {&moe_fields, PART(moe)}, {&ssm_fields, PART(ssm)}},
		{"model.inner.", "model.moe.", "model.ssm."}},
	{"xattn", xattn, PART(of_lookup),
		{{&xattn_fields, PART(xattn)}, {&attn_fields, PART(attn)}, {&ssm_fields, PART(ssm)}},
		{"model.xattn.", "model.attn.", "model.ssm."}},
	{"local", local, PART(of_lookup),
		{{&local_fields, PART(local)}, {&attn_fields, PART(attn)}, {&ssm_fields, PART(ssm)}},
		{"model.local.", "model.attn.", "model.ssm."}},
	{"hymba", hymba, PART(of_hymba), {{&attn_fields, PART(attn)}, {&ssm_fields, PART(ssm)}},
		{"model.attn.", "model.ssm."}},
	{"shared", shared_block, PART(of_shared),
		{{&ssm_fields, PART(ssm)}, {&attn_fields, PART(attn)}, {&ffn_fields, PART(ffn)}}, {"model.ssm."}},
};

/* Not a layer by itself: how two others are put together. */
static const struct word word_mix = {"mix", mix, PART(mix), {{&mix_fields, PART(mix)}}, {"model.mix."}};

/* Nor this: for which tokens layers are. */
static const struct word word_mod = {"mod", mod, PART(mod), {{&mod_fields, PART(mod)}}, {"model.mod."}};

static const struct word *word_find(const struct node *n, const char *text)
{
	const char *names[ARRAY_SIZE(words)];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		names[i] = words[i].name;
		if (!strcmp(text, words[i].name))
			return &words[i];
	}
	unknown_word(n, "layer", names, ARRAY_SIZE(words));
	return NULL;
}

static int unknown_entry_key(const struct word *w, const struct node *n, struct arena *a)
{
	const char **names, *nearest;
	int count = 0;

	for (int t = 0; t < 3 && w->prefix[t]; t++)
		count += w->tables[t].table->n;
	names = ARENA_ARRAY(a, const char *, count);
	count = 0;
	for (int t = 0; t < 3 && w->prefix[t]; t++)
		for (int i = 0; i < w->tables[t].table->n; i++)
			if (str_starts(w->tables[t].table->rows[i].key, w->prefix[t]))
				names[count++] = w->tables[t].table->rows[i].key + strlen(w->prefix[t]);
	nearest = str_nearest(n->key, names, count);
	if (nearest)
		return node_error(n, "layer \"%s\" has no key \"%s\" (did you mean \"%s\"?)", w->name, n->key, nearest);
	return node_error(n, "layer \"%s\" has no key \"%s\"%s%s%s", w->name, n->key, count ? " (moelab help spec lists "
		"those of " : "", count ? w->prefix[0] : "", count ? "*)" : "");
}

/* One key of an entry's map, checked like the same key of the model. */
static int set_key(const struct word *w, const struct node *n, struct parts *p, struct arena *a)
{
	for (int t = 0; t < 3 && w->prefix[t]; t++) {
		const struct field_table *table = w->tables[t].table;
		for (int i = 0; i < table->n; i++) {
			const struct field *f = &table->rows[i];
			struct config_value v;
			if (!str_starts(f->key, w->prefix[t]) ||
				strcmp(f->key + strlen(w->prefix[t]), n->key))
				continue;
			if (value_set(a, f, n, &v))
				return -1;
			value_store(&v, (char *)p + w->tables[t].offset + f->offset);
			return 0;
		}
	}
	return unknown_entry_key(w, n, a);
}

/* The keys that a router's name stands for, where the entry has one; before its other keys. */
static void set_router(const struct node *keys, struct parts *p, struct arena *a)
{
	const struct node *name = keys ? node_get(keys, "router") : NULL;

	for (int i = 0; name && node_is_scalar(name) && i < n_router_presets; i++) {
		const struct preset *r = &router_presets[i];
		const struct field *f = moe_field(r->key);
		struct config_value v;
		if (strcmp(name->text, r->when_value))
			continue;
		value_set_own(a, f, r->when_value, r->value, &v);
		value_store(&v, (char *)&p->moe + f->offset);
	}
}

/* What a name of its own says nothing of would be what the model's name stands for: a third router. */
static int check_router(const struct word *w, const struct node *keys, const struct stack *s, const struct config *c)
{
	const struct node *name = w->fn == moe && keys ? node_get(keys, "router") : NULL;
	const char *models = s->parts.moe.router;

	if (!name || !node_is_scalar(name) || c->stored || !strcmp(models, "switch") || !strcmp(models, name->text))
		return 0;
	return node_error(name, "router %s in a pattern with model.moe.router %s, whose values it would mix with its own: "
		"leave model.moe.router at switch, and name %s in the layers that have it", name->text, models, models);
}

static bool reads(const struct word *w, const struct field_table *table)
{
	return w->tables[0].table == table || w->tables[1].table == table || w->tables[2].table == table;
}

static void set_reads(struct stack *s, const struct word *w)
{
	for (int i = 0; arch_stack.parts[i].table; i++)
		s->reads[i] |= reads(w, arch_stack.parts[i].table);
}

static struct parts *parts_new(const struct parts *from, struct arena *a)
{
	struct parts *p = ARENA_NEW(a, struct parts);

	*p = *from;
	p->of_inner = (struct mamba_inner){&p->ssm, &p->inner, &p->moe};
	p->of_hymba = (struct hymba){&p->ssm, &p->attn};
	p->of_lookup = (struct lookup){&p->ssm, &p->attn, &p->xattn, &p->local};
	p->of_shared = (struct shared){&p->ssm, &p->attn, &p->ffn};
	return p;
}

/* What ranges cannot say of a word's keys. */
static int check_layer(const struct word *w, const struct node *n, const struct stack *s, const struct parts *p,
	const struct config *c, struct arena *a)
{
	long d = s->base.d_model;

	if (check_ssm(c, &s->base, &p->ssm) || check_moe(c, &p->moe))
		return -1;
	if (w->fn == mamba2)
		return check_mamba2(c, &s->base, &p->mamba2);
	if (w->fn == mamba3)
		return check_mamba3(c, &s->base, &p->mamba3);
	if (w->fn == gdn)
		return check_gdn(c, &p->gdn);
	if (w->fn == attn || w->fn == xattn)
		return check_heads(c, &s->base, &p->attn);
	if (w->fn == hymba)
		return check_heads_in(c, &p->attn, "the inner width", ssm_inner_width(&p->ssm, d));
	if (w->fn == local && !local_has_conv(&p->local) &&
			check_no_conv(c, &p->ssm, n->kind == NODE_MAP ? n->first : NULL, a))
		return -1;
	if (w->fn == local)
		return check_heads_in(c, &p->attn, "model.local.width", local_width(&p->local, d));
	if (w->fn == shared_block)
		return check_heads_in(c, &p->attn, "twice model.d_model", 2 * d);
	if (w->fn == mamba_with_inner_moe && !p->inner.conv && !p->inner.gate && !p->inner.out)
		return node_error(n, "inner names no projection: set conv, gate or out to true");
	return w->fn == mamba_with_inner_moe ? check_inner(c, &p->inner, &p->moe) : 0;
}

static int read_layer(struct stack *s, const struct node *n, struct layer *out, const struct config *c,
	struct arena *a);

static bool is_one_of(layer_fn *fn, layer_fn *const *list)
{
	while (*list && *list != fn)
		list++;
	return *list;
}

/* Would both have parameters of the same names? A mix has those of its two layers, and its own. */
static bool same_names(const struct layer *a, const struct layer *b)
{
	static layer_fn *const mixers[] = {mamba, mamba2, mamba3, gdn, mamba_with_inner_moe, xattn, local,
		shared_block, NULL};
	static layer_fn *const attentions[] = {attn, xattn, local, NULL};
	const struct mix_paths *m;

	if (a->fn == b->fn)
		return true;
	if (b->fn == mix)
		return same_names(b, a);
	if (a->fn == mix) {
		m = a->spec;
		return same_names(&(struct layer){m->fn[0], m->spec[0]}, b) ||
			same_names(&(struct layer){m->fn[1], m->spec[1]}, b);
	}
	return (is_one_of(a->fn, mixers) && is_one_of(b->fn, mixers)) ||
		(is_one_of(a->fn, attentions) && is_one_of(b->fn, attentions));
}

/* Both layers of a `mix` or `parallel`. */
static int read_pair(struct stack *s, const struct node *list, const char *word, struct layer out[2],
	const struct config *c, struct arena *a)
{
	if (read_layer(s, list->first, &out[0], c, a) || read_layer(s, list->first->next, &out[1], c, a))
		return -1;
	return !same_names(&out[0], &out[1]) ? 0
		: node_error(list, "%s takes two different layers: these would have the same parameters", word);
}

/* n: the list of layers, or the map that has it as `of`, beside keys that go to p. NULL after a message. */
static const struct node *read_list(struct stack *s, const struct word *w, const struct node *n, int least,
	struct parts *p, struct arena *a)
{
	const struct node *list = n->kind == NODE_LIST ? n : NULL;

	set_reads(s, w);
	for (const struct node *k = n->kind == NODE_MAP ? n->first : NULL; k; k = k->next)
		if (!strcmp(k->key, "of"))
			list = k;
		else if (set_key(w, k, p, a))
			return NULL;
	if (list && list->kind == NODE_LIST && list->n >= least && list->n <= 2)
		return list;
	node_error(list ? list : n, "%s takes a list of %stwo layers, or a map that has it as \"of\"", w->name,
		least < 2 ? "one or " : "");
	return NULL;
}

static int read_mix(struct stack *s, const struct node *n, struct layer *out, const struct config *c,
	struct arena *a)
{
	struct parts *p = parts_new(&s->parts, a);
	const struct node *list = read_list(s, &word_mix, n, 2, p, a);
	struct mix_paths *paths = ARENA_NEW(a, struct mix_paths);
	struct layer layer[2];

	if (!list)
		return -1;
	if (read_pair(s, list, word_mix.name, layer, c, a))
		return -1;
	if (layer[0].fn == mix || layer[1].fn == mix)
		return node_error(list, "mix in mix: both would have the same parameters");
	*paths = (struct mix_paths){&p->mix, {layer[0].fn, layer[1].fn}, {layer[0].spec, layer[1].spec}};
	*out = (struct layer){mix, paths};
	return 0;
}

static int read_mod(struct stack *s, const struct node *n, struct layer *out, const struct config *c,
	struct arena *a)
{
	static layer_fn *const able[] = {attn, ffn, NULL};
	struct parts *p = parts_new(&s->parts, a);
	const struct node *list = read_list(s, &word_mod, n, 1, p, a);
	struct mod_layers *layers = ARENA_NEW(a, struct mod_layers);
	int i = 0;

	if (!list)
		return -1;
	layers->mod = &p->mod;
	for (const struct node *k = list->first; k; k = k->next, i++) {
		struct layer l;
		if (read_layer(s, k, &l, c, a))
			return -1;
		if (!is_one_of(l.fn, able) || l.fn == layers->fn[0])
			return node_error(k, "mod takes attn, ffn or both");
		layers->fn[i] = l.fn;
		layers->spec[i] = l.spec;
	}
	*out = (struct layer){mod, layers};
	return 0;
}

static int read_layer(struct stack *s, const struct node *n, struct layer *out, const struct config *c,
	struct arena *a)
{
	struct parts *p = parts_new(&s->parts, a);
	const struct node *keys = n->kind == NODE_MAP ? n->first : NULL;	/* of the word that is their key */
	const struct word *w;

	if (n->kind == NODE_MAP && n->n != 1)
		return node_error(n, "a layer is one word or a map of one word to its keys");
	if (!keys && n->kind != NODE_TEXT)
		return node_error(n, "expected the name of a layer, not %s", node_kind_name(n));
	if (keys && !strcmp(keys->key, word_mix.name))
		return read_mix(s, keys, out, c, a);
	if (keys && !strcmp(keys->key, word_mod.name))
		return read_mod(s, keys, out, c, a);
	w = word_find(n, keys ? keys->key : n->text);
	if (!w)
		return -1;
	if (keys && keys->kind != NODE_MAP)
		return node_error(keys, "expected a map of keys for \"%s\"", w->name);
	set_reads(s, w);
	if (check_router(w, keys, s, c))
		return -1;
	set_router(keys, p, a);
	for (const struct node *k = keys ? keys->first : NULL; k; k = k->next)
		if (set_key(w, k, p, a))
			return -1;
	*out = (struct layer){w->fn, (char *)p + w->spec};
	if (check_layer(w, n, s, p, c, a))
		return -1;
	for (const struct arch_part *t = w->tables; t < w->tables + ARRAY_SIZE(w->tables) && t->table; t++)
		if (check_part_effect(c, t->table, (char *)p + t->offset, keys, a))
			return -1;
	return reads(w, &moe_fields) ? check_effect(c, &p->moe, keys, a) : 0;
}

static int read_entry(struct stack *s, const struct node *n, struct entry *e, const struct config *c,
	struct arena *a)
{
	const struct node *list = n->kind == NODE_MAP && n->n == 1 ? n->first : NULL;

	if (!list || strcmp(list->key, "parallel"))
		return read_layer(s, n, &e->layer[0], c, a);
	if (list->kind != NODE_LIST || list->n != 2)
		return node_error(list, "parallel takes a list of two layers");
	return read_pair(s, list, list->key, e->layer, c, a);
}

static int check_parts(const struct stack *s, const struct config *c, struct arena *a)
{
	for (int i = 0; arch_stack.parts[i].table; i++) {
		const struct arch_part *p = &arch_stack.parts[i];
		bool own = p->table == &skeleton_fields || p->table == &stack_fields;
		if (!own && !s->reads[i] && check_unread(c, p->table, (const char *)s + p->offset, &s->parts.moe, a))
			return -1;
	}
	return 0;
}

static int check(void *spec, const struct config *c, struct arena *a)
{
	struct stack *s = spec;

	if (s->pattern->kind != NODE_LIST || s->pattern->n == 0)
		return node_error(s->pattern, "model.pattern must be a list of layers");
	s->entries = ARENA_ARRAY(a, struct entry, s->pattern->n);
	for (const struct node *n = s->pattern->first; n; n = n->next)
		if (read_entry(s, n, &s->entries[s->n_entries++], c, a))
			return -1;
	return check_parts(s, c, a);
}

static void record(struct net *net, const void *spec)
{
	const struct stack *s = spec;

	for (long i = 0; i < s->base.n_blocks; i++)
		for (int k = 0; k < s->n_entries; k++) {
			const struct layer *l = s->entries[k].layer;
			residual2(net, l[0].fn, l[0].spec, l[1].fn, l[1].spec);
		}
}

const struct arch arch_stack = {
	.name = "stack",
	.help = "any pattern of layers, written in the spec",
	.semantics = 1,
	.spec_bytes = sizeof(struct stack),
	.parts = {{&skeleton_fields, offsetof(struct stack, base)},
		{&ssm_fields, offsetof(struct stack, parts.ssm)},
		{&mamba2_fields, offsetof(struct stack, parts.mamba2)},
		{&mamba3_fields, offsetof(struct stack, parts.mamba3)},
		{&gdn_fields, offsetof(struct stack, parts.gdn)},
		{&attn_fields, offsetof(struct stack, parts.attn)},
		{&ffn_fields, offsetof(struct stack, parts.ffn)},
		{&moe_fields, offsetof(struct stack, parts.moe)},
		{&inner_fields, offsetof(struct stack, parts.inner)},
		{&mix_fields, offsetof(struct stack, parts.mix)},
		{&mod_fields, offsetof(struct stack, parts.mod)},
		{&xattn_fields, offsetof(struct stack, parts.xattn)},
		{&local_fields, offsetof(struct stack, parts.local)},
		{&stack_fields, 0}},
	.record = record,
	.check = check,
};
