/* Pairs of two runs: where they part is found where it was put, and chance is not taken for it. */
#include "caught.h"

#include "lab.h"
#include "report/paired.h"
#include "report/plot.h"
#include "report/table.h"

enum { N = 1000, PART = 400 };

static struct arena arena;

static int release(void **state)
{
	(void)state;
	error_sink = NULL;
	arena_release(&arena);
	return 0;
}

/* Losses that fall, with noise that both runs of a pair share, and noise of each run's own. */
static struct curve_rows curve(int n, uint64_t seed, double own, double shift, int from)
{
	struct curve_rows c = {.n = n, .step = ARENA_ARRAY(&arena, long long, n),
		.tokens = ARENA_ARRAY(&arena, double, n), .loss = ARENA_ARRAY(&arena, double, n)};

	for (int i = 0; i < n; i++) {
		struct rng_block shared = rng_block((struct rng_key){.seed = 1}, (uint64_t)i);
		struct rng_block mine = rng_block((struct rng_key){.seed = seed, .stream = 7},
			(uint64_t)i);
		c.step[i] = i + 1;
		c.tokens[i] = 100.0 * (i + 1);
		c.loss[i] = 5 - 0.002 * i + rng_uniform(shared, 0) +
			own * (rng_uniform(mine, 0) - 0.5) + (i >= from ? shift : 0);
	}
	return c;
}

/* Before its place only by chance, see below. */
static void parting_is_found_where_it_was_put(void **state)
{
	int found = 0;

	(void)state;
	for (uint64_t seed = 2; seed < 52; seed++) {
		struct curve_rows a = curve(N, seed, 0.02, 0, 0),
				  b = curve(N, seed + 1000, 0.02, -0.02, PART);
		struct paired p = paired_of(&a, &b, &arena);
		int part = paired_part(&p);
		assert_true(p.n == N && p.window == N / 50 && p.n_means == N - p.window + 1);
		found += part + 2 * p.window > PART && part < PART;
		assert_true(fabs(p.mean[p.n_means - 1] + 0.02) < 5 * p.error[p.n_means - 1]);
		assert_int_equal(paired_equal(&p), 0);
	}
	assert_in_range(found, 49, 50);
}

static void chance_is_no_parting(void **state)
{
	int parted = 0;

	(void)state;
	for (uint64_t seed = 2; seed < 502; seed++) {
		struct curve_rows a = curve(N, seed, 0.02, 0, 0),
				  b = curve(N, seed + 1000, 0.02, 0, 0);
		struct paired p = paired_of(&a, &b, &arena);
		parted += paired_part(&p) >= 0;
	}
	assert_in_range(parted, 0, 5);
}

static void equal_runs_stay_equal_until_they_differ(void **state)
{
	struct curve_rows a = curve(N, 2, 0.02, 0, 0), b = curve(N, 2, 0.02, 1e-6, PART);
	struct paired p = paired_of(&a, &a, &arena);

	(void)state;
	assert_true(paired_equal(&p) == N && paired_part(&p) == -1);
	p = paired_of(&a, &b, &arena);
	assert_int_equal(paired_equal(&p), PART);
	assert_true(paired_part(&p) > PART - p.window && paired_part(&p) <= PART);
}

