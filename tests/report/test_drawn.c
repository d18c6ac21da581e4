/* Points of figures, from the database of hand.h and worked out as in test_columns.c: each test has its own. */
#include "by_hand.h"

#include "near.h"
#include "report/plot.h"

static struct chart chart;

static void draw(const char *sweep, const char *plot, enum axis axis)
{
	const struct plot_options p = {.x = axis};

	catch_messages();
	if (study_open(&study, &hand_db, sweep, &(struct study_options){0}) ||
		plot_make(plot_find(plot), &study, &p, &chart))
		fail_msg("%s", caught);
}

static void wipe(void)
{
	chart_release(&chart);
	study_close(&study);
	error_sink = NULL;
}

static const struct series *line(int panel, const char *label)
{
	const struct panel *p = &chart.panels[panel];

	for (int i = 0; i < p->n_series; i++)
		if (!strcmp(p->series[i].label, label))
			return &p->series[i];
	fail_msg("no line %s in panel %d", label, panel);
	return NULL;
}

static void expect_point(const struct series *s, int i, double x, const double y[3])
{
	assert_true(i < s->n);
	assert_near(s->x[i], x, 1e-6);
	assert_near(s->y[i], y[0], 1e-9);
	assert_near(s->low[i], y[1], 1e-9);
	assert_near(s->high[i], y[2], 1e-9);
}

/* Geometric mean of three ratios, the least and the largest of them, which come last. */
static void expect_ratios(const struct series *s, int i, double x, double a, double least, double largest)
{
	expect_point(s, i, x, (double[]){cbrt(a * least * largest), least, largest});
}

/* What was reached by the first evaluation has no ratio: so 2.4, where the base is after 30 steps, is the first level;
   the experts pass it on their way from 10 to 20. */
static void test_speedup(void **state)
{
	(void)state;
	draw("hand", "speedup", AXIS_TOKENS);
	const struct series *moe = line(0, M4);
	assert_int_equal(moe->n, 2);
	expect_ratios(moe, 0, 3000, 30 / (10 + 6 / 0.78), 30 / (10 + 6 / 0.62), 30 / (10 + 6 / 0.8));
	expect_ratios(moe, 1, 4000, 40 / 25.0, 40 / 28.0, 40 / 24.0);
	wipe();
	/* a loss that rises again is no level: after 30 steps that is still the 3 of 20 */
	hand_sql("UPDATE eval SET loss = 3.2 WHERE run_id <= 3 AND step = 30");
	hand_sql("UPDATE eval SET loss = 3.1 WHERE run_id BETWEEN 4 AND 6 AND step = 10");
	draw("hand", "speedup", AXIS_TOKENS);
	moe = line(0, M4);
	assert_int_equal(moe->n, 3);
	expect_ratios(moe, 0, 2000, 20 / (10 + 1 / 0.88), 20 / (10 + 1 / 0.72), 20 / (10 + 1 / 0.9));
	assert_near(moe->x[1], 3000, 1e-6);
	assert_near(moe->y[1], moe->y[0], 1e-9);
	wipe();
}

static void test_loss(void **state)
{
	(void)state;
	draw("hand", "loss", AXIS_SECONDS);
	assert_near(chart.panels[0].y_level, 2.0, 1e-9);	/* the mean of the base's ends */
	assert_string_equal(chart.x_title, "~ training seconds, beside other runs");
	expect_point(line(0, "base"), 3, (20 + 25 + 16) / 3.0, (double[]){2.0, 1.98, 2.02});
	assert_null(strstr(chart.title, "multi-epoch"));
	wipe();
	hand_sql("UPDATE run SET data_tokens = 976");
	hand_sql("UPDATE eval SET loss = 2.32 WHERE run_id = 2 AND step = 40");
	draw("hand", "loss", AXIS_FLOPS);
	assert_near(chart.panels[0].y_level, 2.1, 1e-9);
	assert_string_equal(chart.x_title, axis_title[AXIS_FLOPS]);
	assert_has(chart.title, "multi-epoch (4.1)");
	wipe();
}

