/* Nothing doubtful is shown without being refused, stamped or warned about. */
#include "shown.h"

static void refused(const struct lab_run *odd, const char *message)
{
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .fast = 1}, *odd};
	struct shown w;

	assert_false(show(&w, runs, 2, "speedup", "md"));
	assert_caught(message);
	assert_caught("--force");
	hide(&w);
	assert_true(show_with(&w, "speedup", "md", &(struct study_options){.force = true}));
	assert_has(w.text.text, "- FORCED: ");
	assert_has(w.text.text, message);
	end(&w);
}

#define ODD(...) &(const struct lab_run){.label = "odd", .variant = "odd", .seed = 1, __VA_ARGS__}

#define KEY(key_, value_) ODD(.key = key_, .value = value_)

static void unlike_rows_are_refused_unless_forced(void **state)
{
	(void)state;
	refused(ODD(.data_hash = "fedcba9876543210"),
		"rows differ in data (data.path): mamba has 0123456789ab, odd has fedcba987654");
	refused(ODD(.precision = "bf16"), "rows differ in precision: mamba has float32, odd has bf16");
	refused(ODD(.windows = "w1"), "rows differ in evaluation windows (eval.tokens): mamba has w0, odd has w1");
	refused(ODD(.windows = "w1", .key = "data.sampling", .value = "stream"),
		"rows differ in evaluation windows (data.sampling): mamba has shuffle, odd has stream");
	refused(KEY("data.reset_at_eot", "true"),
		"rows differ in context across documents (data.reset_at_eot): mamba has false, odd has true");
	refused(ODD(.tokens = "8192000"),
		"rows differ in token budget (train.tokens): mamba has 4096000, odd has 8192000");
	refused(KEY("train.context", "512"), "rows differ in context (train.context): mamba has 256, odd has 512");
	refused(KEY("eval.split", "tune"), "rows differ in split evaluated (eval.split): mamba has val, odd has tune");
	refused(ODD(.semantics = "{\"scan\":2,\"route\":1}"),
		"rows differ in semantics: scan was computed by version 1 and by version 2");
	refused(&(const struct lab_run){.label = "mamba", .variant = "mamba", .seed = 2, .lr = 2e-3},
		"runs of row mamba differ in train.lr: 0.001 of seed 1, 0.002 of seed 2");
}

/* A run from before a key was there ran with its old meaning. */
static void rows_not_trained_alike_are_warned_about(void **state)
{
	static const char *const keys[][3] = {
		{"data.sampling", "paper", "data.sampling: mamba has shuffle, odd has paper"},
		{"data.seed", "7", "data.seed: mamba has -1, odd has 7"},
		{"train.batch", "8", "train.batch: mamba has 16, odd has 8"},
		{"train.init_hash", "ab", "initial weights (train.init_hash): mamba has none, odd has ab"}};
	struct shown w;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .fast = 1},
			*KEY(keys[i][0], keys[i][1])};
		assert_true(show(&w, runs, 2, "speedup", "md"));
		assert_has(w.text.text, "Warning: rows differ in ");
		assert_has(w.text.text, keys[i][2]);
		end(&w);
	}
	const struct lab_run old_and_new[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .fast = 1},
		*KEY("data.reset_at_eot", "false")};
	assert_true(show(&w, old_and_new, 2, "speedup", "md"));
	assert_lacks(w.text.text, "rows differ");
	end(&w);
}

static void swept_keys_may_differ(void **state)
{
	static const char *const keys[][2] = {{"train.context", "512"}, {"data.sampling", "paper"}};
	struct shown w;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .fast = 1},
			{.label = "mamba-k", .variant = "mamba", .seed = 1, .key = keys[i][0], .value = keys[i][1]}};
		assert_true(show(&w, runs, 2, "speedup", "md"));
		assert_has(w.text.text, "on purpose: it is swept");
		assert_lacks(w.text.text, "Warning: rows differ");
		end(&w);
	}
}

static void other_operators_are_no_difference_in_semantics(void **state)
{
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .fast = 1},
		{.label = "t", .variant = "t", .seed = 1, .fast = 1, .semantics = "{\"attention\":3}"}};
	struct shown w;

	(void)state;
	assert_true(show(&w, runs, 2, "speedup", "md"));
	end(&w);
}

