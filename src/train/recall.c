#include "train/recall.h"

#include <stdlib.h>

#include "base/error.h"
#include "base/num.h"
#include "data/order.h"
#include "train/worker_link.h"

/* The answer that begins at target i of a row; returns the place behind it. */
static long add_answer(struct recall_score *score, const struct recall_rows *r, const int *targets, long at,
	long i)
{
	bool whole = true;

	for (; i < r->context && targets[i] >= 0; i++) {
		bool right = !r->forecasts && r->correct_BT[at + i] > 0;
		score->nll += r->nll_BT[at + i];
		score->error += r->forecasts ? r->correct_BT[at + i] : 0;
		score->tokens++;
		score->right += right;
		whole = whole && right;
	}
	score->answers++;
	score->whole += whole;
	return i;
}

void recall_add(struct recall_score *score, const struct recall_rows *r)
{
	for (long b = 0; b < r->n; b++) {
		const int *targets = r->targets_BT + b * r->context;
		for (long i = 0; i < r->context;)
			i = targets[i] < 0 ? i + 1 : add_answer(score, r, targets, b * r->context, i);
	}
}

static int test_graph(const struct setup *s, long context)
{
	int k = 0;

	while (k < s->data.n_tests && s->data.tests[k].context != context)
		k++;
	CHECK(k < s->data.n_tests);
	return k;
}

/* Rows first .. first + n - 1, the rest of the replay left as it is. */
static int replay(struct recall_score *score, const struct setup *s, struct graph *g, const struct sequences *rows,
	long first, long n, void *room, long all)
{
	double *nll_BT = room, *correct_BT = nll_BT + all;
	int *tokens_BT = (int *)(correct_BT + all), *targets_BT = tokens_BT + all;

	if (sequences_read(rows, first, (int)n, tokens_BT, targets_BT))
		return -1;
	setup_replay(g, tokens_BT, targets_BT);
	graph_read_all(g, "nll", nll_BT);
	graph_read_all(g, s->model.forecasts ? "error" : "correct", correct_BT);
	setup_keep_asked(s, n, rows->context, targets_BT);
	recall_add(score, &(struct recall_rows){targets_BT, nll_BT, correct_BT, n, setup_asked(s, rows->context),
		s->model.forecasts});
	return 0;
}

int recall_test(struct recall_score *score, const struct setup *s, const struct dataset *d, enum split test)
{
	int k = test_graph(s, d->splits[test].row), ret = 0;
	const struct setup_test *t = &s->data.tests[k];
	long all = t->batch * t->context, n;
	struct sequences rows;
	void *room;

	*score = (struct recall_score){.nll = 0};
	if (sequences_init(&rows, d, test, (int)t->context, 0))
		return -1;
	room = xcalloc((size_t)all, 2 * (sizeof(double) + sizeof(int)));
	for (long first = 0; first < rows.per_epoch && !ret; first += n) {
		n = min_long(rows.per_epoch - first, t->batch);
		ret = worker_link_stop() ? EVALUATION_STOPPED :
			replay(score, s, s->graphs[N_SETUP_GRAPHS + k], &rows, first, n, room, all);
	}
	free(room);
	return ret;
}
