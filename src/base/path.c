#include "base/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <ftw.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"

enum { READ_BYTES = 16 << 20 };

char *path_join(const char *folder, const char *name)
{
	if (name[0] == '/' || !strcmp(folder, "."))
		return xstrdup(name);
	return xasprintf("%s/%s", folder, name);
}

char *path_folder(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return xstrdup(".");
	return slash == path ? xstrdup("/") : strndup(path, (size_t)(slash - path));
}

const char *path_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

bool path_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

char *path_follow(const char *path)
{
	char *at = xstrdup(path), target[4096];
	ssize_t n;

	for (int links = 0; links < 40 && (n = readlink(at, target, sizeof target - 1)) > 0; links++) {
		char *folder = path_folder(at);
		target[n] = '\0';
		free(at);
		at = path_join(folder, target);
		free(folder);
	}
	return at;
}

/* errno stays where something else has the name. */
static bool is_folder(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode);
}

int path_mkdirs(const char *folder)
{
	char *copy = xstrdup(folder);
	int ret = 0;

	for (char *p = copy + 1; !ret; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char end = *p;
		*p = '\0';
		if (mkdir(copy, 0777) && (errno != EEXIST || !is_folder(copy)))
			ret = error_errno("cannot make folder %s", copy);
		*p = end;
		if (!end)
			break;
	}
	free(copy);
	return ret;
}

int path_tmp_folder(char *folder, size_t size, const char *what)
{
	const char *named = getenv("TMPDIR");
	int n = snprintf(folder, size, "%s/moelab-%s-XXXXXX", named && *named ? named : "/tmp", what);

	if (n >= (int)size)
		return error("cannot make %s: the name is too long (TMPDIR names another place)", folder);
	return mkdtemp(folder) ? 0 : error_errno("cannot make %s (TMPDIR names another place)", folder);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

int path_remove_tree(const char *folder)
{
	if (nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS) && errno != ENOENT)
		return error_errno("cannot remove %s", folder);
	return 0;
}

static int is_named(const struct dirent *entry)
{
	return strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
}

