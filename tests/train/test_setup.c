/*
 * A run's numbers as a whole, on the CPU: the first loss, the same bits for any number of threads,
 * accumulation over micro-batches, and that one batch can be learnt by heart.
 */
#include <math.h>
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "base/rng.h"
#include "train/cost.h"
#include "train/setup.h"
#include "caught.h"
#include "near.h"

#define SMALL "model.d_model=32", "model.n_blocks=2"
static const struct model_case {
	const char *name;
	const char *keys[8];
} cases[] = {
	{"mamba", {"model.arch=mamba", SMALL}},
	{"mamba_mlp", {"model.arch=mamba_mlp", SMALL}},
	{"moe_mamba", {"model.arch=moe_mamba", SMALL, "model.moe.n_experts=4", "model.moe.d_expert=64",
		"model.moe.group_tokens=64"}},
	{"moe_mamba unequal", {"model.arch=moe_mamba", SMALL, "model.moe.n_experts=4", "model.moe.d_expert=64",
		"model.moe.group_tokens=64", "model.moe.expert_sizes=1:3"}},
	{"parallel_moe_mamba", {"model.arch=parallel_moe_mamba", SMALL, "model.moe.n_experts=4",
		"model.moe.d_expert=64", "model.moe.group_tokens=64"}},
	{"inner_moe_mamba", {"model.arch=inner_moe_mamba", SMALL, "model.moe.n_experts=4",
		"model.moe.d_expert=32", "model.inner.gate=true", "model.moe.group_tokens=64"}},
	{"transformer", {"model.arch=transformer", SMALL, "model.attn.n_heads=2"}},
	{"transformer_moe", {"model.arch=transformer_moe", SMALL, "model.attn.n_heads=2",
		"model.moe.n_experts=4", "model.moe.d_expert=64", "model.moe.group_tokens=64"}},
	{"mamba2", {"model.arch=mamba2", SMALL, "model.mamba2.d_head=16", "model.mamba2.d_state=16"}},
};

struct rig {
	struct arena arena;
	struct config config;
	struct setup setup;
	struct step_input input;
	bool one_batch;
};

static int read_random(void *from, long step, long micro, int *tokens_BT, int *targets_BT)
{
	const struct rig *rig = from;
	const struct run_spec *s = &rig->setup.spec;

	for (long i = 0; i < s->micro_batch * s->context; i++) {
		long at = micro * s->micro_batch * s->context + i;
		struct rng_key key = {9, 1, rig->one_batch ? 0 : (uint32_t)step};
		tokens_BT[i] = (int)(rng_block(key, (uint64_t)at).word[0] % 257);
		targets_BT[i] = (int)(rng_block(key, (uint64_t)at).word[1] % 257);
	}
	return 0;
}

/* The keys on top of a small run. */
static void load(struct arena *a, const char *const *keys, int n, struct config *config)
{
	static const char base[] = "{train: {tokens: 1000000, batch: 4, context: 32}, data: {path: none}}";
	char folder[256], *path;

	assert_int_equal(path_tmp_folder(folder, sizeof folder, "setup"), 0);
	path = path_join(folder, "spec.yaml");
	assert_int_equal(path_write(path, base, strlen(base)), 0);
	assert_int_equal(spec_load(a, path, keys, n, spec_schema(), config), 0);
	path_remove_tree(folder);
	free(path);
}

/* keys, and more of them ended by NULL, on top of a small run. */
static void rig_open(struct rig *rig, const struct model_case *c, const char *const *more)
{
	const char *keys[24];
	int n = 0;

	for (int i = 0; i < 8 && c->keys[i]; i++)
		keys[n++] = c->keys[i];
	for (; more && *more; more++)
		keys[n++] = *more;
	*rig = (struct rig){0};
	load(&rig->arena, keys, n, &rig->config);
	assert_int_equal(setup_open(&rig->setup, &rig->config, &device_list[CPU], 0), 0);
	assert_int_equal(setup_allocate(&rig->setup), 0);
	rig->input = (struct step_input){.read = read_random, .from = rig,
		.tokens_BT = ARENA_ARRAY(&rig->arena, int, 4096),
		.targets_BT = ARENA_ARRAY(&rig->arena, int, 4096)};
}

