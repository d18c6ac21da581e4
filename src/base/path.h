/* Files and paths. Functions returning int give 0, or -1 after one message. */
#ifndef BASE_PATH_H
#define BASE_PATH_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"

char *path_join(const char *folder, const char *name);	/* caller frees; absolute names stay as they are */
char *path_folder(const char *path);			/* "a/b.c" -> "a", "b.c" -> "."; caller frees */
const char *path_name(const char *path);		/* the part behind the last slash, in place */
bool path_exists(const char *path);
/* Where symbolic links lead from this name, whether or not a file is there; caller frees. */
char *path_follow(const char *path);
int path_mkdirs(const char *folder);			/* with parents; an existing folder is fine */
int path_remove_tree(const char *folder);
/* Names of what is in the folder, sorted, ended by NULL, in a; none where it cannot be read. */
const char *const *path_list(const char *folder, struct arena *a);
double path_tree_bytes(const char *path);		/* of all files in it, or of the file; 0: there is none */
/* Whole file as one terminated block; caller frees. NULL after a message. */
char *path_read(const char *path, size_t *bytes);
/* The same, also from pipes and devices without an end: more than `most` bytes are an error. */
char *path_read_most(const char *path, size_t most, size_t *bytes);
/* The file as it is on disk, mapped to be read; of an empty one "", which need not be unmapped. NULL after a message. */
const void *path_map(const char *path, size_t *bytes);
void path_unmap(const void *map, size_t bytes);
/* First line of a small file without its line feed, in a; "" if it cannot be read. */
char *path_first_line(const char *path, struct arena *a);
/* Replace the file as a whole: temporary file, fsync, rename, fsync of the folder. A device or pipe of
   that name is written to and stays, and so is what /dev/stdout, /dev/stderr or /dev/fd/N leads to. */
int path_write(const char *path, const void *bytes, size_t n);
/* The same without waiting for the disk: after a loss of power the file may be empty, unless path_sync()
   of a folder of its file system came to its end. */
int path_write_soon(const char *path, const void *bytes, size_t n);
int path_sync(const char *folder);
/* The same from several pieces, in order. read: copies n bytes from `at` on of what `bytes` stands for,
   where that is not memory of the process; NULL: it is. */
struct path_piece {
	const void *bytes;
	size_t n;
	void (*read)(const void *bytes, size_t at, void *to, size_t n);
};
int path_write_pieces(const char *path, const struct path_piece *pieces, int n);
/* Makes a folder of a name of its own, which holds `what`, where temporary files go: TMPDIR, or /tmp. */
int path_tmp_folder(char *folder, size_t size, const char *what);
/* In the place of a file that was there, safe against power loss; `from` is gone also after a failure. */
int path_rename(const char *from, const char *to);
double path_free_bytes(const char *path);		/* free space of its file system; < 0: unknown */

#endif