/* Errors by hand: 1, 2, 3, 4 have mean 2.5 and the standard error sqrt(5 / 3 / 4). */
static void pairs_are_those_of_common_steps(void **state)
{
	long long step_a[] = {0, 10, 20, 30, 40, 50, 60}, step_b[] = {10, 15, 20, 40, 50, 60};
	double tokens[7] = {0, 1, 2, 3, 4, 5, 6}, tokens_b[6] = {1, 1.5, 2, 4, 5, 6};
	double zero[7] = {0}, loss[] = {1, 9, 2, 3, 4, NAN};
	struct curve_rows a = {.n = 7, .step = step_a, .tokens = tokens, .loss = zero};
	struct curve_rows b = {.n = 6, .step = step_b, .tokens = tokens_b, .loss = loss};
	struct paired p = paired_of(&a, &b, &arena);

	(void)state;
	assert_true(p.n == 4 && p.window == 4 && p.n_means == 1 && p.step[3] == 50);
	assert_true(p.tokens[3] == 5 && p.difference[2] == 3);
	assert_true(fabs(p.mean[0] - 2.5) < 1e-12 && fabs(p.error[0] - sqrt(5.0 / 12)) < 1e-12);
	assert_int_equal(paired_part(&p), -1);
	tokens_b[3] = 3.9;	/* other batches */
	p = paired_of(&a, &b, &arena);
	assert_true(p.n == 3 && p.difference[2] == 4);
	b.n = 1;
	p = paired_of(&a, &b, &arena);
	assert_true(p.n == 1 && p.n_means == 0 && paired_part(&p) == -1);
}

/* Windows count while they lie on one side. */
static void sides_do_not_add_up(void **state)
{
	double error[8] = {0}, turns[8] = {1, 1, -1, -1, 1, 1, -1, -1}, stays[8] = {1, -1, -1, -1, -1, -1, -1, -1};
	struct paired p = {.window = 3, .n_means = 8, .mean = turns, .error = error};

	(void)state;
	assert_int_equal(paired_part(&p), -1);
	p.mean = stays;
	assert_int_equal(paired_part(&p), 1);
}

/* --- of runs in a database ------------------------------------------------------------------- */

static const struct lab_run runs[] = {
	{.label = "mamba", .variant = "mamba", .seed = 1, .noise = 0.002},
	{.label = "mamba", .variant = "mamba", .seed = 2, .noise = 0.002},
	{.label = "moe", .variant = "moe", .seed = 1, .fast = 1.8, .noise = 0.002, .windows = "w1"},
	{.label = "moe", .variant = "moe", .seed = 2, .fast = 1.8, .noise = 0.002, .windows = "w1"},
	{.label = "moe", .variant = "moe", .seed = 3, .fast = 1.8},
	{.label = "wild", .variant = "wild", .seed = 1, .diverged = true},
};

static void find_pair(struct db *db, struct run_row *ab)
{
	const char *const names[] = {"label=mamba", "label=moe"};

	for (int i = 0; i < 2; i++) {
		const char *words[] = {names[i], "seed=1"};
		assert_int_equal(query_one(db, &(struct selection){.selectors = words, .n = 2},
			&arena, &ab[i]), 0);
	}
}

static void table_says_where_and_warns(void **state)
{
	struct run_row ab[2];
	struct lab lab;
	struct chart c;
	struct grid g;
	struct str text;
	struct paired p;

	(void)state;
	lab_open(&lab, "mamba");
	lab_fill(&lab, runs, ARRAY_SIZE(runs));
	find_pair(&lab.db, ab);
	assert_int_equal(paired_read(&lab.db, ab[0].run_id, ab[1].run_id, "train", &arena, &p), 0);
	grid_init(&g, "compare");
	assert_int_equal(paired_table(&lab.db, ab, &g), 0);
	str_init(&text);
	grid_format_find("md")->render(&g, &text);
	assert_has(text.text, "no pairs: they differ in evaluation windows, w0 and w1");
	assert_lacks(text.text, "train.batch");
	assert_lacks(text.text, "data.seed");
	assert_true(g.n_rows == 2);
	/* Columns: pairs, to step, equal to step, part at step, tokens, last. */
	assert_true(g.rows[0][1].value == LAB_STEPS && g.rows[0][2].value == LAB_STEPS);
	assert_true(isnan(g.rows[0][3].value));
	assert_true(g.rows[0][4].value > 0 && g.rows[0][4].value < 200);
	assert_true(g.rows[0][4].value == paired_part(&p) + p.window);	/* pair i is of step i + 1 */
	assert_true(g.rows[0][9].value == p.error[p.n_means - 1]);
	assert_true(fabs(g.rows[0][5].value - LAB_TOKENS * g.rows[0][4].value) < 0.5);
	double last = lab_loss(&runs[2], LAB_STEPS) - lab_loss(&runs[0], LAB_STEPS);
	assert_true(fabs(g.rows[1][6].value - last) < 1e-9);
	assert_true(g.rows[1][1].value == LAB_STEPS / LAB_EVERY + 1);
	assert_int_equal(paired_chart(&lab.db, ab, &c), 0);
	assert_true(c.n_panels == 2 && c.panels[0].series[0].n > 100);
	const struct series *s = &c.panels[0].series[0];
	assert_true(s->x[0] == p.tokens[p.window / 2] && s->y[0] == p.mean[0]);
	assert_true(fabs(s->high[0] - s->y[0] - 2 * p.error[0]) < 1e-9 && fabs(s->y[0] - s->low[0] - 2 * p.error[0]) < 1e-9);
	chart_release(&c);
	str_release(&text);
	grid_release(&g);
	lab_close(&lab);
}

