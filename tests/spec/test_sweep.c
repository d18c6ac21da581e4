/* Sweeps: which runs a file means, their labels, precedence, merging, and what is refused. */
#include "sweep_fixture.h"

static void test_plain_spec(void **state)
{
	struct sweep s;

	(void)state;
	s = load("model.arch: mamba\nquestion: why\nseed: 5\n");
	assert_labels(&s, "s#5");
	assert_string_equal(s.name, "micro/s");
	assert_string_equal(s.question, "why");
	assert_string_equal(s.runs[0].variant, "s");
	assert_int_equal(s.runs[0].n_axes, 0);
	assert_null(s.baseline);
	assert_int_equal(s.limits.runs, 1000);
	assert_true(s.limits.hours == 0 && s.limits.memory_gib == 0 && s.limits.disk_gib == 0);
}

/* Names of files are whole, so that those that begin alike are told apart. */
static void test_long_name(void **state)
{
	static const char path[] = "sweeps/a-model-with-many-experts-and-a-router-that-balances.yaml";
	struct sweep s;

	(void)state;
	write_file(path, "model.arch: mamba\n");
	assert_int_equal(sweep_load(&arena, path, NULL, &schema, &s), 0);
	assert_labels(&s, "a-model-with-many-experts-and-a-router-that-balances#1");
}

/* By the last folder that is called so. */
static void test_name_of_place(void **state)
{
	struct sweep s;

	(void)state;
	write_file("sweeps/old/sweeps/n/s.yaml", "model.arch: mamba\n");
	assert_int_equal(sweep_load(&arena, "sweeps/old/sweeps/n/s.yaml", NULL, &schema, &s), 0);
	assert_string_equal(s.name, "n/s");
}

static void test_variants_and_seeds(void **state)
{
	struct sweep s;

	(void)state;
	write_bases();
	s = load("question: experts?\nname: other/name\nset: {train.tokens: 500}\nvariants:\n"
		 "  mamba: {base: ../../experiments/mamba.yaml}\n"
		 "  moe: {base: [../../experiments/moe.yaml], set: {model.moe.n_experts: 16}}\n"
		 "seeds: [1, 2]\nbaseline: mamba\n");
	assert_labels(&s, "mamba#1 mamba#2 moe#1 moe#2");
	assert_string_equal(s.name, "other/name");
	assert_string_equal(s.baseline, "mamba");
	assert_string_equal(run_value(&s, 3, "seed"), "2");
	assert_string_equal(run_value(&s, 3, "train.tokens"), "500");
	assert_string_equal(run_value(&s, 3, "model.moe.n_experts"), "16");
	assert_string_equal(run_value(&s, 1, "model.arch"), "mamba");
	assert_summary(&s, "2 combinations, 4 runs");
}

static void test_grid_zip_labels(void **state)
{
	struct sweep s;

	(void)state;
	s = load("set: {model.arch: moe_mamba}\n"
		 "grid: {train: {lr: [1e-3, 2e-3]}, model.norm: [layernorm, rmsnorm]}\n"
		 "zip: {model.moe.n_experts: [4, 8], model.d_model: [64, 32]}\n");
	assert_int_equal(s.n_runs, 8);
	assert_string_equal(s.runs[0].label, "s-lr=0.001-norm=layernorm-n_experts=4-d_model=64");
	assert_string_equal(s.runs[1].label, "s-lr=0.001-norm=layernorm-n_experts=8-d_model=32");
	assert_string_equal(s.runs[2].label, "s-lr=0.001-norm=rmsnorm-n_experts=4-d_model=64");
	assert_string_equal(s.runs[7].label, "s-lr=0.002-norm=rmsnorm-n_experts=8-d_model=32");
	assert_int_equal(s.runs[7].n_axes, 4);
	assert_string_equal(s.runs[7].axes[2].key, "model.moe.n_experts");
	assert_string_equal(s.runs[7].axes[2].short_key, "n_experts");
	assert_string_equal(s.runs[7].axes[2].text, "8");
	assert_string_equal(run_value(&s, 7, "train.lr"), "0.002");
}