static void rig_close(struct rig *rig)
{
	setup_close(&rig->setup);
	arena_release(&rig->arena);
}

static struct step_result step(struct rig *rig, long i)
{
	struct step_result r;

	assert_int_equal(setup_step(&rig->setup, i, &rig->input, &r), 0);
	return r;
}

/* Logits begin small, so the first loss is that of a uniform guess, ln V, plus half their variance:
   0.1 times the mean square of the stream, below 0.1 for these depths. */
static void test_first_loss(void **state)
{
	struct rig rig;
	struct step_result r;

	rig_open(&rig, *state, NULL);
	r = step(&rig, 0);
	if (!(fabs(r.ce - log(257)) < 0.1))
		fail_msg("first loss %.4f, expected about %.4f", r.ce, log(257));
	if (rig.setup.routers.n)
		assert_true(r.balance > 0.99 && r.balance < 4.01);
	rig_close(&rig);
}

static void test_threads_same_bits(void **state)
{
	struct rig one, many;

	for (int threads = 2; threads <= 4; threads += 2) {
		omp_set_num_threads(1);
		rig_open(&one, *state, NULL);
		for (long i = 0; i < 3; i++)
			step(&one, i);
		omp_set_num_threads(threads);
		rig_open(&many, *state, NULL);
		for (long i = 0; i < 3; i++)
			step(&many, i);
		assert_memory_equal(one.setup.memory.blob[BLOB_WEIGHTS],
			many.setup.memory.blob[BLOB_WEIGHTS], one.setup.memory.blob_bytes[BLOB_WEIGHTS]);
		rig_close(&one);
		rig_close(&many);
	}
	omp_set_num_threads(2);
}

/* Relative difference of the gradients after a step. */
static double gradients_apart(const struct rig *a, const struct rig *b)
{
	const float *x = a->setup.memory.blob[BLOB_GRADIENTS], *y = b->setup.memory.blob[BLOB_GRADIENTS];
	double diff = 0, norm = 0;

	for (long i = 0; i < a->setup.params.blob_size; i++) {
		diff += (double)(x[i] - y[i]) * (x[i] - y[i]);
		norm += (double)x[i] * x[i];
	}
	return sqrt(diff / norm);
}

/* Gradients of a batch cut into micro-batches differ from the whole one's by rounding alone. */
static void test_accumulation(void **state)
{
	static const char *const halves[] = {"train.micro_batch=2", NULL};
	struct rig whole, parts;
	struct step_result a, b;
	double apart;

	rig_open(&whole, *state, NULL);
	rig_open(&parts, *state, halves);
	a = step(&whole, 0);
	b = step(&parts, 0);
	assert_true(fabs(a.ce - b.ce) < 1e-5 && fabs(a.grad_norm - b.grad_norm) < 1e-4 * a.grad_norm);
	apart = gradients_apart(&whole, &parts);
	if (!(apart < 1e-5))
		fail_msg("gradients differ by %.2g", apart);
	rig_close(&whole);
	rig_close(&parts);
}

static void test_overfits_one_batch(void **state)
{
	static const char *const keys[] = {"train.lr=0.005", "train.weight_decay=0", "train.clip=1",
		"train.warmup=0", "train.batch=2", "train.tokens=19200", NULL};
	struct rig rig;
	double ce = 10;

	rig_open(&rig, *state, keys);
	rig.one_batch = true;
	for (long i = 0; i < run_steps(&rig.setup.spec) && ce > 0.05; i++)
		ce = step(&rig, i).ce;
	if (!(ce < 0.05))
		fail_msg("loss still %.3f", ce);
	rig_close(&rig);
}

