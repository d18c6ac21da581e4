#include "study/study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct run_param *find_param(const struct run_data *r, const char *key)
{
	for (int i = 0; i < r->n_params; i++)
		if (!strcmp(r->params[i].key, key))
			return &r->params[i];
	return NULL;
}

const char *run_text(const struct run_data *r, const char *key)
{
	const struct run_param *p = find_param(r, key);

	return p ? p->text : NULL;
}

double arm_number(const struct arm *s, const char *key)
{
	const struct run_param *p = find_param(s->runs[0], key);

	return p ? p->number : NAN;
}

const struct run_data *arm_seed(const struct arm *s, long seed)
{
	for (int i = 0; i < s->n; i++)
		if (s->runs[i]->seed == seed)
			return s->runs[i];
	return NULL;
}

struct pairs study_pairs(struct study *s, const struct arm *variant, double target)
{
	const struct curve **base = ARENA_ARRAY(&s->arena, const struct curve *, variant->n);
	const struct curve **other = ARENA_ARRAY(&s->arena, const struct curve *, variant->n);
	struct pairs p = {.rule = s->rule, .baseline = base, .variant = other, .target = target};

	for (int i = 0; i < variant->n && s->baseline; i++) {
		const struct run_data *b = arm_seed(s->baseline, variant->runs[i]->seed);
		if (!b)
			continue;
		base[p.n] = &b->curve;
		other[p.n++] = &variant->runs[i]->curve;
	}
	return p;
}

struct interval arm_mean(const struct arm *s, size_t member)
{
	double *x = xcalloc((size_t)s->n + 1, sizeof *x);
	int n = 0;

	for (int i = 0; i < s->n; i++) {
		double value = run_member(s->runs[i], member);
		if (!s->runs[i]->diverged && isfinite(value))
			x[n++] = value;
	}
	struct interval mean = interval_of_mean(x, n);
	free(x);
	return mean;
}

int arm_diverged(const struct arm *s)
{
	int n = 0;

	for (int i = 0; i < s->n; i++)
		n += s->runs[i]->diverged;
	return n;
}

struct interval study_loss_difference(struct study *s, const struct arm *variant, const struct arm *base)
{
	double *x = ARENA_ARRAY(&s->arena, double, variant->n);
	int n = 0;

	for (int i = 0; i < variant->n && base; i++) {
		const struct run_data *b = arm_seed(base, variant->runs[i]->seed);
		double d = b ? variant->runs[i]->final_loss - b->final_loss : NAN;
		if (isfinite(d))
			x[n++] = d;
	}
	return interval_of_mean(x, n);
}

double arm_loss_unseen(const struct arm *base)
{
	double x[256];
	int n = 0;

	for (int i = 0; base && i < base->n && n < 256; i++) {
		double loss = base->runs[i]->final_loss;
		if (isfinite(loss))
			x[n++] = loss;
	}
	return smallest_difference(x, n);
}

double study_begins_below(const struct study *s, double target)
{
	const struct curve *c = s->baseline ? &s->baseline->runs[0]->curve : NULL;

	return c && c->n && c->x[AXIS_TOKENS][0] <= 0 && c->loss[0] <= target ? c->loss[0] : NAN;
}

double study_epochs(const struct study *s)
{
	double most = NAN;

	for (int i = 0; i < s->n_runs; i++)
		most = fmax(most, s->runs[i].tokens / s->runs[i].data_tokens);
	return most;
}

bool study_has_axis(const struct study *s, const char *key)
{
	return str_index(key, s->axes, s->n_axes) >= 0;
}

const struct published *study_published(
	const struct study *s, const struct arm *arm, const char *quantity)
{
	const struct published *of_variant = NULL;
	int n_of_variant = 0;

	for (int i = 0; i < s->n_arms; i++)
		n_of_variant += s->arms[i].own->sweep == arm->own->sweep &&
				!strcmp(s->arms[i].own->variant, arm->own->variant);
	for (int i = 0; i < s->n_published; i++) {
		const struct published *p = &s->published[i];
		if (p->sweep_id != arm->own->sweep->sweep_id || strcmp(p->quantity, quantity))
			continue;
		if (!strcmp(p->label, arm->own->label))
			return p;
		if (n_of_variant == 1 && !strcmp(p->label, arm->own->variant))
			of_variant = p;
	}
	return of_variant;
}

/* NaN comes before all numbers. */
static bool after(double a, double b)
{
	return isnan(b) ? !isnan(a) : a > b;
}

const struct arm **arms_sorted(struct study *s, const double *value)
{
	const struct arm **sorted = ARENA_ARRAY(&s->arena, const struct arm *, s->n_arms);

	for (int i = 0; i < s->n_arms; i++) {
		int at = i;
		for (; at > 0 && after(value[sorted[at - 1] - s->arms], value[i]); at--)
			sorted[at] = sorted[at - 1];
		sorted[at] = &s->arms[i];
	}
	return sorted;
}

const double *arms_numbers(struct study *s, const char *key)
{
	double *value = ARENA_ARRAY(&s->arena, double, s->n_arms);

	for (int i = 0; i < s->n_arms; i++)
		value[i] = arm_number(&s->arms[i], key);
	return value;
}

double arm_mamba_share(const struct arm *v)
{
	return v->runs[0]->mamba_share;
}

bool study_has_shares(const struct study *s)
{
	double low = INFINITY, high = -INFINITY;

	for (int i = 0; i < s->n_arms; i++) {
		double share = arm_mamba_share(&s->arms[i]);
		if (!(share < 1))
			continue;
		low = fmin(low, share);
		high = fmax(high, share);
	}
	return high - low > 1.0 / 12;
}

bool arm_foreign(const struct arm *v)
{
	for (int i = 0; i < v->n; i++)
		if (run_text(v->runs[i], "foreign"))
			return true;
	return false;
}

bool arm_alone(const struct arm *v)
{
	for (int i = 0; i < v->n; i++)
		if (!(v->runs[i]->jobs == 1))
			return false;
	return true;
}

static bool head_forecasts(const char *head)
{
	return head && !strcmp(head, "forecast");
}

bool run_forecasts(const struct run_data *r)
{
	return head_forecasts(run_text(r, "model.head"));
}

const char *loss_unit(const char *head)
{
	return head_forecasts(head) ? "squared error" : "nats per token";
}

const char *study_loss_unit(const struct study *s)
{
	return loss_unit(s->n_runs ? run_text(&s->runs[0], "model.head") : NULL);
}
