/* Crossings, rules, and what they make of noise: equal curves must give 1, twice as fast gives 2. */
#include "caught.h"

#include "base/rng.h"
#include "study/curve.h"
#include "study/speedup.h"

#include <math.h>
#include <stdlib.h>

static struct curve of_losses(struct arena *a, int n, const double *loss)
{
	struct curve c = curve_new(a, n);

	for (int i = 0; i < n; i++) {
		c.x[AXIS_STEPS][i] = 10 * (i + 1);
		c.x[AXIS_TOKENS][i] = 1000 * (i + 1);
		c.x[AXIS_FLOPS][i] = 1e6 * (i + 1) * (i + 1);
		c.x[AXIS_SECONDS][i] = 0.5 * (i + 1);
		c.loss[i] = loss[i];
	}
	return c;
}

static double cross(const struct curve *c, double target, enum axis axis)
{
	return curve_x(c, curve_cross(c, target), axis);
}

static void crossing_is_interpolated_on_every_axis(void **state)
{
	struct arena a = {0};
	struct curve c = of_losses(&a, 4, (double[]){4, 3, 2, 1});

	(void)state;
	assert_true(fabs(cross(&c, 2.25, AXIS_STEPS) - 27.5) < 1e-9);
	assert_true(fabs(cross(&c, 2.25, AXIS_TOKENS) - 2750) < 1e-9);
	assert_true(fabs(cross(&c, 2.25, AXIS_FLOPS) - (4e6 + 0.75 * 5e6)) < 1e-3);
	assert_true(fabs(cross(&c, 2.25, AXIS_SECONDS) - 1.375) < 1e-9);
	assert_true(fabs(cross(&c, 2, AXIS_STEPS) - 30) < 1e-9);
	assert_true(fabs(cross(&c, 1, AXIS_STEPS) - 40) < 1e-9);
	arena_release(&a);
}

static void first_crossing_counts(void **state)
{
	struct arena a = {0};
	struct curve c = of_losses(&a, 5, (double[]){4, 2, 3, 2, 1});

	(void)state;
	assert_true(fabs(cross(&c, 3, AXIS_STEPS) - 15) < 1e-9);
	assert_true(fabs(cross(&c, 5, AXIS_STEPS) - 10) < 1e-9);	/* below it from the first point on */
	assert_true(isnan(cross(&c, 0.5, AXIS_STEPS)));
	arena_release(&a);
}

static void nothing_is_reached_after_or_by_divergence(void **state)
{
	struct arena a = {0};
	struct curve c = of_losses(&a, 4, (double[]){4, 3, NAN, 1});

	(void)state;
	assert_true(isnan(cross(&c, 2, AXIS_STEPS)));
	assert_true(fabs(cross(&c, 3.5, AXIS_STEPS) - 15) < 1e-9);
	assert_true(fabs(curve_final(&c) - 3) < 1e-12);
	c.diverged = true;
	assert_true(isnan(cross(&c, 3.5, AXIS_STEPS)));
	c.n = 0;
	assert_true(isnan(curve_final(&c)) && isnan(cross(&c, 10, AXIS_STEPS)));
	arena_release(&a);
}

/* The paper's average, written out: s_0 = l_0, s_t = s_(t-1) + alpha (l_t - s_(t-1)). */
static void paper_average_starts_at_the_first_loss(void **state)
{
	struct arena a = {0};
	struct curve c = of_losses(&a, 3, (double[]){4, 3, 1}), s;

	(void)state;
	for (int i = 0; i < 3; i++)
		c.x[AXIS_STEPS][i] = i + 1;
	s = rule_smooth(rule_find("paper"), &c, &a);
	assert_true(fabs(s.loss[0] - 4) < 1e-12);
	assert_true(fabs(s.loss[1] - (4 - 0.001)) < 1e-12);
	assert_true(fabs(s.loss[2] - (3.999 - 0.001 * 2.999)) < 1e-12);
	arena_release(&a);
}

