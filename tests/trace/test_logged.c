/*
 * Every number that a run logs, computed once more: each column of schema.sql that a worker
 * measures, by its definition there, from traces: tokens, logits, what routers read, gradients, weights
 * and moments on both sides of an update. On float64, where only the digits of a record part the two,
 * and on the CPU's float32.
 */
#include "logged_run.h"

#include <jansson.h>

/* ---- tokens by definition ------------------------------------------------------------------- */

static int id_at(const struct safetensors *f, const char *name, long i)
{
	return (int)safetensor_at(find(f, name), i);
}

/* -log p(target) of token i. */
static double nll(const struct safetensors *f, long i)
{
	const struct safetensor *logits = find(f, "logits");
	double sum = 0;

	for (long v = 0; v < VOCAB; v++)
		sum += exp(safetensor_at(logits, i * VOCAB + v));
	return log(sum) - safetensor_at(logits, i * VOCAB + id_at(f, "targets", i));
}

static bool is_right(const struct safetensors *f, long i)
{
	const struct safetensor *logits = find(f, "logits");
	int target = id_at(f, "targets", i);

	for (long v = 0; v < VOCAB; v++)
		if (v != target && safetensor_at(logits, i * VOCAB + v) >=
			safetensor_at(logits, i * VOCAB + target))
			return false;
	return true;
}

/* Did the pair (token, target) come earlier in its window? */
static bool is_repeated(const struct safetensors *f, long i)
{
	for (long k = i / CONTEXT * CONTEXT; k < i; k++)
		if (id_at(f, "tokens", k) == id_at(f, "tokens", i) &&
			id_at(f, "targets", k) == id_at(f, "targets", i))
			return true;
	return false;
}

/* Mean over the tokens that `takes` takes (NULL: all); *n: how many. */
static double mean_nll(const struct safetensors *f, long tokens,
	bool (*takes)(const struct safetensors *, long), long *n)
{
	double sum = 0;

	*n = 0;
	for (long i = 0; i < tokens; i++)
		if (!takes || takes(f, i)) {
			sum += nll(f, i);
			++*n;
		}
	return *n ? sum / (double)*n : NAN;
}

/* ---- routers by definition ------------------------------------------------------------------ */

struct routing {
	double count[EXPERTS], entropy, dropped;	/* sums over tokens */
	double balance, z;				/* means over groups */
};

/* Probabilities of token i; its log sum exp is returned. */
static double probabilities(const struct safetensors *f, int router, long i, double p[EXPERTS])
{
	int layer = 2 * router + 1;
	const struct safetensor *x = find(f, arena_printf(&arena, "output.layers.%d.norm", layer));
	const struct safetensor *w = find(f, arena_printf(&arena, "param.layers.%d.moe.router.weight",
		layer));
	double sum = 0;

	for (long e = 0; e < EXPERTS; e++) {
		p[e] = 0;
		for (long d = 0; d < WIDTH; d++)
			p[e] += safetensor_at(w, e * WIDTH + d) * safetensor_at(x, i * WIDTH + d);
		sum += exp(p[e]);
	}
	for (long e = 0; e < EXPERTS; e++)
		p[e] = exp(p[e]) / sum;
	return log(sum);
}

/* Tokens first to end - 1 are a group; adds n_groups-th of its means. */
static void add_group(struct routing *r, const struct safetensors *f, int router, long first,
	long end, double n_groups, long capacity)
{
	double p[EXPERTS], sum_p[EXPERTS] = {0}, count[EXPERTS] = {0}, n = (double)(end - first), lse;

	for (long i = first; i < end; i++) {
		int best = 0;
		lse = probabilities(f, router, i, p);
		r->z += lse * lse / n / n_groups;
		for (int e = 0; e < EXPERTS; e++) {
			best = p[e] > p[best] ? e : best;
			sum_p[e] += p[e];
			r->entropy -= p[e] * log(p[e]);
		}
		r->count[best]++;
		r->dropped += ++count[best] > (double)capacity;
	}
	for (int e = 0; e < EXPERTS; e++)
		r->balance += EXPERTS * count[e] / n * sum_p[e] / n / n_groups;
}

