/* From a database to tables of speed-ups: the numbers are those the curves were made with. */
#include "shown.h"

/* The cell of a CSV line under a column; "" if it is empty. */
static const char *cell(const struct shown *w, const char *model, const char *column, char *buffer)
{
	char names[2000], values[2000], *n = names, *v = values, *name;

	line(w, "target,model", names, sizeof names);
	for (char *at = w->text.text; (at = strchr(at, '\n')); at++) {
		const char *second = strchr(at + 1, ',');
		if (at[1] != '#' && second && str_starts(second + 1, model) && second[1 + strlen(model)] == ',') {
			snprintf(values, sizeof values, "%.*s", (int)strcspn(at + 1, "\n"), at + 1);
			while ((name = strsep(&n, ",")) && strcmp(name, column))
				strsep(&v, ",");
			assert_non_null(name);
			snprintf(buffer, 64, "%s", strsep(&v, ","));
			return buffer;
		}
	}
	fail_msg("no row %s in:\n%s", model, w->text.text);
	return NULL;
}

static double value(const struct shown *w, const char *model, const char *column)
{
	char text[64];

	return atof(cell(w, model, column, text));
}

#define RUN(label_, seed_, fast_, ...) {.label = label_, .variant = label_, .seed = seed_, .fast = fast_, __VA_ARGS__}

/* Curves made with the speed-ups of the paper's table 1 give them back, beside the published ones. */
static void paper_table_one(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0), THREE("moe_mamba", 1.76, .experts = 42),
		THREE("transformer_moe", 1.56, .experts = 32), THREE("transformer", 0.7, .floor = 0)};
	const struct study_options o = {.rule = NULL};
	struct shown w;
	char text[600];

	(void)state;
	lab_open(&w.lab, "mamba");
	published(&w.lab, "moe_mamba", "speedup", 1.76, "1.76");
	published(&w.lab, "transformer", "speedup", NAN, "<1");
	lab_fill(&w.lab, runs, ARRAY_SIZE(runs));
	assert_true(show_with(&w, "speedup", "md", &o));
	assert_has(line(&w, "moe_mamba", text, sizeof text), " 1.76 [1.76, 1.76] |");
	assert_has(text, "| 568 (1.76x) | 2.33M (1.76x) | 1.14e13 (1.76x) | 56.8 (1.76x) |      1.76 |");
	assert_has(line(&w, "transformer_moe", text, sizeof text), " 1.56 [1.56, 1.56] |     3/3 |");
	assert_has(line(&w, "transformer", text, sizeof text), " not reached (best 2.145) |     0/3 |");
	assert_has(text, " <1 |");
	assert_has(line(&w, "mamba (baseline)", text, sizeof text), " 1000 ");
	assert_has(w.text.text, "final loss (mean 2.100 nats per token, perplexity 8.17)");
	assert_has(w.text.text, "does it tell a factor from nothing?");
	assert_has(w.text.text, "rule default: validation loss, raw");
	end(&w);
}

/* It is of one configuration; of several the page does not say which. */
static void published_values_of_a_variant_are_of_its_only_row(void **state)
{
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1},
		{.label = "moe-k=1", .variant = "moe", .seed = 1, .key = "model.k", .value = "1"},
		{.label = "moe-k=2", .variant = "moe", .seed = 1, .key = "model.k", .value = "2"}};
	struct shown w;

	(void)state;
	for (int n = 2; n <= 3; n++) {
		lab_open(&w.lab, "mamba");
		published(&w.lab, "moe", "loss", 9.87, "9.87");
		lab_fill(&w.lab, runs, n);
		assert_true(show_with(&w, "final", "md", &(struct study_options){.rule = NULL}));
		assert_true(!strstr(w.text.text, " 9.87 |") == (n == 3));
		end(&w);
	}
}

static void noise_below_the_seeds_is_no_difference(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .noise = 0.004), THREE("same", 1.03, .noise = 0.004),
		THREE("other", 1.5, .noise = 0.004), THREE("late", 0.6, .noise = 0.004)};
	struct shown w;
	char text[600];

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "final", "md"));
	assert_has(line(&w, "same", text, sizeof text), "no difference seen");
	assert_lacks(line(&w, "other", text, sizeof text), "no difference seen");
	assert_has(line(&w, "null: mamba against itself", text, sizeof text), "3 show 0.0");
	hide(&w);
	assert_true(show_with(&w, "speedup", "csv", &(struct study_options){.target = "2.13"}));
	assert_string_equal(cell(&w, "same", "verdict", text), "no difference seen");
	assert_string_equal(cell(&w, "other", "verdict", text), "faster");
	assert_true(fabs(value(&w, "other", "speedup_tokens") - 1.5) < 0.06);
	assert_true(value(&w, "null", "speedup_tokens_high") > value(&w, "same", "speedup_tokens"));
	hide(&w);
	assert_true(show_with(&w, "speedup", "csv", &(struct study_options){.target = "2.25"}));
	assert_string_equal(cell(&w, "late", "verdict", text), "slower");
	assert_true(fabs(value(&w, "late", "speedup_tokens") - 0.6) < 0.03);
	hide(&w);
	assert_true(show_with(&w, "speedup", "md", &(struct study_options){.target = "2.13"}));
	assert_has(line(&w, "other", text, sizeof text), "x)");
	assert_lacks(line(&w, "same", text, sizeof text), "x)");
	end(&w);
}