static void training_rules_are_refused_beyond_an_epoch(void **state)
{
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .fast = 1,
		.data_tokens = 1000000},
		{.label = "fast", .variant = "fast", .seed = 1, .fast = 2}};
	struct shown w;

	(void)state;
	assert_true(show(&w, runs, 2, "speedup", "md"));
	assert_has(w.text.text, "Warning: runs see their data 4.1 times: more than one epoch");
	assert_has(w.text.text, "multi-epoch (4.1)");
	hide(&w);
	assert_false(show_with(&w, "speedup", "md", &(struct study_options){.rule = "paper-scaled"}));
	assert_caught("runs see their data 4.1 times");
	end(&w);
}

static void warned(const struct lab_run *odd, const char *message)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0), *odd};
	struct shown w;

	assert_true(show(&w, runs, 4, "speedup", "md"));
	assert_has(w.text.text, message);
	end(&w);
}

static void doubtful_rows_are_warned_about(void **state)
{
	(void)state;
	warned(ODD(.active = 1.1e6), "Warning: active parameters more than 3 % from the baseline's: odd");
	warned(ODD(.experts = 8, .drop = 0.02), "Warning: more than 1 % of the routed tokens dropped at the end: odd");
	warned(ODD(.experts = 8, .starved = true),
		"Warning: an expert with less than a tenth of its even share at the end: odd");
	warned(ODD(.clipped = 0.6), "Warning: gradients clipped in more than half of the steps: odd");
	warned(ODD(.still = 0.02), "Warning: no gradient in more than 1 % of the steps: odd");
	warned(KEY("train.warmup", "0.099"), "Warning: warm-up shorter than 100 steps: odd");
	warned(ODD(.fast = 4), "Warning: evaluations further apart than 2 % of the way to the target: odd");
	warned(ODD(.host = "there"), "rows differ in host: here; there");
	warned(ODD(.jobs = 1), "Warning: fewer than 3 seeds: odd");
}

static void two_seeds_are_few(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0),
		{.label = "fast", .variant = "fast", .seed = 1, .fast = 2},
		{.label = "fast", .variant = "fast", .seed = 2, .fast = 2}};
	struct shown w;

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "speedup", "md"));
	assert_has(w.text.text, "Warning: fewer than 3 seeds: fast\n");
	end(&w);
}

/* As where folders were others, and one was built with CUDA. */
static void builds_are_told_by_what_they_differ_in(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0), THREE("fast", 2)};
	static const char of_folders[] = "UPDATE attempt SET build = 'gcc -O3 -Wall -I/tmp/' || run_id || ' -g'",
		of_processors[] = "UPDATE attempt SET build = 'gcc -O3 -march=native -I/tmp/a' WHERE run_id = 1",
		of_cuda[] = "UPDATE attempt SET build = 'gcc -O3 -DWITH_CUDA -isystem /cuda' WHERE run_id = 5";
	struct shown w;

	(void)state;
	lab_open(&w.lab, "mamba");
	lab_fill(&w.lab, runs, ARRAY_SIZE(runs));
	assert_int_equal(db_exec(&w.lab.db, of_folders), 0);
	assert_true(show_with(&w, "final", "md", &(struct study_options){.rule = NULL}));
	assert_lacks(w.text.text, "differ in build");
	hide(&w);
	assert_int_equal(db_exec(&w.lab.db, of_processors) | db_exec(&w.lab.db, of_cuda), 0);
	assert_true(show_with(&w, "final", "md", &(struct study_options){.rule = NULL}));
	assert_has(w.text.text, "rows differ in build: -march=native; none of these; -DWITH_CUDA\n");
	end(&w);
}

static void all_places_are_named(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0), *ODD(.host = "there"),
		{.label = "even", .variant = "even", .seed = 1, .host = "elsewhere"},
		{.label = "more", .variant = "more", .seed = 1, .host = "there"}};
	struct shown w;

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "speedup", "md"));
	assert_has(w.text.text, "rows differ in host: here; there; elsewhere\n");
	end(&w);
}

static void sound_rows_get_no_warning(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .noise = 0.001),
		THREE("fast", 1.5, .experts = 8, .noise = 0.001, .drop = 0.005, .key = "train.warmup", .value = "0.1")};
	struct shown w;

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "speedup", "md"));
	assert_lacks(w.text.text, "Warning");
	assert_lacks(w.text.text, "FORCED");
	end(&w);
}

static void learning_rates_at_the_edge_are_warned_about(void **state)
{
	struct lab_run runs[] = {{.label = "mamba-lr=1", .variant = "mamba", .seed = 1, .fast = 1, .lr = 1e-3},
		{.label = "mamba-lr=2", .variant = "mamba", .seed = 1, .fast = 1.5, .lr = 2e-3},
		{.label = "mamba-lr=4", .variant = "mamba", .seed = 1, .fast = 1.2, .lr = 4e-3}};
	struct shown w;

	(void)state;
	assert_true(show(&w, runs, 3, "final", "md"));
	assert_lacks(w.text.text, "edge of its grid");
	end(&w);
	runs[2].fast = 2;
	assert_true(show(&w, runs, 3, "final", "md"));
	assert_has(w.text.text, "Warning: best learning rate at the edge of its grid: mamba-lr=4");
	end(&w);
}

