/* Sweeps: what a file says beside its runs: baseline, targets, published values, limits, trials. */
#include <math.h>

#include "sweep_fixture.h"

static void test_baseline(void **state)
{
	(void)state;
	refuses("set: {model.arch: mamba}\ngrid: {train.lr: [1e-3, 2e-3]}\nbaseline: s\n",
		AT ":3:11: baseline \"s\" is 2 configurations, give the label of one: "
		   "s-lr=0.001, s-lr=0.002");
	refuses("set: {model.arch: mamba}\ngrid: {train.lr: [1e-3, 2e-3]}\nbaseline: s-lr=0.01\n",
		AT ":3:11: unknown label \"s-lr=0.01\" (did you mean \"s-lr=0.001\"?)");
	refuses("set: {model.arch: mamba}\nbaseline: transformer\n", AT ":2:11: unknown label \"transformer\" (there are s)");
	refuses("set: {model.arch: mamba}\nbaseline: [s]\n",
		AT ":2:11: baseline: a label must stand here, not a list");
}

static void test_targets_and_published(void **state)
{
	struct sweep s;

	(void)state;
	s = load("set: {model.arch: mamba}\ntargets: [baseline, 2.5, {perplexity: 10}, {loss: 3}]\n"
		 "published: {s: {loss: 3.34, speedup: \"<1\", active: 27e6}}\n"
		 "limits: {runs: 4, hours: 0.5}\n");
	assert_int_equal(s.n_targets, 4);
	assert_int_equal(s.targets[0].kind, TARGET_BASELINE);
	assert_true(s.targets[1].loss == 2.5);
	assert_int_equal(s.targets[2].kind, TARGET_PERPLEXITY);
	assert_true(fabs(s.targets[2].loss - 2.302585092994046) < 1e-12);
	assert_int_equal(s.targets[3].kind, TARGET_LOSS);
	assert_int_equal(s.n_published, 3);
	assert_string_equal(s.published[0].quantity, "loss");
	assert_true(s.published[0].value == 3.34);
	assert_string_equal(s.published[1].text, "<1");
	assert_true(isnan(s.published[1].value));
	assert_int_equal(s.limits.runs, 4);
	assert_true(s.limits.hours == 0.5);
	refuses("set: {model.arch: mamba}\ntargets: [{perplexity: 1}]\n",
		AT ":2:24: "
		   "targets: 1 is out of range (a loss is above 0, a perplexity above 1)");
	refuses("set: {model.arch: mamba}\ntargets: [low]\n",
		AT ":2:11: targets: a loss in "
		   "nats, {perplexity: number} or \"baseline\" must stand here");
	refuses("set: {model.arch: mamba}\npublished: {t: {loss: 1}}\n",
		AT ":2:13: unknown label \"t\" (did you mean \"s\"?)");
	refuses("set: {model.arch: mamba}\npublished: {s: {lss: 1}}\n",
		AT ":2:17: unknown key \"lss\" (did you mean \"loss\"?)");
}

static void test_limits(void **state)
{
	struct sweep s = load("set: {model.arch: mamba}\nseeds: [1, 2, 3]\nlimits: {runs: 3}\n");
	struct str many;

	(void)state;
	assert_int_equal(s.n_runs, 3);
	refuses("set: {model.arch: mamba}\nseeds: [1, 2, 3]\nlimits: {runs: 2}\n",
		AT ":1:1: 3 runs are more than limits.runs allows (2)");
	refuses("set: {model.arch: mamba}\nlimits: {runs: 0}\n",
		AT ":2:16: runs: 0 is out of range (1 to 1000000 runs)");
	str_init(&many);
	str_add(&many, "set: {model.arch: mamba}\ngrid:\n");
	for (int key = 0; key < 3; key++) {
		static const char *const keys[] = {"model.d_model", "train.tokens", "log.every"};
		str_printf(&many, "  %s: [1", keys[key]);
		for (int i = 2; i <= 30; i++)
			str_printf(&many, ", %d", i);
		str_add(&many, "]\n");
	}
	refuses(many.text, AT ":1:1: variant \"s\": more than 10000 combinations");
	str_release(&many);
}

#define TUNED(more) "set: {model.arch: mamba, train.tokens: 100}\nseeds: [1, 2]\n" \
	"grid: {model.d_model: [16, 32]}\n" more

/* Trials are the configurations with the tuned key as one more axis, other seeds and other settings. Restricted to a
   seed of the sweep, they are not restricted by it. */
