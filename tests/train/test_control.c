/*
 * State that changes by what a step counted (train/control.h): biases of experts follow their rule,
 * whatever the micro-batches; evaluation leaves them alone; a checkpoint goes on bit for bit.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "base/rng.h"
#include "train/checkpoint.h"
#include "train/setup.h"

enum { EXPERTS = 4, ROUTERS = 2, BATCH = 4, CONTEXT = 32 };
#define RATE 0.02

struct rig {
	struct arena arena;
	struct config config;
	struct setup setup;
	struct step_input input;
	double count[ROUTERS][EXPERTS];		/* of the last step, from the routes themselves */
};

static int read_random(void *from, long step, long micro, int *tokens_BT, int *targets_BT)
{
	const struct rig *rig = from;
	long n = rig->setup.spec.micro_batch * CONTEXT;

	for (long i = 0; i < n; i++) {
		struct rng_block b = rng_block((struct rng_key){9, 1, (uint32_t)step}, (uint64_t)(micro * n + i));
		tokens_BT[i] = (int)(b.word[0] % 257);
		targets_BT[i] = (int)(b.word[1] % 257);
	}
	return 0;
}

/* Choices by expert, counted over the whole step. */
static void count_routes(void *from, long micro)
{
	struct rig *rig = from;
	const struct graph *g = rig->setup.graphs[GRAPH_TRAIN];

	for (int r = 0; r < ROUTERS; r++) {
		char name[64];
		snprintf(name, sizeof name, "layers.%d.moe.route", 2 * r + 1);
		for (int e = 0; e < EXPERTS && micro == 0; e++)
			rig->count[r][e] = 0;
		for (long i = 0; i < tensor_size(graph_metric_shape(g, name)); i++)
			if (graph_read(g, name, i) >= 0)
				rig->count[r][(int)graph_read(g, name, i)]++;
	}
}

static void open_model(struct rig *rig, const char *mixture, const char *const *keys, int n_keys)
{
	*rig = (struct rig){0};
	assert_int_equal(config_parse(&rig->arena, "test", arena_printf(&rig->arena,
		"{model: {arch: moe_mamba, d_model: 16, n_blocks: 2, moe: {n_experts: 4, d_expert: 16, %s}}, "
		"train: {tokens: 1000000, batch: 4, context: 32}, data: {path: none}}", mixture),
		keys, n_keys, spec_schema(), &rig->config), 0);
	assert_int_equal(setup_open_traced(&rig->setup, &rig->config, &device_list[CPU], 0,
		(struct net_trace){.routes = true}), 0);
	assert_int_equal(setup_allocate(&rig->setup), 0);
	rig->input = (struct step_input){.read = read_random, .from = rig, .seen = count_routes,
		.tokens_BT = ARENA_ARRAY(&rig->arena, int, BATCH * CONTEXT),
		.targets_BT = ARENA_ARRAY(&rig->arena, int, BATCH * CONTEXT)};
}

static void rig_open_with(struct rig *rig, const char *const *keys, int n)
{
	open_model(rig, "top_k: 2, score: sigmoid, weight: renorm, balance: 0, capacity_factor: 0, "
		"bias_rate: 0.02, group_tokens: 32", keys, n);
}

static void rig_open_noisy(struct rig *rig, const char *micro_batch, const char *noise)
{
	rig_open_with(rig, (const char *[]){micro_batch, noise}, 2);
}

static void rig_open(struct rig *rig, const char *micro_batch)
{
	rig_open_noisy(rig, micro_batch, "model.moe.noise=none");
}

static void rig_close(struct rig *rig)
{
	setup_close(&rig->setup);
	arena_release(&rig->arena);
}

static void go(struct rig *rig, long from, long to)
{
	struct step_result r;

	for (long i = from; i < to; i++)
		assert_int_equal(setup_step(&rig->setup, i, &rig->input, &r), 0);
}

static const float *state_of(const struct rig *rig, int router, const char *state)
{
	char name[64];

	snprintf(name, sizeof name, "layers.%d.moe.router.%s", 2 * router + 1, state);
	int p = params_find(&rig->setup.params, name);
	assert_true(p >= 0);
	return (const float *)rig->setup.memory.blob[BLOB_WEIGHTS] + rig->setup.params.list[p].offset;
}

static const float *bias_of(const struct rig *rig, int router)
{
	return state_of(rig, router, "bias");
}