static void expect_difference(struct lab *lab, const struct run_row *ab, const char *says)
{
	struct str text;
	struct grid g;

	grid_init(&g, "compare");
	assert_int_equal(paired_table(&lab->db, ab, &g), 0);
	str_init(&text);
	grid_format_find("md")->render(&g, &text);
	assert_has(text.text, says);
	str_release(&text);
	grid_release(&g);
}

/* data.seed 0 is a seed; only -1, or none, stands for the run's own. */
static void what_differs_is_named(void **state)
{
	const char *mamba[] = {"label=mamba", "seed=1"}, *moe[] = {"label=moe", "seed=2"};
	struct run_row ab[2];
	struct lab lab;

	(void)state;
	lab_open(&lab, "mamba");
	lab_fill(&lab, runs, 4);
	assert_int_equal(query_one(&lab.db, &(struct selection){.selectors = mamba, .n = 2}, &arena, &ab[0]), 0);
	assert_int_equal(query_one(&lab.db, &(struct selection){.selectors = moe, .n = 2}, &arena, &ab[1]), 0);
	expect_difference(&lab, ab, "they differ in data.seed, 1 and 2");
	for (int i = 0; i < 2; i++)
		assert_int_equal(catalog_set_config(&lab.db, ab[i].run_id, "", "{\"data.seed\": 0}"), 0);
	struct grid g;
	grid_init(&g, "compare");
	assert_int_equal(paired_table(&lab.db, ab, &g), 0);
	assert_int_equal(notes_count(&g.notes, NOTE_WARNING), 1);	/* windows alone */
	grid_release(&g);
	assert_int_equal(catalog_set_config(&lab.db, ab[1].run_id, "", "{\"train.context\": 512}"), 0);
	expect_difference(&lab, ab, "they differ in train.context, 256 and 512");
	lab_close(&lab);
}

static void figure_has_variants_over_the_baseline(void **state)
{
	struct plot_options o = {.x = AXIS_STEPS};
	struct study s;
	struct lab lab;
	struct chart c;

	(void)state;
	lab_open(&lab, "mamba");
	lab_fill(&lab, runs, ARRAY_SIZE(runs));
	assert_int_equal(study_open(&s, &lab.db, "lab/one", &(struct study_options){.force = true}), 0);
	assert_int_equal(plot_make(plot_find("delta"), &s, &o, &c), 0);
	assert_int_equal(c.panels[0].n_series, 1);	/* diverged runs have no end to compare */
	const struct series *moe = &c.panels[0].series[0];
	assert_string_equal(moe->label, "moe");
	int at = moe->n - 1;
	double floor = 0.4 * (pow(1.8 * moe->x[at] / LAB_STEPS, -0.3) - pow(moe->x[at] / LAB_STEPS, -0.3));
	assert_true(fabs(moe->y[at] - floor) < 0.01);
	assert_true(moe->low[at] < moe->y[at] && moe->y[at] < moe->high[at]);
	assert_true(moe->x[0] == LAB_STEPS / 50 / 2 + 1);	/* the middle of a window */
	chart_release(&c);
	o.x = AXIS_SECONDS;
	catch_messages();
	assert_int_equal(plot_make(plot_find("delta"), &s, &o, &c), -1);
	assert_caught("--x tokens or steps");
	chart_release(&c);
	study_close(&s);
	lab_close(&lab);
}

