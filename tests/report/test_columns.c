/*
 * Every column that a table derives, from the database of hand.h: what it should be is worked out
 * here from the numbers there, with a table of Student's t and no call of the code under test.
 */
#include "by_hand.h"

#include "report/columns.h"

/* ---- tables --------------------------------------------------------------------------------- */

/* The base ends at 2.0, 2.02 and 1.98; experts are there after 25, 24 and 28 steps: half, 4 and 8
   tenths of the way from 20 to 30. */
static void test_speedup(void **state)
{
	(void)state;
	show("hand", "speedup", (struct study_options){0});
	expect_model();
	expect_text(M4, "verdict", "faster");
	expect_ratio(M4, "speedup_steps", 40 / 25.0, 40 / 24.0, 40 / 28.0);
	expect_ratio(M4, "speedup_tokens", 40 / 25.0, 40 / 24.0, 40 / 28.0);
	expect_ratio(M4, "speedup_flops", 40e6 / (25 * 4.5e5), 40e6 / (24 * 4.5e5), 40e6 / (28 * 4.5e5));
	expect_ratio(M4, "speedup_seconds", 20 / (25 * 0.8), 25 / (24 * 0.8), 16 / (28 * 0.8));
	expect(M4, "steps", cbrt(25.0 * 24 * 28));
	expect(M4, "tokens", 100 * cbrt(25.0 * 24 * 28));
	expect(M4, "flops", 4.5e5 * cbrt(25.0 * 24 * 28));
	expect(M4, "seconds", 0.8 * cbrt(25.0 * 24 * 28));
	expect("base", "steps", 40);
	expect("base", "seconds", cbrt(20.0 * 25 * 16));
	expect(M4, "target", 2.0);
	expect_mean(M4, "loss", 1.6, 1.64, 1.56);
	expect(M4, "perplexity", exp(1.6));
	expect(M4, "bits_per_byte", 2.4);
	expect(M4, "best_loss", 1.56);
	expect(M4, "reached", 3);
	expect(M4, "seeds", 3);
	expect(M4, "published_speedup", 2.5);
	expect_text(M4, "lr", "tuned");
	expect_text(M2, "lr", "paper");
	expect_text("base", "lr", "untuned");
	hide();
}

/* Of two seeds one reaches it, half of the way from 30 to 40: no ratio, no mean. */
static void test_speedup_not_reached(void **state)
{
	(void)state;
	show("hand", "speedup", (struct study_options){0});
	expect_text(M2, "verdict", "not reached");
	expect(M2, "reached", 1);
	expect(M2, "seeds", 2);
	expect(M2, "best_loss", 1.8);
	expect(M2, "speedup_tokens", NAN);
	expect(M2, "steps", NAN);
	expect_text(M2, "seconds", "-");	/* of busy seconds, too */
	hide();
}

/* The base's seeds reach the worst of their ends, 2.02, after 39.5, 40 and 30 + 380 / 42 steps. */
static void test_speedup_null(void **state)
{
	double x = log(39.5), y = log(40), z = log(30 + 380 / 42.0), smallest = exp(unseen(x, y, z));
	char text[64];

	(void)state;
	show("hand", "speedup", (struct study_options){0});
	expect_interval("null", "speedup_tokens", NAN, 1 / smallest, smallest);
	expect("null", "reached", 3);
	snprintf(text, sizeof text, "seeds within %.3g, 3 show %.3g", exp(y - z), smallest);
	assert_string_equal(grid.rows[grid.n_rows - 1][column_of("verdict") + 1].text, text);
	hide();
}

/* To 2.5: the base in 20 + 10 (3 - 2.5) / (3 - 2.4) steps. Without the head: 2000 FLOPs a token. */
static void test_speedup_to_a_loss(void **state)
{
	double base = 20 + 5 / 0.6, a = 10 + 5 / 0.8, b = 10 + 5 / 0.78, c = 10 + 5 / 0.62;
	double of_base = 1e6 - 100 * 2000, of_moe = 4.5e5 - 100 * 2000;

	(void)state;
	show("hand", "speedup", (struct study_options){.target = "2.5", .no_head_flops = true});
	expect(M4, "target", 2.5);
	expect_ratio(M4, "speedup_tokens", base / a, base / b, base / c);
	expect_ratio(M4, "speedup_flops", base / a * of_base / of_moe, base / b * of_base / of_moe,
		base / c * of_base / of_moe);
	expect("base", "flops", base * of_base);
	hide();
}

