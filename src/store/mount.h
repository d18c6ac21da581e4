/* Is a path on this machine's own disk? SQLite's write-ahead log needs that. */
#ifndef STORE_MOUNT_H
#define STORE_MOUNT_H

#include <stdbool.h>

extern const char *mount_table;	/* what NULL means below; tests have another */

/*
 * Looks the path up in a table of /proc/self/mountinfo's form (NULL: that one). Only types known
 * to be local count: NFS, Lustre, GPFS, BeeGFS, FUSE and unknown ones are not, for the slow journal is
 * right there, too. True if the table cannot be read.
 */
bool mount_is_local(const char *path, const char *mountinfo);

#endif