static struct routing route(const struct safetensors *f, int router, long tokens, long capacity)
{
	struct routing r = {0};

	for (long at = 0; at < tokens; at += GROUP)
		add_group(&r, f, router, at, at + GROUP < tokens ? at + GROUP : tokens,
			(double)((tokens + GROUP - 1) / GROUP), capacity);
	return r;
}

/* ---- parameters by definition --------------------------------------------------------------- */

static const char *group_of(const char *name)
{
	static const char *const groups[][2] = {{"embedding.", "embedding"}, {"lm_head.", "head"},
		{".norm.", "norm"}, {".mixer.", "mixer"}, {".router.", "router"}, {".moe.w", "experts"}};

	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		if (strstr(name, groups[i][0]))
			return groups[i][1];
	fail_msg("parameter %s is of no group", name);
	return NULL;
}

struct sums {
	double gradient, change, weight;	/* squares; weight: after the update */
	double along, direction;		/* change times AdamW's direction, and its square */
	double moved, unclipped;		/* what came into the moment times gradient; if unclipped */
};

static double at_or_0(const struct safetensor *t, long i)
{
	return t ? safetensor_at(t, i) : 0;
}

static void add_param(struct sums *s, const char *name, long k)
{
	const struct safetensors *f = &steps[k];
	const struct safetensor *w = find(f, arena_printf(&arena, "param.%s", name));
	const struct safetensor *g = find(f, arena_printf(&arena, "grad.%s", name));
	const struct safetensor *now = find(f, arena_printf(&arena, "new.%s", name));
	const struct safetensor *m0 = safetensors_find(f, arena_printf(&arena, "moment1.%s", name));
	const struct safetensor *m = find(&steps[k + 1], arena_printf(&arena, "moment1.%s", name));
	const struct safetensor *v = find(&steps[k + 1], arena_printf(&arena, "moment2.%s", name));
	double c1 = 1 - pow(beta1, (double)k + 1), c2 = 1 - pow(0.999, (double)k + 1);

	for (long i = 0; i < safetensor_size(w); i++) {
		double gradient = safetensor_at(g, i), change = safetensor_at(now, i) - safetensor_at(w, i);
		double u = safetensor_at(m, i) / c1 / (sqrt(safetensor_at(v, i) / c2) + 1e-8) +
			decay * safetensor_at(w, i);
		s->gradient += gradient * gradient;
		s->change += change * change;
		s->weight += pow(safetensor_at(now, i), 2);
		s->along -= change * u;
		s->direction += u * u;
		s->moved += gradient * (safetensor_at(m, i) - beta1 * at_or_0(m0, i));
		s->unclipped += gradient * gradient * (1 - beta1);
	}
}

/* Over the parameters of a group; NULL: all. */
static struct sums sum_params(const char *group, long k)
{
	struct sums s = {0};

	for (int i = 0; i < steps[k].n; i++) {
		const char *name = steps[k].list[i].name + strlen("param.");
		if (str_starts(steps[k].list[i].name, "param.") &&
			(!group || !strcmp(group_of(name), group)))
			add_param(&s, name, k);
	}
	return s;
}

/* ---- the tables ----------------------------------------------------------------------------- */

/* Warm-up over round(0.34 * 6) = 2 updates, then a cosine to a tenth. */
static double lr_of_update(long n)
{
	return n <= 2 ? peak * (double)n / 2 : peak * (0.1 + 0.45 * (1 + cos(M_PI * (double)(n - 3) / 4)));
}

/* Model FLOPs of an expert for a token: two products and a ReLU forward, twice that backward. */
static double flops_of_update(double drop)
{
	const double expert = 3 * D_EXPERT * (2 * (WIDTH + WIDTH) + 1);

	return N * (attempt()->flops_per_token - drop * ROUTERS * expert);
}

