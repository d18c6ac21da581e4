#include "report/recall.h"

#include <math.h>
#include <string.h>

#include "store/query.h"

const char recall_needs[] = "scores on examples: its runs are not on the data of a task (moelab data make), or they "
	"forecast (table forecast)";

static bool any_has(const struct study *s, bool forecasts)
{
	for (int i = 0; i < s->n_runs; i++)
		if (query_has_recall(s->db, s->runs[i].id, forecasts))
			return true;
	return false;
}

bool recall_applies(const struct study *s)
{
	return any_has(s, false);
}

bool forecast_applies(const struct study *s)
{
	return any_has(s, true);
}

static bool is_before(const struct recall_set *a, const struct recall_set *b)
{
	return a->length != b->length ? a->length < b->length : a->items < b->items;
}

/* Place of the set; a new one is put where it belongs. */
static int place_of(struct recall *r, const struct recall_row *row)
{
	struct recall_set set = {row->test, row->length, row->items, row->n_answers < row->n_tokens, row->majority,
		{row->last_mse, row->last_mae}, {row->season_mse, row->season_mae}};
	int i = r->n;

	for (int k = 0; k < r->n; k++)
		if (!strcmp(r->sets[k].name, set.name)) {
			r->sets[k].several |= set.several;
			if (isnan(r->sets[k].majority))	/* of an older run */
				r->sets[k].majority = set.majority;
			return k;
		}
	for (; i > 0 && is_before(&set, &r->sets[i - 1]); i--)
		r->sets[i] = r->sets[i - 1];
	r->sets[i] = set;
	r->n++;
	return i;
}

/* Of a run, in the study's arena: those that are of forecasts, or those that are not. -1 after a message. */
static int read_rows(struct study *s, const struct run_data *run, bool forecasts, struct recall_row **rows)
{
	int n, kept = 0;

	if (query_recall(s->db, run->id, &s->arena, rows, &n))
		return -1;
	for (int k = 0; k < n; k++)
		if (isnan((*rows)[k].mae) != forecasts)
			(*rows)[kept++] = (*rows)[k];
	return kept;
}

int recall_read(struct recall *r, struct study *s, bool forecasts)
{
	struct recall_row **rows = ARENA_ARRAY(&s->arena, struct recall_row *, s->n_runs);
	int *n = ARENA_ARRAY(&s->arena, int, s->n_runs), most = 0;

	for (int i = 0; i < s->n_runs; i++) {
		n[i] = read_rows(s, &s->runs[i], forecasts, &rows[i]);
		if (n[i] < 0)
			return -1;
		most += n[i];
	}
	*r = (struct recall){.sets = ARENA_ARRAY(&s->arena, struct recall_set, most)};
	for (int i = 0; i < s->n_runs; i++)
		for (int k = 0; k < n[i]; k++)
			place_of(r, &rows[i][k]);
	for (int w = 0; w < N_RECALL_SHARES; w++) {
		r->share[w] = ARENA_ARRAY(&s->arena, double, s->n_runs * r->n);
		for (int i = 0; i < s->n_runs * r->n; i++)
			r->share[w][i] = NAN;
	}
	for (int i = 0; i < s->n_runs; i++)
		for (int k = 0; k < n[i]; k++) {
			int at = i * r->n + place_of(r, &rows[i][k]);
			r->share[RECALL_TOKENS][at] = rows[i][k].accuracy;
			r->share[RECALL_ANSWERS][at] = rows[i][k].answer_accuracy;
			r->share[RECALL_MSE][at] = rows[i][k].mse;
			r->share[RECALL_MAE][at] = rows[i][k].mae;
		}
	return 0;
}

void recall_rule(struct grid *g, const char *rule)
{
	grid_row(g);
	grid_text(g, "%s", rule);
	grid_text(g, "%s", rule);
	for (int i = 0; i < 4; i++)	/* params, active, embedding, seeds */
		grid_text(g, "%s", "");
}

double recall_of(const struct recall *r, const struct study *s, const struct run_data *run, int set,
	enum recall_share which)
{
	return run->diverged ? NAN : r->share[which][(run - s->runs) * r->n + set];
}
