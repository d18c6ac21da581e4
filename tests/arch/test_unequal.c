/* Experts of unequal widths (model.moe.expert_sizes): where they are cut, what is refused, what is balanced. */
#include "rig.h"

#include "base/cpu.h"
#include "refused.h"
#include "nn/moe.h"

enum { B = 3, T = 16, N = B * T, E = 4 };

#define MIXTURE "{model: {arch: transformer_moe, d_model: 8, n_blocks: 1, attn: {n_heads: 2}, moe: {" \
	"n_experts: 4, d_expert: 6, "

/* Borders are rounded down, and all have the units of equal experts. */
static void test_cuts(void **state)
{
	static const struct {
		const char *sizes;
		long granularity;
		struct units units;
	} cuts[] = {{"1:3", 1, {2, {0, 3, 12}}}, {"2:3:7:8", 1, {4, {0, 2, 6, 14, 24}}}, {"1:3", 3, {2, {0, 1, 4}}},
		{"1", 1, {0}}, {"5:5", 1, {0}}, {"", 1, {0}}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct moe_spec s = {.n_experts = E, .d_expert = 6, .granularity = cuts[i].granularity,
			.expert_sizes = cuts[i].sizes};
		struct units u;
		assert_null(moe_units(&s, 8, &u));
		assert_memory_equal(&u, &cuts[i].units, sizeof u);
	}
	const struct units *two = &cuts[0].units;
	assert_true(units_first(two, 3) == 15 && units_of(two, 3) == 9 && units_most(two) == 9);
	assert_true(units_share(two, 2) == 0.5 && units_share(two, 1) == 1.5);
}

/* All parameters are those of equal experts, and a token has two of four. */
static void test_parameters(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig, MIXTURE "router: hmoe, expert_sizes: 2:3:7:8, expert: gated}}",
		(struct rig_options){.device = REF, .batch = B, .context = T});
	const struct param *w1 = &rig.params.list[params_find(&rig.params, "layers.1.moe.w1")],
		*w2 = &rig.params.list[params_find(&rig.params, "layers.1.moe.w2")];
	assert_true(w1->shape.n_dims == 2 && w1->shape.dims[0] == 2 * E * 6 && w1->shape.dims[1] == 8);
	assert_true(w2->shape.n_dims == 2 && w2->shape.dims[0] == 8 && w2->shape.dims[1] == E * 6);
	assert_true(param_active(w1) == 0.5 * (double)param_elements(w1));
	rig_close(&rig);
}

/* The mean p of each expert over all tokens, where all are chosen and weigh what p says. */
static void mean_scores(const struct rig *rig, double *p)
{
	for (int i = 0; i < N * E; i++)
		p[(int)graph_read(rig->g, "layers.1.moe.route", i)] += graph_read(rig->g, "layers.1.moe.gate", i) / N;
}

/* All are chosen alike, so that loads are even whatever p: the loss then is the sum of p by width, or 1. */
static void test_balance_by_width(void **state)
{
	static const char *const specs[] = {MIXTURE "top_k: 4, capacity_factor: 0, expert_sizes: 1:3, balance_by: width}}",
		MIXTURE "top_k: 4, capacity_factor: 0, expert_sizes: 1:3}}"};

	(void)state;
	for (int k = 0; k < 2; k++) {
		double p[E] = {0}, wide = 0;
		struct rig rig;
		rig_open(&rig, specs[k], (struct rig_options){.device = CPU, .batch = B, .context = T, .routes = true});
		rig_loss(&rig);
		mean_scores(&rig, p);
		for (int e = 0; e < E; e++)
			wide += p[e] * (e % 2 ? 1.5 : 0.5);
		assert_true(fabs(wide - 1) > 0.01);
		assert_true(fabs(graph_read(rig.g, "layers.1.moe.balance", 0) - (k ? 1 : wide)) < 1e-5);
		rig_close(&rig);
	}
}

static void test_refusals(void **state)
{
	(void)state;
	expect_refused(MIXTURE "expert_sizes: 1:2:3}}", "must divide model.moe.n_experts");
	expect_refused(MIXTURE "expert_sizes: '1:2:'}}", "no proportions");
	expect_refused(MIXTURE "expert_sizes: 0:2}}", "no proportions");
	expect_refused(MIXTURE "expert_sizes: '1: 2'}}", "no proportions");
	expect_refused(MIXTURE "expert_sizes: 1:65537}}", "no proportions");
	expect_refused(MIXTURE "expert_sizes: 1:30}}", "no hidden unit");
	expect_refused(MIXTURE "expert_sizes: 5:5}}", "all experts as wide");
	expect_refused(MIXTURE "balance_by: width, balance_target: 0.1}}", "balance_target is of loads");
	expect_refused("{model: {arch: inner_moe_mamba, d_model: 6, n_blocks: 2, inner: {conv: true}, moe: {expert: linear, "
		"n_experts: 4, expert_sizes: 1:2}}", "expert_sizes empty");
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_balance_by_width),
		cmocka_unit_test(test_refusals),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
