/*
 * What tables make of seeds that diverged, that are missing, or that do not tell all, worked out as in
 * test_columns.c: each test changes a database of its own.
 */
#include "by_hand.h"

/* What two repeats could show: t sd sqrt(2 / 2). */
static double unseen2(double a, double b)
{
	return t1 * fabs(a - b) / sqrt(2);
}

static void expect_router_mean(const char *column, int router, double a, double b)
{
	near("value", M4, column, cell(M4, router, column)->value, (a + b) / 2);
}

static void diverged_seeds_in_losses(void)
{
	double position = unseen2(4.0, 4.2), recalled = unseen2(0.9, 0.8);

	show("hand", "position", (struct study_options){0});
	expect_mean2("base", "loss_1", 4.0, 4.2);
	expect_mean2(M4, "loss_1", 3.9, 4.0);
	expect_mean2(M4, "difference_1", 3.9 - 4.0, 4.0 - 4.2);
	expect_interval("null", "difference_1", NAN, -position, position);
	hide();
	show("hand", "gap", (struct study_options){0});
	expect_mean2("base", "loss_recalled", 0.9, 0.8);
	expect_mean2(M4, "loss_recalled", 0.45, 0.4);
	expect_mean2(M4, "difference_recalled", -0.45, -0.4);
	expect_interval("null", "difference_recalled", NAN, -recalled, recalled);
	hide();
	show("hand", "recall", (struct study_options){0});
	expect_mean2("base", "tokens_val", 0.4, 0.5);
	expect_mean2(M4, "answers_8", 0.15, 0.175);
	hide();
	show("hand", "forecast", (struct study_options){0});
	expect_mean2("base", "mse_4x2", 0.1, 0.2);
	expect_mean2(M4, "mae_4x2", 0.1, 0.2);
	hide();
}

/* The third seeds of base and of 4 experts reached nothing: whatever they told last, no mean has it. */
static void test_diverged(void **state)
{
	double speed = exp(unseen2(log(200), log(160)));

	(void)state;
	hand_sql("UPDATE run SET state = 'diverged' WHERE run_id IN (3, 6)");
	diverged_seeds_in_losses();
	show("hand", "cost", (struct study_options){0});
	expect_interval("null", "tokens_per_s", NAN, 1 / speed, speed);
	hide();
	show("hand", "load", (struct study_options){0});
	for (int i = 0; i < 2; i++) {
		expect_router_mean("seeds", i, 2, 2);
		expect_router_mean("dead", i, 1 + i, i);
	}
	expect_router_mean("least_load", 0, 4 * 0.1, 4 * 0.25);
	expect_router_mean("most_load", 1, 4 * 0.45, 4 * 0.25);
	hide();
	show("hand", "routers", (struct study_options){0});
	expect(M4, "most", (0.6 + 0.8 + 0 + 0) / 4);
	expect(M4, "dead", (1 + 2 + 0 + 1) / 2.0);
	hide();
}

/* Without its first seed 4 experts are held against the baseline's second and third. */
static void test_pairs_of_one_seed(void **state)
{
	(void)state;
	hand_sql("UPDATE run SET state = 'failed' WHERE run_id = 4");
	show("hand", "position", (struct study_options){0});
	expect_mean2(M4, "difference_1", 4.0 - 4.2, 3.8 - 3.8);
	expect_interval("null", "difference_2", NAN, 0, 0);	/* of a class's own losses */
	hide();
	show("hand", "gap", (struct study_options){0});
	expect_mean2(M4, "difference_recalled", -0.4, -0.35);
	hide();
	show("hand", "final", (struct study_options){0});
	expect_mean2(M4, "difference", 1.64 - 2.02, 1.56 - 1.98);
	hide();
}

/* Is seen what is beyond the null row and has no 0 in its interval: here the mean is -0.3 +- 0.50. */
static void test_intervals_with_zero(void **state)
{
	(void)state;
	hand_sql("UPDATE slice SET loss = 3.0 - 0.1 - 0.2 * (run_id - 4) WHERE \"by\" = 'position' AND low = 2 "
		"AND run_id BETWEEN 4 AND 6");
	show("hand", "position", (struct study_options){0});
	expect_mean(M4, "difference_2", -0.1, -0.3, -0.5);
	expect_text(M4, "loss_2", "2.700 (=)");
	hide();
}

static bool has_row(const char *name)
{
	for (int i = 0; i < grid.n_rows; i++)
		if (!strcmp(grid.rows[i][0].text, name))
			return true;
	return false;
}

/* Older runs tell no most frequent answer: those that do speak for all, and without any there is no such row. */
static void test_runs_that_do_not_tell(void **state)
{
	(void)state;
	hand_sql("UPDATE recall SET majority = NULL WHERE run_id = 1");
	hand_sql("UPDATE recall SET n_answers = n_tokens WHERE run_id = 1");	/* answers of one token */
	show("hand", "recall", (struct study_options){0});
	expect("most frequent answer", "tokens_8", 0.125);
	expect_mean(M4, "answers_8", 0.15, 0.175, 0.2);
	hide();
	hand_sql("UPDATE recall SET majority = NULL");
	show("hand", "recall", (struct study_options){0});
	assert_false(has_row("most frequent answer"));
	hide();
}

/* The last of its own, however far others are. */
static void test_runs_of_unlike_length(void **state)
{
	(void)state;
	hand_sql("UPDATE slice SET step = 35 WHERE run_id = 4 AND step = 40");
	hand_sql("DELETE FROM recall WHERE run_id = 1 AND test = 'val' AND step = 40");
	show("hand", "position", (struct study_options){0});
	expect_mean(M4, "loss_1", 3.9, 4.0, 3.8);
	hide();
	show("hand", "recall", (struct study_options){0});
	expect_mean("base", "tokens_val", 0.4 + 0.1, 0.5, 0.6);
	expect_mean("base", "tokens_8", 0.2, 0.25, 0.3);
	hide();
}

/* Scores of answers and errors of forecasts are told apart. */
static void test_either_kind(void **state)
{
	(void)state;
	hand_sql("DELETE FROM recall WHERE mae IS NULL");
	assert_int_equal(study_open(&study, &hand_db, "hand", &(struct study_options){0}), 0);
	assert_false(table_applies(table_find("recall"), &study));
	assert_true(table_applies(table_find("forecast"), &study));
	study_close(&study);
	hand_sql("UPDATE recall SET mae = NULL, accuracy = 0.5");
	assert_int_equal(study_open(&study, &hand_db, "hand", &(struct study_options){0}), 0);
	assert_true(table_applies(table_find("recall"), &study));
	assert_false(table_applies(table_find("forecast"), &study));
	study_close(&study);
}

#define HAND_TEST(test) cmocka_unit_test_setup_teardown(test, open_hand, close_hand)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HAND_TEST(test_diverged), HAND_TEST(test_pairs_of_one_seed), HAND_TEST(test_intervals_with_zero),
		HAND_TEST(test_runs_that_do_not_tell), HAND_TEST(test_runs_of_unlike_length), HAND_TEST(test_either_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
