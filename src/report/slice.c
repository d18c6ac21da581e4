#include "report/slice.h"

#include "store/query.h"

#include <math.h>
#include <stdio.h>

const char slice_recall_needs[] = "losses of recalled targets: its runs are older than these, on the data of a"
	" task, or on tokens whose pairs are all frequent";
const char slice_needs[] = "losses by class of tokens: its runs were made before these were recorded";

static bool has_slices(const struct study *s, const char *by)
{
	for (int i = 0; i < s->n_runs; i++)
		if (query_has_slices(s->db, s->runs[i].id, by))
			return true;
	return false;
}

bool slice_by_position(const struct study *s)
{
	return has_slices(s, "position");
}

bool slice_by_frequency(const struct study *s)
{
	return has_slices(s, "frequency");
}

/* --- reading --------------------------------------------------------------------------------- */

struct slices {
	int n;				/* classes that some run has, rising */
	long long *low, *high;		/* of class i, both included */
	double *tokens;			/* evaluated in class i, by the first run that has it */
	double *loss;			/* loss[run * n + i], run as in study.runs; NaN: none */
};

/* Place of the class that begins at low; a new one is put where it belongs. */
static int place_of(struct slices *t, long long low, long long high, double tokens)
{
	int i = t->n;

	for (int k = 0; k < t->n; k++)
		if (t->low[k] == low)
			return k;
	for (; i > 0 && t->low[i - 1] > low; i--) {
		t->low[i] = t->low[i - 1];
		t->high[i] = t->high[i - 1];
		t->tokens[i] = t->tokens[i - 1];
	}
	t->low[i] = low;
	t->high[i] = high;
	t->tokens[i] = tokens;
	t->n++;
	return i;
}

/* by: "position", "frequency". In the study's arena. 0, or -1 after a message. */
static int slices_read(struct slices *t, struct study *s, const char *by)
{
	struct slice_rows *rows = ARENA_ARRAY(&s->arena, struct slice_rows, s->n_runs);
	int most = 0;

	for (int r = 0; r < s->n_runs; r++) {
		if (query_slices(s->db, s->runs[r].id, by, &s->arena, &rows[r]))
			return -1;
		most += rows[r].n;
	}
	*t = (struct slices){.low = ARENA_ARRAY(&s->arena, long long, most),
		.high = ARENA_ARRAY(&s->arena, long long, most),
		.tokens = ARENA_ARRAY(&s->arena, double, most)};
	for (int r = 0; r < s->n_runs; r++)
		for (int k = 0; k < rows[r].n; k++)
			place_of(t, rows[r].low[k], rows[r].high[k], rows[r].tokens[k]);
	t->loss = ARENA_ARRAY(&s->arena, double, s->n_runs * t->n);
	for (int i = 0; i < s->n_runs * t->n; i++)
		t->loss[i] = NAN;
	for (int r = 0; r < s->n_runs; r++)
		for (int k = 0; k < rows[r].n; k++)
			t->loss[r * t->n + place_of(t, rows[r].low[k], 0, 0)] = rows[r].loss[k];
	return 0;
}

/* --- over seeds ------------------------------------------------------------------------------ */

enum { MAX_SEEDS = 256 };

static double loss_of(const struct slices *t, const struct study *s, const struct run_data *r, int i)
{
	return r && !r->diverged ? t->loss[(r - s->runs) * t->n + i] : NAN;
}

static int losses_of(const struct slices *t, const struct study *s, const struct arm *v, int i,
	double x[MAX_SEEDS])
{
	int n = 0;

	for (int k = 0; k < v->n && n < MAX_SEEDS; k++) {
		x[n] = loss_of(t, s, v->runs[k], i);
		n += isfinite(x[n]);
	}
	return n;
}

/* Over the seeds that did not diverge. */
static struct interval slice_mean(const struct slices *t, const struct study *s, const struct arm *v, int i)
{
	double x[MAX_SEEDS];

	return interval_of_mean(x, losses_of(t, s, v, i, x));
}

/* Paired with the baseline's runs of the same seed. */
static struct interval slice_difference(
	const struct slices *t, const struct study *s, const struct arm *v, int i)
{
	double x[MAX_SEEDS];
	int n = 0;

	for (int k = 0; s->baseline && k < v->n && n < MAX_SEEDS; k++) {
		const struct run_data *b = arm_seed(s->baseline, v->runs[k]->seed);
		x[n] = loss_of(t, s, v->runs[k], i) - loss_of(t, s, b, i);
		n += isfinite(x[n]);
	}
	return interval_of_mean(x, n);
}

/* Smallest difference that the baseline's seeds could show in class i; NaN below two. */
static double slice_unseen(const struct slices *t, const struct study *s, int i)
{
	double x[MAX_SEEDS];

	return s->baseline ? smallest_difference(x, losses_of(t, s, s->baseline, i, x)) : NAN;
}

/* --- the table ------------------------------------------------------------------------------- */

static const char *short_count(double n, char *buffer)
{
	static const char units[] = " KMGT";
	int u = 0;

	for (; n >= 1000 && u < 4; u++)
		n /= 1000;
	snprintf(buffer, 32, "%.3g%.*s", n, u > 0, &units[u]);
	return buffer;
}

/* "5-8", "10K-100K". Buffer of 64 bytes. */
static const char *slice_title(const struct slices *t, int i, char *buffer)
{
	char low[32], high[32];
	long long top = t->high[i];

	if (t->low[i] == top)
		snprintf(buffer, 64, "%lld", top);
	else if (top < 1000)
		snprintf(buffer, 64, "%lld-%lld", t->low[i], top);
	else
		snprintf(buffer, 64, "%s-%s", short_count((double)t->low[i], low),
			short_count((double)top + (top % 10 == 9), high));
	return buffer;
}