/* Up for experts wanted less than the mean of this step, down for others, centred. */
static void expect_moved(const struct rig *rig, int r, const float *before)
{
	double mean = 2.0 * BATCH * CONTEXT / EXPERTS, drift = 0, sign[EXPERTS], moved = 0;

	for (int e = 0; e < EXPERTS; e++) {
		sign[e] = (rig->count[r][e] < mean) - (rig->count[r][e] > mean);
		drift += sign[e] / EXPERTS;
		moved += fabs(sign[e]);
	}
	assert_true(moved > 0);
	for (int e = 0; e < EXPERTS; e++)
		assert_float_equal(bias_of(rig, r)[e] - before[e], RATE * (sign[e] - drift), 1e-6);
}

static void test_rule(void **state)
{
	float before[ROUTERS][EXPERTS];
	struct rig rig;

	(void)state;
	rig_open(&rig, "train.micro_batch=2");
	for (int i = 0; i < 6; i++) {
		for (int r = 0; r < ROUTERS; r++)
			memcpy(before[r], bias_of(&rig, r), sizeof before[r]);
		go(&rig, i, i + 1);
		for (int r = 0; r < ROUTERS; r++)
			expect_moved(&rig, r, before[r]);
	}
	rig_close(&rig);
}

/* An expert that nobody wants, for its bias is far below its scores, comes back at the rate. */
static void test_an_idle_expert_comes_back(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, "train.micro_batch=4");
	for (int r = 0; r < ROUTERS; r++)
		((float *)(uintptr_t)bias_of(&rig, r))[1] = -0.9f;
	go(&rig, 0, 1);
	for (int r = 0; r < ROUTERS; r++)
		assert_true(rig.count[r][1] == 0);
	go(&rig, 1, 60);
	for (int r = 0; r < ROUTERS; r++)
		assert_true(rig.count[r][1] > 0.6 * 2 * BATCH * CONTEXT / EXPERTS);
	rig_close(&rig);
}

static void expect_same_biases(const struct rig *a, const struct rig *b)
{
	for (int r = 0; r < ROUTERS; r++)
		assert_memory_equal(bias_of(a, r), bias_of(b, r), EXPERTS * sizeof(float));
}

static const char *const threshold_keys[] = {"train.micro_batch=2", "model.moe.select=threshold",
	"model.moe.bias_rate=0", "model.moe.top_k=1", "model.moe.max_k=3", "model.moe.threshold_rate=0.5",
	"model.moe.weight=raw", "model.moe.temperature_decay=0.1", "model.moe.temperature_least=0.7"};

static const char *const noises[] = {"model.moe.noise=none", "model.moe.noise=jitter",
	"model.moe.noise=learned", "model.moe.noise=gumbel"};

/* Noise is that of the token's place in the step, and so are the counts. */
static void test_micro_batches_count_once(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(noises); k++) {
		struct rig whole, parts;
		rig_open_noisy(&whole, "train.micro_batch=4", noises[k]);
		rig_open_noisy(&parts, "train.micro_batch=1", noises[k]);
		go(&whole, 0, 3);
		go(&parts, 0, 3);
		expect_same_biases(&whole, &parts);
		rig_close(&whole);
		rig_close(&parts);
	}
}

static void open_picks(struct rig *rig, const char *micro_batch)
{
	static const char text[] = "{model: {arch: stack, d_model: 16, n_blocks: 1, attn: {n_heads: 2}, "
		"ffn: {d_hidden: 16}, mod: {share: 0.25, rate: 0.1}, pattern: [{mod: [attn, ffn]}]}, "
		"train: {tokens: 1000000, batch: 4, context: 32}, data: {path: none}}";
	const char *keys[] = {micro_batch};

	*rig = (struct rig){0};
	assert_int_equal(config_parse(&rig->arena, "test", text, keys, 1, spec_schema(), &rig->config), 0);
	assert_int_equal(setup_open(&rig->setup, &rig->config, &device_list[CPU], 0), 0);
	assert_int_equal(setup_allocate(&rig->setup), 0);
	rig->input = (struct step_input){.read = read_random, .from = rig,
		.tokens_BT = ARENA_ARRAY(&rig->arena, int, BATCH * CONTEXT),
		.targets_BT = ARENA_ARRAY(&rig->arena, int, BATCH * CONTEXT)};
}

static float *threshold_of(const struct rig *rig)
{
	int p = params_find(&rig->setup.params, "layers.0.mod.router.threshold");

	assert_true(p >= 0);
	return (float *)rig->setup.memory.blob[BLOB_WEIGHTS] + rig->setup.params.list[p].offset;
}