static void check_routed(const struct step_record *s, const struct safetensors *f)
{
	double balance = 0, z = 0, drop = 0;

	for (int i = 0; i < ROUTERS; i++) {
		struct routing r = route(f, i, N, CAPACITY);
		balance += r.balance / ROUTERS;
		z += r.z / ROUTERS;
		drop += r.dropped / N / ROUTERS;
	}
	expect("balance", s->step, s->balance, balance);
	expect("z", s->step, s->z, z);
	expect("aux", s->step, s->aux, 0.01 * balance + 0.02 * z);
	expect("drop", s->step, s->drop, drop);
}

static void check_step(const struct record *r)
{
	const struct step_record *s = &r->step, *before = step_of(s->step - 1);
	const struct safetensors *f = &steps[s->step - 1];
	struct sums sums = sum_params(NULL, s->step - 1);
	long n;

	assert_int_equal(s->tokens, s->step * N);
	assert_true(s->seconds > (before ? before->seconds : 0));
	expect("tokens_per_s", s->step, s->tokens_per_s,
		N / (s->seconds - (before ? before->seconds : 0)));
	expect("flops", s->step, s->flops, (before ? before->flops : 0) + flops_of_update(s->drop));
	expect("ce", s->step, s->ce, mean_nll(f, N, NULL, &n));
	check_routed(s, f);
	expect("lr", s->step, s->lr, lr_of_update(s->step));
	expect("lr of the update", s->step, s->lr, sums.along / sums.direction);
	expect("grad_norm", s->step, s->grad_norm, sqrt(sums.gradient));
	assert_int_equal(s->clipped, sums.moved < (1 - 1e-4) * sums.unclipped);
}

/* Elements of all parameters of a group; NULL: of all. */
static long count_params(const char *group)
{
	long n = 0;

	for (int i = 0; i < steps[0].n; i++)
		if (str_starts(steps[0].list[i].name, "param.") &&
			(!group || !strcmp(group_of(steps[0].list[i].name), group)))
			n += safetensor_size(&steps[0].list[i]);
	return n;
}

static void test_run(void **state)
{
	const struct attempt_record *a = attempt();
	long ends = count_params("embedding") + count_params("head"), tokens = 0;

	(void)state;
	for (int v = 0; v < VOCAB; v++)
		tokens += train_count[v];
	assert_int_equal(ends, 2 * VOCAB * WIDTH);
	assert_int_equal(a->params_embedding, ends);
	assert_int_equal(a->params_total, count_params(NULL) - ends);
	assert_int_equal(a->params_active, count_params(NULL) - ends -
		count_params("experts") / EXPERTS * (EXPERTS - 1));
	assert_int_equal(a->data_tokens, tokens);
	assert_int_equal(a->vocab, VOCAB);
	expect_text(a->device, device);
	expect_text(a->arch, "moe_mamba");
	expect_text(a->tokenizer, "byte");
}

/* FLOPs of a token, forward and backward: a product 2 and 4 a weight; conv and SiLU 2 K + 4 and
   4 K + 8 a channel; the scan 7 and 14 a state, 12 and 22 a channel; a norm 7 and 15 an element,
   and 1 each sum in front of one or of the head; a router 6 and 5 a choice beside its product; an
   expert's ReLU 1 and 2 a hidden unit; the sum by gates 1 and 3 an element; a softmax 4. */
