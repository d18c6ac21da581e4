/*
 * What people say of a run, beside what it tells itself. In its directory, so that a database made anew
 * has it, too:
 *   EXCLUDED    one line: why tables and plots leave it out    table exclusion
 *   tags.txt    names, one a line, sorted                      table tag
 */
#ifndef STORE_MARK_H
#define STORE_MARK_H

#include "store/db.h"

/* The files. reason NULL: it counts again. 0, or -1 after a message. */
int mark_excluded(const char *dir, const char *reason);
/* Adds the names, or removes them. 0, or -1 after a message. */
int mark_tags(const char *dir, const char *const *names, int n, bool remove);
/* Of letters, digits and ._:+- , so that they stand in lists and selectors as they are. */
bool mark_is_tag(const char *name);

/* Makes the rows of a run as its files say; within a transaction. 0, or -1 after a message. */
int mark_take_in(struct db *db, long long run_id, const char *dir);
/* The same for all runs that the database knows. */
int mark_take_in_all(struct db *db);

#endif
