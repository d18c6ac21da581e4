#include "report/paired.h"

#include <math.h>

enum { LEAST_WINDOW = 10, MOST_WINDOW = 200, WINDOWS = 50 };
static const double bound = 3; /* standard errors */

static void add_means(struct paired *p, struct arena *arena)
{
	int w = p->n / WINDOWS;

	w = w < LEAST_WINDOW ? LEAST_WINDOW : w > MOST_WINDOW ? MOST_WINDOW : w;
	p->window = w < p->n ? w : p->n;
	p->n_means = p->n < 2 ? 0 : p->n - p->window + 1;
	p->mean = ARENA_ARRAY(arena, double, p->n_means);
	p->error = ARENA_ARRAY(arena, double, p->n_means);
	for (int i = 0; i < p->n_means; i++) {
		const double *d = p->difference + i;
		double sum = 0, squares = 0;
		for (int k = 0; k < p->window; k++)
			sum += d[k];
		p->mean[i] = sum / p->window;
		for (int k = 0; k < p->window; k++)
			squares += (d[k] - p->mean[i]) * (d[k] - p->mean[i]);
		p->error[i] = sqrt(squares / (p->window - 1) / p->window);
	}
}

struct paired paired_of(const struct curve_rows *a, const struct curve_rows *b,
	struct arena *arena)
{
	struct paired p = {.step = ARENA_ARRAY(arena, double, a->n),
		.tokens = ARENA_ARRAY(arena, double, a->n),
		.difference = ARENA_ARRAY(arena, double, a->n)};

	for (int i = 0, k = 0; i < a->n && k < b->n;) {
		long long ahead = a->step[i] - b->step[k];
		if (!ahead && (!isfinite(a->loss[i]) || !isfinite(b->loss[k])))
			break;
		if (!ahead && !(fabs(a->tokens[i] - b->tokens[k]) > 0)) {
			p.step[p.n] = (double)a->step[i];
			p.tokens[p.n] = a->tokens[i];
			p.difference[p.n++] = b->loss[k] - a->loss[i];
		}
		i += ahead <= 0;
		k += ahead >= 0;
	}
	add_means(&p, arena);
	return p;
}

int paired_read(struct db *db, long long run_a, long long run_b, const char *kind,
	struct arena *arena, struct paired *p)
{
	struct curve_rows a, b;

	if (query_curve(db, run_a, kind, arena, &a) || query_curve(db, run_b, kind, arena, &b))
		return -1;
	*p = paired_of(&a, &b, arena);
	return 0;
}

int paired_equal(const struct paired *p)
{
	int n = 0;

	while (n < p->n && !(fabs(p->difference[n]) > 0))
		n++;
	return n;
}

int paired_part(const struct paired *p)
{
	int beyond = 0;

	for (int i = 0; i < p->n_means; i++) {
		bool is_beyond = fabs(p->mean[i]) > bound * p->error[i];
		bool other_side = i > 0 && signbit(p->mean[i]) != signbit(p->mean[i - 1]);
		beyond = !is_beyond ? 0 : other_side ? 1 : beyond + 1;
		if (beyond > p->window)
			return i - p->window;
	}
	return -1;
}
