/*
 * Thresholds that follow the share of tokens above them (train/control.h): of experts and their temperature, of
 * what an expert took last, and of tokens that a layer picks.
 */
#include "control_rig.h"
#include "near.h"

static const char *const threshold_keys[] = {"train.micro_batch=2", "model.moe.select=threshold",
	"model.moe.bias_rate=0", "model.moe.top_k=1", "model.moe.max_k=3", "model.moe.threshold_rate=0.5",
	"model.moe.weight=raw", "model.moe.temperature_decay=0.1", "model.moe.temperature_least=0.7"};

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
			assert_near(state_of(&rig, 1, "threshold")[e] - before[e],
				0.5 * (rig.count[1][e] / (BATCH * CONTEXT) - 0.25), 1e-6);
		for (int k = 0; k < ROUTERS * EXPERTS && i >= 40; k++)
			mean[k / EXPERTS][k % EXPERTS] += rig.count[k / EXPERTS][k % EXPERTS] / 20;
	}
	for (int k = 0; k < ROUTERS * EXPERTS; k++)
		assert_true(fabs(mean[k / EXPERTS][k % EXPERTS] / (BATCH * CONTEXT) - 0.25) < 0.04);
	rig_close(&rig);
}

static void test_temperature_falls_to_its_least(void **state)
{
	struct rig rig;

	(void)state;
	rig_open_with(&rig, threshold_keys, ARRAY_SIZE(threshold_keys));
	for (long i = 0; i < 6; i++) {
		assert_near(state_of(&rig, 1, "temperature")[0], fmax(exp(-0.1 * (double)i), 0.7), 1e-6);
		go(&rig, i, i + 1);
	}
	rig_close(&rig);
}

static void test_thresholds_resume(void **state)
{
	(void)state;
	expect_resumed(threshold_keys, ARRAY_SIZE(threshold_keys));
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
				assert_near(state_of(&l.rig, r, "cutoff")[e],
					0.7 * before[r][e] + 0.3 * l.mean[r][e], 1e-6);
	}
	rig_close(&l.rig);
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
	assert_near(*threshold_of(&rig), 0.67448975 * sqrt(0.1), 1e-6);
	for (int i = 0; i < 6; i++) {
		float before = *threshold_of(&rig);
		go(&rig, i, i + 1);
		assert_near(*threshold_of(&rig) - before,
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
		assert_near(share, 0.25, 0.03);
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

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_thresholds_follow_the_quantile),
		cmocka_unit_test(test_temperature_falls_to_its_least),
		cmocka_unit_test(test_thresholds_resume),
		cmocka_unit_test(test_cutoffs_follow_what_was_taken),
		cmocka_unit_test(test_a_threshold_of_picks_follows),
		cmocka_unit_test(test_picks_find_their_share),
		cmocka_unit_test(test_picks_of_micro_batches_count_once),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