static void scaled_average_is_bias_corrected(void **state)
{
	struct arena a = {0};
	struct curve c = curve_new(&a, 3000), s;
	const struct rule *r = rule_find("paper-scaled");

	(void)state;
	for (int i = 0; i < c.n; i++) {
		c.x[AXIS_STEPS][i] = i + 1;
		c.loss[i] = 2.5;
	}
	assert_true(fabs(rule_alpha(r, 3000) - 0.05) < 1e-12);
	assert_true(fabs(rule_alpha(r, 150000) - 0.001) < 1e-12);
	assert_true(fabs(rule_alpha(r, 100) - 1) < 1e-12);
	s = rule_smooth(r, &c, &a);
	for (int i = 0; i < c.n; i++)
		assert_true(fabs(s.loss[i] - 2.5) < 1e-9);
	c.loss[0] = 5;	/* by hand: (0.05 x 0.95 x 5 + 0.05 x 2.5) / (1 - 0.95^2) */
	s = rule_smooth(r, &c, &a);
	assert_true(fabs(s.loss[1] - (0.0475 * 5 + 0.05 * 2.5) / 0.0975) < 1e-9);
	arena_release(&a);
}

/* Where only every fourth step is logged, each logged loss stands for the four steps. */
static void unlogged_steps_weigh_as_much(void **state)
{
	struct arena a = {0};
	struct curve every = curve_new(&a, 4000), fourth = curve_new(&a, 1000), s, t;
	const struct rule *r = rule_find("paper-scaled");

	(void)state;
	for (int i = 0; i < 4000; i++) {
		every.x[AXIS_STEPS][i] = i + 1;
		every.loss[i] = 4 - i / 4 * 0.001;
	}
	for (int i = 0; i < 1000; i++) {
		fourth.x[AXIS_STEPS][i] = 4 * (i + 1);
		fourth.loss[i] = 4 - i * 0.001;
	}
	s = rule_smooth(r, &every, &a);
	t = rule_smooth(r, &fourth, &a);
	for (int i = 0; i < 1000; i++)
		assert_true(fabs(s.loss[4 * i + 3] - t.loss[i]) < 1e-9);
	arena_release(&a);
}

static double normal(uint64_t seed, int i)
{
	struct rng_block b = rng_block((struct rng_key){.seed = seed, .stream = 7}, (uint64_t)i);

	return sqrt(-2 * log(rng_uniform(b, 0))) * cos(2 * M_PI * rng_uniform(b, 1));
}

/* n points, `every` steps apart: 1.7 + 0.4 (fast x share of the run)^-0.3 + noise. */
static struct curve noisy(struct arena *a, int n, double every, double sd, double fast, uint64_t seed)
{
	struct curve c = curve_new(a, n);

	for (int i = 0; i < n; i++) {
		for (int axis = 0; axis < N_AXES; axis++)
			c.x[axis][i] = every * (i + 1);
		c.loss[i] = 1.7 + 0.4 * pow(fmax(fast * (i + 1) / n, 1e-4), -0.3) + sd * normal(seed, i);
	}
	return c;
}

struct trial {
	const char *rule;
	int n;
	double every, sd;
	int trials;
};

/* Geometric mean of the ratio over pairs with noise of their own, where the variant gets there. */
static double mean_ratio(const struct trial *t, double fast, bool baseline_at_end, int *reached)
{
	struct rule rule = *rule_find(t->rule);
	double sum = 0;

	rule.baseline_at_end = rule.baseline_at_end || baseline_at_end;
	*reached = 0;
	for (int i = 0; i < t->trials; i++) {
		struct arena a = {0};
		struct curve base = noisy(&a, t->n, t->every, t->sd, 1, 1000 + 2 * (uint64_t)i);
		struct curve other = noisy(&a, t->n, t->every, t->sd, fast, 1001 + 2 * (uint64_t)i);
		base = rule_smooth(&rule, &base, &a);
		other = rule_smooth(&rule, &other, &a);
		double ratio = rule_ratio(&rule, &base, &other, curve_final(&base), AXIS_TOKENS);
		if (isfinite(ratio)) {
			sum += log(ratio);
			++*reached;
		}
		arena_release(&a);
	}
	return exp(sum / *reached);
}

