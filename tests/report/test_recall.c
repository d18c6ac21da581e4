/* Right answers as figures, of the database of hand.h: by an axis, by length, by items. */
#include "by_hand.h"

#include "report/plot.h"
#include "near.h"

static struct chart chart;

static void draw(const char *sweep)
{
	const struct study_options o = {.rule = NULL};
	const struct plot_options p = {0};

	catch_messages();
	if (study_open(&study, &hand_db, sweep, &o) ||
		plot_make(plot_find("recall"), &study, &p, &chart))
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
	for (int i = 0; i < chart.panels[panel].n_series; i++)
		if (!strcmp(chart.panels[panel].series[i].label, label))
			return &chart.panels[panel].series[i];
	fail_msg("no line %s in panel %d", label, panel);
	return NULL;
}

static void expect_point(const struct series *s, int i, const double xy[2], double low, double high)
{
	assert_true(i < s->n && s->x[i] == xy[0]);
	assert_near(s->y[i], xy[1], 1e-9);
	assert_near(s->low[i], low, 1e-9);
	assert_near(s->high[i], high, 1e-9);
}

/* A panel for each test set; whole answers where they have several tokens. */
static void test_by_axis(void **state)
{
	(void)state;
	draw("hand");
	assert_int_equal(chart.n_panels, 2);
	assert_string_equal(chart.x_title, "model.moe.n_experts");
	assert_string_equal(chart.panels[0].title, "8");
	assert_string_equal(chart.panels[0].y_title, "answers whole");
	expect_point(line(0, "moe"), 1, (double[]){4, 0.175}, 0.15, 0.2);
	expect_point(line(1, "moe"), 1, (double[]){4, 0.0875}, 0.075, 0.1);
	assert_true(line(0, "base")->flat);
	assert_near(line(0, "base")->y[0], 0.125, 1e-9);
	wipe();
}

static void test_by_length(void **state)
{
	(void)state;
	draw("capacity");
	assert_int_equal(chart.n_panels, 2);
	assert_string_equal(chart.x_title, "length of the examples");
	assert_int_equal(line(0, "base")->n, 2);	/* val has no length */
	expect_point(line(0, "base"), 0, (double[]){8, 0.25}, 0.2, 0.3);
	expect_point(line(0, "base"), 1, (double[]){16, 0.125}, 0.1, 0.15);
	expect_point(line(1, "moe-capacity_factor=1.5"), 1, (double[]){16, 0.0875}, 0.075, 0.1);
	wipe();
}

static void test_by_items(void **state)
{
	(void)state;
	hand_sql("UPDATE recall SET items = length / 2, length = 32, n_answers = n_tokens"
		" WHERE test <> 'val'");
	draw("capacity");
	assert_int_equal(chart.n_panels, 1);
	assert_string_equal(chart.x_title, "items of the examples");
	assert_string_equal(chart.panels[0].title, "length 32");
	expect_point(line(0, "base"), 0, (double[]){4, 0.25}, 0.2, 0.3);
	expect_point(line(0, "base"), 1, (double[]){8, 0.125}, 0.1, 0.15);
	wipe();
}

static void test_none(void **state)
{
	const struct study_options o = {.rule = NULL};

	(void)state;
	hand_sql("DELETE FROM recall");
	catch_messages();
	assert_int_equal(study_open(&study, &hand_db, "hand", &o), 0);
	assert_int_equal(table_make(table_find("recall"), &study, true, &grid), -1);
	assert_caught("has no scores on examples");
	hide();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_axis), cmocka_unit_test(test_by_length),
		cmocka_unit_test(test_by_items), cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, open_hand, close_hand);
}
