#include "cluster/submission.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"

enum { MAX_FOLDERS = 100000 };

/* --- the folder ------------------------------------------------------------------------------- */

int submission_make(struct submission *s, const char *root, const char *sweep, struct arena *a)
{
	char *parent = arena_printf(a, "%s/submit", root), *name = arena_strdup(a, sweep);

	for (char *c = name; *c; c++)
		*c = *c == '/' ? '.' : *c;
	if (path_mkdirs(parent))
		return -1;
	for (int k = 1; k <= MAX_FOLDERS; k++) {
		s->folder = arena_printf(a, "%s/%s-%d", parent, name, k);
		if (!mkdir(s->folder, 0777))
			return path_mkdirs(arena_printf(a, "%s/log", s->folder));
		if (errno != EEXIST)
			return error_errno("cannot make %s", s->folder);
	}
	return error("%s/%s-*: too many folders; remove old ones", parent, name);
}

/* --- job.json --------------------------------------------------------------------------------- */

int submission_write(const struct submission *s)
{
	char *path = path_join(s->folder, "job.json"), *text;
	json_t *jobs = json_array(), *o;
	int ret;

	for (int i = 0; i < s->n_jobs; i++)
		json_array_append_new(jobs, json_integer(s->jobs[i]));
	o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:f, s:I, s:I, s:s, s:o}", "sweep", s->sweep, "file", s->file,
		"root", s->root, "device", s->device, "workers", (json_int_t)s->workers,
		"threads", (json_int_t)s->threads, "worker_bytes", s->worker_bytes,
		"tasks", (json_int_t)s->tasks, "runs", (json_int_t)s->runs, "submitted", s->submitted, "jobs", jobs);
	text = o ? json_dumps(o, JSON_INDENT(1)) : NULL;
	ret = text ? path_write(path, text, strlen(text)) : error("cannot write %s: a name is no UTF-8", path);
	free(text);
	json_decref(o);
	free(path);
	return ret;
}

static const char *take_text(const json_t *o, const char *key, struct arena *a)
{
	const char *text = json_string_value(json_object_get(o, key));

	return text ? arena_strdup(a, text) : NULL;
}

static void take_jobs(struct submission *s, const json_t *jobs, struct arena *a)
{
	long long *ids = ARENA_ARRAY(a, long long, json_array_size(jobs));

	for (size_t i = 0; i < json_array_size(jobs); i++)
		ids[s->n_jobs++] = json_integer_value(json_array_get(jobs, i));
	s->jobs = ids;
}

int submission_read(struct submission *s, const char *folder, struct arena *a)
{
	char *path = arena_printf(a, "%s/job.json", folder), *full = realpath(folder, NULL);
	json_error_t problem;
	json_t *o = json_load_file(path, 0, &problem);
	int ret = 0;

	*s = (struct submission){.folder = arena_strdup(a, full ? full : folder),
		.sweep = take_text(o, "sweep", a), .file = take_text(o, "file", a),
		.root = take_text(o, "root", a), .device = take_text(o, "device", a),
		.workers = (long)json_integer_value(json_object_get(o, "workers")),
		.threads = (long)json_integer_value(json_object_get(o, "threads")),
		.worker_bytes = json_number_value(json_object_get(o, "worker_bytes")),
		.tasks = (long)json_integer_value(json_object_get(o, "tasks")),
		.runs = (long)json_integer_value(json_object_get(o, "runs")),
		.submitted = take_text(o, "submitted", a)};
	take_jobs(s, json_object_get(o, "jobs"), a);
	if (!o)
		ret = error("cannot read %s: %s: is %s a folder that `submit` made?", path, problem.text, folder);
	else if (!s->sweep || !s->root || !s->device || s->workers < 1 || s->threads < 1)
		ret = error("%s: no submission: sweep, root, device, workers or threads are missing", path);
	json_decref(o);
	free(full);
	return ret;
}

/* --- all of them ------------------------------------------------------------------------------ */

/* The number behind the last dash; 0: none. */
static long number_of(const char *name)
{
	const char *dash = strrchr(name, '-');

	return dash ? strtol(dash + 1, NULL, 10) : 0;
}

static int by_time(const void *a, const void *b)
{
	const struct submission *x = a, *y = b;
	int order = strcmp(x->submitted ? x->submitted : "", y->submitted ? y->submitted : "");
	long m = number_of(x->folder), n = number_of(y->folder);

	return order ? order : (m > n) - (m < n);
}

void submission_list(const char *root, const char *sweep, struct arena *a, struct submission **list, int *n)
{
	char *parent = arena_printf(a, "%s/submit", root);
	struct submission s, *all = NULL;
	int size = 0;

	*n = 0;
	for (const char *const *name = path_list(parent, a); *name; name++) {
		const char *folder = arena_printf(a, "%s/%s", parent, *name);
		if (**name == '.' || !path_exists(arena_printf(a, "%s/job.json", folder)) ||
				submission_read(&s, folder, a) || (sweep && strcmp(s.sweep, sweep)))
			continue;
		GROW(all, *n + 1, size);
		all[(*n)++] = s;
	}
	if (*n)
		qsort(all, (size_t)*n, sizeof *all, by_time);
	*list = ARENA_ARRAY(a, struct submission, *n);
	if (*n)
		memcpy(*list, all, sizeof *all * (size_t)*n);
	free(all);
}

/* --- runs.txt --------------------------------------------------------------------------------- */

int submission_write_runs(const struct submission *s, const struct submitted_run *runs, int n)
{
	char *path = path_join(s->folder, "runs.txt");
	struct str text;
	int ret;

	str_init(&text);
	for (int i = 0; i < n; i++)
		str_printf(&text, "%s %s %ld %ld %s\n", runs[i].name, runs[i].identity, runs[i].seed, runs[i].steps,
			runs[i].label);
	ret = path_write(path, text.text, text.length);
	str_release(&text);
	free(path);
	return ret;
}

static int read_run(const char *line, struct submitted_run *r, struct arena *a)
{
	char *name = arena_get(a, strlen(line) + 1), *identity = arena_get(a, strlen(line) + 1);
	char *label = arena_get(a, strlen(line) + 1);

	*r = (struct submitted_run){.name = name, .identity = identity, .label = label};
	return sscanf(line, "%s %s %ld %ld %s", name, identity, &r->seed, &r->steps, label) == 5 ? 0 : -1;
}

int submission_read_runs(const struct submission *s, struct arena *a, struct submitted_run **runs, int *n)
{
	char *path = arena_printf(a, "%s/runs.txt", s->folder), *text = path_read(path, NULL);
	int n_lines = 0, ret = text ? 0 : -1;

	*n = 0;
	for (const char *c = text ? text : ""; *c; c++)
		n_lines += *c == '\n';
	*runs = ARENA_ARRAY(a, struct submitted_run, n_lines);
	for (char *line = text, *end; !ret && *n < n_lines; line = end + 1) {
		end = strchr(line, '\n');
		*end = '\0';
		if (read_run(line, &(*runs)[(*n)++], a))
			ret = error_at(path, *n, 1, "no line of a run: its directory, identity, seed, steps, label");
	}
	free(text);
	return ret;
}