static const struct trial trials[] = {
	{"default", 50, 20, 0.003, 1000}, {"default", 50, 20, 0.01, 1000},
	{"default", 20, 50, 0.01, 1000}, {"default", 200, 50, 0.01, 500},
	{"paper", 10000, 1, 0.04, 60}, {"paper", 10000, 1, 0.1, 60}, {"paper", 40000, 1, 0.04, 20},
	{"paper-scaled", 500, 1, 0.04, 500}, {"paper-scaled", 1000, 1, 0.04, 500},
	{"paper-scaled", 10000, 1, 0.1, 50},
};

static void equal_noisy_curves_give_one_under_every_rule(void **state)
{
	int reached;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(trials); i++) {
		double ratio = mean_ratio(&trials[i], 1, false, &reached);
		if (fabs(ratio - 1) > 0.03 || reached < trials[i].trials * 0.45)
			fail_msg("%s, %d points, noise %g: %.3f, reached %d", trials[i].rule, trials[i].n,
				trials[i].sd, ratio, reached);
	}
}

/* Why the rule is the same for both: the baseline's run length as its time makes noise a speed-up. */
static void run_length_as_baseline_time_would_inflate(void **state)
{
	const struct trial t = {"default", 200, 50, 0.01, 500};
	int reached;

	(void)state;
	assert_true(mean_ratio(&t, 1, true, &reached) > 1.04);
}

static void twice_as_fast_gives_two(void **state)
{
	const struct trial exact[] = {{"default", 50, 20, 0, 1}, {"default", 100, 20, 0.001, 500},
		{"paper-scaled", 10000, 1, 0.02, 100}, {"paper", 150000, 1, 0.02, 4}};
	int reached;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(exact); i++) {
		double ratio = mean_ratio(&exact[i], 2, false, &reached);
		if (fabs(ratio - 2) > (exact[i].sd > 0 ? 0.05 : 0.002) || reached < exact[i].trials)
			fail_msg("%s, %d points: %.4f, reached %d", exact[i].rule, exact[i].n, ratio, reached);
	}
}

static void paper_counts_the_whole_baseline_run(void **state)
{
	struct arena a = {0};
	struct curve base = of_losses(&a, 4, (double[]){4, 2, 3, 2}), other = of_losses(&a, 4, (double[]){3, 2, 1, 1});

	(void)state;
	assert_true(fabs(rule_ratio(rule_find("paper"), &base, &other, 2, AXIS_STEPS) - 2) < 1e-9);
	assert_true(fabs(rule_ratio(rule_find("default"), &base, &other, 2, AXIS_STEPS) - 1) < 1e-9);
	/* a target of its own is crossed by the baseline as by anyone */
	assert_true(fabs(rule_ratio(rule_find("paper"), &base, &other, 2.5, AXIS_STEPS) - 17.5 / 15) < 1e-9);
	arena_release(&a);
}

/* --- over seeds ------------------------------------------------------------------------------ */

static void all_seeds_must_reach_for_a_mean(void **state)
{
	struct arena a = {0};
	struct curve b = of_losses(&a, 4, (double[]){4, 3, 2.5, 2}), fast = of_losses(&a, 4, (double[]){3, 2, 2, 1.5});
	struct curve slow = of_losses(&a, 4, (double[]){5, 4, 3, 2.25});
	const struct curve *base[] = {&b, &b}, *both[] = {&fast, &fast}, *one[] = {&fast, &slow};
	struct speedup all = speedup_of(&(struct pairs){rule_find("default"), base, both, 2, NAN});
	struct speedup some = speedup_of(&(struct pairs){rule_find("default"), base, one, 2, NAN});

	(void)state;
	assert_true(all.defined && all.reached == 2);
	assert_true(fabs(all.ratio[AXIS_TOKENS].mean - 2) < 1e-9 && fabs(all.at[AXIS_STEPS] - 20) < 1e-9);
	assert_true(fabs(all.ratio[AXIS_FLOPS].mean - 4) < 1e-9);
	assert_true(!some.defined && some.reached == 1 && isnan(some.ratio[AXIS_TOKENS].mean));
	assert_true(fabs(some.best - 1.5) < 1e-12);
	arena_release(&a);
}

