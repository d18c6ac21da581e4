/* Tables of a swept key: what makes their rows, in which order, and that they say so without one. */
#include "shown.h"

#include "report/plot.h"

static const struct lab_run expert_runs[] = {THREE("mamba", 1, .noise = 0.001),
	{.label = "m-n_experts=8", .variant = "m", .seed = 1, .fast = 1.5, .experts = 8, .capacity = 1},
	{.label = "m-n_experts=2", .variant = "m", .seed = 1, .fast = 1.2, .experts = 2, .capacity = 1}};

static void experts_are_in_order_of_their_number(void **state)
{
	struct lab_run runs[5];
	struct shown w;

	(void)state;
	memcpy(runs, expert_runs, sizeof runs);
	runs[3].capacity = runs[4].capacity = 0;	/* the axis is the number of experts */
	assert_true(show(&w, runs, 5, "experts", "md"));
	const char *dense = strstr(w.text.text, "dense | mamba (baseline)");
	const char *two = strstr(w.text.text, "| m-n_experts=2"), *eight = strstr(w.text.text, "| m-n_experts=8");
	assert_true(dense && two && eight && dense < two && two < eight);
	end(&w);
}

#define MIXED(label_, d_expert_, experts_, fast_)                                                  \
	{.label = label_, .variant = "m", .seed = 1, .fast = fast_, .expand = 1, .d_expert = d_expert_,  \
		.experts = experts_, .active = 1024 * 1024}
#define SHARED(label_, ...) {.label = label_, .variant = label_, .seed = 1, .expand = 2, __VA_ARGS__}

/* Of 2^20 active parameters, each of the 2 routers has 2 * 128 * d_expert + 128 * n_experts, and the
   dense mixers of 4 blocks 4 * 2 * 128 * d_hidden. */
static const struct lab_run ratio_runs[] = {SHARED("mamba", .active = 1024 * 1024),
	MIXED("m-d_expert=508", 508, 8, 1.6), MIXED("m-d_expert=1532", 1532, 8, 1.2),
	SHARED("dense", .active = 1024 * 1024, .d_hidden = 512), SHARED("wide", .active = 1024 * 1024),
	{.label = "transformer", .variant = "transformer", .seed = 1, .experts = 8}};

static void shares_follow_from_what_is_recorded(void **state)
{
	struct shown w;
	char text[600];

	(void)state;
	assert_true(show(&w, ratio_runs, ARRAY_SIZE(ratio_runs), "ratio", "md"));
	assert_has(line(&w, "  1.5 : 4.5", text, sizeof text), "| m-d_expert=1532 ");
	assert_has(line(&w, "  4.5 : 1.5", text, sizeof text), "| m-d_expert=508 ");
	assert_has(line(&w, "  3.0 : 3.0", text, sizeof text), "| dense ");
	static const char *const order[] = {"| mamba (baseline)", "| transformer", "| m-d_expert=1532", "| dense",
		"| m-d_expert=508", "| wide", "| null: mamba"};
	const char *at = w.text.text;
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		at = strstr(at, order[i]);
		if (!at)
			fail_msg("%s is not in its place:\n%s", order[i], w.text.text);
	}
	assert_has(w.text.text, "          - | transformer ");	/* no Mamba in it */
	end(&w);
}

/* A database from before parts were recorded is read as it is. */
static void older_runs_tell_no_shares(void **state)
{
	const struct study_options o = {.rule = NULL};
	struct shown w;
	char *path;

	(void)state;
	lab_open(&w.lab, "mamba");
	lab_fill(&w.lab, ratio_runs, ARRAY_SIZE(ratio_runs));
	assert_int_equal(db_exec(&w.lab.db, "DROP TABLE part"), 0);
	path = path_join(w.lab.folder, "lab.db");
	db_close(&w.lab.db);
	assert_int_equal(db_open(&w.lab.db, path, DB_READ), 0);
	free(path);
	assert_true(show_with(&w, "final", "md", &o));
	assert_false(study_has_shares(&w.study));
	assert_true(isnan(arm_mamba_share(&w.study.arms[1])));
	end(&w);
}

#define INNER(label_, inner_, every_)                                                              \
	{.label = label_, .variant = label_, .seed = 1, .inner = inner_, .every = every_, .experts = 6}

static void projections_are_in_the_order_of_the_paper(void **state)
{
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1},
		INNER("a", "conv gate out", 2), INNER("b", "gate out", 1), INNER("c", "conv gate", 1),
		INNER("d", "out", 2), INNER("e", "out", 1), INNER("f", "conv", 2)};
	struct shown w;
	char text[600];

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "inner", "md"));
	static const char *const order[] = {"| mamba (baseline)", "| f ", "| e ", "| d ", "| c ", "| b ", "| a "};
	const char *at = w.text.text;
	for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
		at = strstr(at, order[i]);
		if (!at)
			fail_msg("%s is not in its place:\n%s", order[i], w.text.text);
	}
	assert_has(line(&w, "conv + gate + out", text, sizeof text), "| every other |       6 | a ");
	assert_has(line(&w, "gate + out", text, sizeof text), "| all         |       6 | b ");
	end(&w);
}

