#include "report/table.h"

#include "report/caption.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define X(name) extern const struct table table_##name;
#include "table.inc"
#undef X

const struct table *const tables[] = {
#define X(name) &table_##name,
#include "table.inc"
#undef X
	NULL,
};

const struct table *table_find(const char *name)
{
	struct str names;

	str_init(&names);
	for (int i = 0; tables[i]; i++) {
		if (!strcmp(tables[i]->name, name)) {
			str_release(&names);
			return tables[i];
		}
		str_printf(&names, "%s%s", i ? ", " : "", tables[i]->name);
	}
	error("unknown table \"%s\": tables are %s", name, names.text);
	str_release(&names);
	return NULL;
}

int table_make(const struct table *t, struct study *s, bool with_notes, struct grid *g)
{
	struct str facts;

	grid_init(g, t->name);
	if (t->applies && !t->applies(s))
		return error("table %s: sweep %s has no %s", t->name, s->name, t->needs);
	if (s->question)
		g->subtitle = arena_strdup(&g->arena, s->question);
	if (with_notes) {
		notes_copy(&g->notes, &s->notes);
		str_init(&facts);
		caption_facts(s, &facts);
		g->caption = arena_strdup(&g->arena, facts.text);
		str_release(&facts);
	}
	return t->fill(s, g);
}

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

void table_title(struct grid *g, const struct study *s, const char *format, ...)
{
	double epochs = study_epochs(s);
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	if (epochs > 4)
		grid_title(g, "%s: %s, multi-epoch (%.1f)", s->name, text, epochs);
	else
		grid_title(g, "%s: %s", s->name, text);
}

void columns_of_model(struct grid *g)
{
	grid_column(g, "model", NULL, COLUMN_TEXT);
	grid_column(g, NULL, "model", COLUMN_TEXT);
	grid_column(g, "params_total", "params", COLUMN_NUMBER);
	grid_column(g, "params_active", "active", COLUMN_NUMBER);
	grid_column(g, "params_embedding", "embedding", COLUMN_NUMBER);
}

void cells_of_model(struct grid *g, const struct study *s, const struct arm *v)
{
	grid_text(g, "%s", v->label);
	grid_text(g, "%s%s%s", v->label, v == s->baseline ? " (baseline)" : "",
		arm_foreign(v) ? " (foreign)" : "");
	cell_count(g, v->runs[0]->params_total);
	cell_count(g, v->runs[0]->params_active);
	cell_count(g, v->runs[0]->params_embedding);
}

void cell_count(struct grid *g, double n)
{
	char buffer[32];

	grid_number(g, n, "%s", text_count(n, buffer));
}

void cell_value(struct grid *g, double value, int digits)
{
	if (isfinite(value))
		grid_number(g, value, "%.*f", digits, value);
	else
		grid_number(g, NAN, "-");
}

void cell_mean(struct grid *g, struct interval x, int digits)
{
	if (isfinite(x.low))
		grid_interval(g, x.mean, x.low, x.high, "%.*f +- %.*f", digits, x.mean, digits,
			x.high - x.mean);
	else if (isfinite(x.mean))
		grid_interval(g, x.mean, NAN, NAN, "%.*f", digits, x.mean);
	else
		grid_interval(g, NAN, NAN, NAN, "-");
}

void cell_share(struct grid *g, struct interval x)
{
	if (isfinite(x.mean))
		grid_number(g, x.mean, "%.1f %%", 100 * x.mean);
	else
		grid_number(g, NAN, "-");
}

void cell_difference(struct grid *g, struct study *s, const struct arm *v)
{
	struct interval d = study_loss_difference(s, v);

	if (v == s->baseline || !s->baseline)
		grid_interval(g, NAN, NAN, NAN, v == s->baseline ? "baseline" : "-");
	else if (arm_diverged(v))
		grid_interval(g, NAN, NAN, NAN, "%d/%d diverged", arm_diverged(v), v->n);
	else if (fabs(d.mean) < study_loss_unseen(s))
		grid_interval(g, d.mean, d.low, d.high, "no difference seen");
	else if (isfinite(d.low))
		grid_interval(
			g, d.mean, d.low, d.high, "%+.3f [%+.3f, %+.3f]", d.mean, d.low, d.high);
	else if (isfinite(d.mean))
		grid_interval(g, d.mean, NAN, NAN, "%+.3f", d.mean);
	else
		grid_interval(g, NAN, NAN, NAN, "no common seed");
}

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

void cell_speedup(struct grid *g, struct study *s, const struct arm *v)
{
	if (!s->baseline) {
		grid_interval(g, NAN, NAN, NAN, "-");
		return;
	}
	struct pairs p = study_pairs(s, v, s->targets[0]),
		     base = study_pairs(s, s->baseline, s->targets[0]);
	struct speedup up = speedup_of(&p);
	struct null_speedup null = null_speedup_of(&base);
	const struct interval *ratio = &up.ratio[AXIS_TOKENS];

	grid_interval(
		g, ratio->mean, ratio->low, ratio->high, "%s", verdict_of(s, v, &up, &null).text);
}

void cell_published(
	struct grid *g, const struct study *s, const struct arm *v, const char *quantity)
{
	const struct published *p = study_published(s, v, quantity);

	grid_number(g, p ? p->value : NAN, "%s", p ? p->text : "");
	if (p)
		notes_add(&g->notes, NOTE_PLAIN,
			"published values come from other data or budgets unless this sweep"
			" repeats them in full: compare ordering and speed-up only");
}

double study_baseline_spread(const struct study *s)
{
	double low = INFINITY, high = -INFINITY;
	int n = 0;

	for (int i = 0; s->baseline && i < s->baseline->n; i++) {
		double loss = s->baseline->runs[i]->final_loss;
		if (!isfinite(loss))
			continue;
		low = fmin(low, loss);
		high = fmax(high, loss);
		n++;
	}
	return n < 2 ? NAN : high - low;
}

void row_of_null(struct grid *g, const struct study *s, int model)
{
	grid_row(g);
	grid_rule(g);
	grid_skip_to(g, model);
	grid_text(g, "null");
	grid_text(g, "null: %s against itself", s->baseline->label);
}

void row_of_null_loss(struct grid *g, const struct study *s, int model, int difference)
{
	double unseen = study_loss_unseen(s), spread = study_baseline_spread(s);

	if (!s->baseline)
		return;
	row_of_null(g, s, model);
	grid_skip_to(g, difference);
	if (isfinite(unseen))
		grid_interval(g, NAN, -unseen, unseen, "seeds %.3f apart, %d show %.3f", spread,
			s->baseline->n, unseen);
	else
		grid_interval(g, NAN, NAN, NAN, "needs 2 seeds");
}
