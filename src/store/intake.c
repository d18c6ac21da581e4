#include "store/intake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/path.h"
#include "store/catalog.h"
#include "store/home.h"
#include "store/mark.h"

#define TRANSACTION_S 0.5	/* readers may have to wait so long */

static int begin(struct intake *in)
{
	if (in->open)
		return 0;
	if (db_begin(in->db))
		return -1;
	recorder_open(&in->recorder, in->db);
	in->begun_s = clock_s();
	in->open = true;
	return 0;
}

int intake_end(struct intake *in)
{
	if (!in->open)
		return in->failed ? -1 : 0;
	in->open = false;
	if (recorder_close(&in->recorder) || in->failed) {
		in->failed = true;
		db_rollback(in->db);
		return -1;
	}
	return db_commit(in->db);
}

/* --- records ---------------------------------------------------------------------------------- */

/* Where reading goes on: at the start of a file that is another one than it was. */
static void go_on(FILE *f, struct taken *t)
{
	struct stat st;
	long long inode = fstat(fileno(f), &st) ? 0 : (long long)st.st_ino;
	bool same = t->inode == inode && t->bytes > 0 && !fseeko(f, t->bytes - 1, SEEK_SET) &&
		getc(f) == '\n';

	t->inode = inode;
	if (!same) {
		t->bytes = 0;
		rewind(f);
	}
}

/* A torn line is counted and skipped; the last one is looked at again, for it may not be whole yet. */
static void take_lines(struct intake *in, long long run_id, FILE *f, struct taken *t)
{
	struct arena a = {0};
	struct record r;
	char *line = NULL;
	size_t size = 0;
	ssize_t n;

	while ((n = getline(&line, &size, f)) > 0) {
		if (record_parse(&r, line, (size_t)n, &a)) {
			recorder_add(&in->recorder, run_id, &r);
			in->count->records++;
		} else if (n > 1) {
			in->count->skipped_lines++;
		}
		if (line[n - 1] == '\n')
			t->bytes += n;
		arena_release(&a);
	}
	free(line);
}

static void take_file(struct intake *in, long long run_id, const char *dir, const char *name,
	struct taken *t)
{
	char *path = path_join(dir, name);
	FILE *f = fopen(path, "re");

	if (f) {
		go_on(f, t);
		take_lines(in, run_id, f, t);
		fclose(f);
	}
	free(path);
}

int intake_records(struct intake *in, long long run_id, const char *dir, struct taken *t)
{
	struct taken now, whole = {0};

	if (begin(in))
		return -1;
	taken_of_run(dir, &now);
	take_file(in, run_id, dir, "metrics.jsonl", t);
	if (t->changed != now.changed || !now.changed)	/* if the other was lost */
		take_file(in, run_id, dir, "attempt.json", &whole);
	t->size = now.size;
	return taken_keep_run(in->db, run_id, t);
}

/* --- all of a run ----------------------------------------------------------------------------- */

/* Who it is, and what people say of it. */
static int take_facts(struct intake *in, const struct intake_run *r, const struct run_info *info,
	long long run_id)
{
	char *yaml = path_join(r->dir, "config.yaml");
	char *config = path_exists(yaml) ? path_read(yaml, NULL) : NULL;
	int ret = catalog_set_config(in->db, run_id, config, info->config) ||
		mark_take_in(in->db, run_id, r->dir) ? -1 : 0;

	free(config);
	free(yaml);
	return ret;
}

/* A supervisor may have given a reason of its own, where no file has one. */
static int take_state(struct intake *in, const struct intake_run *r, long long run_id,
	const struct run_status *status)
{
	bool marked = status->state == RUN_DONE || status->state == RUN_FAILED ||
		status->state == RUN_DIVERGED;

	if (r->state && !marked && !strcmp(r->state, run_state_name[status->state]))
		return 0;
	return catalog_set_state(in->db, run_id, status->state, status->reason);
}

/* The row of a run that the database may not know yet; -1 after a message. */
static long long enter(struct intake *in, const struct intake_run *r, const struct run_info *info)
{
	if (r->moves && home_move(in->db, r->root, r->name, info->identity))
		return -1;
	if (r->run_id >= 0)
		return in->joins && catalog_join(in->db, r->run_id, info) ? -1 : r->run_id;
	return catalog_add_run(in->db, r->root, r->name, info) ? -1 : catalog_run_id(in->db, info->identity);
}

/* False: the folder holds no run, or another one than the database has under this name. */
static bool is_run(struct intake *in, const struct intake_run *r, struct run_info *info, struct arena *a)
{
	return !run_info_read(info, r->dir, a) &&
		(r->run_id < 0 || catalog_run_id(in->db, info->identity) == r->run_id);
}

static int take_all(struct intake *in, const struct intake_run *r, struct arena *a)
{
	struct taken now, t = r->had;
	bool is_old = taken_of_run(r->dir, &now) && now.changed && now.changed == t.changed;
	struct run_status status;
	struct run_info info;
	long long run_id = r->run_id;

	if (!is_old && !is_run(in, r, &info, a)) {
		in->count->skipped_runs++;
		return 0;
	}
	run_dir_status(r->dir, a, &status);	/* before the records: what it says is in them */
	in->count->runs++;
	if (begin(in) || (!is_old && ((run_id = enter(in, r, &info)) < 0 ||
		take_facts(in, r, &info, run_id))) || intake_records(in, run_id, r->dir, &t))
		return -1;
	t.changed = now.changed;
	return take_state(in, r, run_id, &status) || taken_keep_run(in->db, run_id, &t) ? -1 : 0;
}

int intake_run(struct intake *in, const struct intake_run *r)
{
	struct arena a = {0};

	in->failed = in->failed || take_all(in, r, &a);
	arena_release(&a);
	if (in->failed || (in->open && clock_s() - in->begun_s > TRANSACTION_S))
		return intake_end(in);
	return 0;
}
