/*
 * Taking away: run directories, and files that nothing needs any more. Never of a run that a process
 * is at.
 */
#ifndef STORE_DISCARD_H
#define STORE_DISCARD_H

#include "base/arena.h"
#include "store/db.h"

enum leftover_kind {
	LEFTOVER_CHECKPOINT,	/* of a done or diverged run, beyond its checkpoint.keep */
	LEFTOVER_TEMPORARY,	/* of a write, a removal or a claim that did not end */
	LEFTOVER_RUN,		/* directory that neither a sweep's file nor the database names */
	N_LEFTOVER_KINDS
};
extern const char *const leftover_kind_name[N_LEFTOVER_KINDS];

struct leftover {
	enum leftover_kind kind;
	const char *path, *why;
	double bytes;
};
struct leftovers {
	struct leftover *at;	/* the caller frees it; texts in the arena */
	int n, size;
	struct arena *arena;
};

/*
 * Adds what is left over below ROOT, run by run. Imported curves are never left over: nothing could
 * make them again. all_checkpoints: of finished runs all, whatever they keep. 0, or -1 after a
 * message: a sweep's file that cannot be read may name any run.
 */
int leftovers_find(struct db *db, const char *root, bool all_checkpoints, struct leftovers *list);
/* 0, or -1 after a message. */
int leftover_remove(const struct leftover *l);

/* A run directory as a whole, or not at all: it is renamed before. One that is not there is fine. 0, or
   -1 after a message: a process is at it, or it cannot be removed. */
int run_dir_discard(const char *dir);

#endif
