/*
 * Cores for workers. Each worker gets its own, out of those this process may use, and supervisors of
 * one user on one machine take different ones: a core that is taken is a locked byte of a file, and
 * the kernel unlocks it when the supervisor ends, however it ends. The file is the user's own in /tmp,
 * whatever TMPDIR says, or what MOELAB_CORES names; other programs, users and containers do not look at
 * it. A core is what the kernel calls a CPU, a hardware thread.
 */
#ifndef SUPERVISE_CORES_H
#define SUPERVISE_CORES_H

#include <sched.h>
#include <stdbool.h>

struct core {
	int id;			/* of the kernel */
	int whole;		/* what it is a part of: the lowest id among its siblings */
	int rank;		/* siblings before it in the list it was read from */
};

/* Puts first what so many workers should have: cores of their own for all threads, and where there
   are not so many, siblings side by side, so that no two workers share a whole core. */
void cores_order(struct core *cores, int n, int workers, int threads);

struct core_claim {
	int file;		/* holds the locks; -1: nothing is claimed */
	int threads;
	int id[CPU_SETSIZE];	/* of worker i: threads of them, from i x threads on */
};

/*
 * Claims cores for so many workers. false: not pinned, since too few are free, or since a quota gives
 * this process less time than its cores have (then others have the same cores).
 */
bool cores_claim(struct core_claim *c, int workers, int threads);
void cores_release(struct core_claim *c);
void cores_of_worker(const struct core_claim *c, int worker, cpu_set_t *set);

/* Cores not claimed by others, no more than cpu_cores(); *whole: without counting siblings. */
int cores_free(int *whole);

#endif