/* Each number of experts has its own best rate, though all are one variant. */
static void rates_are_compared_within_a_configuration(void **state)
{
	struct lab_run runs[6] = {{.label = "moe-1-1", .lr = 1e-3, .experts = 2, .fast = 1},
		{.label = "moe-1-2", .lr = 2e-3, .experts = 2, .fast = 1.5},
		{.label = "moe-1-4", .lr = 4e-3, .experts = 2, .fast = 1.2},
		{.label = "moe-2-1", .lr = 1e-3, .experts = 4, .fast = 1.9},
		{.label = "moe-2-2", .lr = 2e-3, .experts = 4, .fast = 2},
		{.label = "moe-2-4", .lr = 4e-3, .experts = 4, .fast = 3}};
	struct shown w;

	(void)state;
	for (int i = 0; i < 6; i++) {
		runs[i].variant = "moe";
		runs[i].seed = 1;
	}
	assert_true(show(&w, runs, 6, "final", "md"));
	assert_has(w.text.text, "Warning: best learning rate at the edge of its grid: moe-2-4\n");
	end(&w);
	runs[0].fast = 2;	/* also at an edge, though the other configuration is still better */
	assert_true(show(&w, runs, 6, "final", "md"));
	assert_has(w.text.text, "Warning: best learning rate at the edge of its grid: moe-1-1, moe-2-4\n");
	end(&w);
}

#define TRIAL(label_, rate_, seed_, fast_, ...)                                                     \
	{.label = label_, .variant = "mamba", .seed = seed_, .fast = fast_, .lr = rate_, __VA_ARGS__}

static void open_trials(struct lab *lab, const struct lab_run *trials, int n)
{
	lab_open(lab, NULL);
	json_object_set_new(lab->sweep, "name", json_string("lab/one.tune"));
	lab_fill(lab, trials, n);
}

/* Trials in the sweep lab/one.tune, then runs in lab/one: that file is not the trials', and only what
   was among the rates tried is called tuned. */
static void trials_choose_rates(void **state)
{
	const struct lab_run trials[] = {TRIAL("mamba-lr=1", 1e-3, 8, 1), TRIAL("mamba-lr=2", 2e-3, 8, 1.4),
		TRIAL("mamba-lr=4", 4e-3, 8, 1.9), TRIAL("mamba-lr=4", 4e-3, 9, 1, .diverged = true)};
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .lr = 2e-3},
		{.label = "other", .variant = "other", .seed = 1, .lr = 2e-3},
		{.label = "famous", .variant = "famous", .seed = 1}};
	const struct study_options o = {.rule = NULL};
	struct shown w;
	char text[600];

	(void)state;
	open_trials(&w.lab, trials, ARRAY_SIZE(trials));
	assert_true(show_with(&w, "tune", "md", &o));
	assert_has(w.text.text, "trials of train.lr");
	assert_has(w.text.text, "| best ");
	assert_lacks(w.text.text, "best, at the edge");	/* the best has neighbours on both sides */
	hide(&w);
	lab_next(&w.lab, "lab/one", NULL);
	published(&w.lab, "famous", "loss", 3.2, "3.2");
	lab_fill(&w.lab, runs, ARRAY_SIZE(runs));
	assert_true(show_with(&w, "final", "md", &o));
	assert_has(line(&w, "mamba", text, sizeof text), "| tuned ");
	assert_lacks(w.text.text, "edge of its grid");
	assert_has(line(&w, "other", text, sizeof text), "| untuned ");
	assert_has(line(&w, "famous", text, sizeof text), "| paper ");
	end(&w);
}

/* Variants that come to one configuration have their trials in common: they are told once. */
static void equal_trials_stand_once(void **state)
{
	const struct lab_run trials[] = {TRIAL("mamba-lr=1", 1e-3, 8, 1), TRIAL("mamba-lr=2", 2e-3, 8, 1.4),
		{.label = "twin-lr=1", .variant = "twin", .seed = 8, .lr = 1e-3, .run = "mamba-lr=1"},
		{.label = "twin-lr=2", .variant = "twin", .seed = 8, .fast = 1.4, .lr = 2e-3, .run = "mamba-lr=2"}};
	const struct study_options o = {.rule = NULL};
	struct shown w;

	(void)state;
	open_trials(&w.lab, trials, ARRAY_SIZE(trials));
	assert_true(show_with(&w, "tune", "md", &o));
	assert_has(w.text.text, "| mamba |");
	assert_lacks(w.text.text, "| twin");
	assert_has(w.text.text, "- twin: the same configuration as mamba, with the same trials\n");
	end(&w);
}