static void test_label_text(void **state)
{
	struct sweep s;

	(void)state;
	s = load("variants: {a+b: {set: {model.arch: stack}}}\n"
		 "grid:\n  model.pattern: [[mamba], [mamba, {moe: {n: 8}}]]\n"
		 "  question: ['wh/y?', '../up']\n  data.path: [x/corpus, y/other]\n");
	assert_string_equal(s.runs[0].label, "a+b-pattern=mamba-question=wh_y-path=corpus");
	assert_string_equal(s.runs[7].label, "a+b-pattern=mamba_moe_n_8-question=up-path=other");
	s = load("set: {model.arch: mamba}\n"
		 "grid: {train.tokens: [100], eval.tokens: [8], log.every: [2]}\n");
	assert_string_equal(s.runs[0].label, "s-train.tokens=100-eval.tokens=8-every=2");
	s = load("set: {model.arch: mamba}\ngrid: {model.norm: [rmsnorm], model.final_norm: [true]}\n");
	assert_string_equal(s.runs[0].label, "s-norm=rmsnorm-final_norm=true");	/* parts of keys are whole words */
	s = load("set: {model.arch: mamba}\ngrid: {eval.tokens: [8]}\ninclude: [{eval.tokens: 9, train.tokens: 7}]\n");
	assert_labels(&s, "s-eval.tokens=8#1 s-eval.tokens=9-train.tokens=7#1");
}

static void test_precedence(void **state)
{
	static const char *const given[] = {"log.every=6"};
	const struct sweep_options options = {.overrides = given, .n_overrides = 1};
	struct sweep s;

	(void)state;
	write_file("sweeps/micro/b.yaml", "model.arch: mamba\nmodel.d_model: 1\ntrain.tokens: 1\n"
					  "eval.tokens: 1\ntrain.lr: 0.1\nlog.every: 1\n");
	write_file("sweeps/micro/v.yaml", "train.tokens: 3\neval.tokens: 3\ntrain.lr: 0.3\n"
					  "log.every: 3\n");
	write_file(AT, "base: b.yaml\n"
		       "set: {model.d_model: 2, train.tokens: 2, log.every: 2}\n"
		       "variants: {v: {base: v.yaml, set: {eval.tokens: 4, log.every: 4}}, w: }\n"
		       "grid: {train.lr: [0.5]}\n");
	assert_int_equal(load_with(&s, &options), 0);
	assert_string_equal(run_value(&s, 0, "model.d_model"), "2");
	assert_string_equal(run_value(&s, 0, "train.tokens"), "2");
	assert_string_equal(run_value(&s, 1, "train.tokens"), "2");
	assert_string_equal(run_value(&s, 0, "eval.tokens"), "4");
	assert_string_equal(run_value(&s, 0, "train.lr"), "0.5");
	assert_string_equal(run_value(&s, 0, "log.every"), "6");
}

static void test_inactive_axes_merge(void **state)
{
	struct sweep s;

	(void)state;
	write_bases();
	s = load("variants:\n  mamba: {base: ../../experiments/mamba.yaml}\n"
		 "  moe: {base: ../../experiments/moe.yaml}\n"
		 "grid: {model.moe.n_experts: [4, 8, 16], train.lr: [1e-3, 2e-3]}\n"
		 "set: {model.moe.capacity_factor: 2}\n");
	assert_labels(&s,
		"mamba-lr=0.001#1 mamba-lr=0.002#1 moe-n_experts=4-lr=0.001#1 "
		"moe-n_experts=4-lr=0.002#1 moe-n_experts=8-lr=0.001#1 moe-n_experts=8-lr=0.002#1 "
		"moe-n_experts=16-lr=0.001#1 moe-n_experts=16-lr=0.002#1");
	assert_summary(&s, "12 combinations, 4 inactive duplicates merged, 8 runs");
	assert_string_equal(s.runs[0].note, "model.moe.capacity_factor, model.moe.n_experts do not "
					    "apply to mamba: 3 combinations are this run");
	assert_null(s.runs[2].note);
	assert_string_equal(run_value(&s, 2, "model.moe.capacity_factor"), "2");
	assert_int_equal(s.runs[0].n_axes, 1);
}

static void test_architecture_as_axis(void **state)
{
	struct sweep s;

	(void)state;
	s = load("grid: {model.arch: [mamba, moe_mamba], model.moe.n_experts: [2, 4]}\n"
		 "baseline: s-arch=mamba\n");
	assert_labels(
		&s, "s-arch=mamba#1 s-arch=moe_mamba-n_experts=2#1 s-arch=moe_mamba-n_experts=4#1");
	assert_string_equal(s.baseline, "s-arch=mamba");
}

