#include "train/grow.h"

#include <math.h>
#include <string.h>

#include "arch/fields.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/str.h"
#include "nn/mamba.h"
#include "train/checkpoint.h"

struct growth {
	struct setup *s;
	const struct safetensors *file;
	const char *path;
	const struct moe_spec *from, *to;	/* NULL: no mixture */
	double noise;
};

/* The part of a model's spec that a table describes; NULL: it has none. */
static const void *part_of(const struct model *m, const struct field_table *table)
{
	for (const struct arch_part *p = m->arch->parts; p->table; p++)
		if (p->table == table)
			return (const char *)m->spec + p->offset;
	return NULL;
}

const struct moe_spec *grow_mixture(const struct model *m)
{
	return strcmp(m->arch->name, "stack") ? part_of(m, &moe_fields) : NULL;
}

static void put(const struct growth *g, const struct param *p, long i, double v)
{
	void *blob = g->s->memory.blob[BLOB_WEIGHTS];

	if (g->s->device->bytes[MASTER] == sizeof(double))
		((double *)blob)[p->offset + i] = v;
	else
		((float *)blob)[p->offset + i] = (float)v;
}

static double take(const struct growth *g, const struct param *p, long i)
{
	const void *blob = g->s->memory.blob[BLOB_WEIGHTS];

	return g->s->device->bytes[MASTER] == sizeof(double) ? ((const double *)blob)[p->offset + i]
		: (double)((const float *)blob)[p->offset + i];
}

/* ---- how much experts count ----------------------------------------------------------------- */

/* Of a token's k choices of n experts together, where the router is even. */
static double even_weight(const struct moe_spec *m, double n, double k)
{
	if (!strcmp(m->weight, "renorm"))
		return m->weight_scale;
	if (!strcmp(m->weight, "one") || !strcmp(m->weight, "straight_through"))
		return m->weight_scale * k;
	CHECK(!strcmp(m->weight, "raw"));
	return m->weight_scale * k * (strcmp(m->score, "sigmoid") ? 1 / n : 0.5);
}

static long choices(const struct moe_spec *m)
{
	return m->top_k * m->granularity;
}

/* What k of n such experts give together, where the router is even. Of projections that share a router the output
   projection alone has its weights (nn/mamba.h); the others add up. */
static double even_output(const struct growth *g, const struct param *p, const struct moe_spec *m, long n)
{
	const struct inner_spec *inner = part_of(&g->s->model, &inner_fields);

	if (inner && !strcmp(inner->router, "shared") && !strstr(p->name, ".out_moe."))
		return (double)choices(m);
	return even_weight(m, (double)n, (double)choices(m));
}

static bool is_last(const struct param *p)
{
	return str_ends(p->name, ".w2") || str_ends(p->name, ".w");
}

/* ---- rules ---------------------------------------------------------------------------------- */

static void copy(const struct growth *g, const struct param *p, const struct safetensor *t)
{
	for (long i = 0; i < param_elements(p); i++)
		put(g, p, i, safetensor_at(t, i));
}

/* N(0, 1) for element i of a parameter, whatever else grows. */
static double gauss(const struct growth *g, const struct param *p, long i)
{
	struct rng_key key = {(uint64_t)g->s->spec.seed, hash_u64(p->name) ^ 0x67726f77u, 0};
	struct rng_block b = rng_block(key, (uint64_t)i);

	return sqrt(-2 * log(rng_uniform(b, 0))) * cos(2 * M_PI * rng_uniform(b, 1));
}

static double rms(const struct safetensor *t, long at, long n)
{
	double sum = 0;

	for (long i = 0; i < n; i++)
		sum += pow(safetensor_at(t, at + i), 2);
	return sqrt(sum / (double)n);
}

/* Each of the source's first dimension m times. */
static void multiply(const struct growth *g, const struct param *p, const struct safetensor *t)
{
	long n = p->shape.dims[0], m = n / t->dims[0], each = param_elements(p) / n;
	double scale = 1, noise = str_ends(p->name, ".router.weight") ? g->noise : 0;

	if (is_last(p))
		scale = even_output(g, p, g->from, t->dims[0]) / even_output(g, p, g->to, n);
	for (long j = 0; j < n; j++) {
		long at = j / m * each;
		double size = j % m ? noise * rms(t, at, each) : 0;
		for (long i = 0; i < each; i++)
			put(g, p, j * each + i, scale * safetensor_at(t, at + i) +
				(size > 0 ? size * gauss(g, p, j * each + i) : 0));
	}
}

