/* Which configurations of a sweep with two axes make a line of a figure by one of them, of the database of hand.h. */
#include "by_hand.h"

#include "report/plot.h"

/* The width of experts is an axis beside their number: 48 of 4 experts, 24 of 2. */
static int open_two_axes(void **state)
{
	open_hand(state);
	hand_sql(
		"INSERT INTO axis SELECT sweep_id, run_id, 'model.moe.d_expert', 'd_expert', 'x' FROM axis "
		"WHERE key = 'model.moe.n_experts' AND sweep_id = 1");
	hand_sql("UPDATE param SET value = 24 WHERE key = 'model.moe.d_expert' "
		 "AND run_id IN (SELECT run_id FROM member WHERE label = '" M2 "')");
	return 0;
}

/* The points of a line; 0: there is none. */
static int points_of(const char *label)
{
	struct chart c;
	int n = 0;

	assert_int_equal(study_open(&study, &hand_db, "hand", &(struct study_options){0}), 0);
	assert_int_equal(plot_make(plot_find("experts"), &study, &(struct plot_options){0}, &c), 0);
	for (int i = 0; i < c.panels[0].n_series; i++)
		if (!strcmp(c.panels[0].series[i].label, label))
			n = c.panels[0].series[i].n;
	chart_release(&c);
	study_close(&study);
	return n;
}

/* Values that go together, as of a zip, are one line. */
static void test_together(void **state)
{
	(void)state;
	assert_int_equal(points_of("moe"), 2);
}

/* Those at one place on the axis are not. */
static void test_apart(void **state)
{
	(void)state;
	hand_sql("UPDATE param SET value = 4 WHERE key = 'model.moe.n_experts'");
	assert_int_equal(points_of("moe"), 0);
	assert_int_equal(points_of("moe-d_expert=48"), 1);
	assert_int_equal(points_of("moe-d_expert=24"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_together), cmocka_unit_test(test_apart)};

	return cmocka_run_group_tests(tests, open_two_axes, close_hand);
}
