/* A program of another package, run to its end or to a time limit, with what it said. */
#ifndef BASE_PROGRAM_H
#define BASE_PROGRAM_H

#include "base/arena.h"

enum { PROGRAM_MISSING = -1, PROGRAM_TIMEOUT = -2, PROGRAM_KILLED = -3 };

struct program_answer {
	int code;			/* exit code, or one of the above */
	const char *output, *errors;	/* stdout; stderr without white space at its end. In the arena */
};

/*
 * argv: ended by NULL, its first looked up in PATH. The program reads nothing and has all signals as
 * they are by default; after limit_s it is killed. Its children must not outlive it.
 */
struct program_answer program_run(const char *const *argv, double limit_s, struct arena *a);

#endif