/* A label beside the baseline's for the same configuration is no replication. */
static void rows_of_the_same_runs_are_named(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1), THREE("fast", 2), THREE("again", 1, .run = "mamba"),
		THREE("third", 1, .run = "mamba")};
	struct shown w;

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "final", "md"));
	assert_has(w.text.text, "whose rows are the same runs: again and mamba, third and mamba\n");
	end(&w);
	assert_true(show(&w, runs, 6, "final", "md"));
	assert_lacks(w.text.text, "the same runs");
	end(&w);
}

static void one_seed_has_ratios_but_no_interval(void **state)
{
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .fast = 1},
		{.label = "fast", .variant = "fast", .seed = 1, .fast = 2}};
	struct shown w;
	char text[600];

	(void)state;
	assert_true(show(&w, runs, 2, "speedup", "md"));
	assert_has(line(&w, "fast", text, sizeof text), " 2.00 |     1/1 |");
	assert_has(line(&w, "null: mamba against itself", text, sizeof text), "needs 2 seeds");
	assert_has(w.text.text, "Warning: fewer than 3 seeds: all rows");
	end(&w);
}

/* Of rows without the baseline's first seed, whose seeds differ by more than the rows do. */
static void seeds_are_paired_with_their_own(void **state)
{
	const struct lab_run runs[] = {RUN("mamba", 1, 1), RUN("mamba", 2, 1.1), RUN("mamba", 3, 1.21),
		RUN("fast", 3, 2.42), RUN("fast", 2, 2.2), RUN("low", 3, 1.21, .floor = 1.6),
		RUN("low", 2, 1.1, .floor = 1.6), RUN("low", 4, 1, .floor = 1.6)};
	struct shown w;
	char text[600];

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "speedup", "md"));
	assert_has(line(&w, "fast", text, sizeof text), " 2.00 [2.00, 2.00] |     2/2 |");
	assert_has(line(&w, "mamba (baseline)", text, sizeof text), " 2.089 +- 0.028 |");
	assert_has(w.text.text, "low: only 2 of 3 seeds have a baseline run to pair with");
	assert_lacks(w.text.text, "fast: only");
	hide(&w);
	assert_true(show_with(&w, "final", "md", &(struct study_options){.rule = NULL}));
	assert_has(line(&w, "low", text, sizeof text), " -0.100 [-0.100, -0.100] |");
	end(&w);
}

static void targets_of_the_sweep_each_get_rows(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0), THREE("fast", 2, .floor = 0)};
	const struct study_options o = {.rule = NULL};
	struct shown w;

	(void)state;
	lab_open(&w.lab, "mamba");
	json_array_append_new(json_object_get(w.lab.sweep, "targets"),
		json_pack("{s:s,s:n}", "kind", "baseline", "loss"));
	json_array_append_new(json_object_get(w.lab.sweep, "targets"),
		json_pack("{s:s,s:f}", "kind", "loss", "loss", 2.05));
	json_array_append_new(json_object_get(w.lab.sweep, "targets"),
		json_pack("{s:s,s:f}", "kind", "loss", "loss", 6.0));
	lab_fill(&w.lab, runs, ARRAY_SIZE(runs));
	assert_true(show_with(&w, "speedup", "md", &o));
	assert_has(w.text.text, "Warning: target 6 gives no ratio: mamba begins below it, at 5.550 nats per token");
	assert_lacks(w.text.text, "target 2.05 gives no ratio");
	assert_has(w.text.text, "|   target | model");
	assert_has(w.text.text, "|    2.050 | mamba (baseline)");
	assert_has(w.text.text, "not reached (best 2.100) |     0/3 |");	/* mamba */
	assert_has(w.text.text, "baseline did not reach it |     3/3 |");	/* fast */
	end(&w);
}

