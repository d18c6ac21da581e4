#include "store/refresh.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "store/news.h"

#define LONG_S 2.0	/* somebody who waits longer is told why */

/* The folder of the database, if run directories lie in it. The caller frees. */
static char *root_of(const struct db *db)
{
	char *root = path_folder(db->path), *runs = path_join(root, "runs");

	if (!path_exists(runs)) {
		free(root);
		root = NULL;
	}
	free(runs);
	return root;
}

/* Who writes the database takes in the runs that it supervises itself. */
static bool is_supervised(const char *dir, long writer, struct arena *a)
{
	struct claim_owner o;

	return claim_read(dir, &o, a) && o.process.pid == writer && process_is_here(&o.process);
}

static int n_hidden(const struct db *db, const struct news *news)
{
	struct arena a = {0};
	long writer = db_writer(db);
	int n = 0;

	for (int i = 0; i < news->n_runs; i++) {
		const struct intake_run *r = &news->runs[i];
		struct taken now;
		n += taken_of_run(r->dir, &now) && (now.size != r->had.size || now.inode != r->had.inode) &&
			!is_supervised(r->dir, writer, &a);
	}
	arena_release(&a);
	return n;
}

static void say_hidden(const struct db *db, int n)
{
	if (n && db_is_written(db))
		info("%s: process %ld writes it now; what %d runs told meanwhile is not in it yet", db->path,
			db_writer(db), n);
	else if (n)
		info("%s cannot be written: what %d runs told since then is not in it", db->path, n);
}

static bool is_current(struct db *db)
{
	return db_value(db, "PRAGMA user_version", 0) == db_version(db_migrations);
}

/* False: it was not free. */
static bool take_in(const char *path)
{
	struct ingest_count count = {0};
	double begun_s = clock_s();
	char records[32];
	struct db db;
	char *root;

	if (db_open(&db, path, DB_WRITE_IF_FREE))
		return false;
	root = root_of(&db);
	if (root)
		ingest_news(&db, root, &count);
	free(root);
	db_close(&db);
	if (clock_s() - begun_s > LONG_S)
		info("%s: took in %s records of %d runs", path, str_count(count.records, records), count.runs);
	return true;
}

/* A database of an older moelab lacks columns that readers ask for: whoever reads it first brings it up to
   date, if it can be written. */
static int upgrade(struct db *db)
{
	char *path = xstrdup(db->path);
	int ret;

	db_close(db);
	take_in(path);
	ret = db_open(db, path, DB_READ);
	if (!ret && !is_current(db))
		info("%s is of an older moelab and cannot be written now: what asks for newer columns fails; "
			"`moelab ingest` rebuilds it into another --db", path);
	free(path);
	return ret;
}

int refresh(struct db *db)
{
	char *root, *path;
	struct news news = {0};
	int ret = 0;

	if (!is_current(db))
		return upgrade(db);
	root = root_of(db);
	path = xstrdup(db->path);
	if (!news_find(&news, db, root) && (news.n_runs || news.n_sweeps)) {
		int n = n_hidden(db, &news);
		db_close(db);
		bool taken = take_in(path);
		ret = db_open(db, path, DB_READ);
		if (!ret && !taken)
			say_hidden(db, n);
	}
	news_release(&news);
	free(path);
	free(root);
	return ret;
}

/* A sweep that was handed to a cluster has run directories before anybody makes a database of them. */
static void make(const char *path)
{
	char *folder = path_folder(path), *submitted = path_join(folder, "submit");

	if (!path_exists(path) && path_exists(submitted))
		take_in(path);
	free(submitted);
	free(folder);
}

int refresh_open(struct db *db, const char *path)
{
	make(path);
	return db_open(db, path, DB_READ) || refresh(db) ? -1 : 0;
}