static void test_inactive_elsewhere_is_refused(void **state)
{
	(void)state;
	write_bases();
	refuses("variants:\n  mamba:\n    base: ../../experiments/mamba.yaml\n"
		"    set: {model.moe.n_experts: 4}\n",
		AT ":4:11: key \"model.moe.n_experts\" does not apply to model.arch "
		   "\"mamba\" (it belongs to moe_mamba, transformer_moe)");
	refuses("variants:\n  mamba:\n    base: ../../experiments/mamba.yaml\n"
		"    grid: {model.moe.n_experts: [4]}\n",
		AT ":4:34: key \"model.moe.n_experts\" does not apply to model.arch "
		   "\"mamba\" (it belongs to moe_mamba, transformer_moe)");
	refuses("base: ../../experiments/mamba.yaml\ninclude: [{model.moe.n_experts: 4}]\n",
		AT ":2:12: key \"model.moe.n_experts\" does not apply to model.arch "
		   "\"mamba\" (it belongs to moe_mamba, transformer_moe)");
	refuses("base: ../../experiments/mamba.yaml\ngrid: {model.moe.n_experts: [4, 8]}\n",
		AT ":2:8: axis \"model.moe.n_experts\" applies to no run");
	refuses("base: ../../experiments/mamba.yaml\nset: {model.moe.n_experts: 4}\n",
		AT ":2:7: set: \"model.moe.n_experts\" has no effect: it is replaced in, "
		   "or does not apply to, every run");
}

static void test_set_without_effect_is_refused(void **state)
{
	(void)state;
	write_bases();
	write_file("sweeps/micro/v.yaml", "model.arch: mamba\ntrain.tokens: 3\n");
	refuses("set: {train.tokens: 5}\nvariants: {v: {base: v.yaml, set: {train.tokens: 6}}}\n",
		AT ":1:7: set: \"train.tokens\" has no effect: it is replaced in, or does "
		   "not apply to, every run");
	refuses("variants: {v: {base: v.yaml, set: {train.lr: 0.5}}}\ngrid: {train.lr: [0.1]}\n",
		AT ":1:36: set: \"train.lr\" has no effect: it is replaced in, or does not "
		   "apply to, every run");
}

static void test_variant_axes(void **state)
{
	struct sweep s;

	(void)state;
	write_bases();
	s = load("variants:\n  mamba: {base: ../../experiments/mamba.yaml}\n"
		 "  moe:\n    base: ../../experiments/moe.yaml\n"
		 "    grid: {model.moe.n_experts: [2, 4]}\n"
		 "    zip: {train.lr: [0.1, 0.2], train.beta2: [0.5, 0.6]}\nbaseline: mamba\n");
	assert_labels(&s,
		"mamba#1 moe-n_experts=2-lr=0.1-beta2=0.5#1 moe-n_experts=2-lr=0.2-beta2=0.6#1 "
		"moe-n_experts=4-lr=0.1-beta2=0.5#1 moe-n_experts=4-lr=0.2-beta2=0.6#1");
	refuses("grid: {train.lr: [1]}\nvariants:\n  m:\n    grid: {train.lr: [2]}\n",
		AT ":4:12: \"train.lr\" is an axis already, in line 1");
	refuses("grid: {train.lr: [1]}\nzip: {train.lr: [1]}\n",
		AT ":2:7: \"train.lr\" is an axis already, in line 1");
}

static void test_include_exclude(void **state)
{
	struct sweep s;

	(void)state;
	s = load("set: {model.arch: moe_mamba}\n"
		 "grid: {model.moe.n_experts: [4, 8], train.lr: [1e-3, 2e-3]}\n"
		 "include: [{model.moe.n_experts: 64, train.lr: 5e-4}]\n"
		 "exclude: [{model.moe.n_experts: 4, train.lr: 0.002},\n"
		 "  {train.lr: [0.3, 0.001], model.moe.n_experts: 8}]\n");
	assert_labels(
		&s, "s-n_experts=4-lr=0.001#1 s-n_experts=8-lr=0.002#1 s-n_experts=64-lr=0.0005#1");
	assert_summary(&s, "5 combinations, 2 excluded, 3 runs");
	s = load("grid: {model.arch: [mamba, moe_mamba], model.moe.n_experts: [2, 4]}\n"
		 "exclude: [{model.moe.n_experts: 4}]\n");
	assert_labels(&s, "s-arch=mamba#1 s-arch=moe_mamba-n_experts=2#1");	/* what has no such key has not that value */
	refuses("set: {model.arch: mamba}\ngrid: {train.lr: [1e-3]}\nexclude:\n  - {train.lr: 1}\n",
		AT ":4:5: exclude: no configuration is like this");
	refuses("set: {model.arch: mamba}\ngrid: {train.lr: [1e-3]}\nexclude:\n  - {train.lr: 7}\n",
		AT ":4:16: train.lr: 7 is out of range (0 to 1)");
	refuses("set: {model.arch: mamba}\nexclude: [{variant: sx}]\n",
		AT ":2:21: unknown variant \"sx\" (did you mean \"s\"?)");
	refuses("set: {model.arch: mamba}\nexclude: [{variant: s}]\n",
		AT ":1:1: every configuration is excluded");
	refuses("set: {model.arch: mamba}\nexclude: [{seed: 1}]\n",
		AT ":2:11: exclude: takes whole configurations, not single seeds");
	refuses("set: {model.arch: mamba}\ngrid: {train.lr: [1e-3]}\n"
		"include: [{train.lr: 0.001}]\n",
		AT ":3:11: configuration \"s-lr=0.001\" stands in the sweep twice");
	refuses("variants: {a: , b: }\ninclude: [{train.lr: 0.001}]\n",
		AT ":2:11: include: \"variant\" is missing, and there are 2");
}

