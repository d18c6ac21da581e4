/* moelab show RUN --experts: what a run's experts take. */
#ifndef CMD_SHOW_EXPERTS_H
#define CMD_SHOW_EXPERTS_H

#include "cmd/lab.h"

struct show_experts {
	const struct lab *lab;
	const char *dir;	/* of the run */
	const char *data;	/* folder of a dataset; NULL: the run's */
	long step, since;	/* of checkpoints; step -1: the newest; since -1: the oldest that is kept */
	long tokens;		/* of the validation split; 0: as many as an evaluation */
};

/* Tokens that go most often to each expert, and the share of choices that stayed since another checkpoint.
   An exit code. */
int show_experts(const struct show_experts *s);

#endif
