#include "report/recall.h"

#include <math.h>
#include <string.h>

#include "store/query.h"

const char recall_needs[] = "scores on examples: its runs are not on the data of a task (moelab data make)";

bool recall_applies(const struct study *s)
{
	for (int i = 0; i < s->n_runs; i++)
		if (query_has_recall(s->db, s->runs[i].id))
			return true;
	return false;
}

static bool is_before(const struct recall_set *a, const struct recall_set *b)
{
	return a->length != b->length ? a->length < b->length : a->items < b->items;
}

/* Place of the set; a new one is put where it belongs. */
static int place_of(struct recall *r, const struct recall_row *row)
{
	struct recall_set set = {row->test, row->length, row->items, row->n_answers < row->n_tokens};
	int i = r->n;

	for (int k = 0; k < r->n; k++)
		if (!strcmp(r->sets[k].name, set.name)) {
			r->sets[k].several |= set.several;
			return k;
		}
	for (; i > 0 && is_before(&set, &r->sets[i - 1]); i--)
		r->sets[i] = r->sets[i - 1];
	r->sets[i] = set;
	r->n++;
	return i;
}


int recall_read(struct recall *r, struct study *s)
{
	struct recall_row **rows = ARENA_ARRAY(&s->arena, struct recall_row *, s->n_runs);
	int *n = ARENA_ARRAY(&s->arena, int, s->n_runs), most = 0;

	for (int i = 0; i < s->n_runs; i++) {
		if (query_recall(s->db, s->runs[i].id, &s->arena, &rows[i], &n[i]))
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
		}
	return 0;
}

double recall_of(const struct recall *r, const struct study *s, const struct run_data *run, int set,
	enum recall_share which)
{
	return run->diverged ? NAN : r->share[which][(run - s->runs) * r->n + set];
}
