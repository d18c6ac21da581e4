/*
 * Two runs held against each other: the difference of their losses, B - A, at every step that both
 * have after as many tokens. Runs that saw the same batches share their noise, so the difference
 * shows what the losses by themselves hide.
 *
 * A running mean is over `window` neighbouring pairs: a fiftieth of all, at least 10 and at most
 * 200, and no more than there are. Its standard error is the deviation of these pairs over the root
 * of their number: it knows the scatter from point to point, and nothing of other seeds.
 */
#ifndef REPORT_PAIRED_H
#define REPORT_PAIRED_H

#include "show/chart.h"
#include "show/grid.h"
#include "store/query.h"

struct paired {
	int n, n_means, window;
	double *step, *tokens, *difference;	/* n each */
	double *mean, *error;	/* n_means each: i is of the pairs i to i + window - 1 */
};

/*
 * The pairs of two curves, in the arena; they end where a loss is not finite. n_means is 0 for
 * fewer than two pairs.
 */
struct paired paired_of(const struct curve_rows *a, const struct curve_rows *b,
	struct arena *arena);
/* The same of two runs in the database; kind as in query_curve(). 0, or -1 after a message. */
int paired_read(struct db *db, long long run_a, long long run_b, const char *kind,
	struct arena *arena, struct paired *p);

int paired_equal(const struct paired *p);	/* pairs at the start that do not differ in a bit */
/*
 * Where two curves part: the first running mean that lies more than 3 standard errors from 0 and
 * stays so, on the same side, until its window is renewed as a whole. -1: nowhere. Chance alone
 * must get over the bound in two windows without a common pair and in all between: of pairs that
 * differ in nothing but noise, fewer than one in a hundred seem to part.
 */
int paired_part(const struct paired *p);

/* --- for commands and plots ------------------------------------------------------------------ */

/*
 * A row for the training and one for the validation loss: where they part, how far apart they end;
 * with warnings where the runs are no pair (data, batches, windows). ab: A, then B.
 */
int paired_table(struct db *db, const struct run_row *ab, struct grid *g);
/* The running means with a band of two standard errors over tokens, a panel for each loss. */
int paired_chart(struct db *db, const struct run_row *ab, struct chart *c);

#endif