/* Each target has a null row of its own: to 2.5 the base's seeds take the same steps. */
static void test_speedup_to_two_targets(void **state)
{
	double x = log(39.5), y = log(40), z = log(30 + 380 / 42.0), smallest = exp(unseen(x, y, z));

	(void)state;
	hand_sql("INSERT INTO target VALUES(1, 1, 'baseline', NULL), (1, 2, 'loss', 2.5)");
	show("hand", "speedup", (struct study_options){0});
	near("high", "null", "speedup_tokens", cell("null", 0, "speedup_tokens")->high, smallest);
	near("high", "null", "speedup_tokens", cell("null", 1, "speedup_tokens")->high, 1);
	near("value", M4, "target", cell(M4, 1, "target")->value, 2.5);
	hide();
	hand_sql("DELETE FROM target");
}

static void test_final(void **state)
{
	(void)state;
	show("hand", "final", (struct study_options){0});
	expect_model();
	expect_mean("base", "loss", 2.0, 2.02, 1.98);
	expect_mean2(M2, "loss", 1.8, 3.0);
	expect("base", "perplexity", exp(2.0));
	expect(M2, "perplexity", exp(2.4));
	expect("base", "bits_per_byte", 3.0);
	expect("base", "accuracy", 0.5);
	expect(M4, "accuracy", 0.7);
	expect_mean(M4, "loss_dropless", 1.5, 1.6, 1.4);
	expect("base", "loss_dropless", NAN);
	expect_mean("base", "loss_repeated_bigram", 1.5, 1.7, 1.9);
	expect("base", "share_repeated_bigram", 0.3);
	expect(M4, "share_repeated_bigram", 0.4);
	expect_mean(M4, "difference", 1.6 - 2.0, 1.64 - 2.02, 1.56 - 1.98);
	expect_mean2(M2, "difference", 1.8 - 2.0, 3 - 2.02);
	expect("base", "difference", NAN);
	expect_null_of_loss();
	expect(M4, "published_loss", 1.55);
	expect(M4, "seeds", 3);
	expect_text(M4, "lr", "tuned");
	hide();
}

static void test_experts(void **state)
{
	(void)state;
	show("hand", "experts", (struct study_options){0});
	expect_model();
	expect("base", "n_experts", NAN);
	expect_text("base", "n_experts", "dense");
	expect(M4, "n_experts", 4);
	expect(M4, "seeds", 3);
	expect_mean(M4, "loss", 1.6, 1.64, 1.56);
	expect_mean(M4, "difference", -0.4, -0.38, -0.42);
	expect_ratio(M4, "speedup_tokens", 40 / 25.0, 40 / 24.0, 40 / 28.0);
	expect(M4, "drop", mean(0.1, 0.2, 0.6));
	expect(M4, "least_load", mean(4 * 0.05, 4 * 0.25, 4 * 0.15));
	expect(M2, "least_load", (2 * 0.3 + 2 * 0.4) / 2);
	expect(M4, "published_loss", 1.55);
	expect(M4, "published_speedup", 2.5);
	expect_null_of_loss();
	hide();
}

static void test_load(void **state)
{
	(void)state;
	show("hand", "load", (struct study_options){0});
	for (int i = 0; i < 2; i++) {
		expect_router(i, "router", i);
		expect_router(i, "n_experts", 4);
		expect_router(i, "seeds", 3);
		expect_router(i, "width", i ? 0.9 : 0.75);
		expect_router(i, "dead", 1 / 3.0 + i);
		expect_router(i, "entropy", (1.1 + 0.1 * i) / log(4));
		expect_router(i, "drop", mean(0.1, 0.2, 0.6));
		expect_router(i, "unserved", mean(0.1, 0.2, 0.6) / 2 + 0.1 * i);
	}
	expect_router(0, "least_load", 4 * mean(0.1, 0.25, 0.2));
	expect_router(0, "most_load", 4 * mean(0.4, 0.25, 0.3));
	expect_router(1, "least_load", 4 * mean(0.05, 0.25, 0.15));
	expect_router(1, "most_load", 4 * mean(0.45, 0.25, 0.35));
	hide();
}

