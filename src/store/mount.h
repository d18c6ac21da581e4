/* Is a path on this machine's own disk? SQLite's write-ahead log needs that. */
#ifndef STORE_MOUNT_H
#define STORE_MOUNT_H

#include <stdbool.h>

/*
 * Looks the path up in a table of /proc/self/mountinfo's form (NULL: that one). Only types known
 * to be local count: for an unknown one the slow journal is right, too. True if the table cannot
 * be read.
 */
bool mount_is_local(const char *path, const char *mountinfo);

#endif
