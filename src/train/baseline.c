#include "train/baseline.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/half.h"
#include "base/num.h"

enum { COUNTED_ROWS = 1 << 16 };

int baseline_answer(const struct dataset *d)
{
	const struct dataset_split *s = &d->splits[SPLIT_TRAIN];
	long rows = s->row && !dataset_is_series(d) ? min_long(s->n_tokens / (2 * s->row), COUNTED_ROWS) : 0;
	int32_t *targets = xmalloc((size_t)(s->row + 1) * sizeof *targets);
	long *counts = xcalloc((size_t)d->vocab, sizeof *counts);
	int most = rows ? 0 : -1;

	for (long i = 0; i < rows && most >= 0; i++) {
		if (dataset_read(d, SPLIT_TRAIN, (2 * i + 1) * s->row, s->row, targets))
			most = -2;
		for (long t = 0; most >= 0 && t < s->row; t++)
			counts[targets[t]]++;
	}
	for (int id = 0; id < d->eot && most >= 0; id++)
		most = counts[id] > counts[most] ? id : most;
	free(counts);
	free(targets);
	return most;
}

struct sums {
	double right, n;
	double square[2], error[2];	/* of the last value, of a season before */
};

/* The newest known value that stands whole seasons before t; none is known there: `else_said`. NAN where the row does
   not go back as far. */
static double season_before(const int32_t *tokens, long t, long season, double else_said)
{
	if (!season || t < season)
		return NAN;
	for (long i = t - season; i >= 0; i -= season)
		if (!half_is_missing(tokens[i]))
			return half_value(tokens[i]);
	return else_said;
}

/* What of a row of a series is asked for, from what stands in front of it, whose inputs are missing from there on.
   Where nothing is known, 0 is said. */
static void add_forecast(struct sums *sum, const struct sequences *rows, const int32_t *tokens, const int32_t *targets)
{
	double last = 0;

	for (long t = 0; t < rows->context; t++) {
		last = half_is_missing(tokens[t]) ? last : half_value(tokens[t]);
		if (targets[t] < 0 || half_is_missing(targets[t]))
			continue;
		const double said[2] = {last, season_before(tokens, t, rows->dataset->season, last)};
		sum->n++;
		for (int k = 0; k < 2; k++) {
			double e = said[k] - half_value(targets[t]);
			sum->square[k] += e * e;
			sum->error[k] += fabs(e);
		}
	}
}

static void add_answers(struct sums *sum, const struct sequences *rows, const int32_t *targets, int answer)
{
	for (long t = 0; t < rows->context; t++) {
		sum->n += targets[t] >= 0;
		sum->right += targets[t] == answer;
	}
}

/* Of the first n sequences. answer: baseline_answer(). */
static int baseline_of(struct baseline *b, const struct sequences *rows, long n, int answer)
{
	long T = rows->context;
	int32_t *tokens = xmalloc(2 * (size_t)T * sizeof *tokens), *targets = tokens + T;
	struct sums sum = {0};
	int ret = 0;

	for (long i = 0; i < n && !ret; i++) {
		ret = sequences_read(rows, i, 1, tokens, targets);
		if (!ret && answer < 0)
			add_forecast(&sum, rows, tokens, targets);
		else if (!ret)
			add_answers(&sum, rows, targets, answer);
	}
	free(tokens);
	if (answer < 0)
		*b = (struct baseline){NAN, sum.square[0] / sum.n, sum.error[0] / sum.n, sum.square[1] / sum.n,
			sum.error[1] / sum.n};
	else
		*b = (struct baseline){sum.right / sum.n, NAN, NAN, NAN, NAN};
	return ret;
}

int baselines_of(struct baseline all[MAX_SPLITS], const struct sequences *windows, long n_windows)
{
	const struct dataset *d = windows->dataset;
	struct sequences rows;
	int answer = baseline_answer(d);

	if (answer < -1 || baseline_of(&all[windows->split], windows, n_windows, answer))
		return -1;
	for (int i = N_SPLITS; i < d->n_splits; i++)
		if (sequences_init(&rows, d, (enum split)i, (int)d->splits[i].row, 0) ||
			baseline_of(&all[i], &rows, rows.per_epoch, answer))
			return -1;
	return 0;
}