/* A report goes through them by place: two of one place would lose one of them. */
static void every_table_has_a_place_of_its_own(void **state)
{
	(void)state;
	for (int i = 0; tables[i]; i++)
		for (int k = 0; k < i; k++)
			if (tables[i]->place == tables[k]->place)
				fail_msg("%s and %s", tables[i]->name, tables[k]->name);
	for (int i = 0; plots[i]; i++)
		for (int k = 0; k < i; k++)
			if (plots[i]->place == plots[k]->place)
				fail_msg("%s and %s", plots[i]->name, plots[k]->name);
}

static void tables_without_their_axis_say_so(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0)};
	struct shown w;

	(void)state;
	assert_false(show(&w, runs, 3, "experts", "md"));
	assert_caught("table experts: sweep lab/one has no axis model.moe.n_experts");
	hide(&w);
	assert_false(show_with(&w, "ratio", "md", &(struct study_options){.rule = NULL}));
	assert_caught("no mixtures that differ in their share of Mamba");
	hide(&w);
	assert_false(show_with(&w, "inner", "md", &(struct study_options){.rule = NULL}));
	assert_caught("no rows that differ in the projections that are mixtures");
	hide(&w);
	assert_false(show_with(&w, "load", "md", &(struct study_options){.rule = NULL}));
	assert_caught("no record of expert loads");
	end(&w);
}

static void load_is_that_of_the_last_step(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0), THREE("m", 2, .experts = 4, .starved = true)};
	struct shown w;
	char text[600];

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "load", "md"));
	assert_has(line(&w, "m", text, sizeof text), "|      0 |       4 |     3 |           0.09 |");
	assert_has(text, "0.900");
	end(&w);
}

static void excluded_runs_leave_the_means_and_stay_in_the_notes(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0),
		{.label = "m", .variant = "m", .seed = 1, .fast = 1, .floor = 1.5},
		{.label = "m", .variant = "m", .seed = 2, .fast = 1, .floor = 1.5},
		{.label = "m", .variant = "m", .seed = 3, .fast = 1, .floor = 9, .semantics = "{\"scan\":2}",
			.excluded = "its node computed with older code"},
		{.label = "m", .variant = "m", .seed = 4, .unfinished = true, .excluded = "not needed"}};
	static const char *const with_notes[] = {"final", "speedup", "cost"};
	const struct study_options renamed = {.labels = {{"m=new"}, 1}};
	struct shown w;
	char text[600];

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "final", "md"));
	assert_has(line(&w, "m", text, sizeof text), " 1.900 ");
	hide(&w);
	for (size_t i = 0; i < ARRAY_SIZE(with_notes); i++) {
		assert_true(show_with(&w, with_notes[i], "md", &renamed));
		assert_has(w.text.text, "Warning: excluded by hand: new s3: its node computed with older code\n");
		assert_has(w.text.text, "Warning: excluded by hand: new s4: not needed\n");
		assert_null(strstr(w.text.text, "unfinished"));
		hide(&w);
	}
	assert_true(show_with(&w, "final", "latex", &renamed));
	assert_has(w.text.text, "xcluded by hand: new s4: not needed");
	end(&w);
}

static void a_sweep_of_excluded_runs_has_no_table(void **state)
{
	const struct lab_run runs[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .fast = 1, .excluded = "x"}};
	struct shown w;

	(void)state;
	assert_false(show(&w, runs, 1, "final", "md"));
	assert_caught("sweep lab/one: no finished run that counts (0 unfinished, 1 excluded by hand)");
	end(&w);
}

/* What is left of them says a loss before the end, which no mean may take for the final one. */
static void runs_without_their_end_are_left_out(void **state)
{
	const struct lab_run runs[] = {THREE("mamba", 1, .floor = 0),
		{.label = "m", .variant = "m", .seed = 1, .fast = 1, .floor = 1.5},
		{.label = "m", .variant = "m", .seed = 2, .fast = 1, .floor = 9, .cut = true},
		{.label = "m", .variant = "m", .seed = 3, .fast = 1, .floor = 9, .cut = true, .excluded = "x"},
		{.label = "t", .variant = "t", .seed = 1, .fast = 1, .floor = 1.5, .cut = true, .foreign = true}};
	struct shown w;
	char text[600];

	(void)state;
	assert_true(show(&w, runs, ARRAY_SIZE(runs), "final", "md"));
	assert_has(line(&w, "m", text, sizeof text), " 1.900 ");
	line(&w, "t", text, sizeof text);
	assert_has(w.text.text, "(metrics.jsonl was damaged): m s2: `moelab rm` takes it away");
	assert_lacks(w.text.text, "damaged): m s3");
	assert_lacks(w.text.text, "damaged): t");
	end(&w);
	assert_false(show(&w, runs + 4, 1, "final", "md"));
	assert_caught("no finished run whose records are whole (1 lack the last evaluation, 0 runs are unfinished)");
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_without_their_end_are_left_out),
		cmocka_unit_test(experts_are_in_order_of_their_number),
		cmocka_unit_test(shares_follow_from_what_is_recorded),
		cmocka_unit_test(older_runs_tell_no_shares),
		cmocka_unit_test(projections_are_in_the_order_of_the_paper),
		cmocka_unit_test(every_table_has_a_place_of_its_own),
		cmocka_unit_test(tables_without_their_axis_say_so),
		cmocka_unit_test(excluded_runs_leave_the_means_and_stay_in_the_notes),
		cmocka_unit_test(a_sweep_of_excluded_runs_has_no_table),
		cmocka_unit_test(load_is_that_of_the_last_step),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