/* An update with a gradient that is not finite leaves weights and moments as they are. */
static void test_diverged_update_is_skipped(void **state)
{
	struct rig rig;
	float *w;
	void *before;
	size_t bytes;
	struct step_result r;

	rig_open(&rig, *state, NULL);
	w = rig.setup.memory.blob[BLOB_WEIGHTS];
	bytes = rig.setup.memory.blob_bytes[BLOB_WEIGHTS];
	w[rig.setup.params.list[rig.setup.params.n - 1].offset] = INFINITY;
	before = xmalloc(bytes);
	memcpy(before, w, bytes);
	r = step(&rig, 0);
	assert_false(isfinite(r.grad_norm));
	assert_memory_equal(before, w, bytes);
	free(before);
	rig_close(&rig);
}

/* What a micro-batch is too small for is said, and what mends it. */
static void test_group_misfit(void **state)
{
	static const struct model_case misfits[] = {
		{"multiples of 2 sequences, or model.moe.group_tokens", {"model.arch=moe_mamba", SMALL,
			"train.micro_batch=1", "model.moe.group_tokens=64"}},
		{"balance_scope to group or sequence", {"model.arch=moe_mamba", SMALL, "train.micro_batch=1",
			"model.moe.group_tokens=32", "model.moe.importance=0.1", "model.moe.balance_scope=step"}},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(misfits); i++) {
		struct arena a = {0};
		struct config config;
		struct setup s;
		int n = 0;
		while (misfits[i].keys[n])
			n++;
		load(&a, misfits[i].keys, n, &config);
		catch_messages();
		assert_int_equal(setup_open(&s, &config, &device_list[CPU], 0), -1);
		error_sink = NULL;
		assert_caught(misfits[i].name);
		assert_caught("train.micro_batch at command line");
		assert_null(strstr(caught, "train.tokens at"));	/* tokens are a word here, no key */
		arena_release(&a);
	}
}

/* ---- routers -------------------------------------------------------------------------------- */

static double bytes_of(const char *const *keys, int n, bool *dropless)
{
	struct arena a = {0};
	struct config config;
	struct setup s;
	double bytes;

	load(&a, keys, n, &config);
	assert_int_equal(setup_open(&s, &config, &device_list[CPU], 0), 0);
	bytes = setup_bytes(&s);
	*dropless = s.graphs[GRAPH_EVAL_DROPLESS] != NULL;
	setup_close(&s);
	arena_release(&a);
	return bytes;
}

/* An architecture that could have mixtures, in a model without: it needs no more than one that cannot. */
static void test_stack_without_mixtures(void **state)
{
	static const char *const mamba[] = {"model.arch=mamba", SMALL, "train.batch=64",
		"train.micro_batch=1"};
	static const char *const stack[] = {"model.arch=stack", SMALL, "train.batch=64",
		"train.micro_batch=1", "model.pattern=[mamba]"};
	static const char *const routed[] = {"model.arch=stack", SMALL, "model.pattern=[mamba, moe]",
		"model.moe.n_experts=4", "model.moe.d_expert=64"};
	bool dropless;
	double bytes = bytes_of(mamba, ARRAY_SIZE(mamba), &dropless);

	(void)state;
	assert_false(dropless);
	assert_true(bytes_of(stack, ARRAY_SIZE(stack), &dropless) == bytes);
	assert_false(dropless);
	bytes_of(routed, ARRAY_SIZE(routed), &dropless);
	assert_true(dropless);
}

/* A choice that an expert of F hidden units computes costs 6 FLOPs for each of its 2 x 32 F weights and 3 for each
   unit; what is counted beforehand takes all choices for computed and F for 64. */
