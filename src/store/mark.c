#include "store/mark.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "store/query.h"

/* --- files ------------------------------------------------------------------------------------ */

/* An empty text: no file. */
static int put(const char *path, const char *text)
{
	if (*text)
		return path_write(path, text, strlen(text));
	return unlink(path) && errno != ENOENT ? error_errno("cannot remove %s", path) : 0;
}

int mark_excluded(const char *dir, const char *reason)
{
	char *path = path_join(dir, "EXCLUDED");
	char *line = reason ? xasprintf("%s\n", reason) : xstrdup("");
	int ret = put(path, line);

	free(line);
	free(path);
	return ret;
}

bool mark_is_tag(const char *name)
{
	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && (p == name || !strchr("._:+-", *p)))
			return false;
	return *name;
}

/* The lines of a file in the run directory that are not empty, cut in place: text is freed by the
   caller. */
static char *read_lines(const char *dir, const char *file, const char ***lines, int *n)
{
	char *path = path_join(dir, file), *text = path_exists(path) ? path_read(path, NULL) : NULL;
	char *rest = text;
	int size = 0;

	*n = 0;
	*lines = NULL;
	for (char *line; (line = strsep(&rest, "\n"));) {
		if (!*line)
			continue;
		GROW(*lines, *n + 1, size);
		(*lines)[(*n)++] = line;
	}
	free(path);
	return text;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

int mark_tags(const char *dir, const char *const *names, int n, bool remove)
{
	int had, n_all = 0, ret;
	const char **old, **all;
	char *text = read_lines(dir, "tags.txt", &old, &had), *path = path_join(dir, "tags.txt");
	struct str out;

	all = xcalloc((size_t)(had + n) + 1, sizeof *all);
	for (int i = 0; i < had; i++)
		if (!remove || str_index(old[i], names, n) < 0)
			all[n_all++] = old[i];
	for (int i = 0; i < n && !remove; i++)
		if (str_index(names[i], all, n_all) < 0)
			all[n_all++] = names[i];
	qsort(all, (size_t)n_all, sizeof *all, by_name);
	str_init(&out);
	for (int i = 0; i < n_all; i++)
		str_printf(&out, "%s\n", all[i]);
	ret = put(path, out.text);
	str_release(&out);
	free(all);
	free(old);
	free(text);
	free(path);
	return ret;
}

/* --- rows ------------------------------------------------------------------------------------- */

/* Deletes the rows of the run and inserts one of each text. */
static int replace(struct db *db, long long run_id, const char *delete, const char *insert,
	const char *const *texts, int n)
{
	struct db_statement s;
	int ret;

	db_prepare(&s, db, delete);
	db_bind_int(&s, ":run", run_id);
	db_run(&s);
	ret = db_finish(&s);
	if (!n)
		return ret;
	db_prepare(&s, db, insert);
	db_bind_int(&s, ":run", run_id);
	for (int i = 0; i < n; i++) {
		db_bind_text(&s, ":text", texts[i]);
		db_run(&s);
	}
	return ret | db_finish(&s);
}

int mark_take_in(struct db *db, long long run_id, const char *dir)
{
	const char **lines, **tags;
	int n, n_tags, ret;
	char *reason = read_lines(dir, "EXCLUDED", &lines, &n);
	char *names = read_lines(dir, "tags.txt", &tags, &n_tags);
	const char *why = n && str_is_line(lines[0]) ? lines[0] : "without a reason that can be read";

	ret = replace(db, run_id, "DELETE FROM exclusion WHERE run_id = :run",
		"INSERT INTO exclusion(run_id, reason) VALUES (:run, :text)", &why, reason != NULL);
	ret |= replace(db, run_id, "DELETE FROM tag WHERE run_id = :run",
		"INSERT OR IGNORE INTO tag(run_id, name) VALUES (:run, :text)", tags, n_tags);
	free(lines);
	free(tags);
	free(reason);
	free(names);
	return ret;
}

/* A directory that is gone says nothing. */
static int take_in_rows(struct db *db)
{
	struct arena a = {0};
	struct db_statement s;
	int ret = 0;

	db_prepare(&s, db, "SELECT run_id, dir FROM run");
	while (!ret && db_step(&s)) {
		const char *dir = query_dir(db, db_text(&s, 1), &a);
		if (path_exists(dir))
			ret = mark_take_in(db, db_int(&s, 0), dir);
	}
	arena_release(&a);
	return db_finish(&s) | ret;
}

int mark_take_in_all(struct db *db)
{
	int ret = db_begin(db);

	if (ret)
		return ret;
	ret = take_in_rows(db);
	if (!ret)
		return db_commit(db);
	db_rollback(db);
	return ret;
}
