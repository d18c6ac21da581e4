/* Crossings, rules, and what they make of noise: equal curves must give 1, twice as fast gives 2. */
#include "report/curve.h"
#include "report/stat.h"

#include "base/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static double normal(uint64_t seed, uint64_t i)
{
	struct rng_block b = rng_block((struct rng_key){.seed = seed, .stream = 7}, i);

	return sqrt(-2 * log(rng_uniform(b, 0))) * cos(2 * M_PI * rng_uniform(b, 1));
}

/* Loss 1.7 + 0.4 (t / n)^-0.3 with the cosine's last drop; `fast` times fewer steps to any loss. */
static double ideal(double share, double fast)
{
	return 1.7 + 0.4 * pow(fmax(share * fast, 1e-4), -0.3);
}

static struct curve noisy(struct arena *a, int n, double every, double sd, double fast, uint64_t seed)
{
	struct curve c = curve_new(a, n);

	for (int i = 0; i < n; i++) {
		double step = every * (i + 1);
		c.x[AXIS_STEPS][i] = step;
		c.x[AXIS_TOKENS][i] = step * 4096;
		c.x[AXIS_FLOPS][i] = step * 1e12;
		c.x[AXIS_SECONDS][i] = step * 0.1;
		c.loss[i] = ideal((i + 1.0) / n, fast) + sd * normal(seed, (uint64_t)i);
	}
	return c;
}

struct outcome {
	struct interval ratio;
	int reached, n;
};

static struct outcome many(const struct rule *r, int n, double every, double sd, double fast, int trials)
{
	double ratio[2000];
	struct outcome o = {.n = trials};

	for (int t = 0; t < trials; t++) {
		struct arena a = {0};
		struct curve base = noisy(&a, n, every, sd, 1, 1000 + 2 * (uint64_t)t);
		struct curve other = noisy(&a, n, every, sd, fast, 1001 + 2 * (uint64_t)t);
		base = rule_smooth(r, &base, &a);
		other = rule_smooth(r, &other, &a);
		double q = rule_ratio(r, &base, &other, curve_final(&base), AXIS_TOKENS);
		if (isfinite(q))
			ratio[o.reached++] = q;
		arena_release(&a);
	}
	o.ratio = interval_of_ratio(ratio, o.reached);
	printf("%-13s n %5d every %4.0f sd %.3f fast %g: %.4f [%.4f %.4f] reached %d/%d\n", r->name, n, every, sd, fast, o.ratio.mean, o.ratio.low, o.ratio.high, o.reached, o.n);
	return o;
}
int main(void)
{
	for (int f = 1; f <= 2; f++) {
	many(rule_find("default"), 50, 20, 0.000, f, 20);
	many(rule_find("default"), 50, 20, 0.003, f, 2000);
	many(rule_find("default"), 50, 20, 0.01, f, 2000);
	many(rule_find("default"), 20, 20, 0.01, f, 2000);
	many(rule_find("default"), 100, 20, 0.01, f, 2000);
	many(rule_find("default"), 500, 20, 0.01, f, 2000);
	many(rule_find("paper"), 10000, 1, 0.04, f, 200);
	many(rule_find("paper"), 10000, 1, 0.1, f, 200);
	many(rule_find("paper"), 40000, 1, 0.1, f, 200);
	many(rule_find("paper-scaled"), 500, 1, 0.04, f, 2000);
	many(rule_find("paper-scaled"), 1000, 1, 0.04, f, 2000);
	many(rule_find("paper-scaled"), 3000, 1, 0.04, f, 1000);
	many(rule_find("paper-scaled"), 10000, 1, 0.04, f, 200);
	many(rule_find("paper-scaled"), 10000, 1, 0.1, f, 200);
	}
}
