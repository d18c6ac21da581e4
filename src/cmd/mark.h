/* What commands share that say something of one run: exclude, tag. */
#ifndef CMD_MARK_H
#define CMD_MARK_H

#include "cmd/lab.h"

/* The run that is meant; it must have a directory. 0, or -1 after a message. */
int mark_find(struct lab *lab, const struct selection *selection, struct run_row *run);
/* Its files, which have changed, into the database; left to its writer where there is one. An exit code. */
int mark_store(struct lab *lab, const struct run_row *run);

#endif