static void each_pair_has_the_target_of_its_own_baseline(void **state)
{
	struct arena a = {0};
	struct curve high = of_losses(&a, 4, (double[]){4, 3, 2.5, 2}), low = of_losses(&a, 4, (double[]){4, 3, 2, 1});
	struct curve between = of_losses(&a, 4, (double[]){4, 3, 2, 1.5});
	const struct curve *base[] = {&low, &high}, *variant[] = {&between, &between};
	struct speedup s = speedup_of(&(struct pairs){rule_find("default"), base, variant, 2, NAN});

	(void)state;
	assert_true(s.n == 2 && s.reached == 1 && !s.defined && isnan(s.at[AXIS_STEPS]));
	arena_release(&a);
}

static void null_is_what_seeds_do_to_each_other(void **state)
{
	struct arena a = {0};
	struct curve b = of_losses(&a, 4, (double[]){4, 3, 2, 1}), c = of_losses(&a, 4, (double[]){4, 2, 1, 1});
	const struct curve *base[] = {&b, &c};
	struct null_speedup null = null_speedup_of(&(struct pairs){rule_find("default"), base, NULL, 2, NAN});
	struct null_speedup one = null_speedup_of(&(struct pairs){rule_find("default"), base, NULL, 1, NAN});

	(void)state;	/* both end at 1: after 40 and after 30 steps */
	assert_true(fabs(null.widest - 4.0 / 3) < 1e-9 && null.reached == 2);
	assert_true(fabs(log(null.smallest) - 12.7062 * log(4.0 / 3) / sqrt(2) * sqrt(2.0 / 2)) < 1e-3);
	assert_true(speedup_unseen(&null, 1.5) && speedup_unseen(&null, 1 / 1.5));
	assert_false(speedup_unseen(&null, 100) || speedup_unseen(&null, 1 / 100.0));
	assert_true(isnan(one.smallest) && !speedup_unseen(&one, 1.0001));
	arena_release(&a);
}

static void null_needs_all_seeds_at_the_target(void **state)
{
	struct arena a = {0};
	struct curve b = of_losses(&a, 4, (double[]){4, 3, 2, 1}), c = of_losses(&a, 4, (double[]){4, 2, 1, 1});
	struct curve never = of_losses(&a, 4, (double[]){4, 3, 3, 3});
	const struct curve *base[] = {&b, &c, &never};
	struct null_speedup null = null_speedup_of(&(struct pairs){rule_find("default"), base, NULL, 3, 2});

	(void)state;
	assert_true(null.n == 3 && null.reached == 2 && isnan(null.widest) && isnan(null.smallest));
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crossing_is_interpolated_on_every_axis),
		cmocka_unit_test(first_crossing_counts),
		cmocka_unit_test(nothing_is_reached_after_or_by_divergence),
		cmocka_unit_test(paper_average_starts_at_the_first_loss),
		cmocka_unit_test(scaled_average_is_bias_corrected),
		cmocka_unit_test(unlogged_steps_weigh_as_much),
		cmocka_unit_test(equal_noisy_curves_give_one_under_every_rule),
		cmocka_unit_test(run_length_as_baseline_time_would_inflate),
		cmocka_unit_test(twice_as_fast_gives_two),
		cmocka_unit_test(paper_counts_the_whole_baseline_run),
		cmocka_unit_test(all_seeds_must_reach_for_a_mean),
		cmocka_unit_test(each_pair_has_the_target_of_its_own_baseline),
		cmocka_unit_test(null_is_what_seeds_do_to_each_other),
		cmocka_unit_test(null_needs_all_seeds_at_the_target),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
