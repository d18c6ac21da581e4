/*
 * How much of the difference to the baseline is recall? Loss on targets whose rare pair came earlier in the
 * context, and on the others (Arora et al. 2023, arXiv:2312.04927, sec. 3).
 */
#include "report/slice.h"

#include <math.h>

#include "store/query.h"

enum { MAX_SEEDS = 256 };
enum part { OTHER, RECALLED, ALL, N_PARTS };

struct gap {		/* of each run, as in study.runs; NaN: none */
	double loss[N_PARTS], share;	/* share of the tokens that are recalled */
	double limit;			/* most occurrences in training */
};

static struct gap gap_of(const struct study *s, const struct run_data *r)
{
	struct gap gap = {{NAN, NAN, NAN}, NAN, NAN};
	struct arena a = {0};
	struct slice_rows rows;

	if (!r->diverged && !query_slices(s->db, r->id, "recall", &a, &rows) && rows.n == 2) {
		gap.share = rows.tokens[1] / (rows.tokens[0] + rows.tokens[1]);
		gap.loss[OTHER] = rows.loss[0];
		gap.loss[RECALLED] = rows.loss[1];
		gap.loss[ALL] = gap.share * rows.loss[1] + (1 - gap.share) * rows.loss[0];
		gap.limit = (double)rows.high[1];
	}
	arena_release(&a);
	return gap;
}

static bool applies(const struct study *s)
{
	for (int i = 0; i < s->n_runs; i++)
		if (isfinite(gap_of(s, &s->runs[i]).share))
			return true;
	return false;
}

/* Over the seeds, or of pairs with the baseline's of the same seed. */
static int values(const struct subject *r, const struct arm *v, enum part part, bool paired,
	double x[MAX_SEEDS])
{
	const struct gap *gaps = r->more;
	int n = 0;

	for (int k = 0; k < v->n && n < MAX_SEEDS; k++) {
		const struct run_data *b = paired ? arm_seed(r->s->baseline, v->runs[k]->seed) : NULL;
		x[n] = gaps[v->runs[k] - r->s->runs].loss[part];
		if (paired)
			x[n] = b ? x[n] - gaps[b - r->s->runs].loss[part] : NAN;
		n += isfinite(x[n]);
	}
	return n;
}

static CELL(cell_loss)
{
	double x[MAX_SEEDS];
	struct interval loss = interval_of_mean(x, values(r, r->v, (enum part)c->member, false, x));

	grid_interval(g, loss.mean, loss.low, loss.high, isfinite(loss.mean) ? "%.3f" : "-", loss.mean);
}

static bool is_other(const struct subject *r)
{
	return r->s->baseline && r->v != r->s->baseline;
}

static CELL(cell_gap)
{
	double x[MAX_SEEDS];
	struct interval d = {.mean = NAN, .low = NAN, .high = NAN};

	if (is_other(r))
		d = interval_of_mean(x, values(r, r->v, (enum part)c->member, true, x));
	grid_interval(g, d.mean, d.low, d.high, isfinite(d.mean) ? "%+.3f" : "", d.mean);
}

static CELL(null_gap)
{
	double x[MAX_SEEDS];
	double unseen = smallest_difference(x, values(r, r->s->baseline, (enum part)c->member, false, x));

	grid_interval(g, NAN, -unseen, unseen, isfinite(unseen) ? "%.3f" : "needs 2 seeds", unseen);
}

/* Of the first run that has any. */
static double share_of(const struct subject *r)
{
	const struct gap *gaps = r->more;

	for (int k = 0; k < r->v->n; k++)
		if (isfinite(gaps[r->v->runs[k] - r->s->runs].share))
			return gaps[r->v->runs[k] - r->s->runs].share;
	return NAN;
}

static CELL(cell_tokens)
{
	put_share(g, share_of(r), 0);
}

/* Share of the tokens, times their difference, over the difference of all. */
static CELL(cell_gap_share)
{
	double x[MAX_SEEDS], share = NAN;

	if (is_other(r)) {
		double recalled = interval_of_mean(x, values(r, r->v, RECALLED, true, x)).mean;
		share = share_of(r) * recalled / interval_of_mean(x, values(r, r->v, ALL, true, x)).mean;
	}
	put_share(g, share, 0);
}

static const struct column columns[] = {
	COLUMNS_OF_MODEL,
	COLUMN_SEEDS,
	{"share_of_tokens", "tokens", COLUMN_NUMBER, .cell = cell_tokens},
	{"loss_recalled", "recalled", COLUMN_INTERVAL, .cell = cell_loss, .member = RECALLED},
	{"loss_other", "other", COLUMN_INTERVAL, .cell = cell_loss, .member = OTHER},
	{"difference_recalled", "recalled, to baseline", COLUMN_INTERVAL, .cell = cell_gap, .null = null_gap,
		.member = RECALLED},
	{"difference_other", "other, to baseline", COLUMN_INTERVAL, .cell = cell_gap, .null = null_gap,
		.member = OTHER},
	{"difference", "to baseline", COLUMN_INTERVAL, .cell = cell_gap, .null = null_gap, .member = ALL},
	{"gap_share", "of it recall", COLUMN_NUMBER, .cell = cell_gap_share},
};

static int fill(struct study *s, struct grid *g)
{
	struct gap *gaps = ARENA_ARRAY(&s->arena, struct gap, s->n_runs);
	double limit = NAN;

	for (int i = 0; i < s->n_runs; i++) {
		gaps[i] = gap_of(s, &s->runs[i]);
		limit = isfinite(limit) ? limit : gaps[i].limit;
	}
	grid_columns(g, columns, ARRAY_SIZE(columns));
	for (int k = 0; k < s->n_arms; k++)
		grid_fill(g, &(struct subject){s, &s->arms[k], gaps});
	if (s->baseline)
		grid_fill_null(g, &(struct subject){s, NULL, gaps});
	notes_add(&g->notes, NOTE_PLAIN, "recalled: targets whose pair with the token before came earlier in the"
		" window (in its document, where documents are apart) and at most %.0f times in the training"
		" split; nats per token at the last evaluation; tokens: their share", limit);
	notes_add(&g->notes, NOTE_PLAIN, "of it recall: their share of the tokens times their difference, over the"
		" difference of all; it means nothing where that is within the null row");
	return 0;
}

const struct table table_gap = {
	.name = "gap",
	.place = 14,
	.help = "how much of the difference to the baseline is recall of the context",
	.applies = applies,
	.needs = slice_recall_needs,
	.title = "loss by recall of the context",
	.fill = fill,
};