static double picked(const struct rig *rig)
{
	return graph_read(rig->setup.graphs[GRAPH_TRAIN], "layers.0.mod.wanted", 0);
}

/* It begins at that quantile of N(0, 0.1) above which a quarter lies, and moves by the rate times what is
   picked too much. */
static void test_a_threshold_of_picks_follows(void **state)
{
	struct rig rig;

	(void)state;
	open_picks(&rig, "train.micro_batch=4");
	assert_float_equal(*threshold_of(&rig), 0.67448975 * sqrt(0.1), 1e-6);
	for (int i = 0; i < 6; i++) {
		float before = *threshold_of(&rig);
		go(&rig, i, i + 1);
		assert_float_equal(*threshold_of(&rig) - before,
			0.1 * (picked(&rig) / (BATCH * CONTEXT) - 0.25), 1e-6);
	}
	rig_close(&rig);
}

/* From where nobody is picked, and from where all are: means over the last steps. */
static void test_picks_find_their_share(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		double share = 0;
		struct rig rig;
		open_picks(&rig, "train.micro_batch=4");
		*threshold_of(&rig) = k ? -1.5f : 1.5f;
		go(&rig, 0, 1);
		assert_true(picked(&rig) == (k ? BATCH * CONTEXT : 0));
		for (int i = 1; i < 260; i++) {
			go(&rig, i, i + 1);
			share += i < 200 ? 0 : picked(&rig) / (60.0 * BATCH * CONTEXT);
		}
		assert_float_equal(share, 0.25, 0.03);
		rig_close(&rig);
	}
}

static void test_picks_of_micro_batches_count_once(void **state)
{
	struct rig whole, parts;

	(void)state;
	open_picks(&whole, "train.micro_batch=4");
	open_picks(&parts, "train.micro_batch=1");
	go(&whole, 0, 12);
	go(&parts, 0, 12);
	assert_true(*threshold_of(&whole) == *threshold_of(&parts));
	rig_close(&whole);
	rig_close(&parts);
}

/* Replays of evaluation between steps, on tokens of their own. */
static void evaluate(struct rig *rig)
{
	int tokens[BATCH * CONTEXT] = {0}, targets[BATCH * CONTEXT] = {0};

	for (int g = GRAPH_EVAL; g <= GRAPH_EVAL_DROPLESS; g++) {
		graph_set_input(rig->setup.graphs[g], "tokens", tokens);
		graph_set_input(rig->setup.graphs[g], "targets", targets);
		graph_forward(rig->setup.graphs[g]);
		graph_fetch_metrics(rig->setup.graphs[g]);
	}
}

static void expect_same_weights(const struct rig *a, const struct rig *b)
{
	assert_memory_equal(a->setup.memory.blob[BLOB_WEIGHTS], b->setup.memory.blob[BLOB_WEIGHTS],
		(size_t)a->setup.params.blob_size * sizeof(float));
}

static void test_evaluation_leaves_no_trace(void **state)
{
	struct rig plain, evaluated;

	(void)state;
	rig_open_noisy(&plain, "train.micro_batch=2", "model.moe.noise=gumbel");
	rig_open_noisy(&evaluated, "train.micro_batch=2", "model.moe.noise=gumbel");
	go(&plain, 0, 4);
	for (long i = 0; i < 4; i++) {
		go(&evaluated, i, i + 1);
		evaluate(&evaluated);
	}
	expect_same_weights(&plain, &evaluated);
	rig_close(&plain);
	rig_close(&evaluated);
}

static void expect_resumed(const char *const *keys, int n)
{
	struct rig through, resumed;
	struct progress p = {.step = 3}, read;
	char folder[256];

	assert_int_equal(path_tmp_folder(folder, sizeof folder, "control"), 0);
	rig_open_with(&through, keys, n);
	go(&through, 0, 3);
	assert_int_equal(checkpoint_write(&through.setup, folder, &p, NULL), 0);
	go(&through, 3, 6);
	rig_open_with(&resumed, keys, n);
	assert_int_equal(checkpoint_resume(&resumed.setup, folder, &read), 1);
	assert_int_equal(read.step, 3);
	go(&resumed, 3, 6);
	expect_same_weights(&through, &resumed);
	rig_close(&through);
	rig_close(&resumed);
	path_remove_tree(folder);
}

static void test_resumes_with_the_same_bits(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(noises); k++)
		expect_resumed((const char *[]){"train.micro_batch=2", noises[k]}, 2);
	expect_resumed(threshold_keys, ARRAY_SIZE(threshold_keys));
}

