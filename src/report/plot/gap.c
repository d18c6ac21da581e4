/*
 * When does a model learn to recall? Validation loss over the run on targets whose rare pair came earlier in the
 * context, and on the others (Arora et al. 2023, arXiv:2312.04927, sec. 3). The table `gap` has the ends.
 */
#include "report/slice.h"

#include <math.h>

#include "store/query.h"

/* Bytes have no rare pairs: of their evaluations there are the others alone. */
static bool has_recalled(const struct study *s, const struct run_data *r)
{
	struct arena a = {0};
	struct slice_rows rows;
	bool found = !query_slices(s->db, r->id, "recall", &a, &rows) && rows.n && rows.low[rows.n - 1] > 0;

	arena_release(&a);
	return found;
}

static bool applies(const struct study *s)
{
	for (int i = 0; i < s->n_runs; i++)
		if (has_recalled(s, &s->runs[i]))
			return true;
	return false;
}

/* The run's validation curve with the loss of one class of tokens, no number where an evaluation does not tell it: of
   several seeds the same evaluations come together. */
static int read_curve(struct study *s, const struct run_data *r, bool recalled, struct curve *c)
{
	struct db_statement row;

	*c = curve_new(&s->arena, r->val.n);
	for (int i = 0; i < c->n; i++) {
		for (int axis = 0; axis < N_AXES; axis++)
			c->x[axis][i] = r->val.x[axis][i];
		c->loss[i] = NAN;
	}
	db_prepare(&row, s->db, "SELECT step, loss FROM slice WHERE run_id = :run AND kind = 'val'"
		" AND \"by\" = 'recall' AND (low > 0) = :recalled ORDER BY step");
	db_bind_int(&row, ":run", r->id);
	db_bind_int(&row, ":recalled", recalled);
	for (int i = 0; db_step(&row);) {
		while (i < c->n && c->x[AXIS_STEPS][i] < db_real(&row, 0))
			i++;
		if (i < c->n && !(c->x[AXIS_STEPS][i] > db_real(&row, 0)))
			c->loss[i] = db_real(&row, 1);
	}
	return db_finish(&row);
}

/* A line for each configuration: plot_curve() of runs that have these losses for theirs. */
static int add_panel(struct study *s, const struct plot_options *o, struct chart *c, bool recalled)
{
	struct panel *p = plot_loss_panel(c, s, recalled ? "recalled" : "others");

	for (int i = 0; i < s->n_arms; i++) {
		struct arm v = s->arms[i];
		v.runs = ARENA_ARRAY(&s->arena, struct run_data *, v.n);
		for (int k = 0; k < v.n; k++) {
			v.runs[k] = ARENA_ARRAY(&s->arena, struct run_data, 1);
			*v.runs[k] = *s->arms[i].runs[k];
			if (read_curve(s, v.runs[k], recalled, &v.runs[k]->curve))
				return -1;
		}
		plot_curve(c, p, s, &v, o->x);
	}
	return 0;
}

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	plot_title(c, s, "loss by recall of the context");
	plot_subtitle(c, s, "targets whose rare pair came earlier in the window, and others");
	c->ruleless = true;
	plot_axis(c, s, o->x);
	return add_panel(s, o, c, true) || add_panel(s, o, c, false) ? -1 : 0;
}

const struct plot plot_gap = {
	.name = "gap",
	.place = 13,
	.help = "loss on what the context has, and on the rest, over steps, tokens, FLOPs or seconds",
	.applies = applies,
	.needs = slice_recall_needs,
	.fill = fill,
};
