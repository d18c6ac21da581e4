/* moelab bench: what its kinds share. */
#ifndef CMD_BENCH_H
#define CMD_BENCH_H

#include "cmd/lab.h"
#include "store/bench.h"
#include "tensor/device.h"

struct bench {
	/* from the options */
	struct lab lab;			/* form of tables, path of the database */
	const struct device *device;
	long steps, tokens;
	bool all;			/* every shape, not the costliest of each operator */
	const char *only;		/* one operator or axis; NULL: all */
	const char *against;		/* key=value; NULL: none */
	const char *const *overrides;
	int n_overrides;
	/* measured in this process */
	double gemm, copy;		/* FLOP/s, bytes/s */
	struct bench_report report;
};

enum { BENCH_MAX_OVERRIDES = 64 };	/* of the user; ours come on top */

/* Rates of this machine, once a process. */
void bench_ceilings(struct bench *b);
/* Keys of the user and n more, room for both in all; the number of all. */
int bench_keys(const struct bench *b, const char **all, const char *const *more, int n);
/* Has the spec, as the user's keys make it, this key? */
bool bench_applies(const struct bench *b, const char *spec, const char *key);
/* The spec with the user's keys, for reports: "experiments/25m/mamba.yaml train.batch=2". */
const char *bench_name(struct bench *b, const char *spec);
/* Median; sorts. */
double bench_median(double *values, int n);

/* Measure, print on stdout, and add to the report. Exit codes. */
int bench_step(struct bench *b, const char *spec);
int bench_scale(struct bench *b, const char *spec);
/* what: a scale ("micro": experiments/micro), or one spec. */
int bench_op(struct bench *b, const char *what);

/* Prints what is worse or better than the time before by more than a tenth. An exit code. */
int bench_compare(struct lab *lab);

#endif
