#include "report/columns.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* --- numbers --------------------------------------------------------------------------------- */

const char *text_count(double n, char *buffer)
{
	static const char *const unit[] = {"", "K", "M", "B", "T"};
	int u = 0;

	if (!isfinite(n))
		return "-";
	for (; n >= 999.5 && u < 4; u++)
		n /= 1000;
	snprintf(buffer, 32,
		u == 0 || n >= 99.95 ? "%.0f%s"
		: n >= 9.995         ? "%.1f%s"
				     : "%.2f%s",
		n, unit[u]);
	return buffer;
}

const char *text_flops(double flops, char *buffer)
{
	char *e;

	if (!isfinite(flops))
		return "-";
	snprintf(buffer, 32, "%.2e", flops);
	e = strchr(buffer, 'e');
	if (e)
		memmove(e + 1, e + 2 + (e[2] == '0'),
			strlen(e + 2 + (e[2] == '0')) + 1); /* "e+15": "e15" */
	return buffer;
}

void put_value(struct grid *g, double value, int digits)
{
	grid_number(g, value, isfinite(value) ? "%.*f" : "-", digits, value);
}

void put_count(struct grid *g, double value, int digits)
{
	char buffer[32];

	(void)digits;
	grid_number(g, value, "%s", text_count(value, buffer));
}

void put_flops(struct grid *g, double value, int digits)
{
	char buffer[32];

	(void)digits;
	grid_number(g, value, "%s", text_flops(value, buffer));
}

void put_share(struct grid *g, double value, int digits)
{
	(void)digits;
	grid_number(g, value, isfinite(value) ? "%.1f %%" : "-", 100 * value);
}

/* --- verdicts -------------------------------------------------------------------------------- */

static struct verdict verdict_number(const struct interval *ratio)
{
	struct verdict v = {.word = ratio->mean > 1 ? "faster" : "slower"};

	if (ratio->low < 1 && ratio->high > 1)
		v.word = "unclear";

	if (isfinite(ratio->low))
		snprintf(v.text, sizeof v.text, "%.2f [%.2f, %.2f]", ratio->mean, ratio->low,
			ratio->high);
	else
		snprintf(v.text, sizeof v.text, "%.2f", ratio->mean);
	return v;
}

struct verdict verdict_of(const struct study *s, const struct arm *v, const struct speedup *up,
	const struct null_speedup *null)
{
	if (v == s->baseline && up->reached == up->n)
		return (struct verdict){"baseline", "1"};
	if (up->n == 0)
		return (struct verdict){"no common seed", "no common seed"};
	if (up->reached < up->n) {
		struct verdict none = {.word = "not reached"};
		snprintf(none.text, sizeof none.text, up->best < 1e9 ? "not reached (best %.3f)" :
			"not reached (best %.3e)", up->best);
		return none;
	}
	if (!up->defined)
		return (struct verdict){"baseline not there", "baseline did not reach it"};
	if (speedup_unseen(null, up->ratio[AXIS_TOKENS].mean))
		return (struct verdict){"no difference seen", "no difference seen"};
	return verdict_number(&up->ratio[AXIS_TOKENS]);
}

/* --- cells ----------------------------------------------------------------------------------- */

CELL(cell_label)
{
	grid_text(g, "%s", r->v->label);
}

CELL(cell_model)
{
	grid_text(g, "%s%s%s", r->v->label, r->v == r->s->baseline ? " (baseline)" : "",
		arm_foreign(r->v) ? " (foreign)" : "");
}

CELL(cell_of_run)
{
	c->put(g, run_member(r->v->runs[0], c->member), c->digits);
}

CELL(cell_perplexity)
{
	put_value(g, run_forecasts(r->v->runs[0]) ? NAN : exp(arm_mean(r->v, c->member).mean), c->digits);
}

CELL(cell_average)
{
	c->put(g, arm_mean(r->v, c->member).mean, c->digits);
}