static void test_flops_of_unequal_experts(void **state)
{
	static const struct model_case unequal = {"", {"model.arch=moe_mamba", SMALL, "model.moe.n_experts=4",
		"model.moe.d_expert=64", "model.moe.expert_sizes=1:3", "train.lr=0.03"}};
	static const char *const metrics[] = {"layers.1.moe.computed", "layers.3.moe.computed"};
	struct step_result r = {0};
	struct rig rig;
	struct cost cost;
	double more = 0;

	(void)state;
	rig_open(&rig, &unequal, NULL);
	cost_of(&rig.setup, &cost);
	for (int i = 0; i < 5; i++)
		r = step(&rig, i);
	for (int k = 0; k < 2; k++) {
		double choices = 0, wide = 0;
		for (int e = 0; e < 4; e++) {
			double n = graph_read(rig.setup.graphs[GRAPH_TRAIN], metrics[k], e);
			choices += n;
			wide += n * (e % 2 ? 96 : 32);
		}
		struct routed routed = {0};
		setup_add_routed(&rig.setup, GRAPH_TRAIN, k, &routed);
		assert_true(routed.computed == choices && fabs(routed.wide - wide / 64) < 1e-9);
		more += (wide - 64 * 128) * (6 * 2 * 32 + 3);
	}
	assert_true(r.drop > 0 && fabs(more) > 1e4);
	assert_near(cost_flops(&cost, 128, r.idle), cost_flops(&cost, 128, 0) + more, 1);
	rig_close(&rig);
}

/* ---- documents ------------------------------------------------------------------------------ */

static bool applies(const struct graph *g, const char *op)
{
	for (int i = 0; i < graph_n_nodes(g); i++)
		if (!strcmp(graph_node_info(g, i).op->name, op))
			return true;
	return false;
}

static bool in_identity(struct setup *s, const char *key)
{
	struct str text;
	bool found;
	int n;
	const struct semantics *semantics = setup_semantics(s, &n);

	str_init(&text);
	config_identity_text(s->config, "data", s->device->precision, semantics, n, &text);
	found = strstr(text.text, key) != NULL;
	str_release(&text);
	return found;
}

/* Seconds to plan 512 blocks, and how many times those of 64: all grows with the depth, only packing, of which under
   the sanitizers much is made, with its square. */
#ifdef __SANITIZE_ADDRESS__
#define PLAN_S 30.0
#define PLAN_TIMES 80
#else
#define PLAN_S 3.0
#define PLAN_TIMES 40
#endif

static void test_deep_models_are_planned(void **state)
{
	static const char *const blocks[] = {"64", "512"};
	double seconds[2];

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct arena a = {0};
		struct config config;
		struct setup s;
		char *depth = xasprintf("model.n_blocks=%s", blocks[i]);
		const char *keys[] = {"model.arch=moe_mamba", "model.d_model=64", "data.vocab=257", depth};
		clock_t start = clock();
		load(&a, keys, ARRAY_SIZE(keys), &config);
		assert_int_equal(setup_open(&s, &config, &device_list[CPU], 0), 0);
		seconds[i] = (double)(clock() - start) / CLOCKS_PER_SEC;
		setup_close(&s);
		arena_release(&a);
		free(depth);
	}
	if (seconds[1] > PLAN_S || seconds[1] > PLAN_TIMES * seconds[0] + 0.5)
		fail_msg("64 blocks %.3f s, 512 blocks %.3f s", seconds[0], seconds[1]);
}

/* Training and both evaluations alike; without the key the identity is as before there was one. */
static void test_documents(void **state)
{
	static const char *const on[] = {"data.reset_at_eot=true", NULL};
	static const char *const off[] = {"data.reset_at_eot=false", NULL};
	static const char *const *const more[] = {NULL, off, on};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct rig rig;
		rig_open(&rig, &cases[2], more[i]);
		for (int g = GRAPH_TRAIN; g <= GRAPH_EVAL_DROPLESS; g++)
			assert_true(applies(rig.setup.graphs[g], "document_start") == (more[i] == on));
		assert_true(in_identity(&rig.setup, "data.reset_at_eot") == (more[i] == on));
		assert_true(in_identity(&rig.setup, "document_start") == (more[i] == on));
		rig_close(&rig);
	}
}

/* Weighted by position, with documents: another gradient, the same however the batch is cut; the loss
   told is the plain one, and evaluation has no weights. */