static void test_routers(void **state)
{
	double null = unseen(1.6, 1.64, 1.56);

	(void)state;
	show("hand", "routers", (struct study_options){0});
	expect_model();
	expect_text("base", "router", "-");
	expect_text(M4, "router", "switch");
	expect_text(M2, "router", "expert_choice");
	expect(M4, "seeds", 3);
	expect_mean(M4, "loss", 1.6, 1.64, 1.56);
	expect_mean("base", "to_switch", 2.0 - 1.6, 2.02 - 1.64, 1.98 - 1.56);
	expect_mean2(M2, "to_switch", 1.8 - 1.6, 3 - 1.64);
	expect_text(M4, "to_switch", "switch");
	expect_interval("null", "to_switch", NAN, -null, null);
	expect_mean(M4, "difference", -0.4, -0.38, -0.42);
	expect(M4, "choices", 1.05);
	expect(M2, "choices", 2.05);
	expect("base", "choices", NAN);
	expect(M4, "width", (0.75 + 0.9) / 2);
	expect(M2, "width", NAN);
	expect(M4, "eval_choices", 1 + mean(0.1, 0.2, 0.6));
	expect(M4, "unserved", mean(0.1, 0.2, 0.6) / 4);
	expect_text(M4, "eval_rule", "capacity 1.5");
	expect_text(M2, "eval_rule", "cutoff");
	expect_text("base", "eval_rule", "-");
	expect(M4, "most", 4 * mean(0.4 + 0.45, 0.5, 0.3 + 0.35) / 2 - 1);
	expect(M4, "entropy", (mean(1, 1.2, 1.1) + 0.05) / log(4));
	expect(M4, "drop", mean(0.1, 0.2, 0.6));
	expect(M4, "dead", 2 / 3.0 + 1);
	expect(M4, "flops_per_token", 4500);
	expect_mean("base", "tokens_per_s", 200, 160, 250);
	expect_text(M4, "depends", "A");
	expect_text(M2, "depends", "F");
	expect_null_of_loss();
	hide();
}

static void test_cost(void **state)
{
	double null = exp(unseen(log(200), log(160), log(250)));

	(void)state;
	show("hand", "cost", (struct study_options){0});
	expect_model();
	expect("base", "flops_per_token", 10000);
	expect("base", "head_share", 0.2);
	expect(M4, "head_share", 0.4);
	expect("base", "tokens", 4000);
	expect(M4, "flops", 40 * 4.5e5);
	expect("base", "seconds", mean(20, 25, 16));
	expect_mean("base", "tokens_per_s", 200, 160, 250);
	expect("base", "gflops_per_s", 0.04 / mean(20, 25, 16));
	expect(M4, "memory_bytes", 3 << 20);
	expect(M4, "threads", 2);
	expect_text(M4, "device", "cpu");
	expect("base", "jobs", 0);
	expect(M2, "jobs", 2);
	expect_text(M2, "seconds", "~32.0");
	expect_interval("null", "tokens_per_s", NAN, 1 / null, null);
	hide();
	show("hand", "cost", (struct study_options){.no_head_flops = true});
	expect("base", "flops_per_token", 8000);
	expect(M4, "flops", 40 * 4.5e5 - 4000 * 2000);
	expect(M4, "head_share", 0);
	hide();
}

static void test_ratio(void **state)
{
	(void)state;
	show("hand", "ratio", (struct study_options){0});
	expect_model();
	expect("base", "mamba_share", 1);
	expect(M4, "mamba_share", 0.6);
	expect(M2, "mamba_share", 0.3);
	expect_text(M4, "mamba_share", "3.6 : 2.4");
	expect(M4, "expand", 1.5);
	expect(M4, "d_expert", 48);
	expect(M2, "seeds", 2);
	expect(M4, "n_experts", 4);
	expect_mean(M4, "loss", 1.6, 1.64, 1.56);
	expect_mean(M4, "difference", -0.4, -0.38, -0.42);
	expect_ratio(M4, "speedup_tokens", 40 / 25.0, 40 / 24.0, 40 / 28.0);
	expect(M4, "published_loss", 1.55);
	expect(M4, "published_speedup", 2.5);
	expect_null_of_loss();
	hide();
}

static void test_inner(void **state)
{
	(void)state;
	show("hand", "inner", (struct study_options){0});
	expect_model();
	expect(M4, "seeds", 3);
	expect_text("base", "projections", "-");
	expect_text("base", "layers", "-");
	expect_text(M4, "projections", "conv + out");
	expect_text(M4, "layers", "every other");
	expect_text(M2, "projections", "out");
	expect_text(M2, "layers", "all");
	expect(M4, "n_experts", 4);
	expect_mean(M4, "loss", 1.6, 1.64, 1.56);
	expect_mean(M4, "difference", -0.4, -0.38, -0.42);
	expect_ratio(M4, "speedup_tokens", 40 / 25.0, 40 / 24.0, 40 / 28.0);
	expect(M4, "published_loss", 1.55);
	expect_null_of_loss();
	hide();
}

