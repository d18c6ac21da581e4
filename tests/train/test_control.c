/*
 * State that changes by what a step counted (train/control.h): biases of experts follow their rule,
 * whatever the micro-batches; evaluation leaves them alone; a checkpoint goes on bit for bit.
 */
#include "control_rig.h"
#include "near.h"

#define RATE 0.02

static void rig_open_noisy(struct rig *rig, const char *micro_batch, const char *noise)
{
	rig_open_with(rig, (const char *[]){micro_batch, noise}, 2);
}

static void rig_open(struct rig *rig, const char *micro_batch)
{
	rig_open_noisy(rig, micro_batch, "model.moe.noise=none");
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
		assert_near(bias_of(rig, r)[e] - before[e], RATE * (sign[e] - drift), 1e-6);
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

static void test_resumes_with_the_same_bits(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(noises); k++)
		expect_resumed((const char *[]){"train.micro_batch=2", noises[k]}, 2);
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

/* Nothing moves it, nor does decay. */
static void test_frozen_router_stays(void **state)
{
	float before[EXPERTS * 16];
	struct rig rig;

	(void)state;
	open_model(&rig, "frozen: true, weight: one, balance: 0, capacity_factor: 0", NULL, 0);
	memcpy(before, state_of(&rig, 1, "weight"), sizeof before);
	go(&rig, 0, 3);
	assert_memory_equal(state_of(&rig, 1, "weight"), before, sizeof before);
	rig_close(&rig);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frozen_router_stays),
		cmocka_unit_test(test_rule),
		cmocka_unit_test(test_an_idle_expert_comes_back),
		cmocka_unit_test(test_micro_batches_count_once),
		cmocka_unit_test(test_evaluation_leaves_no_trace),
		cmocka_unit_test(test_resumes_with_the_same_bits),
		cmocka_unit_test(test_evaluation_has_no_noise),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