/* Neither below what the baseline's seeds could show, nor with zero in its interval. */
static bool is_seen(const struct interval *d, double unseen)
{
	return !(fabs(d->mean) < unseen) && !(d->low < 0 && d->high > 0);
}

/* Without a configuration a row says how many tokens each class has. */
static CELL(cell_name)
{
	if (!r->v)
		grid_text(g, "share of tokens");
	else
		(c->name ? cell_label : cell_model)(g, c, r);
}

static void put_share_of_tokens(struct grid *g, const struct slices *t, int i)
{
	double all = 0;

	for (int k = 0; k < t->n; k++)
		all += t->tokens[k];
	grid_interval(g, NAN, NAN, NAN, "%.2g %%", 100 * t->tokens[i] / all);
}

/* Of class .member, as in those below. */
static CELL(cell_loss)
{
	const struct slices *t = r->more;
	int i = (int)c->member;
	char difference[32] = "";

	if (!r->v) {
		put_share_of_tokens(g, t, i);
		return;
	}
	struct interval loss = slice_mean(t, r->s, r->v, i), d = slice_difference(t, r->s, r->v, i);
	if (r->v != r->s->baseline && isfinite(d.mean) && is_seen(&d, slice_unseen(t, r->s, i)))
		snprintf(difference, sizeof difference, " (%+.3f)", d.mean);
	else if (r->v != r->s->baseline && isfinite(d.mean))
		snprintf(difference, sizeof difference, " (=)");
	grid_interval(g, loss.mean, loss.low, loss.high, isfinite(loss.mean) ? "%.3f%s" : "-",
		loss.mean, difference);
}

static CELL(null_loss)
{
	double unseen = slice_unseen(r->more, r->s, (int)c->member);

	grid_interval(g, NAN, NAN, NAN,
		isfinite(unseen) ? "%.3f" : c->member ? "-" : "needs 2 seeds", unseen);
}

static CELL(cell_class_difference)
{
	struct interval d = {.mean = NAN, .low = NAN, .high = NAN};

	if (r->v && r->v != r->s->baseline)
		d = slice_difference(r->more, r->s, r->v, (int)c->member);
	grid_interval(g, d.mean, d.low, d.high, "%s", "");
}

static CELL(null_class_difference)
{
	double unseen = slice_unseen(r->more, r->s, (int)c->member);

	grid_interval(g, NAN, -unseen, unseen, "%s", "");
}

static void columns(struct grid *g, const struct slices *t)
{
	const struct column model[] = {
		{"model", NULL, COLUMN_TEXT, .cell = cell_name, .null = null_label},
		{NULL, "model", COLUMN_TEXT, .cell = cell_name, .null = null_model},
	};

	grid_columns(g, model, ARRAY_SIZE(model));
	for (int i = 0; i < t->n; i++) {
		char title[64];
		const struct column class[] = {
			{arena_printf(&g->arena, "loss_%lld", t->low[i]),
				arena_strdup(&g->arena, slice_title(t, i, title)), COLUMN_INTERVAL,
				.cell = cell_loss, .null = null_loss, .member = (size_t)i},
			{arena_printf(&g->arena, "difference_%lld", t->low[i]), NULL,
				COLUMN_INTERVAL, .cell = cell_class_difference,
				.null = null_class_difference, .member = (size_t)i},
		};
		grid_columns(g, class, ARRAY_SIZE(class));
	}
}

int slice_table(struct study *s, struct grid *g, const char *by)
{
	struct slices t;

	if (slices_read(&t, s, by))
		return -1;
	columns(g, &t);
	for (int k = 0; k < s->n_arms; k++)
		grid_fill(g, &(struct subject){s, &s->arms[k], &t});
	grid_fill(g, &(struct subject){s, NULL, &t});
	grid_rule(g);
	if (s->baseline)
		grid_fill_null(g, &(struct subject){s, NULL, &t});
	notes_add(&g->notes, NOTE_PLAIN,
		"%s at the last evaluation, mean over seeds; in brackets the"
		" difference to the baseline, mean of pairs of one seed; (=): none seen: below what"
		" the baseline's seeds could show (null row), or its 95 %% interval holds 0", study_loss_unit(s));
	return 0;
}

/* --- the plot -------------------------------------------------------------------------------- */

static void add_point(struct series *line, const struct slices *t, const struct study *s,
	const struct arm *v, int i)
{
	double x[MAX_SEEDS], low = INFINITY, high = -INFINITY;
	int n = losses_of(t, s, v, i, x), at = line->n;

	if (!n || t->low[i] < 1)
		return;
	for (int k = 0; k < n; k++) {
		low = fmin(low, x[k]);
		high = fmax(high, x[k]);
	}
	line->x[at] = (double)t->low[i];
	line->y[at] = interval_of_mean(x, n).mean;
	line->low[at] = n > 1 ? low : NAN;
	line->high[at] = n > 1 ? high : NAN;
	line->n++;
}

int slice_plot(struct study *s, struct chart *c, const char *by)
{
	struct panel *p = plot_loss_panel(c, s, "validation loss");
	struct slices t;

	if (slices_read(&t, s, by))
		return -1;
	plot_subtitle(c, s, "last evaluation");
	c->ruleless = true;
	plot_marks(c, s, "lines are means over the seeds, of the last evaluation",
		"bands reach from the lowest to the highest seed");
	c->x_log = true;
	c->x_few = true;
	for (int k = 0; k < s->n_arms; k++) {
		const struct arm *v = &s->arms[k];
		struct series *line =
			chart_series(c, p, plot_label(c, v), plot_style(s, v), t.n);
		line->n = 0;
		for (int i = 0; i < t.n; i++)
			add_point(line, &t, s, v, i);
	}
	return 0;
}