static void test_capacity(void **state)
{
	static const char moe[] = "moe-capacity_factor=1.5";

	(void)state;
	show("capacity", "capacity", (struct study_options){0});
	expect("base", "capacity_factor", NAN);
	expect(moe, "capacity_factor", 1.5);
	expect("base", "capacity_end", NAN);
	expect(moe, "capacity_end", 1.5 * mean(0.3, 0.7, 1));	/* of two routers; the third run does not move it */
	expect(moe, "n_experts", 4);
	expect(moe, "seeds", 3);
	expect(moe, "params_total", 4000);
	expect(moe, "params_active", 1000);
	expect(moe, "params_embedding", 100);
	expect_mean(moe, "loss", 1.6, 1.64, 1.56);
	expect_mean(moe, "loss_dropless", 1.5, 1.6, 1.4);
	expect(moe, "drop", mean(0.1, 0.2, 0.6));
	expect_mean(moe, "difference", -0.4, -0.38, -0.42);
	expect_ratio(moe, "speedup_tokens", 40 / 25.0, 40 / 24.0, 40 / 28.0);
	expect(moe, "flops_per_token", 4500);		/* as computed, not the 5000 of no drops */
	expect(moe, "published_loss", 1.45);
	expect_null_of_loss();
	hide();
}

static void test_tune(void **state)
{
	(void)state;
	show("hand.tune", "tune", (struct study_options){0});
	expect_trial("moe", 0, 1e-3, 0, 2.1, "");
	expect_trial("moe", 1, 2e-3, 0, 1.92, "best");
	expect_trial("moe", 2, 4e-3, 1, 1.8, "");
	hide();
}

static void test_position(void **state)
{
	double null = unseen(4.0, 4.2, 3.8);

	(void)state;
	show("hand", "position", (struct study_options){0});
	expect_mean("base", "loss_1", 4.0, 4.2, 3.8);
	expect_mean(M4, "loss_1", 3.9, 4.0, 3.8);
	expect_mean(M4, "loss_2", 2.0, 2.1, 1.9);
	expect(M4, "loss_3", 1.5);
	expect_mean(M4, "difference_1", 3.9 - 4.0, 4.0 - 4.2, 3.8 - 3.8);
	expect_mean(M4, "difference_2", -1.0, -0.9, -1.1);
	expect(M4, "difference_3", -0.5);
	expect("base", "difference_1", NAN);
	expect(M2, "loss_1", NAN);
	expect_text(M4, "loss_1", "3.900 (=)");
	expect_text(M4, "loss_2", "2.000 (-1.000)");
	expect_text("share of tokens", "loss_1", "25 %");
	expect_text("share of tokens", "loss_3", "50 %");
	expect_interval("null", "difference_1", NAN, -null, null);
	assert_string_equal(grid.columns[column_of("loss_3")].title, "3-4");
	hide();
}

static void test_frequency(void **state)
{
	(void)state;
	show("hand", "frequency", (struct study_options){0});
	expect_mean(M4, "loss_0", 4.9, 5.0, 4.8);
	expect_mean(M4, "loss_1", 3.0, 3.1, 2.9);
	expect(M4, "loss_10", 2.5);
	expect_mean(M4, "difference_0", 3.9 - 4.0, 4.0 - 4.2, 3.8 - 3.8);
	expect_mean(M4, "difference_1", -1.0, -0.9, -1.1);
	expect(M4, "difference_10", -0.5);
	expect_text("share of tokens", "loss_1", "75 %");
	assert_string_equal(grid.columns[column_of("loss_10")].title, "10-99");
	hide();
}

static void test_recall(void **state)
{
	(void)state;
	show("hand", "recall", (struct study_options){0});
	expect_model();
	expect(M4, "seeds", 3);
	expect_mean("base", "tokens_val", 0.4, 0.5, 0.6);
	expect_mean(M4, "tokens_val", 0.6, 0.7, 0.8);
	expect_mean(M4, "tokens_8", 0.3, 0.35, 0.4);
	expect_mean(M4, "answers_8", 0.15, 0.175, 0.2);
	expect_mean("base", "tokens_16", 0.1, 0.125, 0.15);
	expect_mean("base", "answers_16", 0.05, 0.0625, 0.075);
	expect(M2, "tokens_8", NAN);
	expect_text(M2, "answers_8", "-");
	expect_text(M4, "answers_8", "17.5 %");
	expect_text("null", "tokens_val", "35.1 %");
	expect("most frequent answer", "tokens_8", 0.125);
	expect_text("most frequent answer", "tokens_val", "-");
	expect_text("most frequent answer", "tokens_16", "6.2 %");
	assert_string_equal(grid.columns[column_of("answers_8")].title, "8, whole");
	assert_true(column_of("tokens_val") < column_of("tokens_8") &&
		column_of("answers_8") < column_of("tokens_16"));
	hide();
}

