/* How fast a model generates text, token by token, as the text grows. */
#ifndef MEASURE_GENERATE_TIMES_H
#define MEASURE_GENERATE_TIMES_H

#include "measure/bench.h"

enum { GENERATE_POINTS = 6 };
extern const long generate_contexts[GENERATE_POINTS];	/* tokens in front of those that are timed */

struct generate_times {
	double tokens_per_s[GENERATE_POINTS];	/* one sequence */
	/* What a token reads at least: working weights of which it visits all (one expert of a mixture), and
	   what was carried on, rings as far as they are full. */
	double bytes[GENERATE_POINTS];
};

/* b->steps rounds of GENERATE_TOKENS tokens at each context; medians, also into the report. An exit code. */
enum { GENERATE_TOKENS = 16 };
int generate_times_measure(struct generate_times *t, struct bench *b, const char *spec);

#endif
