/* Mixtures without a limit among others with one: the table and the plot of the capacity factor, of the database of
   hand.h. */
#include "by_hand.h"

#include "report/plot.h"

/* A swept capacity: 1.5 with 4 experts, none with 2. */
static int open_capacities(void **state)
{
	open_hand(state);
	hand_sql("INSERT INTO axis SELECT sweep_id, run_id, 'model.moe.capacity_factor', 'capacity_factor', 'x' FROM axis "
		"WHERE key = 'model.moe.n_experts' AND sweep_id = 1");
	hand_sql("UPDATE param SET value = 0 WHERE key = 'model.moe.capacity_factor' "
		"AND run_id IN (SELECT run_id FROM member WHERE label = '" M2 "')");
	return 0;
}

/* No limit is above all others. */
static void test_table(void **state)
{
	(void)state;
	show("hand", "capacity", (struct study_options){0});
	expect_text(M2, "capacity_factor", "all");
	expect_text(M2, "capacity_end", "all");
	expect(M4, "capacity_factor", 1.5);
	assert_string_equal(grid.rows[grid.n_rows - 2][column_of("model")].text, M2);	/* before the null row */
	hide();
}

/* It has no place on the axis. */
static void test_plot(void **state)
{
	const struct study_options o = {0};
	struct chart c;

	(void)state;
	assert_int_equal(study_open(&study, &hand_db, "hand", &o), 0);
	assert_int_equal(plot_make(plot_find("capacity"), &study, &(struct plot_options){0}, &c), 0);
	assert_int_equal(c.panels[0].n_series, 3);
	for (int i = 0; i < c.panels[0].n_series; i++)
		assert_int_equal(c.panels[0].series[i].flat, strcmp(c.panels[0].series[i].label, "moe") != 0);
	chart_release(&c);
	study_close(&study);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_table), cmocka_unit_test(test_plot)};

	return cmocka_run_group_tests(tests, open_capacities, close_hand);
}
