/* Which rows a query of summary sees, for the reference and the CPU; op/summary.h has the formula. */
#ifndef OP_CPU_SUMMARY_H
#define OP_CPU_SUMMARY_H

#include "op/cpu/moba.h"
#include "op/summary.h"

op_kernel summary_forward_cpu, summary_backward_cpu;

/* Rows j of a query: n summaries, then the tokens of its own segment from `own` to itself. */
struct sight {
	long first;	/* token with which the first earlier segment begins; further ones lie behind it, S apart */
	long n, own;
	long n_rows;
};

static inline struct sight sight_of(const struct op_run *r, const struct moba_dims *d, long b, long t)
{
	long start = start_of(r, d, b, t), earliest = first_segment(d, start, t), own = (t - start) / d->S;
	struct sight s = {start + earliest * d->S, max_long(own - earliest, 0),
		max_long(start + own * d->S, least_seen(d, start, t)), 0};

	s.n_rows = s.n + t + 1 - s.own;
	return s;
}

/* Row of a sequence's summaries for the segment that begins with a token. */
static inline long summary_row(const struct moba_dims *d, long b, long first)
{
	return b * ceil_div(d->T, d->S) + first / d->S;
}

#endif