static void test_command_line(void **state)
{
	static const char *const lr[] = {"train.lr=0.5"}, *const seed[] = {"seed=7"};
	static const char *const pick[] = {"train.lr=2e-3", "seed=[2, 3]"}, *const v[] = {
										    "variant=s"};
	static const char *const none[] = {"train.lr=0.9"};
	struct sweep s;

	(void)state;
	write_file(AT, "set: {model.arch: mamba}\ngrid:\n  train.lr: [1e-3, 2e-3]\n"
		       "seeds: [1, 2, 3]\nbaseline: s-lr=0.001\n");
	assert_int_equal(
		load_with(&s, &(struct sweep_options){.overrides = lr, .n_overrides = 1}), -1);
	assert_message("moelab: command line: \"train.lr\" is swept (" AT ":3): pick from its "
		       "values with --restrict train.lr=...");
	assert_int_equal(
		load_with(&s, &(struct sweep_options){.overrides = seed, .n_overrides = 1}), -1);
	assert_message("moelab: command line: \"seed\" is swept (" AT ":4): pick from its "
		       "values with --restrict seed=...");
	assert_int_equal(
		load_with(&s, &(struct sweep_options){.restrict_to = pick, .n_restrict = 2}), 0);
	assert_labels(&s, "s-lr=0.002#2 s-lr=0.002#3");
	assert_string_equal(s.baseline, "s-lr=0.001");
	assert_summary(&s, "2 combinations, 6 runs, 4 left out by --restrict");
	assert_int_equal(
		load_with(&s, &(struct sweep_options){.restrict_to = v, .n_restrict = 1}), 0);
	assert_int_equal(s.n_runs, 6);
	assert_int_equal(
		load_with(&s, &(struct sweep_options){.restrict_to = none, .n_restrict = 1}), -1);
	assert_message("moelab: sweeps/micro/s.yaml: no run is as --restrict wants it");
}

/* A rate that was picked by hand would stand in tables as tuned. */
static void test_tuned_key_on_command_line(void **state)
{
	static const char *const lr[] = {"train.lr=2e-3"}, *const both[] = {"model.d_model=8", "train.lr=2e-3"};
	static const struct sweep_trials trials = {.set = "eval.split=tune"};
	static const char by_trials[] = "moelab: --restrict train.lr: it is chosen by trials (" AT ":2), among all of "
		"its values";
	struct sweep_options given = {.overrides = lr, .n_overrides = 1};
	struct sweep_options picked = {.restrict_to = both, .n_restrict = 2};
	struct sweep s;

	(void)state;
	write_file(AT, "set: {model.arch: mamba}\ntune: {over: {train.lr: [1e-3, 2e-3]}, seeds: [8]}\nseeds: [1]\n"
		"grid: {model.d_model: [8, 16]}\n");
	assert_int_equal(load_with(&s, &given), -1);
	assert_message("moelab: command line: \"train.lr\" is chosen by trials (" AT ":2): without `tune` it can be "
		"given");
	assert_int_equal(load_with(&s, &picked), -1);
	assert_message(by_trials);
	picked.trials = &trials;
	assert_int_equal(load_with(&s, &picked), -1);
	assert_message(by_trials);
	picked.n_restrict = 1;
	assert_int_equal(load_with(&s, &picked), 0);
	assert_labels(&s, "s-d_model=8-lr=0.001#8 s-d_model=8-lr=0.002#8");
}