static void rates_chosen_at_the_edge_are_warned_about(void **state)
{
	const struct lab_run trials[] = {TRIAL("mamba-lr=1", 1e-3, 8, 1), TRIAL("mamba-lr=2", 2e-3, 8, 1.4)};
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .lr = 2e-3},
		{.label = "other", .variant = "other", .seed = 1, .lr = 2e-3}};
	const struct study_options o = {.rule = NULL};
	struct shown w;

	(void)state;
	open_trials(&w.lab, trials, ARRAY_SIZE(trials));
	lab_next(&w.lab, "lab/one", NULL);
	lab_fill(&w.lab, runs, ARRAY_SIZE(runs));
	assert_true(show_with(&w, "final", "md", &o));
	assert_has(w.text.text, "Warning: best learning rate at the edge of its grid: mamba\n");
	end(&w);
}

#define TRIAL_OF(variant_, rate_)                                                                   \
	{.label = variant_ "-lr=" #rate_, .variant = variant_, .seed = 8, .lr = rate_, .tokens = tokens}

static bool rates_are_doubted(const char *tokens)
{
	const struct lab_run trials[] = {TRIAL_OF("mamba", 1e-3), TRIAL_OF("mamba", 2e-3), TRIAL_OF("moe", 1e-3),
		TRIAL_OF("moe", 2e-3), TRIAL_OF("mlp", 1e-3), TRIAL_OF("mlp", 2e-3)};
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .lr = 2e-3},
		{.label = "moe", .variant = "moe", .seed = 1, .lr = 1e-3},
		{.label = "mlp", .variant = "mlp", .seed = 1, .lr = 2e-3},
		{.label = "alien", .variant = "alien", .seed = 1, .lr = 1e-3}};
	struct shown w;
	bool doubted;

	open_trials(&w.lab, trials, ARRAY_SIZE(trials));
	lab_next(&w.lab, "lab/one", "mamba");
	lab_fill(&w.lab, runs, ARRAY_SIZE(runs));
	assert_true(show_with(&w, "final", "md", &(struct study_options){.rule = NULL}));
	doubted = strstr(w.text.text, "what rows differ by may be the rate's: moe\n");
	assert_int_equal(doubted, strstr(w.text.text, "may be the rate's") != NULL);
	end(&w);
	return doubted;
}

/* Runs have 4,096,000 tokens; the row without trials chose nothing. */
static void rates_of_short_trials_are_doubted(void **state)
{
	(void)state;
	assert_true(rates_are_doubted("409600"));
	assert_false(rates_are_doubted("4096000"));
}

static void sweep_must_exist_and_have_runs(void **state)
{
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .fast = 1,
		.unfinished = true}};
	struct shown w;

	(void)state;
	assert_false(show(&w, runs, 1, "final", "md"));
	assert_caught("no finished run yet (1 unfinished)");
	hide(&w);
	catch_messages();
	assert_int_equal(study_open(&w.study, &w.lab.db, "nothing", &(struct study_options){.rule = NULL}), -1);
	assert_caught("no sweep \"nothing\"");
	w.open = false;
	str_init(&w.text);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unlike_rows_are_refused_unless_forced),
		cmocka_unit_test(rows_not_trained_alike_are_warned_about),
		cmocka_unit_test(swept_keys_may_differ),
		cmocka_unit_test(other_operators_are_no_difference_in_semantics),
		cmocka_unit_test(training_rules_are_refused_beyond_an_epoch),
		cmocka_unit_test(doubtful_rows_are_warned_about),
		cmocka_unit_test(two_seeds_are_few),
		cmocka_unit_test(all_places_are_named),
		cmocka_unit_test(builds_are_told_by_what_they_differ_in),
		cmocka_unit_test(sound_rows_get_no_warning),
		cmocka_unit_test(learning_rates_at_the_edge_are_warned_about),
		cmocka_unit_test(rates_are_compared_within_a_configuration),
		cmocka_unit_test(trials_choose_rates),
		cmocka_unit_test(equal_trials_stand_once),
		cmocka_unit_test(rates_chosen_at_the_edge_are_warned_about),
		cmocka_unit_test(rates_of_short_trials_are_doubted),
		cmocka_unit_test(sweep_must_exist_and_have_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
