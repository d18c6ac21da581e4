/* The table of routers where a sweep has others than hand.h: each test changes a database of its own. */
#include "by_hand.h"

/* Mixtures of tokens have no loads, and their name all the same. */
static void test_mixtures_of_tokens(void **state)
{
	(void)state;
	hand_sql("INSERT INTO param SELECT run_id, 'model.moe.router', 'tokens' FROM run WHERE label = 'base'");
	show("hand", "routers", (struct study_options){0});
	expect_text("base", "router", "tokens");
	hide();
}

/* Entries of a pattern have routers of their own, and are evaluated each by its rule. */
static void test_routers_of_a_pattern(void **state)
{
	(void)state;
	hand_sql("INSERT INTO param SELECT run_id, 'model.pattern', '[\"mamba\",{\"moe\":{\"router\":\"topk\"}},"
		"{\"mix\":[\"attn\",{\"moe\":{\"router\":\"hash\"}}]},\"moe\",{\"moe\":{\"router\":\"topk\"}}]' "
		"FROM run WHERE label LIKE 'moe%%'");
	hand_sql("UPDATE eval SET capacity = 'rank 2' WHERE capacity = '1.5'");
	show("hand", "routers", (struct study_options){0});
	expect_text(M4, "router", "topk + hash + switch");
	expect_text(M2, "router", "topk + hash + expert_choice");
	expect_text(M4, "to_switch", "-");
	expect_text(M4, "eval_rule", "rank 2");
	hide();
	hand_sql("UPDATE param SET value = '[\"inner\",\"attn\"]' WHERE key = 'model.pattern'");
	show("hand", "routers", (struct study_options){0});
	expect_text(M2, "router", "expert_choice");
	hide();
}

/* Each by the logarithm of its own number of experts. */
static void test_routers_of_unlike_mixtures(void **state)
{
	double entropy = mean(1, 1.2, 1.1);

	(void)state;
	hand_sql("DELETE FROM expert WHERE router = 1 AND expert > 1");
	show("hand", "routers", (struct study_options){0});
	expect(M4, "entropy", (entropy / log(4) + (entropy + 0.1) / log(2)) / 2);
	hide();
}

/* A capacity that moves ends elsewhere with each seed. */
static void test_capacities_that_move(void **state)
{
	(void)state;
	hand_sql("UPDATE eval SET capacity = CASE (SELECT seed FROM run r WHERE r.run_id = eval.run_id) WHEN 1 THEN '1.2' "
		"WHEN 2 THEN '0.95' ELSE '1.5' END WHERE capacity = '1.5'");
	show("hand", "routers", (struct study_options){0});
	expect_text(M4, "eval_rule", "capacity 0.95 to 1.5");
	hide();
}

/* Routers that no token took anything of are there, and what is not known of them is left out. */
static void test_routers_without_choices(void **state)
{
	(void)state;
	hand_sql("UPDATE expert SET load = 0 WHERE run_id IN (7, 8)");
	hand_sql("UPDATE router SET entropy = NULL, choices = 0 WHERE run_id IN (7, 8)");
	hand_sql("UPDATE eval SET choices = 0, unserved = 1, capacity = '0' WHERE run_id IN (7, 8)");
	show("hand", "routers", (struct study_options){0});
	expect_text(M2, "router", "expert_choice");
	expect(M2, "choices", 0);
	expect(M2, "eval_choices", 0);
	expect(M2, "unserved", 1);
	expect_text(M2, "eval_rule", "all");
	expect_text(M2, "most", "-");
	expect_text(M2, "entropy", "-");
	hide();
}

#define HAND_TEST(test) cmocka_unit_test_setup_teardown(test, open_hand, close_hand)

int main(void)
{
	const struct CMUnitTest tests[] = {
		HAND_TEST(test_mixtures_of_tokens), HAND_TEST(test_routers_of_a_pattern),
		HAND_TEST(test_routers_of_unlike_mixtures), HAND_TEST(test_capacities_that_move),
		HAND_TEST(test_routers_without_choices),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
