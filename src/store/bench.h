/*
 * What `moelab bench` measured, kept: a line of ROOT/bench.jsonl and rows of the tables `bench` and
 * `measure` (bench.sql). The file comes first: a supervisor at work holds the database, and `moelab
 * ingest` then adds what it missed.
 *
 *   {"wall":"2026-...Z","host":"lab","pid":7,"cpu":...,"measures":[["op","scan","[4, 256, 256]",
 *    "forward_ms",0.31],...]}
 */
#ifndef STORE_BENCH_H
#define STORE_BENCH_H

#include "base/arena.h"
#include "store/db.h"

struct measure {
	const char *kind, *name, *shape, *metric;
	double value;			/* not finite: null */
};

struct bench_report {			/* members as the columns of bench.sql */
	struct arena arena;
	const char *wall, *host, *cpu, *blas_core, *git, *build, *device;
	long long pid, threads;
	double load;			/* NaN: not known */
	struct measure *measures;
	int n_measures, capacity;
};

/* Circumstances are the caller's to set, but host, pid and load, which begin as those of now. */
void bench_report_init(struct bench_report *r);
void bench_report_release(struct bench_report *r);
/* Texts are copied. The same (kind, name, shape, metric) again replaces the value. */
void bench_report_add(struct bench_report *r, const char *kind, const char *name, const char *shape,
	const char *metric, double value);

/* Sets wall; one line more in bench.jsonl in the folder of the database at `path`, and its rows, unless
   another process is writing the database, which is told. 0, or -1 after a message. */
int bench_report_keep(struct bench_report *r, const char *path);

/* All lines of ROOT/bench.jsonl that the database lacks; no such file is fine. *n: lines read;
   *skipped: lines that are torn. 0, or -1 after a message. */
int bench_ingest(struct db *db, const char *root, long *n, long *skipped);

#endif