/* w1 [n, F / G, D] from in [F, D], or w2 [n, D, F / G] from out [D, F]. */
static void shard(const struct growth *g, const struct param *p, const struct safetensor *t, long G)
{
	long n = p->shape.dims[0], rows = p->shape.dims[1], columns = p->shape.dims[2];
	double scale = is_last(p) ? (double)G / even_weight(g->to, (double)n, (double)choices(g->to)) : 1;

	for (long j = 0; j < n; j++)
		for (long r = 0; r < rows; r++)
			for (long c = 0; c < columns; c++) {
				long row = is_last(p) ? r : j % G * rows + r, column = is_last(p) ? j % G * columns + c : c;
				put(g, p, (j * rows + r) * columns + c,
					scale * safetensor_at(t, row * t->dims[1] + column));
			}
}

/* The rows of a new router: one for the G shards of a copy. */
static void share_rows(const struct growth *g, const struct param *p, long G)
{
	long each = p->shape.dims[1];

	for (long j = 0; j < p->shape.dims[0]; j++)
		for (long i = 0; i < each; i++)
			put(g, p, j * each + i, take(g, p, (j - j % G) * each + i));
}

/* ---- which rule ----------------------------------------------------------------------------- */

static bool same_tail(const struct param *p, const struct safetensor *t)
{
	return t->n_dims == p->shape.n_dims &&
		!memcmp(t->dims + 1, p->shape.dims + 1, sizeof(long) * (size_t)(t->n_dims - 1));
}

static int grow_experts(const struct growth *g, const struct param *p, const struct safetensor *t)
{
	long m = p->shape.dims[0] / t->dims[0];

	if (!g->from || !g->to || strcmp(g->from->select, "topk") || strcmp(g->to->select, "topk"))
		return error("%s: experts grow in number where tokens choose them: model.moe.select topk in both "
			"models, and no model.pattern", g->path);
	if (p->shape.dims[0] % t->dims[0])
		return error("%s: no rule makes %ld experts of %ld: set model.moe.n_experts to a multiple of the smaller "
			"model's", g->path, p->shape.dims[0], t->dims[0]);
	if (choices(g->to) != m * choices(g->from) && (choices(g->from) > 1 || choices(g->to) > 1))
		return error("%s: %ld times as many experts need %ld times model.moe.top_k %ld, or 1 in both: of "
			"the copies of an expert a token chooses all or one", g->path, m, m, choices(g->from));
	multiply(g, p, t);
	return 0;
}

/* "layers.1.ffn.in.weight" where p is "layers.1.moe.w1"; NULL: there is none. */
static const struct safetensor *find_dense(const struct growth *g, const char *scope, const char *layer)
{
	return safetensors_find(g->file, arena_printf(&g->s->arena, "%s%s.weight", scope, layer));
}

/* Of a mixture in a place where the smaller model has no dense layer to make it of. */
static int refuse_made(const struct growth *g, const struct param *p, bool is_moe)
{
	if (is_moe && !g->to)
		return error("%s: nothing in it makes %s of the larger model: dense layers become experts of models without "
			"model.pattern", g->path, p->name);
	if (is_moe && strstr(p->name, ".moe.norm."))
		return error("%s: nothing in it makes %s of the larger model: set model.moe.out_norm to false, as in the "
			"smaller model", g->path, p->name);
	return error("%s: nothing in it makes %s of the larger model", g->path, p->name);
}

static int grow_dense(const struct growth *g, const struct param *p)
{
	const char *moe = strstr(p->name, ".moe.");
	const char *scope = arena_printf(&g->s->arena, "%.*s.ffn.", moe ? (int)(moe - p->name) : 0, p->name);
	const struct safetensor *in = moe ? find_dense(g, scope, "in") : NULL,
		*out = moe ? find_dense(g, scope, "out") : NULL;
	const struct moe_spec *to = g->to;

	if (!in || !out || !to)
		return refuse_made(g, p, moe);
	if (safetensors_find(g->file, arena_printf(&g->s->arena, "%sin.bias", scope)) ||
			in->dims[0] != out->dims[1] || strcmp(to->expert, "ffn") || strcmp(to->select, "topk") ||
			to->n_shared)
		return error("%s: %s: a dense layer becomes experts where it has no biases, no gate, and model.moe has "
			"expert ffn, select topk and n_shared 0", g->path, p->name);
	long width = moe_width(to, in->dims[1]) / to->granularity, G = in->dims[0] / width;
	if (in->dims[0] % width || to->n_experts * to->granularity % G || choices(to) % G)
		return error("%s: %s: a dense layer %ld wide becomes experts whose width, %ld, divides it; their "
			"number, %ld, and choices, %ld, must be multiples of the quotient", g->path, p->name,
			in->dims[0], width, to->n_experts * to->granularity, choices(to));
	if (str_ends(p->name, ".w1") || str_ends(p->name, ".w2"))
		shard(g, p, str_ends(p->name, ".w1") ? in : out, G);
	else if (str_ends(p->name, ".router.weight"))
		share_rows(g, p, G);
	return 0;
}