/* The third seed of the experts, with the most drops, reached nothing. */
static void test_diverged(void **state)
{
	(void)state;
	hand_sql("UPDATE run SET state = 'diverged' WHERE run_id = 6");
	draw("capacity", "capacity", AXIS_TOKENS);
	const struct series *dropped = line(1, "moe");
	assert_near(dropped->y[0], 0.15, 1e-9);
	assert_near(dropped->low[0], 0.1, 1e-9);
	assert_near(dropped->high[0], 0.2, 1e-9);
	wipe();
	hand_sql("UPDATE run SET state = 'diverged' WHERE run_id = 4");
	draw("hand", "load", AXIS_TOKENS);
	assert_int_equal(chart.n_panels, 1);	/* of 2 experts: the first seed of 4 diverged */
	wipe();
}

/* One expert below the others is no even load, however little the others are above. */
static void test_uneven_load(void **state)
{
	(void)state;
	hand_sql("UPDATE expert SET load = CASE expert WHEN 3 THEN 0.22 ELSE 0.26 END WHERE run_id = 4");
	draw("hand", "load", AXIS_TOKENS);
	assert_int_equal(chart.n_panels, 2);
	assert_near(chart.panels[0].value[3 * chart.panels[0].n_x], 4 * 0.22, 1e-9);
	wipe();
}

/* Of 362 steps each second is a column. */
static void test_long_load(void **state)
{
	(void)state;
	hand_sql("WITH RECURSIVE s(n) AS (SELECT 41 UNION ALL SELECT n + 1 FROM s WHERE n < 400) INSERT INTO expert "
		"SELECT run_id, n, router, expert, CASE expert WHEN 0 THEN n / 1000.0 ELSE 0.2 END FROM expert JOIN s "
		"WHERE run_id = 4 AND step = 40");
	draw("hand", "load", AXIS_TOKENS);
	const struct panel *p = &chart.panels[0];
	assert_true(p->n_x == 181 && p->n_rows == 8);
	assert_true(p->x[0] == 30 && p->x[1] == 41 && p->x[180] == 399);
	assert_near(p->value[180], 4 * 0.399, 1e-9);
	wipe();
}

static void test_captions(void **state)
{
	(void)state;
	hand_sql("UPDATE run SET state = 'failed' WHERE run_id IN (1, 2)");
	draw("hand", "loss", AXIS_TOKENS);
	assert_has(chart.caption, "1 to 3 seeds of each configuration.");
	wipe();
	/* rates that were chosen alike, and differ */
	hand_sql("DELETE FROM published");
	draw("capacity", "loss", AXIS_TOKENS);
	assert_has(chart.caption, "Learning rates: untuned (base 0.001, moe-capacity_factor=1.5 0.002).");
	wipe();
}

static void test_trials(void **state)
{
	(void)state;
	hand_sql("UPDATE run SET state = 'done' WHERE run_id = 16");
	show("hand.tune", "tune", (struct study_options){0});
	expect_trial("moe", 1, 2e-3, 0, 1.92, "");
	expect_trial("moe", 2, 4e-3, 0, 1.75, "best, at the edge");
	hide();
	hand_sql("UPDATE run SET state = 'diverged' WHERE run_id IN (11, 13, 15)");
	show("hand.tune", "tune", (struct study_options){0});
	for (int i = 0; i < 3; i++)
		assert_string_equal(cell("moe", i, "chosen")->text, "");	/* none of them can be */
	hide();
}

#define HAND_TEST(test) cmocka_unit_test_setup_teardown(test, open_hand, close_hand)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HAND_TEST(test_speedup), HAND_TEST(test_loss), HAND_TEST(test_diverged), HAND_TEST(test_uneven_load),
		HAND_TEST(test_long_load), HAND_TEST(test_captions), HAND_TEST(test_trials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