const char *const *path_list(const char *folder, struct arena *a)
{
	struct dirent **entries = NULL;
	int n = scandir(folder, &entries, is_named, alphasort);
	const char **names = ARENA_ARRAY(a, const char *, n < 0 ? 1 : n + 1);

	for (int i = 0; i < n; i++) {
		names[i] = arena_strdup(a, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	return names;
}

double path_tree_bytes(const char *path)
{
	char *const roots[] = {(char *)path, NULL};
	FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	double bytes = 0;

	for (FTSENT *entry; tree && (entry = fts_read(tree));)
		if (entry->fts_info == FTS_F)
			bytes += (double)entry->fts_statp->st_size;
	if (tree)
		fts_close(tree);
	return bytes;
}

char *path_read(const char *path, size_t *bytes)
{
	return path_read_most(path, SIZE_MAX, bytes);
}

char *path_read_most(const char *path, size_t most, size_t *bytes)
{
	FILE *f = fopen(path, "rbe");
	char *text = NULL;
	size_t n = 0, size = 0, got;
	int ret = 0;

	if (!f) {
		error_errno("cannot read %s", path);
		return NULL;
	}
	do {
		GROW(text, n + 65536 + 1, size);
		got = fread(text + n, 1, 65536, f);
		n += got;
	} while (got && n <= most);
	text[n] = '\0';
	if (ferror(f))
		ret = error_errno("cannot read %s", path);
	else if (n > most)
		ret = error("cannot read %s: it has more than %zu bytes", path, most);
	fclose(f);
	if (ret) {
		free(text);
		return NULL;
	}
	if (bytes)
		*bytes = n;
	return text;
}

const void *path_map(const char *path, size_t *bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	const void *map = MAP_FAILED;

	if (fd >= 0 && !fstat(fd, &st)) {
		*bytes = (size_t)st.st_size;
		map = *bytes ? mmap(NULL, *bytes, PROT_READ, MAP_SHARED, fd, 0) : "";
	}
	if (map == MAP_FAILED) {
		error_errno("cannot read %s", path);
		*bytes = 0;
	}
	if (fd >= 0)
		close(fd);
	return map == MAP_FAILED ? NULL : map;
}

void path_unmap(const void *map, size_t bytes)
{
	if (bytes)
		munmap((void *)(uintptr_t)map, bytes);
}

char *path_first_line(const char *path, struct arena *a)
{
	char text[4096] = "";
	FILE *f = fopen(path, "re");

	if (f && !fgets(text, sizeof text, f))
		text[0] = '\0';
	if (f)
		fclose(f);
	text[strcspn(text, "\n")] = '\0';
	return arena_strdup(a, text);
}

static int write_all(int fd, const char *bytes, size_t n)
{
	while (n) {
		ssize_t done = write(fd, bytes, n);
		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -1;
		bytes += done;
		n -= (size_t)done;
	}
	return 0;
}

static void sync_folder(const char *path)
{
	char *folder = path_folder(path);
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd >= 0) {
		fsync(fd);	/* best effort: some file systems refuse it for folders */
		close(fd);
	}
	free(folder);
}

/* Through a buffer of a fixed size, so that what lies elsewhere is never copied as a whole. */
static int write_read(int fd, const struct path_piece *p)
{
	char *buffer = xmalloc(READ_BYTES);
	int ret = 0;

	for (size_t at = 0; at < p->n && !ret; at += READ_BYTES) {
		size_t n = p->n - at < READ_BYTES ? p->n - at : READ_BYTES;
		p->read(p->bytes, at, buffer, n);
		ret = write_all(fd, buffer, n);
	}
	free(buffer);
	return ret;
}

static int write_all_pieces(int fd, const struct path_piece *pieces, int n)
{
	for (int i = 0; i < n; i++) {
		const struct path_piece *p = &pieces[i];
		if (p->read ? write_read(fd, p) : write_all(fd, p->bytes, p->n))
			return -1;
	}
	return 0;
}

int path_write(const char *path, const void *bytes, size_t n)
{
	struct path_piece piece = {.bytes = bytes, .n = n};

	return path_write_pieces(path, &piece, 1);
}

/* A device or a pipe under this name (/dev/null, /dev/full): nothing to replace, the bytes go into it. */
static bool takes_bytes(const char *path)
{
	struct stat s;

	return !stat(path, &s) && !S_ISREG(s.st_mode) && !S_ISDIR(s.st_mode);
}

/* An open file of this process by such a name, which is written on from where it stands; else -1. */
static int own_descriptor(const char *path)
{
	long long n;

	if (!strcmp(path, "/dev/stdout"))
		return STDOUT_FILENO;
	if (!strcmp(path, "/dev/stderr"))
		return STDERR_FILENO;
	return str_starts(path, "/dev/fd/") && str_to_long(path + strlen("/dev/fd/"), &n) && n >= 0 &&
		n <= INT_MAX ? (int)n : -1;
}

static int write_into(const char *path, const struct path_piece *pieces, int n)
{
	int own = own_descriptor(path), ret;
	int fd = own >= 0 ? fcntl(own, F_DUPFD_CLOEXEC, 0) : open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return error_errno("cannot write %s", path);
	ret = write_all_pieces(fd, pieces, n) ? error_errno("cannot write %s", path) : 0;
	close(fd);
	return ret;
}

int path_rename(const char *from, const char *to)
{
	if (rename(from, to)) {
		error_errno("cannot rename %s to %s", from, to);
		unlink(from);
		return -1;
	}
	sync_folder(to);
	return 0;
}

int path_write_soon(const char *path, const void *bytes, size_t n)
{
	char *temporary = xasprintf("%s.tmp%d", path, (int)getpid());
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	int ret = fd < 0 || write_all(fd, bytes, n) ? error_errno("cannot write %s", temporary) : 0;

	if (fd >= 0 && close(fd) && !ret)
		ret = error_errno("cannot write %s", temporary);
	if (!ret && rename(temporary, path))
		ret = error_errno("cannot rename %s to %s", temporary, path);
	if (ret)
		unlink(temporary);
	free(temporary);
	return ret;
}

int path_sync(const char *folder)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int ret = fd < 0 || syncfs(fd) ? error_errno("cannot write %s to disk", folder) : 0;

	if (fd >= 0)
		close(fd);
	return ret;
}

static int replace(const char *path, const char *temporary, const struct path_piece *pieces, int n)
{
	int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0)
		return error_errno("cannot write %s", temporary);
	if (write_all_pieces(fd, pieces, n) || fsync(fd)) {
		error_errno("cannot write %s", temporary);
		close(fd);
		unlink(temporary);
		return -1;
	}
	close(fd);
	return path_rename(temporary, path);
}

int path_write_pieces(const char *path, const struct path_piece *pieces, int n)
{
	char *temporary;
	int ret;

	if (own_descriptor(path) >= 0 || takes_bytes(path))
		return write_into(path, pieces, n);
	temporary = xasprintf("%s.tmp%d", path, (int)getpid());
	ret = replace(path, temporary, pieces, n);
	free(temporary);
	return ret;
}

double path_free_bytes(const char *path)
{
	struct statvfs s;

	return statvfs(path, &s) ? -1.0 : (double)s.f_bavail * (double)s.f_frsize;
}
