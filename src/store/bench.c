#include "store/bench.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/path.h"
#include "base/process.h"

void bench_report_init(struct bench_report *r)
{
	struct process self;
	double load;

	*r = (struct bench_report){.load = getloadavg(&load, 1) == 1 ? load : NAN};
	process_self(&self, &r->arena);
	r->host = self.host;
	r->pid = self.pid;
}

void bench_report_release(struct bench_report *r)
{
	free(r->measures);
	arena_release(&r->arena);
	*r = (struct bench_report){0};
}

static struct measure *measure_find(struct bench_report *r, const struct measure *m)
{
	for (int i = 0; i < r->n_measures; i++) {
		struct measure *x = &r->measures[i];
		if (!strcmp(x->metric, m->metric) && !strcmp(x->name, m->name) &&
				!strcmp(x->shape, m->shape) && !strcmp(x->kind, m->kind))
			return x;
	}
	return NULL;
}

void bench_report_add(struct bench_report *r, const char *kind, const char *name, const char *shape,
	const char *metric, double value)
{
	struct measure m = {kind, name, shape, metric, value}, *found = measure_find(r, &m);

	if (found) {
		found->value = value;
		return;
	}
	if (r->n_measures == r->capacity) {
		r->capacity = r->capacity ? 2 * r->capacity : 64;
		r->measures = xrealloc(r->measures, sizeof m * (size_t)r->capacity);
	}
	r->measures[r->n_measures++] = (struct measure){arena_strdup(&r->arena, kind),
		arena_strdup(&r->arena, name), arena_strdup(&r->arena, shape),
		arena_strdup(&r->arena, metric), value};
}

/* ---- the file ------------------------------------------------------------------------------- */

static json_t *real(double value)
{
	return isfinite(value) ? json_real(value) : json_null();
}

static char *report_line(const struct bench_report *r)
{
	json_t *list = json_array(), *root;
	char *text, *line;

	for (int i = 0; i < r->n_measures; i++) {
		const struct measure *m = &r->measures[i];
		json_array_append_new(list, json_pack("[s, s, s, s, o]", m->kind, m->name, m->shape,
			m->metric, real(m->value)));
	}
	root = json_pack("{s:s, s:s, s:I, s:s?, s:s?, s:s?, s:s?, s:s, s:I, s:o, s:o}", "wall", r->wall,
		"host", r->host, "pid", (json_int_t)r->pid, "cpu", r->cpu, "blas_core", r->blas_core,
		"git", r->git, "build", r->build, "device", r->device, "threads",
		(json_int_t)r->threads, "load", real(r->load), "measures", list);
	CHECK(root);
	text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6));
	line = xasprintf("%s\n", text);
	free(text);
	json_decref(root);
	return line;
}

/* In one write, so that lines of several processes do not mix. */
static int append(const char *path, const char *line)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	bool whole = fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line);

	if (fd >= 0 && close(fd))
		whole = false;
	return whole ? 0 : error_errno("cannot write %s", path);
}

static const char *text_of(const json_t *root, const char *key)
{
	return json_string_value(json_object_get(root, key));
}

static bool read_measures(struct bench_report *r, const json_t *list)
{
	const char *kind, *name, *shape, *metric;
	json_t *row, *value;
	size_t i;

	json_array_foreach(list, i, row) {
		if (json_unpack(row, "[s, s, s, s, o]", &kind, &name, &shape, &metric, &value))
			return false;
		bench_report_add(r, kind, name, shape, metric,
			json_is_number(value) ? json_number_value(value) : NAN);
	}
	return json_is_array(list);
}

/* Texts of the circumstances stay the JSON's. */
static bool read_report(struct bench_report *r, const json_t *root)
{
	json_t *load = json_object_get(root, "load");

	*r = (struct bench_report){.wall = text_of(root, "wall"), .host = text_of(root, "host"),
		.cpu = text_of(root, "cpu"), .blas_core = text_of(root, "blas_core"),
		.git = text_of(root, "git"), .build = text_of(root, "build"),
		.device = text_of(root, "device"),
		.pid = json_integer_value(json_object_get(root, "pid")),
		.threads = json_integer_value(json_object_get(root, "threads")),
		.load = json_is_number(load) ? json_number_value(load) : NAN};
	return r->wall && r->host && r->device && read_measures(r, json_object_get(root, "measures"));
}