static void test_part(void **state)
{
	enum { I = 2 * WIDTH, S = 16, K = 4, LAYERS = 2, MIXED = 2 * I * WIDTH + I * (1 + 2 * S) + I +
		I * WIDTH, ROUTER = EXPERTS * WIDTH, EXPERT = 2 * D_EXPERT * WIDTH };
	static const struct {
		const char *part;
		int params, active, flops;
	} each[] = {
		{"embedding", VOCAB * WIDTH, WIDTH, WIDTH},
		{"norm", 2 * LAYERS * 2 * WIDTH, 2 * LAYERS * 2 * WIDTH, WIDTH * (4 * (7 + 15) + 4)},
		{"mixer", LAYERS * (MIXED + I * (K + 1) + I + I * S + I),
			LAYERS * (MIXED + I * (K + 1) + I + I * S + I),
			LAYERS * (6 * MIXED + I * (6 * K + 12) + 21 * I * S + 34 * I)},
		{"moe", LAYERS * (ROUTER + EXPERTS * EXPERT), LAYERS * (ROUTER + EXPERT),
			LAYERS * (6 * ROUTER + 11 * EXPERTS + 6 * EXPERT + 3 * D_EXPERT + 4 * WIDTH)},
		{"lm_head", VOCAB * WIDTH, VOCAB * WIDTH, 6 * VOCAB * WIDTH + 4 * VOCAB},
	};
	json_t *parts = json_loads(attempt()->parts, 0, NULL);
	double sum = 0;

	(void)state;
	assert_int_equal(json_object_size(parts), ARRAY_SIZE(each));
	for (size_t i = 0; i < ARRAY_SIZE(each); i++) {
		json_t *part = json_object_get(parts, each[i].part);
		assert_int_equal(json_integer_value(json_object_get(part, "params")), each[i].params);
		assert_int_equal(json_integer_value(json_object_get(part, "active")), each[i].active);
		expect(each[i].part, 0, json_number_value(json_object_get(part, "flops")), each[i].flops);
		sum += each[i].flops;
	}
	expect("flops_per_token", 0, attempt()->flops_per_token, sum);
	json_decref(parts);
}

static void test_step(void **state)
{
	int clipped = 0, near = 0;

	(void)state;
	assert_int_equal(each(RECORD_IS_STEP, check_step), STEPS);
	for (long k = 1; k <= STEPS; k++) {
		clipped += step_of(k)->clipped > 0;
		near += step_of(k)->clipped && step_of(k)->grad_norm < 1.5 * clip;
	}
	assert_true(near > 0 && clipped < STEPS);	/* the example has both, and a close case */
}

static void check_eval(const struct record *r)
{
	const struct eval_record *e = &r->eval;
	bool dropless = !strcmp(e->kind, "val_dropless");
	const struct step_record *s = step_of(e->step);
	const struct safetensors *f = &evals[dropless ? DROPLESS : e->step];
	double loss, bigram, right = 0, dropped = 0;
	long n, n_bigram;

	for (int i = 0; i < ROUTERS; i++)
		dropped += route(f, i, N_EVAL, dropless ? GROUP : CAPACITY).dropped;
	for (long i = 0; i < N_EVAL; i++)
		right += is_right(f, i);
	loss = mean_nll(f, N_EVAL, NULL, &n);
	bigram = mean_nll(f, N_EVAL, is_repeated, &n_bigram);
	assert_int_equal(e->tokens, e->step * N);
	expect("seconds", e->step, e->seconds, s ? s->seconds : 0);
	expect("flops", e->step, e->flops, s ? s->flops : 0);
	expect("loss", e->step, e->loss, loss);
	expect("bpb", e->step, e->bpb, loss / M_LN2 / bytes_per_token);
	expect("accuracy", e->step, e->accuracy, right / N_EVAL);
	expect("loss_bigram", e->step, e->loss_bigram, bigram);
	expect("share_bigram", e->step, e->share_bigram, (double)n_bigram / N_EVAL);
	expect("drop", e->step, e->drop, dropped / (N_EVAL * ROUTERS));
	expect("choices", e->step, e->choices, 1 - dropped / (N_EVAL * ROUTERS));
	expect("unserved", e->step, e->unserved, dropped / (N_EVAL * ROUTERS));
	assert_int_equal(e->n_tokens, N_EVAL);
	expect_text(e->windows, windows_hash);
	expect_text(e->capacity, dropless ? "none" : "1.6");
	assert_true(n_bigram > 0 && n_bigram < N_EVAL && (dropless || dropped > 0));
	assert_true(e->step < STEPS || (right > 0 && right < N_EVAL));
}

static void test_eval(void **state)
{
	(void)state;
	assert_int_equal(each(RECORD_IS_EVAL, check_eval), STEPS + 2);
}