static void forecasts_have_no_perplexity_to_reach(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .key = "model.head", .value = "forecast"),
		THREE("fast", 2, .key = "model.head", .value = "forecast")};
	const struct study_options o = {.rule = NULL};
	struct shown w;

	(void)state;
	lab_open(&w.lab, "mamba");
	json_array_append_new(json_object_get(w.lab.sweep, "targets"),
		json_pack("{s:s,s:f}", "kind", "perplexity", "loss", 2.05));
	lab_fill(&w.lab, runs, ARRAY_SIZE(runs));
	assert_false(show_with(&w, "speedup", "md", &o));
	assert_caught("its target is a perplexity, which forecasts have not");
	hide(&w);
	assert_true(show_with(&w, "final", "md", &o));
	hide(&w);
	assert_true(show_with(&w, "speedup", "md", &(struct study_options){.target = "2.05"}));
	end(&w);
}

static void diverged_seeds_count_as_not_reached(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0),
		{.label = "wild", .variant = "wild", .seed = 1, .fast = 4},
		{.label = "wild", .variant = "wild", .seed = 2, .fast = 4, .diverged = true},
		{.label = "late", .variant = "late", .seed = 1, .fast = 4, .unfinished = true}};
	struct shown w;
	char text[600];

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "speedup", "md"));
	assert_has(line(&w, "wild", text, sizeof text), "not reached (best ");
	assert_has(text, "1/2");
	assert_has(w.text.text, "diverged runs count as not reached: wild");
	assert_has(w.text.text, "1 unfinished runs are left out");
	assert_lacks(w.text.text, "| late");
	hide(&w);
	assert_true(show_with(&w, "speedup", "csv", &(struct study_options){.rule = NULL}));
	assert_true(fabs(value(&w, "wild", "bits_per_byte") - (1.7 + 0.4 * pow(4, -0.3)) / M_LN2) < 1e-4);
	hide(&w);
	assert_true(show_with(&w, "final", "md", &(struct study_options){.rule = NULL}));
	assert_has(line(&w, "wild", text, sizeof text), "1/2 diverged");
	end(&w);
	const struct lab_run base[] = {THREE("mamba", 1), RUN("mamba", 4, 1, .diverged = true)};
	assert_true(show(&w, base, ARRAY_SIZE(base), "final", "md"));
	assert_has(line(&w, "null: mamba against itself", text, sizeof text), "seeds 0.000 apart");
	end(&w);
}

static void seconds_beside_other_runs_get_no_ratio(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0), THREE("fast", 2, .jobs = 2)};
	struct shown w;
	char text[600];

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "speedup", "md"));
	assert_has(line(&w, "fast", text, sizeof text), " ~50.0 |");
	hide(&w);
	assert_true(show_with(&w, "speedup", "csv", &(struct study_options){.rule = NULL}));
	assert_string_equal(cell(&w, "fast", "speedup_seconds", text), "");
	assert_true(fabs(value(&w, "fast", "speedup_flops") - 2) < 0.01);
	end(&w);
	const struct lab_run busy[] = {THREE("mamba", 1, .floor = 0, .jobs = 2), THREE("fast", 2)};
	assert_true(show(&w, busy, ARRAY_SIZE(busy), "speedup", "csv"));
	assert_string_equal(cell(&w, "fast", "speedup_seconds", text), "");
	end(&w);
}

/* Attempts of six runs, an hour each, one after the other on one machine, but for `change`: is anything of `fast`
   beside others, and what does table cost give for how many? */
static void expect_beside(const char *change, const char *others)
{
	const struct lab_run runs[] = {THREE("mamba", 1), THREE("fast", 2)};
	struct shown w;
	char text[600];

	lab_open(&w.lab, "mamba");
	lab_fill(&w.lab, runs, ARRAY_SIZE(runs));
	assert_int_equal(db_exec(&w.lab.db, "UPDATE attempt SET boot_id = 'b', started = printf("
		"'2026-01-01T%02d:00:00Z', run_id), ended = printf('2026-01-01T%02d:00:00Z', run_id + 1)"), 0);
	assert_int_equal(db_exec(&w.lab.db, change), 0);
	assert_true(show_with(&w, "cost", "md", &(struct study_options){.rule = NULL}));
	line(&w, "fast", text, sizeof text);
	if (!str_ends(text, others) || (strstr(text, " ~100.0 | ") == NULL) != str_ends(text, " 0 |"))
		fail_msg("%s: %s", change, text);
	end(&w);
}