/* Thresholds rise where more than a quarter of the tokens are above them, by the excess, and end where
   each expert has its quarter. */
static void test_thresholds_follow_the_quantile(void **state)
{
	struct rig rig;
	float before[EXPERTS];
	double mean[ROUTERS][EXPERTS] = {0};

	(void)state;
	rig_open_with(&rig, threshold_keys, ARRAY_SIZE(threshold_keys));
	assert_true(state_of(&rig, 0, "threshold")[0] == 0.5f);
	for (long i = 0; i < 60; i++) {
		memcpy(before, state_of(&rig, 1, "threshold"), sizeof before);
		go(&rig, i, i + 1);
		for (int e = 0; e < EXPERTS; e++)
			assert_float_equal(state_of(&rig, 1, "threshold")[e] - before[e],
				0.5 * (rig.count[1][e] / (BATCH * CONTEXT) - 0.25), 1e-6);
		for (int k = 0; k < ROUTERS * EXPERTS && i >= 40; k++)
			mean[k / EXPERTS][k % EXPERTS] += rig.count[k / EXPERTS][k % EXPERTS] / 20;
	}
	for (int k = 0; k < ROUTERS * EXPERTS; k++)
		assert_true(fabs(mean[k / EXPERTS][k % EXPERTS] / (BATCH * CONTEXT) - 0.25) < 0.04);
	rig_close(&rig);
}

/* Towards the mean loss of each step, a hundredth of the way; from that of a uniform guess. */
static void test_baseline_follows_the_loss(void **state)
{
	static const char *const keys[] = {"train.micro_batch=2", "model.moe.select=sample", "model.moe.bias_rate=0",
		"model.moe.top_k=1", "model.moe.weight=one", "model.moe.score=softmax", "model.moe.reinforce=1"};
	struct rig rig;
	struct step_result r;

	(void)state;
	rig_open_with(&rig, keys, ARRAY_SIZE(keys));
	assert_float_equal(state_of(&rig, 1, "baseline")[0], log(257), 1e-6);
	for (long i = 0; i < 3; i++) {
		double before = state_of(&rig, 1, "baseline")[0];
		assert_int_equal(setup_step(&rig.setup, i, &rig.input, &r), 0);
		assert_float_equal(state_of(&rig, 1, "baseline")[0], before + 0.01 * (r.ce - before), 1e-6);
	}
	rig_close(&rig);
	expect_resumed(keys, ARRAY_SIZE(keys));
}

static const char *const balance_keys[] = {"train.micro_batch=2", "model.moe.bias_rate=0", "model.moe.balance=0.05",
	"model.moe.balance_target=0.2", "model.moe.control_rate=0.1"};

/* Of the spread of the step's loads; the loss in force is the balance loss by so much. */
static void test_weight_of_balance_follows_the_spread(void **state)
{
	struct rig rig;

	(void)state;
	rig_open_with(&rig, balance_keys, ARRAY_SIZE(balance_keys));
	for (long i = 0; i < 5; i++) {
		double before = state_of(&rig, 1, "balance")[0], most = 0;
		go(&rig, i, i + 1);
		for (int e = 0; e < EXPERTS; e++)
			most = fmax(most, rig.count[1][e]);
		double spread = most / (2.0 * BATCH * CONTEXT / EXPERTS) - 1;
		assert_float_equal(state_of(&rig, 1, "balance")[0], before * exp(0.1 * (spread - 0.2)), 1e-6);
		const struct graph *g = rig.setup.graphs[GRAPH_TRAIN];
		assert_float_equal(graph_read(g, "layers.3.moe.balance_held", 0),
			before * graph_read(g, "layers.3.moe.balance", 0), 1e-6);
	}
	rig_close(&rig);
	expect_resumed(balance_keys, ARRAY_SIZE(balance_keys));
}

static const char *const capacity_keys[] = {"train.micro_batch=2", "model.moe.bias_rate=0",
	"model.moe.capacity_factor=2", "model.moe.drop_target=0.2", "model.moe.control_rate=0.2"};

