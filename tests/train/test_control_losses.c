/*
 * Numbers that follow what a step lost and how it spread (train/control.h): the baseline of draws, the weight of
 * the balance loss, the capacity.
 */
#include "control_rig.h"
#include "near.h"

/* Towards the mean loss of each step, a hundredth of the way; from that of a uniform guess. */
static void test_baseline_follows_the_loss(void **state)
{
	static const char *const keys[] = {"train.micro_batch=2", "model.moe.select=sample", "model.moe.bias_rate=0",
		"model.moe.top_k=1", "model.moe.weight=one", "model.moe.score=softmax", "model.moe.reinforce=1"};
	struct rig rig;
	struct step_result r;

	(void)state;
	rig_open_with(&rig, keys, ARRAY_SIZE(keys));
	assert_near(state_of(&rig, 1, "baseline")[0], log(257), 1e-6);
	for (long i = 0; i < 3; i++) {
		double before = state_of(&rig, 1, "baseline")[0];
		assert_int_equal(setup_step(&rig.setup, i, &rig.input, &r), 0);
		assert_near(state_of(&rig, 1, "baseline")[0], before + 0.01 * (r.ce - before), 1e-6);
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
		assert_near(state_of(&rig, 1, "balance")[0], before * exp(0.1 * (spread - 0.2)), 1e-6);
		const struct graph *g = rig.setup.graphs[GRAPH_TRAIN];
		assert_near(graph_read(g, "layers.3.moe.balance_held", 0),
			before * graph_read(g, "layers.3.moe.balance", 0), 1e-6);
	}
	rig_close(&rig);
	expect_resumed(balance_keys, ARRAY_SIZE(balance_keys));
}

static const char *const capacity_keys[] = {"train.micro_batch=2", "model.moe.bias_rate=0",
	"model.moe.capacity_factor=2", "model.moe.drop_target=0.2", "model.moe.control_rate=0.2"};

static const char *const scarce_keys[] = {"model.moe.bias_rate=0", "model.moe.capacity_factor=0.5",
	"model.moe.drop_target=0.2", "model.moe.control_rate=0.2"};

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
	rig_open_with(&rig, scarce_keys, ARRAY_SIZE(scarce_keys));
	go(&rig, 0, 2);		/* never beyond the places there are */
	assert_true(state_of(&rig, 1, "capacity")[0] == 1);
	rig_close(&rig);
	expect_resumed(capacity_keys, ARRAY_SIZE(capacity_keys));
}

static const char *const falling_keys[] = {"train.micro_batch=2", "model.moe.bias_rate=0",
	"model.moe.capacity_factor=2", "model.moe.capacity_decay=0.1", "model.moe.capacity_least=0.5"};

/* From twice the even load to half of it, where at least half of the choices are dropped. */
static void test_capacity_falls_to_its_least(void **state)
{
	struct rig rig;
	struct step_result r;

	(void)state;
	rig_open_with(&rig, falling_keys, ARRAY_SIZE(falling_keys));
	for (long i = 0; i < 20; i++) {
		assert_near(state_of(&rig, 1, "capacity")[0], fmax(exp(-0.1 * (double)i), 0.25), 1e-6);
		assert_near(control_capacity(&rig.setup.control, &rig.setup), state_of(&rig, 1, "capacity")[0], 1e-9);
		assert_int_equal(setup_step(&rig.setup, i, &rig.input, &r), 0);
		assert_true(i > 0 || r.drop < 0.02);
	}
	assert_true(r.drop >= 0.5);
	rig_close(&rig);
	expect_resumed(falling_keys, ARRAY_SIZE(falling_keys));
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_baseline_follows_the_loss),
		cmocka_unit_test(test_weight_of_balance_follows_the_spread),
		cmocka_unit_test(test_capacity_follows_drops),
		cmocka_unit_test(test_capacity_falls_to_its_least),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
