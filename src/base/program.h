/* Programs: started, or run to their end or to a time limit, with what they said. */
#ifndef BASE_PROGRAM_H
#define BASE_PROGRAM_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/arena.h"

enum { PROGRAM_MISSING = -1, PROGRAM_TIMEOUT = -2, PROGRAM_KILLED = -3 };

struct program_answer {
	int code;			/* exit code, or one of the above */
	const char *output, *errors;	/* stdout; stderr without white space at its end. In the arena */
};

/*
 * argv: ended by NULL, its first looked up in PATH. The program reads nothing, has all signals as they are by
 * default, and the n descriptors of fds as 1, 2, ...; apart: in a process group of its own, which ^C does not
 * reach. 0, or what errno would be.
 */
int program_start(const char *const *argv, char *const *env, const int *fds, int n, bool apart, pid_t *pid);
/* The same; after limit_s it is killed. Its children must not outlive it. */
struct program_answer program_run(const char *const *argv, double limit_s, struct arena *a);

#endif
