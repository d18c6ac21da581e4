/*
 * Reading what is new: runs may write their directories on any machine, but one process writes the database.
 * So whoever reads takes in first what is new, if nobody else writes at this moment.
 */
#ifndef STORE_REFRESH_H
#define STORE_REFRESH_H

#include "store/db.h"

/*
 * The database for reading, brought up to the run directories, and to this moelab's schema. Where another
 * process writes it, or this one must not, it is read as it is; a line says so if that hides something. 0, or
 * -1 after a message.
 */
int refresh_open(struct db *db, const char *path);
/* The same for one that is open for reading. -1: it is closed. */
int refresh(struct db *db);

#endif