static void test_forecast(void **state)
{
	(void)state;
	show("hand", "forecast", (struct study_options){0});
	expect_model();
	expect(M4, "seeds", 3);
	expect_mean("base", "mse_4x2", 0.1, 0.2, 0.3);
	expect_mean("base", "mae_4x2", 0.2, 0.4, 0.6);
	expect_mean(M4, "mse_4x2", 0.05, 0.1, 0.15);
	expect_mean(M4, "mae_4x2", 0.1, 0.2, 0.3);
	expect(M2, "mse_4x2", NAN);
	expect("last value", "mse_4x2", 1.5);
	expect("last value", "mae_4x2", 1.25);
	expect("a season before", "mse_4x2", 0.75);
	expect("a season before", "mae_4x2", NAN);
	expect_text("null", "mse_4x2", arena_printf(&grid.arena, "%.3f", unseen(0.1, 0.2, 0.3)));
	hide();
}

/* Base 0.9, 0.8, 0.7; experts 0.45, 0.4, 0.35 and 0.1 less on the others. */
static void test_gap(void **state)
{
	double null = unseen(0.9, 0.8, 0.7);

	(void)state;
	show("hand", "gap", (struct study_options){0});
	expect_model();
	expect(M4, "seeds", 3);
	expect(M4, "share_of_tokens", 0.25);
	expect(M2, "share_of_tokens", NAN);
	expect_mean("base", "loss_recalled", 0.9, 0.8, 0.7);
	expect_mean(M4, "loss_recalled", 0.45, 0.4, 0.35);
	expect(M4, "loss_other", 2.9);
	expect(M2, "loss_other", NAN);
	expect_mean(M4, "difference_recalled", -0.45, -0.4, -0.35);
	expect("base", "difference_recalled", NAN);
	expect_interval("null", "difference_recalled", NAN, -null, null);
	expect(M4, "difference_other", -0.1);
	expect_mean(M4, "difference", -0.1125 - 0.075, -0.1 - 0.075, -0.0875 - 0.075);
	expect(M4, "gap_share", 0.1 / 0.175);
	expect("base", "gap_share", NAN);
	assert_has(grid.notes.items[grid.notes.n - 2].text, "at most 26 times in the training split");
	hide();
}

/* Three digits, whatever they are rounded to. */
static void test_short_counts(void **state)
{
	static const struct {
		double n;
		const char *text;
	} cases[] = {{0, "0"}, {999.4, "999"}, {999.5, "1.00K"}, {9994, "9.99K"}, {9995, "10.0K"}, {99940, "99.9K"},
		{99950, "100K"}, {999499, "999K"}, {999500, "1.00M"}, {2.5e9, "2.50B"}, {NAN, "-"}};
	char buffer[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(text_count(cases[i].n, buffer), cases[i].text);
	assert_string_equal(text_flops(2.5e5, buffer), "2.50e5");
	assert_string_equal(text_flops(1e15, buffer), "1.00e15");
}

/* Who adds a table, or a column to one, works out here what it should be. */
static void test_all_are_looked_at(void **state)
{
	(void)state;
	for (int i = 0; i < n_seen; i++)
		if (!seen[i].read)
			fail_msg("no test of column %s of table %s", seen[i].column, seen[i].table);
	for (int t = 0; tables[t]; t++) {
		int n = 0;
		for (int i = 0; i < n_seen; i++)
			n += !strcmp(seen[i].table, tables[t]->name);
		if (!n)
			fail_msg("no test of table %s", tables[t]->name);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_speedup), cmocka_unit_test(test_speedup_not_reached),
		cmocka_unit_test(test_speedup_null), cmocka_unit_test(test_speedup_to_a_loss),
		cmocka_unit_test(test_speedup_to_two_targets), cmocka_unit_test(test_short_counts),
		cmocka_unit_test(test_final), cmocka_unit_test(test_experts), cmocka_unit_test(test_load),
		cmocka_unit_test(test_routers), cmocka_unit_test(test_cost), cmocka_unit_test(test_ratio),
		cmocka_unit_test(test_inner),
		cmocka_unit_test(test_capacity), cmocka_unit_test(test_tune),
		cmocka_unit_test(test_position), cmocka_unit_test(test_frequency),
		cmocka_unit_test(test_recall), cmocka_unit_test(test_forecast), cmocka_unit_test(test_gap),
		cmocka_unit_test(test_all_are_looked_at),
	};

	return cmocka_run_group_tests(tests, open_hand, close_hand);
}