CELL(cell_mean)
{
	struct interval x = arm_mean(r->v, c->member);
	const char *format = isfinite(x.low) ? "%.*f +- %.*f" : isfinite(x.mean) ? "%.*f" : "-";
	int d = c->digits;

	grid_interval(g, x.mean, x.low, x.high, format, d, x.mean, d, x.high - x.mean);
}

CELL(cell_key)
{
	put_value(g, arm_number(r->v, c->key), c->digits);
}

CELL(cell_seeds)
{
	grid_number(g, r->v->n, "%d", r->v->n);
}

void put_difference(struct grid *g, struct study *s, const struct arm *v, const struct arm *base,
	const char *of_base)
{
	struct interval d = study_loss_difference(s, v, base);

	if (v == base || !base)
		grid_interval(g, NAN, NAN, NAN, "%s", v == base ? of_base : "-");
	else if (arm_diverged(v))
		grid_interval(g, NAN, NAN, NAN, "%d/%d diverged", arm_diverged(v), v->n);
	else if (fabs(d.mean) < arm_loss_unseen(base))
		grid_interval(g, d.mean, d.low, d.high, "no difference seen");
	else if (isfinite(d.low))
		grid_interval(
			g, d.mean, d.low, d.high, "%+.3f [%+.3f, %+.3f]", d.mean, d.low, d.high);
	else if (isfinite(d.mean))
		grid_interval(g, d.mean, NAN, NAN, "%+.3f", d.mean);
	else
		grid_interval(g, NAN, NAN, NAN, "no common seed");
}

CELL(cell_difference)
{
	put_difference(g, r->s, r->v, r->s->baseline, "baseline");
}

const char *mark_of_busy(const struct subject *r)
{
	return arm_alone(r->v) ? "" : "~";
}

CELL(cell_speed)
{
	struct interval x = ARM_MEAN(r->v, tokens_per_s);

	grid_interval(g, x.mean, x.low, x.high, isfinite(x.mean) ? "%s%.0f" : "-", mark_of_busy(r), x.mean);
}

CELL(cell_speedup)
{
	struct study *s = r->s;

	if (!s->baseline) {
		grid_interval(g, NAN, NAN, NAN, "-");
		return;
	}
	struct pairs p = study_pairs(s, r->v, s->targets[0]),
		     base = study_pairs(s, s->baseline, s->targets[0]);
	struct speedup up = speedup_of(&p);
	struct null_speedup null = null_speedup_of(&base);
	const struct interval *ratio = &up.ratio[AXIS_TOKENS];

	grid_interval(g, ratio->mean, ratio->low, ratio->high, "%s",
		verdict_of(s, r->v, &up, &null).text);
}

CELL(cell_published)
{
	const struct published *p = study_published(r->s, r->v, c->key);

	grid_number(g, p ? p->value : NAN, "%s", p ? p->text : "");
	if (p)
		notes_add(&g->notes, NOTE_PLAIN,
			"published values come from other data or budgets unless this sweep"
			" repeats them in full: compare ordering and speed-up only");
}

CELL(cell_rate)
{
	grid_text(g, "%s", study_rate_choice(r->s, r->v));
}

/* --- the null row ---------------------------------------------------------------------------- */

CELL(null_label)
{
	grid_text(g, "null");
}

CELL(null_model)
{
	grid_text(g, "null: %s against itself", r->s->baseline->label);
}

/* Largest minus smallest final loss of the baseline's seeds. */
static double spread(const struct arm *base)
{
	double low = INFINITY, high = -INFINITY;

	for (int i = 0; i < base->n; i++) {
		low = fmin(low, base->runs[i]->final_loss);
		high = fmax(high, base->runs[i]->final_loss);
	}
	return high - low;
}

void put_null_difference(struct grid *g, const struct arm *base)
{
	double unseen = arm_loss_unseen(base);

	if (isfinite(unseen))
		grid_interval(g, NAN, -unseen, unseen, "seeds %.3f apart, %d show %.3f", spread(base), base->n,
			unseen);
	else
		grid_interval(g, NAN, NAN, NAN, "needs 2 seeds");
}

CELL(null_difference)
{
	put_null_difference(g, r->s->baseline);
}