/* Whoever began them: what tells it is that attempts overlap in time. The runs of `fast` are 4, 5 and 6. */
static void runs_beside_those_of_others(void **state)
{
	#define LATE "UPDATE attempt SET ended = '2026-01-01T04:00:01Z' WHERE run_id = 3;"
	#define ON_GPU "UPDATE attempt SET device = 'cuda', gpu = "
	#define LOST "UPDATE attempt SET ended = NULL WHERE run_id = 3;" \
		"INSERT INTO event(run_id, kind, wall) VALUES (3, 'checkpoint', '2026-01-01T"

	(void)state;
	expect_beside("", " 0 |");
	expect_beside(LATE, " 1 |");
	expect_beside(LATE "UPDATE attempt SET boot_id = 'c' WHERE run_id = 3", " 0 |");
	expect_beside(LATE ON_GPU "'g'", " 1 |");
	expect_beside(LATE ON_GPU "run_id", " 0 |");
	expect_beside(LATE ON_GPU "NULL", " 0 |");
	expect_beside(LATE ON_GPU "'g' WHERE run_id = 3", " 0 |");
	expect_beside(LOST "03:59:00Z')", " 0 |");
	expect_beside(LOST "04:01:00Z')", " 1 |");
	expect_beside(LOST "05:01:00Z'); INSERT INTO attempt(run_id, n, started, boot_id) "
		"VALUES (3, 2, '2026-01-01T04:00:00Z', 'c')", " 0 |");
	expect_beside("UPDATE attempt SET ended = NULL WHERE run_id = 3;"
		"UPDATE run SET state = 'running' WHERE run_id = 3", " 1 |");
	expect_beside("UPDATE attempt SET started = '2026-01-01T04:00:00Z', ended = '2026-01-01T07:00:00Z' "
		"WHERE run_id > 3", " 2 |");
}

/* 2e10 FLOPs a step of 4096 tokens, of which 6 x 128 x 257 a token are the head's. */
static void head_can_be_left_out_of_flops(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0), THREE("fast", 2, .floor = 0)};
	struct shown w;

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "speedup", "csv"));
	double with = value(&w, "fast", "flops"), tokens = value(&w, "fast", "tokens");
	hide(&w);
	assert_true(show_with(&w, "speedup", "csv", &(struct study_options){.no_head_flops = true}));
	assert_true(fabs(with - value(&w, "fast", "flops") - tokens * 6 * 128 * 257) < 1e-6 * with);
	assert_has(w.text.text, "without the output head");
	end(&w);
}

/* What the run told of its head stands, whatever follows from its config. */
static void head_is_what_was_recorded(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0, .expand = 2),
		THREE("fast", 2, .floor = 0, .expand = 2)};
	struct shown w;

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "speedup", "csv"));
	double with = value(&w, "fast", "flops"), tokens = value(&w, "fast", "tokens");
	hide(&w);
	assert_true(show_with(&w, "speedup", "csv", &(struct study_options){.no_head_flops = true}));
	assert_true(fabs(with - value(&w, "fast", "flops") - tokens * 2e5) < 1e-6 * with);
	end(&w);
}

static void rules_read_the_training_loss(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .noise = 0.002), THREE("fast", 2, .noise = 0.002)};
	struct shown w;

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "final", "md"));
	hide(&w);
	assert_true(show_with(&w, "speedup", "csv", &(struct study_options){.rule = "paper-scaled"}));
	assert_true(fabs(value(&w, "fast", "speedup_tokens") - 2) < 0.15);
	assert_has(w.text.text, "rule paper-scaled: training loss");
	hide(&w);
	assert_false(show_with(&w, "speedup", "csv", &(struct study_options){.rule = "paper"}));
	assert_caught("rule paper needs runs of 10000 steps, these have 1000");
	hide(&w);
	assert_true(show_with(&w, "speedup", "csv", &(struct study_options){.rule = "paper", .force = true}));
	assert_has(w.text.text, "# FORCED: rule paper needs runs of 10000 steps");
	hide(&w);
	assert_false(show_with(&w, "speedup", "csv", &(struct study_options){.rule = "median"}));
	assert_caught("unknown rule \"median\"");
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paper_table_one),
		cmocka_unit_test(published_values_of_a_variant_are_of_its_only_row),
		cmocka_unit_test(noise_below_the_seeds_is_no_difference),
		cmocka_unit_test(rows_of_the_same_runs_are_named),
		cmocka_unit_test(one_seed_has_ratios_but_no_interval),
		cmocka_unit_test(seeds_are_paired_with_their_own),
		cmocka_unit_test(targets_of_the_sweep_each_get_rows),
		cmocka_unit_test(forecasts_have_no_perplexity_to_reach),
		cmocka_unit_test(diverged_seeds_count_as_not_reached),
		cmocka_unit_test(seconds_beside_other_runs_get_no_ratio),
		cmocka_unit_test(runs_beside_those_of_others),
		cmocka_unit_test(head_can_be_left_out_of_flops),
		cmocka_unit_test(head_is_what_was_recorded),
		cmocka_unit_test(rules_read_the_training_loss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
