/* How much less of everything a variant needs to reach the baseline's loss: the paper's table 1. */
#include "report/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool applies(const struct study *s)
{
	return s->baseline;
}

/* Of a row; of the null row, null alone. */
struct race {
	double target;
	struct speedup up;
	struct verdict verdict;
	const struct null_speedup *null;
};

static const struct race *race_of(const struct subject *r)
{
	return r->more;
}

static CELL(cell_target)
{
	double target = race_of(r)->target;

	if (isnan(target))
		grid_number(g, ARM_MEAN(r->s->baseline, final_loss).mean, "baseline");
	else
		grid_number(g, target, "%.3f", target);
}

static CELL(cell_verdict)
{
	grid_text(g, "%s", c->name ? race_of(r)->verdict.word : race_of(r)->verdict.text);
}

static CELL(null_verdict)
{
	const struct null_speedup *null = race_of(r)->null;

	if (c->name)
		grid_text(g, "null");
	else if (isfinite(null->smallest))
		grid_text(g, "seeds within %.3g, %d show %.3g", null->widest, null->n,
			null->smallest);
	else
		grid_text(g, null->n < 2 ? "needs 2 seeds" : "not reached");
}

/* For people with the number of pairs, for programs that has a column of its own. */
static CELL(cell_reached)
{
	grid_number(g, race_of(r)->up.reached, "%d/%d", race_of(r)->up.reached, race_of(r)->up.n);
}

static CELL(null_reached)
{
	const struct null_speedup *null = race_of(r)->null;

	grid_number(g, null->reached, "%d/%d", null->reached, null->n);
}

static CELL(cell_pairs)
{
	grid_number(g, race_of(r)->up.n, "%d", race_of(r)->up.n);
}

static CELL(null_pairs)
{
	grid_number(g, race_of(r)->null->n, "%d", race_of(r)->null->n);
}

static CELL(cell_best)
{
	put_value(g, race_of(r)->up.best, c->digits);
}

/* Of seconds of busy machines there is none. */
static struct interval ratio_of(const struct subject *r, int axis)
{
	bool clean = axis != AXIS_SECONDS || (arm_alone(r->v) && arm_alone(r->s->baseline));

	return clean && r->v != r->s->baseline ? race_of(r)->up.ratio[axis] :
		interval_of_ratio(NULL, 0);
}

/* What it took along the axis that .member names, and the ratio if one is seen. */
static CELL(cell_axis)
{
	int axis = (int)c->member;
	double x = race_of(r)->up.at[axis], ratio = ratio_of(r, axis).mean;
	const char *mark = axis != AXIS_SECONDS || arm_alone(r->v) || isnan(x) ? "" : "~";
	char at[32] = "-", times[32] = "";

	if (isfinite(x) && axis == AXIS_FLOPS)
		text_flops(x, at);
	else if (isfinite(x) && axis == AXIS_TOKENS)
		text_count(x, at);
	else if (isfinite(x))
		snprintf(at, sizeof at, x < 99.5 && axis == AXIS_SECONDS ? "%.1f" : "%.0f", x);
	if (isfinite(ratio) && strcmp(race_of(r)->verdict.word, "no difference seen"))
		snprintf(times, sizeof times, " (%.2fx)", ratio);
	grid_number(g, x, "%s%s%s", mark, at, times);
}

static CELL(cell_ratio)
{
	struct interval x = ratio_of(r, (int)c->member);

	grid_interval(g, x.mean, x.low, x.high, "%s", "");
}

static CELL(null_ratio)
{
	double smallest = race_of(r)->null->smallest;

	grid_interval(g, NAN, 1 / smallest, smallest, "%s", "");
}

#define OF_AXIS(axis, name, null_cell)                                                             \
	{name, name, COLUMN_NUMBER, .cell = cell_axis, .member = axis},                           \
	{"speedup_" name, NULL, COLUMN_INTERVAL, .cell = cell_ratio, .null = null_cell,           \
		.member = axis}

