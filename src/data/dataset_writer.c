#include "data/dataset_writer.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "data/manifest.h"

static bool is_dataset(const char *folder)
{
	char *path = path_join(folder, "dataset.json");
	bool is = path_exists(path);

	free(path);
	return is;
}

static int check_target(const char *target, bool replace)
{
	if (!path_exists(target) || (is_dataset(target) && replace))
		return 0;
	if (is_dataset(target))
		return error("%s: is a dataset already; --force replaces it", target);
	if (rmdir(target))	/* the rename at the end needs no folder; an empty one may go */
		return error("%s: exists and is no dataset: choose another output", target);
	return 0;
}

/* The folder that a path means: without a last slash, behind a symbolic link. Caller frees; NULL
   after a message. */
static char *resolve(const char *path)
{
	size_t n = strlen(path);
	char *plain, *real;
	struct stat st;

	while (n > 1 && path[n - 1] == '/')
		n--;
	plain = strndup(path, n);
	if (lstat(plain, &st) || !S_ISLNK(st.st_mode))
		return plain;
	real = realpath(plain, NULL);
	if (!real)
		error_errno("%s: a symbolic link whose target cannot be found", plain);
	free(plain);
	return real;
}

/* TARGET.partial-HOST-PIDS-PID-NUMBER without its last two parts; caller frees. PIDS: the space of process
   numbers, for containers see none of their host's. */
static char *partial_of_host(const char *target)
{
	char host[HOST_NAME_MAX + 1] = "";
	struct stat space = {0};

	gethostname(host, sizeof host - 1);
	stat("/proc/self/ns/pid", &space);
	return xasprintf("%s.partial-%s-%lu-", target, host, (unsigned long)space.st_ino);
}

/* A number in use again counts as the process that had it before: its folder waits for another time. */
static bool process_is_gone(const char *numbers)
{
	int pid, number, end = 0;

	return sscanf(numbers, "%d-%d%n", &pid, &number, &end) == 2 && !numbers[end] && pid > 0 &&
		kill(pid, 0) && errno == ESRCH;
}

/* Killed processes could not remove their folders. Those of other hosts may be at work. */
static void remove_left(const char *target)
{
	char *partial = partial_of_host(target), *folder = path_folder(target);
	const char *name = path_name(partial);
	struct arena a = {0};
	int n = 0;

	for (const char *const *left = path_list(folder, &a); *left; left++)
		if (str_starts(*left, name) && process_is_gone(*left + strlen(name)))
			n += !path_remove_tree(arena_printf(&a, "%s/%s", folder, *left));
	arena_release(&a);
	if (n)
		info("%s: removed %d unfinished folder%s (%s.partial-...) of processes that are gone", target, n,
			n == 1 ? "" : "s", path_name(target));
	free(partial);
	free(folder);
}

int dataset_writer_open(struct dataset_writer *w, const char *target, bool replace,
	const struct tokenizer_type *tokenizer, long file_tokens, int number)
{
	char *partial;
	int ret;

	CHECK(file_tokens > 0 && file_tokens <= INT32_MAX);
	*w = (struct dataset_writer){.replace = replace};
	w->target = resolve(target);
	if (!w->target)
		return -1;
	partial = partial_of_host(w->target);
	w->d.folder = xasprintf("%s%d-%d", partial, (int)getpid(), number);
	free(partial);
	w->d.tokenizer = xstrdup(tokenizer->name);
	w->d.vocab = tokenizer->vocab;
	w->d.eot = tokenizer->eot;
	w->d.file_tokens = file_tokens;
	w->d.n_splits = N_SPLITS;
	for (int s = 0; s < N_SPLITS; s++) {
		w->d.splits[s].name = xstrdup(split_name((enum split)s));
		w->hash[s] = hash_open();
	}
	remove_left(w->target);
	ret = check_target(w->target, replace);
	if (!ret && path_mkdirs(w->d.folder))
		ret = DATASET_UNWRITTEN;
	if (ret)
		dataset_writer_release(w);
	return ret;
}

void dataset_writer_rows(struct dataset_writer *w, long row)
{
	for (int s = 0; s < N_SPLITS; s++)
		w->d.splits[s].row = row;
}

enum split dataset_writer_test(struct dataset_writer *w, const char *name, long length, long items,
	long row)
{
	enum split s = (enum split)w->d.n_splits++;

	CHECK((int)s < MAX_SPLITS && row > 0);
	w->d.splits[s] = (struct dataset_split){.name = xstrdup(name), .row = row, .length = length,
		.items = items};
	w->hash[s] = hash_open();
	return s;
}

/* The file that the next token goes to: a full one is closed, and a new one begun. */
static int next_file(struct dataset_writer *w, enum split s)
{
	struct token_writer *file = &w->file[s];
	struct dataset_split *split = &w->d.splits[s];
	char *path;
	int ret;

	if (file->file && file->n < w->d.file_tokens)
		return 0;
	if (file->file && token_writer_close(file))
		return -1;
	path = manifest_token_path(w->d.folder, split, (int)(split->n_tokens / w->d.file_tokens));
	ret = token_writer_open(file, path);
	free(path);
	return ret;
}

int dataset_writer_add(struct dataset_writer *w, enum split s, const struct dataset_part *part)
{
	const struct token_list *tokens = &part->tokens;
	struct dataset_split *split = &w->d.splits[s];

	for (size_t at = 0, n; at < tokens->n; at += n) {
		if (next_file(w, s))
			return -1;
		n = (size_t)(w->d.file_tokens - w->file[s].n);
		if (n > tokens->n - at)
			n = tokens->n - at;
		if (token_writer_add(&w->file[s], tokens->id + at, n))
			return -1;
		split->n_tokens += (long)n;
	}
	hash_add(w->hash[s], tokens->id, tokens->n * sizeof *tokens->id);
	split->n_bytes += part->n_bytes;
	split->n_documents += part->n_documents;
	return 0;
}

/* Two renames, not one: exchanging folders is not possible on every file system. */
static int move_into_place(struct dataset_writer *w)
{
	char *old = xasprintf("%s.old-%d", w->target, (int)getpid());
	bool replaced = w->replace && path_exists(w->target);
	int ret = 0;

	if (replaced && rename(w->target, old)) {
		ret = error_errno("cannot rename %s", w->target);
	} else if (rename(w->d.folder, w->target)) {
		ret = error_errno("cannot rename %s to %s", w->d.folder, w->target);
		if (replaced && rename(old, w->target))
			error_errno("the previous dataset is now %s", old);
	} else if (replaced) {
		path_remove_tree(old);
	}
	free(old);
	return ret;
}

int dataset_writer_commit(struct dataset_writer *w, json_t *provenance)
{
	for (int s = 0; s < w->d.n_splits; s++) {
		if (w->file[s].file && token_writer_close(&w->file[s]))
			return -1;
		hash_close(w->hash[s], w->d.splits[s].hash);
		w->hash[s] = NULL;
	}
	if (manifest_save(&w->d, provenance))
		return -1;
	return move_into_place(w);
}

void dataset_writer_release(struct dataset_writer *w)
{
	char hex[HASH_HEX];

	for (int s = 0; s < w->d.n_splits; s++) {
		token_writer_abandon(&w->file[s]);
		free(w->d.splits[s].name);
		if (w->hash[s])
			hash_close(w->hash[s], hex);
	}
	if (path_exists(w->d.folder))
		path_remove_tree(w->d.folder);
	free(w->target);
	free(w->d.folder);
	free(w->d.tokenizer);
	*w = (struct dataset_writer){0};
}