/* Without others the window's own scatter is the band. */
static void band_of_one_seed(void **state)
{
	const struct plot_options o = {.x = AXIS_TOKENS};
	struct run_row ab[2];
	struct paired p;
	struct study s;
	struct lab lab;
	struct chart c;

	(void)state;
	lab_open(&lab, "mamba");
	lab_fill(&lab, runs, 3);
	find_pair(&lab.db, ab);
	assert_int_equal(paired_read(&lab.db, ab[0].run_id, ab[1].run_id, "train", &arena, &p), 0);
	assert_int_equal(study_open(&s, &lab.db, "lab/one", &(struct study_options){.force = true}), 0);
	assert_int_equal(plot_make(plot_find("delta"), &s, &o, &c), 0);
	const struct series *moe = &c.panels[0].series[0];
	assert_true(moe->y[0] == p.mean[0] && moe->x[0] == p.tokens[p.window / 2]);
	assert_true(fabs(moe->high[0] - p.mean[0] - 2 * p.error[0]) < 1e-12);
	assert_true(fabs(p.mean[0] - moe->low[0] - 2 * p.error[0]) < 1e-12);
	chart_release(&c);
	study_close(&s);
	lab_close(&lab);
}

static void foreign_curves_are_marked(void **state)
{
	const struct plot_options o = {.x = AXIS_TOKENS};
	char id[HASH_HEX];
	struct run_row ab[2];
	struct study s;
	struct lab lab;
	struct chart c;
	struct grid g;
	struct str text;

	(void)state;
	lab_open(&lab, "mamba");
	lab_fill(&lab, runs, 3);
	long long moe = catalog_run_id(&lab.db, lab_identity(&runs[2], id));
	assert_int_equal(catalog_set_config(&lab.db, moe, "", "{\"foreign\":\"a.csv\"}"), 0);
	assert_int_equal(study_open(&s, &lab.db, "lab/one", &(struct study_options){.force = true}), 0);
	str_init(&text);
	assert_int_equal(table_make(table_find("final"), &s, true, &g), 0);
	grid_format_find("md")->render(&g, &text);
	assert_has(text.text, "| moe (foreign) ");
	assert_has(text.text, "Warning: foreign curves, not run by moelab");
	assert_int_equal(plot_make(plot_find("loss"), &s, &o, &c), 0);
	assert_string_equal(c.panels[0].series[0].label, "mamba");
	assert_string_equal(c.panels[0].series[1].label, "moe (foreign)");
	grid_release(&g);
	chart_release(&c);
	study_close(&s);

	find_pair(&lab.db, ab);
	grid_init(&g, "compare");
	assert_int_equal(paired_table(&lab.db, ab, &g), 0);
	str_clear(&text);
	grid_format_find("md")->render(&g, &text);
	assert_has(text.text, "nothing says that it saw the same batches");
	assert_lacks(text.text, "no pairs:");
	str_release(&text);
	grid_release(&g);
	lab_close(&lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(parting_is_found_where_it_was_put, release),
		cmocka_unit_test_teardown(chance_is_no_parting, release),
		cmocka_unit_test_teardown(equal_runs_stay_equal_until_they_differ, release),
		cmocka_unit_test_teardown(pairs_are_those_of_common_steps, release),
		cmocka_unit_test_teardown(sides_do_not_add_up, release),
		cmocka_unit_test_teardown(table_says_where_and_warns, release),
		cmocka_unit_test_teardown(what_differs_is_named, release),
		cmocka_unit_test_teardown(figure_has_variants_over_the_baseline, release),
		cmocka_unit_test_teardown(band_of_one_seed, release),
		cmocka_unit_test_teardown(foreign_curves_are_marked, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