/* From dropping nothing to a fifth. */
static void test_capacity_follows_drops(void **state)
{
	struct rig rig;
	struct step_result r;
	double mean = 0;

	(void)state;
	rig_open_with(&rig, capacity_keys, ARRAY_SIZE(capacity_keys));
	for (long i = 0; i < 60; i++) {
		assert_int_equal(setup_step(&rig.setup, i, &rig.input, &r), 0);
		assert_true(i > 0 || r.drop < 0.02);
		mean += i >= 40 ? r.drop / 20 : 0;
	}
	assert_true(fabs(mean - 0.2) < 0.04);
	assert_true(state_of(&rig, 1, "capacity")[0] < 0.6);
	rig_close(&rig);
	expect_resumed(capacity_keys, ARRAY_SIZE(capacity_keys));
}

static void test_temperature_falls_to_its_least(void **state)
{
	struct rig rig;

	(void)state;
	rig_open_with(&rig, threshold_keys, ARRAY_SIZE(threshold_keys));
	for (long i = 0; i < 6; i++) {
		assert_float_equal(state_of(&rig, 1, "temperature")[0], fmax(exp(-0.1 * (double)i), 0.7), 1e-6);
		go(&rig, i, i + 1);
	}
	rig_close(&rig);
}

/* Evaluation draws nothing: the same losses whatever the seed and step say. */
static void test_evaluation_has_no_noise(void **state)
{
	struct step_state other = {.step = 77, .seed = 5};
	struct rig rig;
	double loss;

	(void)state;
	rig_open_noisy(&rig, "train.micro_batch=4", "model.moe.noise=gumbel");
	evaluate(&rig);
	loss = graph_read(rig.setup.graphs[GRAPH_EVAL], "ce", 0);
	device_from_host(rig.setup.device, rig.setup.memory.state, &other, sizeof other);
	evaluate(&rig);
	assert_true(loss == graph_read(rig.setup.graphs[GRAPH_EVAL], "ce", 0));
	rig_close(&rig);
}

/* The least gates of each expert, in the mean over the micro-batches, which are its groups: 2 of 32 tokens
   go to an expert. */
struct least {
	struct rig rig;
	double mean[ROUTERS][EXPERTS];
};

static void find_least(void *from, long micro)
{
	struct least *l = from;
	const struct graph *g = l->rig.setup.graphs[GRAPH_TRAIN];

	for (int r = 0; r < ROUTERS; r++)
		for (int e = 0; e < EXPERTS; e++) {
			double least = 2;
			char name[64];
			snprintf(name, sizeof name, "layers.%d.moe.gate", 2 * r + 1);
			for (int t = 0; t < CONTEXT; t++) {
				double gate = graph_read(g, name, t * EXPERTS + e);
				least = gate > 0 && gate < least ? gate : least;
			}
			l->mean[r][e] = (micro ? l->mean[r][e] : 0) + least / BATCH;
		}
}

static void test_cutoffs_follow_what_was_taken(void **state)
{
	struct least l;

	(void)state;
	open_model(&l.rig, "select: expert_choice, balance: 0, group_tokens: 32, capacity_factor: 0.25, "
		"cutoff_rate: 0.3, allow_future: true", (const char *[]){"train.micro_batch=1"}, 1);
	l.rig.input.seen = find_least;
	l.rig.input.from = &l;
	for (int i = 0; i < 4; i++) {
		float before[ROUTERS][EXPERTS];
		for (int r = 0; r < ROUTERS; r++)
			memcpy(before[r], state_of(&l.rig, r, "cutoff"), sizeof before[r]);
		go(&l.rig, i, i + 1);
		for (int r = 0; r < ROUTERS; r++)
			for (int e = 0; e < EXPERTS; e++)
				assert_float_equal(state_of(&l.rig, r, "cutoff")[e],
					0.7 * before[r][e] + 0.3 * l.mean[r][e], 1e-6);
	}
	rig_close(&l.rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rule), cmocka_unit_test(test_a_threshold_of_picks_follows),
		cmocka_unit_test(test_picks_find_their_share),
		cmocka_unit_test(test_picks_of_micro_batches_count_once),
		cmocka_unit_test(test_an_idle_expert_comes_back),
		cmocka_unit_test(test_micro_batches_count_once),
		cmocka_unit_test(test_evaluation_leaves_no_trace),
		cmocka_unit_test(test_resumes_with_the_same_bits),
		cmocka_unit_test(test_evaluation_has_no_noise),
		cmocka_unit_test(test_cutoffs_follow_what_was_taken),
		cmocka_unit_test(test_thresholds_follow_the_quantile),
		cmocka_unit_test(test_temperature_falls_to_its_least),
		cmocka_unit_test(test_weight_of_balance_follows_the_spread),
		cmocka_unit_test(test_capacity_follows_drops),
		cmocka_unit_test(test_baseline_follows_the_loss),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