static void test_syntax_refused(void **state)
{
	(void)state;
	refuses("varaints: {a: }\nseeds: [1]\n",
		AT ":1:1: unknown key \"varaints\" (did you mean \"variants\"?)");
	refuses("train: {lr: 1}\nseeds: [1]\n", AT ":1:1: \"train\" is a key of specs: in a "
						   "sweep it stands under \"set\"");
	refuses("set: {model.arch: mamba}\ntune: {}\n", AT ":2:7: tune: a map must stand here, such as "
		"{over: {train.lr: [1e-3, 2e-3, 4e-3]}, seeds: [8, 9]}");
	refuses("grid: {train.lr: 1e-3}\n",
		AT ":1:18: train.lr: a list of values must stand here, not a number");
	refuses("grid: {train.lr: []}\n", AT ":1:18: train.lr: an empty list leaves no run");
	refuses("grid: {train.lr: [0.001, 1e-3]}\n",
		AT ":1:26: train.lr: the same value stands in the list twice");
	refuses("grid: {seed: [1, 2]}\n", AT ":1:8: seeds are no axis: give them as \"seeds\"");
	refuses("zip: {train.lr: [1, 2], train.beta2: [1]}\n",
		AT ":1:38: zip: train.beta2 has 1 values and train.lr has 2");
	refuses("zip: {train.lr: [1, 2], train.beta2: [1, 2, 3]}\n",
		AT ":1:38: zip: train.beta2 has 3 values and train.lr has 2");
	refuses("set: {model.arch: mamba}\nzip: {train.lr: [1, 1], train.beta2: [1, 1]}\n",
		AT ":1:1: configuration \"s-lr=1-beta2=1\" stands in the sweep twice");
	refuses("set: {model.arch: mamba}\ngrid: {question: [a/b, a?b]}\n",
		AT ":1:1: two configurations have the label \"s-question=a_b\": make them "
		   "variants");
	refuses("variants: {a/b: }\n",
		AT ":1:12: label \"a/b\": labels become names of "
		   "folders: letters, digits and _ . + - only, and 48 at most");
	refuses("variants: [a]\n", AT ":1:11: variants: a map of labels must stand here");
	refuses("set: {model.arch: mamba}\nseeds: 3\n",
		AT ":2:8: seeds: a list of seeds must stand here, such as [1, 2, 3]");
	refuses("set: {model.arch: mamba}\nseeds: [1, 1.0]\n",
		AT ":2:12: seeds: 1.0 stands in the list twice");
	refuses("set: {model.arch: mamba}\nseeds: [-1]\n",
		AT ":2:9: seed: -1 is out of range (0 to 1000000000)");
	refuses("variants: {a: {base: s.yaml}}\n",
		AT ":1:1: \"variants\" belongs to a sweep, "
		   "and this is the spec of one run (moelab run takes sweeps)");
	refuses("seeds: [1]\n",
		"moelab: sweeps/micro/s.yaml: key \"model.arch\" is missing (architecture)");
}

/* Every prefix of a sweep is a sweep or exactly one message. */
static void test_truncated_files(void **state)
{
	const char *text =
		"question: q\nset: {model.norm: rmsnorm}\nvariants:\n"
		"  a: {set: {model.arch: mamba}}\n  b:\n    set: {model.arch: moe_mamba}\n"
		"    grid: {model.moe.n_experts: [2, 4]}\n"
		"zip: {train.lr: [0.1, 0.2], train.beta2: [0.5, 0.6]}\n"
		"exclude: [{variant: a, train.lr: 0.2}]\ninclude: [{variant: a, train.lr: 0.4}]\n"
		"seeds: [1, 2]\nbaseline: a-lr=0.4\ntargets: [baseline, {perplexity: 3}]\n"
		"published: {a: {loss: 1}}\nlimits: {runs: 50}\n";
	struct sweep s;

	(void)state;
	for (size_t i = 0; i <= strlen(text); i++) {
		char *cut = strndup(text, i);
		write_file(AT, cut);
		int ret = load_with(&s, NULL);
		assert_int_equal(ret, *message ? -1 : 0);
		if (ret)
			assert_true(strchr(message, '\n')[1] == '\0');
		free(cut);
	}
	assert_int_equal(s.n_runs, 12);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_spec),
		cmocka_unit_test(test_variants_and_seeds),
		cmocka_unit_test(test_long_name), cmocka_unit_test(test_name_of_place), cmocka_unit_test(test_grid_zip_labels),
		cmocka_unit_test(test_label_text),
		cmocka_unit_test(test_precedence),
		cmocka_unit_test(test_inactive_axes_merge),
		cmocka_unit_test(test_architecture_as_axis),
		cmocka_unit_test(test_inactive_elsewhere_is_refused),
		cmocka_unit_test(test_set_without_effect_is_refused),
		cmocka_unit_test(test_variant_axes),
		cmocka_unit_test(test_include_exclude),
		cmocka_unit_test(test_command_line),
		cmocka_unit_test(test_tuned_key_on_command_line),
		cmocka_unit_test(test_syntax_refused),
		cmocka_unit_test(test_truncated_files),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