static void test_position_weights(void **state)
{
	static const char *const plain[] = {"data.reset_at_eot=true", NULL};
	static const char *const keys[] = {"data.reset_at_eot=true", "train.position_gain=0.5",
		"train.position_from=3", NULL};
	static const char *const halves[] = {"data.reset_at_eot=true", "train.position_gain=0.5",
		"train.position_from=3", "train.micro_batch=2", NULL};
	static const char *const *const more[] = {plain, keys, halves};
	struct step_result r[3];
	struct rig rig[3];

	(void)state;
	for (int i = 0; i < 3; i++) {
		rig_open(&rig[i], &cases[2], more[i]);
		r[i] = step(&rig[i], 0);
		assert_true(applies(rig[i].setup.graphs[GRAPH_TRAIN], "position_weight") == (i > 0));
		assert_false(applies(rig[i].setup.graphs[GRAPH_EVAL], "position_weight"));
		assert_true(in_identity(&rig[i].setup, "train.position_gain") == (i > 0));
		assert_true(fabs(r[i].ce - r[0].ce) < 1e-5 && fabs(r[i].aux - r[0].aux) < 1e-6);
	}
	assert_true(gradients_apart(&rig[0], &rig[1]) > 0.05);
	assert_true(gradients_apart(&rig[1], &rig[2]) < 1e-5);
	for (int i = 0; i < 3; i++)
		rig_close(&rig[i]);
}

/* First weights are as wide as their fan-in says: of 32 channels or twice as many, 4 taps, a rank of 2, all units of 4 experts
   of 64. */
static void test_first_weights(void **state)
{
	static const struct {
		const char *name;
		double square;
	} each[] = {{"embedding.weight", 0.1}, {"lm_head.weight", 0.1 / 32}, {"layers.1.moe.w1", 0.1 / 32},
		{"layers.1.moe.w2", 0.1 / (4 * 64)}, {"layers.0.mixer.dt_proj.weight", 1 / 2.0},
		{"layers.0.mixer.in_proj.weight", 1 / 32.0}, {"layers.0.mixer.conv1d.weight", 1 / 4.0},
		{"layers.0.mixer.out_proj.weight", 1 / 64.0}, {"layers.0.mixer.x_proj.weight", 1 / 64.0}};
	struct rig rig;

	(void)state;
	rig_open(&rig, &cases[2], NULL);
	for (size_t i = 0; i < ARRAY_SIZE(each); i++) {
		const struct param *p = &rig.setup.params.list[params_find(&rig.setup.params, each[i].name)];
		assert_near(p->rule.a * p->rule.a, each[i].square, 1e-12);
	}
	rig_close(&rig);
}

static void test_position_behind_the_end(void **state)
{
	static const char *const keys[] = {"model.arch=mamba", SMALL, "train.position_from=32"};
	struct arena a = {0};
	struct config config;
	struct setup s;

	(void)state;
	load(&a, keys, ARRAY_SIZE(keys), &config);
	assert_int_equal(setup_open(&s, &config, &device_list[CPU], 0), -1);
	arena_release(&a);
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*test)(void **state);
	} each[] = {{"first loss", test_first_loss}, {"threads", test_threads_same_bits},
		{"accumulation", test_accumulation}, {"overfits", test_overfits_one_batch},
		{"diverged update", test_diverged_update_is_skipped}};
	struct CMUnitTest tests[ARRAY_SIZE(cases) * ARRAY_SIZE(each) + 8];
	struct arena names = {0};
	size_t n = 0;
	int failed;

	(void)argc;
	blas_start(argv);
	omp_set_num_threads(2);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		for (size_t k = 0; k < ARRAY_SIZE(each); k++)
			tests[n++] = (struct CMUnitTest){
				arena_printf(&names, "%s: %s", cases[i].name, each[k].name),
				each[k].test, NULL, NULL, (void *)&cases[i]};
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_group_misfit);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_stack_without_mixtures);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_flops_of_unequal_experts);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_documents);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_position_weights);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_position_behind_the_end);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_first_weights);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_deep_models_are_planned);
	failed = _cmocka_run_group_tests("setup", tests, n, NULL, NULL);
	arena_release(&names);
	return failed;
}