static int grow_param(const struct growth *g, const struct param *p)
{
	const struct safetensor *t = safetensors_find(g->file, p->name);
	struct safetensor own = checkpoint_tensor(g->s, p, p->name, g->s->memory.blob[BLOB_WEIGHTS]);

	if (!t)
		return p->rule.control.rule ? 0 : grow_dense(g, p);
	if (same_tail(p, t) && t->dims[0] == own.dims[0]) {
		copy(g, p, t);
		return 0;
	}
	if (same_tail(p, t) && (!strcmp(p->rule.group, "experts") || !strcmp(p->rule.group, "router")))
		return grow_experts(g, p, t);
	return error("%s: %s has another shape than in the larger model, and no rule makes it", g->path, p->name);
}

/* Their matrices are cut where the widths say, even where the shapes are equal. */
static int check_widths(const struct growth *g)
{
	const struct moe_spec *from = g->from, *to = g->to;

	if (!to || (!*to->expert_sizes && (!from || !*from->expert_sizes)))
		return 0;
	if (from && !strcmp(from->expert_sizes, to->expert_sizes) && from->n_experts == to->n_experts &&
			from->d_expert == to->d_expert && from->granularity == to->granularity)
		return 0;
	return error("%s: experts of unequal widths are only copied: leave model.moe.expert_sizes, n_experts, d_expert "
		"and granularity as they are in the smaller model, or expert_sizes empty in both", g->path);
}

/* ffn.in and ffn.out, where the larger model has a mixture in that place. */
static bool becomes_experts(const struct growth *g, const char *name)
{
	const char *layer = strstr(name, ".ffn.");

	return layer && (str_ends(name, ".ffn.in.weight") || str_ends(name, ".ffn.out.weight")) &&
		params_find(&g->s->params, arena_printf(&g->s->arena, "%.*s.moe.w1", (int)(layer - name), name)) >= 0;
}

static void warn_of_lost(const struct growth *g)
{
	const char *lost = NULL;
	int n = 0;

	for (int i = 0; i < g->file->n; i++) {
		const char *name = g->file->list[i].name;
		if (str_starts(name, "moment") || str_starts(name, "carried.") ||
				params_find(&g->s->params, name) >= 0 || becomes_experts(g, name))
			continue;
		lost = lost ? lost : name;
		n++;
	}
	if (lost)
		warning("%s: the larger model has no place for %s%s: it does not begin as the smaller one ended",
			g->path, lost, n > 1 ? " and others" : "");
}

/* No scale of experts makes up for a norm of what they give. */
static void warn_of_norm(const struct growth *g)
{
	for (int i = 0; i < g->s->params.n; i++) {
		const char *name = g->s->params.list[i].name;
		if (!strstr(name, ".moe.norm.") || safetensors_find(g->file, name))
			continue;
		warning("%s: model.moe.out_norm norms what experts give, and nothing normed it in the dense layers that they "
			"are made of: the larger model does not begin as the smaller one ended", g->path);
		return;
	}
}

int grow_weights(struct setup *s, const char *checkpoint, const struct moe_spec *from, double noise)
{
	struct safetensors f;
	struct growth g = {s, &f, checkpoint, from, grow_mixture(&s->model), noise};
	int ret = 0;

	if (check_widths(&g) || safetensors_open(&f, checkpoint))
		return -1;
	for (int i = 0; i < s->params.n && !ret; i++)
		ret = grow_param(&g, &s->params.list[i]);
	if (!ret) {
		warn_of_lost(&g);
		warn_of_norm(&g);
	}
	safetensors_close(&f);
	return ret;
}

int grow_write(const struct setup *s, const char *path, const char *grown_from)
{
	struct arena a = {0};
	struct safetensor *list = ARENA_ARRAY(&a, struct safetensor, s->params.n);
	struct safetensors_meta meta[] = {{"format", "moelab weights 1"}, {"grown_from", grown_from},
		{"arch", s->model.arch->name}};
	int ret;

	for (int i = 0; i < s->params.n; i++)
		list[i] = checkpoint_tensor(s, &s->params.list[i], s->params.list[i].name,
			s->memory.blob[BLOB_WEIGHTS]);
	ret = safetensors_write(path, list, s->params.n, meta, ARRAY_SIZE(meta));
	arena_release(&a);
	return ret;
}
