#include "store/taken.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/path.h"

/* File systems tell times as coarse as a second, and a server's clock is not quite ours. */
#define YOUNG_S 3.0

static long long change_of(const struct stat *st)
{
	double age_s = clock_wall_s() - ((double)st->st_mtim.tv_sec + 1e-9 * (double)st->st_mtim.tv_nsec);

	return age_s < YOUNG_S ? 0 : (long long)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

bool taken_of_run(const char *dir, struct taken *now)
{
	char *metrics = path_join(dir, "metrics.jsonl");
	struct stat folder, file;
	bool is_there = !stat(dir, &folder) && S_ISDIR(folder.st_mode);

	*now = (struct taken){0};
	if (is_there)
		now->changed = change_of(&folder);
	if (is_there && !stat(metrics, &file)) {
		now->inode = (long long)file.st_ino;
		now->size = file.st_size;
	}
	free(metrics);
	return is_there;
}

bool taken_of_file(const char *path, struct taken *now)
{
	struct stat st;

	if (stat(path, &st))
		return false;
	*now = (struct taken){.inode = (long long)st.st_ino, .size = st.st_size, .changed = change_of(&st)};
	return true;
}

bool taken_is_old(const struct taken *had, const struct taken *now)
{
	return !now->changed || had->changed != now->changed || had->inode != now->inode ||
		had->size != now->size;
}

static int keep(struct db_statement *s, const struct taken *t)
{
	db_bind_int(s, ":inode", t->inode);
	db_bind_int(s, ":size", t->size);
	db_bind_int(s, ":changed", t->changed);
	db_run(s);
	return db_finish(s);
}

int taken_keep_run(struct db *db, long long run_id, const struct taken *t)
{
	struct db_statement s;

	db_prepare(&s, db, "INSERT OR REPLACE INTO taken(run_id, inode, size, bytes, changed) "
		"VALUES (:run, :inode, :size, :bytes, :changed)");
	db_bind_int(&s, ":run", run_id);
	db_bind_int(&s, ":bytes", t->bytes);
	return keep(&s, t);
}

int taken_keep_sweep(struct db *db, const char *name, const struct taken *t)
{
	struct db_statement s;

	db_prepare(&s, db, "INSERT OR REPLACE INTO taken_sweep(sweep_id, inode, size, changed) "
		"SELECT sweep_id, :inode, :size, :changed FROM sweep WHERE name = :name");
	db_bind_text(&s, ":name", name);
	return keep(&s, t);
}

static int get(struct db_statement *s, struct taken *t)
{
	*t = (struct taken){0};
	if (db_step(s))
		*t = (struct taken){db_int(s, 0), db_int(s, 1), db_int(s, 2), db_int(s, 3)};
	return db_finish(s);
}

int taken_get_run(struct db *db, long long run_id, struct taken *t)
{
	struct db_statement s;

	db_prepare(&s, db, "SELECT inode, size, bytes, changed FROM taken WHERE run_id = :run");
	db_bind_int(&s, ":run", run_id);
	return get(&s, t);
}

int taken_get_sweep(struct db *db, const char *name, struct taken *t)
{
	struct db_statement s;

	db_prepare(&s, db, "SELECT inode, size, 0, changed FROM taken_sweep "
		"JOIN sweep USING (sweep_id) WHERE name = :name");
	db_bind_text(&s, ":name", name);
	return get(&s, t);
}