static void check_slice(const struct record *r)
{
	const struct slice_record *s = &r->slice;
	bool position = !strcmp(s->by, "position"), recall = !strcmp(s->by, "recall"),
		dropless = !strcmp(s->kind, "val_dropless");
	const struct safetensors *f = &evals[dropless ? DROPLESS : s->step];
	double sum = 0;
	long n = 0;

	if (recall)
		assert_int_equal(s->high, s->low);	/* at most once: the split is short */
	else if (position)
		assert_int_equal(s->low, s->high / 2 + 1);
	else
		assert_int_equal(s->high, s->low ? 10 * s->low - 1 : 0);
	for (long i = 0; i < N_EVAL; i++) {
		int id = id_at(f, "tokens", i), next = id_at(f, "targets", i);
		long of = recall ? is_repeated(f, i) && train_pairs[id][next] <= 1
			: position ? i % CONTEXT + 1 : train_count[next];
		if (of >= s->low && of <= s->high) {
			sum += nll(f, i);
			n++;
		}
	}
	assert_int_equal(s->n_tokens, n);
	expect(s->by, s->step, s->loss, sum / (double)n);
}

/* Every token of an evaluation is in one class of each kind. */
static void test_slice(void **state)
{
	long n[3] = {0}, recalled = 0;

	(void)state;
	assert_true(each(RECORD_IS_SLICE, check_slice) > 7 * (STEPS + 2));
	for (int i = 0; i < n_records; i++)
		if (records[i].type == RECORD_IS_SLICE) {
			const struct slice_record *s = &records[i].slice;
			int by = !strcmp(s->by, "position") ? 0 : !strcmp(s->by, "frequency") ? 1 : 2;
			n[by] += s->n_tokens;
			recalled += by == 2 && s->low ? s->n_tokens : 0;
		}
	for (int by = 0; by < 3; by++)
		assert_int_equal(n[by], (STEPS + 2) * N_EVAL);
	assert_true(recalled > 0);	/* else the example shows nothing */
}

static void check_router(const struct record *r)
{
	const struct expert_record *x = &r->expert;
	struct routing is = route(&steps[x->step - 1], (int)x->router, N, CAPACITY);
	int dead = 0;

	assert_int_equal(x->load.n, EXPERTS);
	for (int e = 0; e < EXPERTS; e++) {
		expect("load", x->step, (double)x->load.at[e], is.count[e] / N);
		dead += is.count[e] == 0;
	}
	assert_int_equal(x->dead, dead);
	expect("entropy", x->step, x->entropy, is.entropy / N);
	expect("drop of a router", x->step, x->drop, is.dropped / N);
	expect("choices of a token", x->step, x->choices, 1 - is.dropped / N);
	expect("unserved", x->step, x->unserved, is.dropped / N);
}

static void test_router(void **state)
{
	int dead = 0;

	(void)state;
	assert_int_equal(each(RECORD_IS_EXPERT, check_router), STEPS * ROUTERS);
	for (int i = 0; i < n_records; i++)
		dead += records[i].type == RECORD_IS_EXPERT && records[i].expert.dead > 0;
	assert_true(dead > 0);		/* else the example shows nothing */
}

static void check_param_group(const struct record *r)
{
	const struct group_record *g = &r->group;
	struct sums s = sum_params(g->group, g->step - 1);

	expect(g->group, g->step, g->grad_norm, sqrt(s.gradient));
	expect("update_ratio", g->step, g->update_ratio, sqrt(s.change) / sqrt(s.weight));
	expect("weight_norm", g->step, g->weight_norm, sqrt(s.weight));
}

static void test_param_group(void **state)
{
	(void)state;
	assert_int_equal(each(RECORD_IS_GROUP, check_param_group), STEPS * 6);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_run), cmocka_unit_test(test_part), cmocka_unit_test(test_step),
		cmocka_unit_test(test_eval), cmocka_unit_test(test_slice),
		cmocka_unit_test(test_router), cmocka_unit_test(test_param_group),
	};

	(void)argc;
	return logged_main(argv, tests, ARRAY_SIZE(tests), open_run);
}
