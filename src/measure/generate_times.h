/* How fast a model generates text, token by token, as the text grows. */
#ifndef MEASURE_GENERATE_TIMES_H
#define MEASURE_GENERATE_TIMES_H

#include "measure/bench.h"

/* Points: 16 tokens, four times as many, ..., and b->longest. */
enum { GENERATE_POINTS = 12, GENERATE_TOKENS = 16, GENERATE_LONGEST = 16384, GENERATE_MOST = 1 << 20 };

struct generate_times {
	int n;					/* points; fewer than asked for where the model cannot go on so far */
	char reason[512];			/* then why not */
	long context[GENERATE_POINTS];		/* tokens in front of those that are timed */
	double tokens_per_s[GENERATE_POINTS];	/* one sequence */
	/* What a token reads at least: working weights of which it visits all (one expert of a mixture), and
	   what was carried on, rings as far as they are full. */
	double bytes[GENERATE_POINTS];
};

/* b->steps rounds of GENERATE_TOKENS tokens at each context; medians, also into the report. An exit code. */
int generate_times_measure(struct generate_times *t, struct bench *b, const char *spec);
/* What the database at `path` kept last of the spec with the user's keys, on b->device, in place of a measurement;
   the report is then of that processor and number of threads. Bytes that were not kept are NaN. An exit code: also
   where the report has figures of another processor or number of threads already. */
int generate_times_kept(struct generate_times *t, struct bench *b, const char *spec, const char *path);

#endif