static void test_trials(void **state)
{
	const struct sweep_trials trials = {.set = "log.every=7", .higher = true};
	const char *const pick[] = {"seed=2", "model.d_model=32"};	/* trials have no such seed */
	const struct sweep_options o = {.trials = &trials},
		of_one = {.trials = &trials, .restrict_to = pick, .n_restrict = 2};
	struct sweep s = load(TUNED("baseline: s-d_model=16\n"
		"tune: {over: {train.lr: [1e-3, 2e-3]}, seeds: [8], set: {train.tokens: 50}, extend: true}\n"));

	(void)state;
	assert_labels(&s, "s-d_model=16#1 s-d_model=16#2 s-d_model=32#1 s-d_model=32#2");
	assert_string_equal(s.tune.key, "train.lr");
	assert_true(s.tune.extend);
	assert_string_equal(run_value(&s, 0, "train.tokens"), "100");
	assert_int_equal(load_with(&s, &o), 0);
	assert_string_equal(s.name, "micro/s.tune");
	assert_null(s.baseline);
	assert_labels(&s, "s-d_model=16-lr=0.001#8 s-d_model=16-lr=0.002#8 s-d_model=16-lr=0.004#8 "
		"s-d_model=32-lr=0.001#8 s-d_model=32-lr=0.002#8 s-d_model=32-lr=0.004#8");
	assert_string_equal(run_value(&s, 2, "train.lr"), "0.004");
	assert_string_equal(run_value(&s, 0, "train.tokens"), "50");
	assert_string_equal(run_value(&s, 0, "log.every"), "7");
	assert_int_equal(load_with(&s, &of_one), 0);
	assert_labels(&s, "s-d_model=32-lr=0.001#8 s-d_model=32-lr=0.002#8 s-d_model=32-lr=0.004#8");
	clear_message();
	write_file(AT, "set: {model.arch: mamba}\nseeds: [1]\n");
	assert_int_equal(load_with(&s, &o), -1);
	assert_message("moelab: " AT ": has no \"tune\", so there are no trials");
}

/* Included configurations are tried as all are, else their own value would be the best of one. */
static void test_trials_of_included(void **state)
{
	const struct sweep_trials trials = {.set = "log.every=7", .higher = true};
	const struct sweep_options o = {.trials = &trials};
	struct sweep s = load(TUNED("include: [{model.d_model: 64, train.beta2: 0.9}]\n"
		"tune: {over: {train.lr: [1e-3, 2e-3]}, seeds: [8, 9]}\n"));

	(void)state;
	assert_int_equal(s.n_runs, 6);
	assert_int_equal(load_with(&s, &o), 0);
	assert_int_equal(s.n_runs, 18);
	assert_string_equal(s.runs[12].label, "s-lr=0.001-d_model=64-beta2=0.9");
	assert_string_equal(run_value(&s, 12, "train.lr"), "0.001");
	assert_string_equal(run_value(&s, 15, "train.lr"), "0.002");
	assert_string_equal(run_value(&s, 17, "train.lr"), "0.004");
	assert_string_equal(run_value(&s, 17, "train.beta2"), "0.9");
	assert_string_equal(run_value(&s, 17, "train.tokens"), "100");
}

/* Values beyond the ends are as far away as the two there are from each other, by a factor. */
static void test_trials_beyond_the_ends(void **state)
{
	const struct sweep_trials trials = {.set = "log.every=7", .lower = true, .higher = true};
	const struct sweep_options o = {.trials = &trials};
	struct sweep s;

	(void)state;
	write_file(AT, "set: {model.arch: mamba}\nseeds: [1]\n"
		"tune: {over: {train.lr: [1e-3, 2e-3, 8e-3]}, seeds: [8]}\n");
	assert_int_equal(load_with(&s, &o), 0);
	assert_labels(&s, "s-lr=0.0005#8 s-lr=0.001#8 s-lr=0.002#8 s-lr=0.008#8 s-lr=0.032#8");
}

static void test_tune_refused(void **state)
{
	(void)state;
	refuses(TUNED("tune: {over: {train.lr: [1e-3, 1e-3]}, seeds: [8]}\n"),
		AT ":4:32: tune: train.lr: numbers above 0 in rising order must stand here");
	refuses(TUNED("tune: {over: {train.lr: [1e-3, 2e-3]}, seeds: [2]}\n"),
		AT ":4:48: tune: seed 2 is one of the sweep's own");
	refuses(TUNED("tune: {over: {train.lr: [2e-3, 1e-3]}, seeds: [8]}\n"),
		AT ":4:32: tune: train.lr: numbers above 0 in rising order must stand here");
	refuses(TUNED("tune: {over: {train.lr: [2e-3]}, seeds: [8]}\n"),
		AT ":4:25: tune: train.lr: at least two values must stand here");
	refuses(TUNED("tune: {over: {model.d_model: [8, 16]}, seeds: [8]}\n"),
		AT ":4:15: tune: \"model.d_model\" is an axis of the sweep");
	refuses(TUNED("tune: {over: {train.lr: [1, 2], train.beta2: [0.1, 0.2]}, seeds: [8]}\n"),
		AT ":4:14: tune: over: one key must stand here, and there are 2");
	refuses(TUNED("tune: {over: {model.moe.n_experts: [4, 8]}, seeds: [8]}\n"),
		AT ":4:15: axis \"model.moe.n_experts\" applies to no run");
	refuses("set: {model.arch: mamba}\ntune: {over: {train.lr: [1e-3, 2e-3]}, seeds: [8]}\n",
		AT ":2:47: tune: the sweep itself needs \"seeds\", too: others than these");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_baseline),
		cmocka_unit_test(test_targets_and_published),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_trials),
		cmocka_unit_test(test_trials_of_included),
		cmocka_unit_test(test_trials_beyond_the_ends),
		cmocka_unit_test(test_tune_refused),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