static const struct column columns[] = {
	COLUMNS_OF_MODEL,
	COLUMN_LOSS,
	COLUMN_PERPLEXITY,
	COLUMN_BITS,
	{"verdict", NULL, COLUMN_TEXT, .cell = cell_verdict, .null = null_verdict},
	{NULL, "speed-up", COLUMN_NUMBER, .cell = cell_verdict, .null = null_verdict},
	{"reached", NULL, COLUMN_NUMBER, .cell = cell_reached, .null = null_reached},
	{"seeds", NULL, COLUMN_NUMBER, .cell = cell_pairs, .null = null_pairs},
	{NULL, "reached", COLUMN_NUMBER, .cell = cell_reached, .null = null_reached},
	{"best_loss", NULL, COLUMN_NUMBER, .cell = cell_best, .digits = 3},
	OF_AXIS(AXIS_STEPS, "steps", NULL),
	OF_AXIS(AXIS_TOKENS, "tokens", null_ratio),
	OF_AXIS(AXIS_FLOPS, "flops", NULL),
	OF_AXIS(AXIS_SECONDS, "seconds", NULL),
	COLUMN_PUBLISHED("speedup", "published"),
	COLUMN_RATE,
};

static void add_row(struct grid *g, struct study *s, const struct arm *v, double target,
	const struct null_speedup *null)
{
	struct pairs p = study_pairs(s, v, target);
	struct race race = {.target = target, .up = speedup_of(&p)};

	race.verdict = verdict_of(s, v, &race.up, null);
	grid_fill(g, &(struct subject){s, v, &race});
	if (p.n < v->n)
		notes_add(&g->notes, NOTE_WARNING,
			"%s: only %d of %d seeds have a baseline run to pair with", v->label, p.n, v->n);
}

static void title(struct study *s, struct grid *g)
{
	double target = s->targets[0], loss = ARM_MEAN(s->baseline, final_loss).mean;

	if (s->n_targets > 1)
		table_title(g, s, "resources to each target, as ratios to %s", s->baseline->label);
	else if (run_forecasts(&s->runs[0]))
		table_title(g, s, "speed-up over %s to a squared error of %.3f", s->baseline->label,
			isnan(target) ? loss : target);
	else if (isnan(target))
		table_title(g, s,
			"speed-up to %s's final loss (mean %.3f nats per token, perplexity %.2f)",
			s->baseline->label, loss, exp(loss));
	else
		table_title(g, s, "speed-up over %s to %.3f nats per token (perplexity %.2f)",
			s->baseline->label, target, exp(target));
}

static void notes(struct study *s, struct grid *g)
{
	bool alone = true;

	for (int i = 0; i < s->n_arms; i++)
		alone = alone && arm_alone(&s->arms[i]);
	notes_add(&g->notes, NOTE_PLAIN,
		"ratios are baseline / variant, pairs of one seed: geometric mean"
		" [95 %% interval, Student's t of the logarithms]; the target is the final loss"
		" of the pair's baseline unless a number is given");
	note_flops(g, s, "");
	if (!alone)
		notes_add(&g->notes, NOTE_PLAIN,
			"~: seconds measured beside other runs, so no ratio is given");
}

static int fill(struct study *s, struct grid *g)
{
	const struct column target = {"target", s->n_targets > 1 ? "target" : NULL, COLUMN_NUMBER,
		.cell = cell_target};

	if (s->perplexity && run_forecasts(&s->runs[0]))
		return error("sweep %s: its target is a perplexity, which forecasts have not: give a squared error (--target)",
			s->name);
	title(s, g);
	grid_columns(g, &target, 1);
	grid_columns(g, columns, ARRAY_SIZE(columns));
	for (int t = 0; t < s->n_targets; t++) {
		struct pairs base = study_pairs(s, s->baseline, s->targets[t]);
		struct null_speedup null = null_speedup_of(&base);
		for (int i = 0; i < s->n_arms; i++) {
			add_row(g, s, &s->arms[i], s->targets[t], &null);
			if (t > 0 && i == 0)
				grid_rule(g);
		}
		grid_fill_null(g, &(struct subject){.s = s, .more = &(struct race){.null = &null}});
	}
	notes(s, g);
	return 0;
}

const struct table table_speedup = {
	.name = "speedup",
	.place = 1,
	.help = "steps, tokens, FLOPs and seconds to the target, as ratios to the baseline",
	.applies = applies,
	.needs = "finished run of its baseline (key `baseline` of the sweep file)",
	.fill = fill,
};
