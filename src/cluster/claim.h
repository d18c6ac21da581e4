/*
 * Whose a run is, where several machines share a folder whose file system may know no locks: the file
 * CLAIM in the run directory says who works on it. It is made by link(), so that of two processes one
 * makes it; whoever ends removes it; and it is taken over only when its owner is known to be gone: its
 * host says so, or Slurm, of the job that it was a part of.
 *
 * A claim in a file PATH with the token T is replaced or removed only by who has made PATH.T (by link()
 * again, and with an owner who may be gone in turn), after he has seen T in PATH once more. Tokens are
 * never used twice, so a slow taker cannot remove the claim of a faster one.
 *
 * Slurm gives up the job of a node that it cannot reach, but its processes may go on. So before it writes
 * a worker looks whether the claim is still its own (claim_is_mine()), and who took over by Slurm's word
 * alone lets CLAIM_WAIT_S pass, in which a write that was begun before comes to its end.
 */
#ifndef CLUSTER_CLAIM_H
#define CLUSTER_CLAIM_H

#include <stdbool.h>

#include "base/process.h"
#include "cluster/slurm.h"

#define CLAIM_WAIT_S 10.0
#define CLAIM_LOOK_S 0.5	/* a worker's look at its claim may be so old when it writes */

enum { CLAIM_TOKEN = 33 };	/* 32 digits and the terminator */

struct claim_owner {
	struct process process;		/* its host is the node's name where Slurm started it */
	const char *machine;		/* tells machines of one name apart; "": not known */
	const char *pid_space;		/* processes of other containers are not seen */
	long uid;
	struct slurm_place place;
	const char *token;		/* of the claim */
	const char *since;		/* "2026-11-29T17:20:18Z" */
};

enum claim_life {
	CLAIM_ALIVE,
	CLAIM_GONE,		/* its process is over, as this host knows */
	CLAIM_GIVEN_UP,		/* its job is over, as Slurm says */
	CLAIM_UNKNOWN,		/* another host's, and Slurm does not know: counts as alive */
};

/* A process that claims: who it is, and what Slurm has told it lately. */
struct claims {
	struct arena arena;
	struct claim_owner self;
	bool slurm;			/* there is one to ask */
	long long *ids;			/* jobs that are asked about, */
	int n_ids, size, n_asked;
	struct arena told;		/* and what Slurm said of them */
	struct slurm_job *jobs;
	int n_jobs;
	double asked_s;			/* 0: never */
	bool answered;
};

void claims_open(struct claims *c);
void claims_close(struct claims *c);

struct claim {
	char token[CLAIM_TOKEN];	/* "": none */
	double ready_s;			/* clock_s() from which the run may be worked on */
};

enum { CLAIM_TAKEN = -1, CLAIM_FAILED = -2 };
/* 0: it is ours. CLAIM_TAKEN: another's, who may be alive; CLAIM_FAILED: after a message. */
int claim_take(struct claims *c, const char *dir, struct claim *claim);
void claim_release(struct claims *c, const char *dir, struct claim *claim);	/* if it is still ours */
bool claim_is_mine(const char *dir, const char *token);

/* Who claims the run; texts in the arena. false: nobody. What cannot be read has no token. */
bool claim_read(const char *dir, struct claim_owner *o, struct arena *a);
/* Without claims: as far as this host knows. */
enum claim_life claim_life(const struct claim_owner *o, struct claims *c);
bool claim_is_own(const struct claim_owner *o);	/* of this very process */
/* A file PATH of a run directory that nobody is at: a claim, or the right to one, which whoever died over it has
   left and nobody needs? over: nor will anybody work on the run. */
bool claim_is_left(const char *path, bool over);
/* "process 12 on n3, Slurm job 7_2": for people; in the arena. */
const char *claim_owner_text(const struct claim_owner *o, struct arena *a);

#endif
