/*
 * A bench: what it is asked, the rates of this machine that its figures are held against, and the report
 * that keeps them. What is timed is in op_times.h (operators), step_times.h (a training step) and
 * growth.h (steps as one thing grows).
 */
#ifndef MEASURE_BENCH_H
#define MEASURE_BENCH_H

#include <stdbool.h>

#include "store/bench.h"
#include "tensor/device.h"

enum { BENCH_MAX_OVERRIDES = 64 };	/* of the user; ours come on top */

struct bench {
	const struct device *device;
	long steps;			/* timed ones; the median counts */
	long tokens;			/* of a batch for operators */
	long longest;			/* tokens in front, of text that is generated */
	bool all;			/* every shape, not the costliest of each operator */
	const char *only;		/* one operator or axis; NULL: all */
	const char *const *overrides;	/* key=value, on top of each spec */
	int n_overrides;
	double gemm, copy;		/* FLOP/s, bytes/s; 0 before bench_ceilings() */
	struct bench_report report;
};

/* Begins the report, of this machine and this device; the other members are the caller's to set. */
void bench_begin(struct bench *b);
void bench_end(struct bench *b);

/* Rates of this machine, once a process. */
void bench_ceilings(struct bench *b);
/* Keys of the user and n more, room for both in all; the number of all. */
int bench_keys(const struct bench *b, const char **all, const char *const *more, int n);
/* Has the spec, as the user's keys make it, this key? */
bool bench_applies(const struct bench *b, const char *spec, const char *key);
/* The spec with the user's keys, for reports: "experiments/25m/mamba.yaml train.batch=2". */
const char *bench_name(struct bench *b, const char *spec);

#endif
