/* moelab bench: what its kinds share. What they measure is in measure/bench.h. */
#ifndef CMD_BENCH_H
#define CMD_BENCH_H

#include "cmd/lab.h"
#include "measure/bench.h"

struct bench_command {
	struct lab lab;			/* form of tables, path of the database */
	const char *against;		/* key=value; NULL: none */
	const char *plot;		/* figure's file; NULL: none */
	bool kept;			/* no measurement: what is kept of the last one */
	struct bench bench;
};

/* Measure, print on stdout, and add to the report. Exit codes. */
int bench_step(struct bench_command *m, const char *spec);
int bench_scale(struct bench_command *m, const char *spec);
int bench_generate(struct bench_command *m, const char *spec);
/* Draws what bench_generate() has measured. An exit code. */
int bench_generate_plot(const struct bench_command *m);
/* what: a scale ("micro": experiments/micro), or one spec. */
int bench_op(struct bench_command *m, const char *what);

/* Prints what is worse or better than the time before by more than a tenth. An exit code. */
int bench_compare(struct lab *lab);

#endif
