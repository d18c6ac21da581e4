/* How much less of everything a variant needs to reach the baseline's loss: the paper's table 1. */
#include "report/table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool applies(const struct study *s)
{
	return s->baseline;
}

static const char *const speedup_names[N_AXES] = {
	"speedup_steps", "speedup_tokens", "speedup_flops", "speedup_seconds"};

/* Columns that the null row finds by number. */
enum { VERDICT = 9, FIRST_AXIS = 15 };

static void columns(struct grid *g, bool several_targets)
{
	grid_column(g, "target", several_targets ? "target" : NULL, COLUMN_NUMBER);
	columns_of_model(g);
	grid_column(g, "loss", "loss", COLUMN_INTERVAL);
	grid_column(g, "perplexity", "ppl", COLUMN_NUMBER);
	grid_column(g, "bits_per_byte", "bits/byte", COLUMN_NUMBER);
	grid_column(g, "verdict", NULL, COLUMN_TEXT);
	grid_column(g, NULL, "speed-up", COLUMN_NUMBER);
	grid_column(g, "reached", NULL, COLUMN_NUMBER);
	grid_column(g, "seeds", NULL, COLUMN_NUMBER);
	grid_column(g, NULL, "reached", COLUMN_NUMBER);
	grid_column(g, "best_loss", NULL, COLUMN_NUMBER);
	for (int axis = 0; axis < N_AXES; axis++) {
		grid_column(g, axis_name[axis], axis_name[axis], COLUMN_NUMBER);
		grid_column(g, speedup_names[axis], NULL, COLUMN_INTERVAL);
	}
	grid_column(g, "published_speedup", "published", COLUMN_NUMBER);
	grid_column(g, "lr", "lr", COLUMN_TEXT);
}

/* What it took along one axis, and the ratio if it is `seen`. Seconds of busy machines have none. */
static void cells_of_axis(struct grid *g, const struct study *s, const struct arm *v,
	const struct speedup *up, bool seen, enum axis axis)
{
	bool clean = axis != AXIS_SECONDS || (arm_alone(v) && arm_alone(s->baseline));
	bool alone = axis != AXIS_SECONDS || arm_alone(v);
	struct interval ratio =
		clean && v != s->baseline ? up->ratio[axis] : interval_of_ratio(NULL, 0);
	char at[32] = "-", times[32] = "";

	if (isfinite(up->at[axis]) && axis == AXIS_FLOPS)
		text_flops(up->at[axis], at);
	else if (isfinite(up->at[axis]) && axis == AXIS_TOKENS)
		text_count(up->at[axis], at);
	else if (isfinite(up->at[axis]))
		snprintf(at, sizeof at,
			up->at[axis] < 99.5 && axis == AXIS_SECONDS ? "%.1f" : "%.0f",
			up->at[axis]);
	if (isfinite(ratio.mean) && seen)
		snprintf(times, sizeof times, " (%.2fx)", ratio.mean);
	grid_number(g, up->at[axis], "%s%s%s", alone || isnan(up->at[axis]) ? "" : "~", at, times);
	grid_interval(g, ratio.mean, ratio.low, ratio.high, "%s", times);
}

static void row(struct study *s, struct grid *g, const struct arm *v, double target,
	const struct null_speedup *null)
{
	struct pairs p = study_pairs(s, v, target);
	struct speedup up = speedup_of(&p);
	struct interval loss = ARM_MEAN(v, final_loss);

	grid_row(g);
	if (isnan(target))
		grid_number(g, ARM_MEAN(s->baseline, final_loss).mean, "baseline");
	else
		grid_number(g, target, "%.3f", target);
	cells_of_model(g, s, v);
	cell_mean(g, loss, 3);
	cell_value(g, exp(loss.mean), 2);
	cell_value(g, ARM_MEAN(v, bpb).mean, 3);
	struct verdict verdict = verdict_of(s, v, &up, null);
	grid_text(g, "%s", verdict.word);
	grid_text(g, "%s", verdict.text);
	grid_number(g, up.reached, "%d", up.reached);
	grid_number(g, up.n, "%d", up.n);
	grid_text(g, "%d/%d", up.reached, up.n);
	cell_value(g, up.best, 3);
	for (int axis = 0; axis < N_AXES; axis++)
		cells_of_axis(g, s, v, &up, strcmp(verdict.word, "no difference seen"), axis);
	cell_published(g, s, v, "speedup");
	grid_text(g, "%s", study_rate_choice(s, v));
	if (up.n < v->n)
		notes_add(&g->notes, NOTE_WARNING,
			"%s: only %d of %d seeds have a baseline run to pair with", v->label, up.n,
			v->n);
}

static void row_of_null_speedup(struct study *s, struct grid *g, const struct null_speedup *null)
{
	row_of_null(g, s, 1);
	grid_skip_to(g, VERDICT);
	grid_text(g, "null");
	if (isfinite(null->smallest))
		grid_text(g, "seeds within %.3g, %d show %.3g", null->widest, null->n,
			null->smallest);
	else
		grid_text(g, null->n < 2 ? "needs 2 seeds" : "not reached");
	grid_number(g, null->reached, "%d", null->reached);
	grid_number(g, null->n, "%d", null->n);
	grid_text(g, "%d/%d", null->reached, null->n);
	grid_skip_to(g, FIRST_AXIS + 2 * AXIS_TOKENS + 1);
	grid_interval(g, NAN, 1 / null->smallest, null->smallest, "%s", "");
}

static void title(struct study *s, struct grid *g)
{
	double target = s->targets[0], loss = ARM_MEAN(s->baseline, final_loss).mean;

	if (s->n_targets > 1)
		table_title(g, s, "resources to each target, as ratios to %s", s->baseline->label);
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
	notes_add(&g->notes, NOTE_PLAIN,
		"FLOPs are model FLOPs, forward and backward, %s the output head",
		s->options.no_head_flops ? "without" : "with");
	if (!alone)
		notes_add(&g->notes, NOTE_PLAIN,
			"~: seconds measured beside other runs, so no ratio is given");
}

static int fill(struct study *s, struct grid *g)
{
	title(s, g);
	columns(g, s->n_targets > 1);
	for (int t = 0; t < s->n_targets; t++) {
		struct pairs base = study_pairs(s, s->baseline, s->targets[t]);
		struct null_speedup null = null_speedup_of(&base);
		for (int i = 0; i < s->n_arms; i++) {
			row(s, g, &s->arms[i], s->targets[t], &null);
			if (t > 0 && i == 0)
				grid_rule(g);
		}
		row_of_null_speedup(s, g, &null);
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
