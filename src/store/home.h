/*
 * The directory of a run that the database follows, column run.dir. A run may have others: results of two machines
 * that both trained it, or a copy. Records of two directories are never mixed: the bits of two machines may differ.
 */
#ifndef STORE_HOME_H
#define STORE_HOME_H

#include <stdbool.h>

#include "store/db.h"

/* Has the run another directory than ROOT/runs/NAME, which is there? */
bool home_is_elsewhere(struct db *db, const char *root, const char *name, const char *identity);

/*
 * From now on it is ROOT/runs/NAME. If another one was followed, what that one told goes, and the run is queued
 * until this one is taken in. 0, or -1 after a message.
 */
int home_move(struct db *db, const char *root, const char *name, const char *identity);

#endif