/* ---- the database --------------------------------------------------------------------------- */

/* bench_id of a new row; -1: it is there already, or failed. */
static int insert_bench(struct db *db, const struct bench_report *r, long long *id)
{
	struct db_statement s;

	*id = -1;
	db_prepare(&s, db, "INSERT INTO bench(wall, host, pid, cpu, blas_core, git, build, device, "
		"threads, load) VALUES(:wall, :host, :pid, :cpu, :blas_core, :git, :build, :device, "
		":threads, :load) ON CONFLICT DO NOTHING RETURNING bench_id");
	db_bind_text(&s, ":wall", r->wall);
	db_bind_text(&s, ":host", r->host);
	db_bind_int(&s, ":pid", r->pid);
	db_bind_text(&s, ":cpu", r->cpu);
	db_bind_text(&s, ":blas_core", r->blas_core);
	db_bind_text(&s, ":git", r->git);
	db_bind_text(&s, ":build", r->build);
	db_bind_text(&s, ":device", r->device);
	db_bind_int(&s, ":threads", r->threads);
	db_bind_real(&s, ":load", r->load);
	if (db_step(&s))
		*id = db_int(&s, 0);
	return db_finish(&s);
}

static int insert_measures(struct db *db, const struct bench_report *r, long long id)
{
	struct db_statement s;

	db_prepare(&s, db, "INSERT INTO measure(bench_id, kind, name, shape, metric, value) "
		"VALUES(:bench, :kind, :name, :shape, :metric, :value)");
	db_bind_int(&s, ":bench", id);
	for (int i = 0; i < r->n_measures; i++) {
		const struct measure *m = &r->measures[i];
		db_bind_text(&s, ":kind", m->kind);
		db_bind_text(&s, ":name", m->name);
		db_bind_text(&s, ":shape", m->shape);
		db_bind_text(&s, ":metric", m->metric);
		db_bind_real(&s, ":value", m->value);
		db_run(&s);
	}
	return db_finish(&s);
}

static int insert(struct db *db, const struct bench_report *r)
{
	long long id;

	if (db_begin(db))
		return -1;
	if (!insert_bench(db, r, &id) && (id < 0 || !insert_measures(db, r, id)))
		return db_commit(db);
	db_rollback(db);
	return -1;
}

int bench_report_keep(struct bench_report *r, const char *path)
{
	char *own = path_follow(path), *folder = path_folder(own);
	char *file = path_join(folder, "bench.jsonl"), *line, wall[32];
	struct db db = {.path = own, .lock = -1};
	int ret;

	r->wall = arena_strdup(&r->arena, clock_iso(clock_wall_s(), wall));
	line = report_line(r);
	ret = path_mkdirs(folder) || append(file, line) ? -1 : 0;
	if (!ret && db_is_written(&db)) {
		info("%s is being written: these figures are in %s, `moelab ingest` adds them", path, file);
	} else if (!ret) {
		ret = db_open(&db, path, DB_WRITE) || insert(&db, r) ? -1 : 0;
		db_close(&db);
	}
	free(line);
	free(file);
	free(folder);
	free(own);
	return ret;
}

static int ingest_line(struct db *db, const char *line, long *n, long *skipped)
{
	json_t *root = json_loads(line, 0, NULL);
	struct bench_report r = {0};
	int ret = 0;

	if (root && read_report(&r, root)) {
		ret = insert(db, &r);
		++*n;
	} else {
		++*skipped;
	}
	bench_report_release(&r);
	json_decref(root);
	return ret;
}

int bench_ingest(struct db *db, const char *root, long *n, long *skipped)
{
	char *path = path_join(root, "bench.jsonl"), *line = NULL;
	FILE *f = fopen(path, "re");
	size_t size = 0;
	int ret = 0;

	while (f && !ret && getline(&line, &size, f) > 0)
		ret = ingest_line(db, line, n, skipped);
	if (f)
		fclose(f);
	free(line);
	free(path);
	return ret;
}
