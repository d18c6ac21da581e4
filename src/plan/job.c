#include "plan/job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/path.h"
#include "store/catalog.h"
#include "store/home.h"
#include "store/run_dir.h"

const char *const job_action_name[N_JOB_ACTIONS] = {
	"new", "resume", "retry", "done", "diverged", "running",
};

bool job_is_work(const struct job *job)
{
	return !job->again &&
		(job->action == JOB_NEW || job->action == JOB_RESUME || job->action == JOB_RETRY);
}

/* --- deciding --------------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What names of run directories end in: "s1-3f2a9c01", whatever the label. */
static const char *name_end(const char *name)
{
	const char *dash = strrchr(name, '-');

	while (dash && dash > name && dash[-1] != '-')
		dash--;
	return dash ? dash : name;
}

static int by_end(const void *a, const void *b)
{
	const char *x = *(const char *const *)a, *y = *(const char *const *)b;
	int order = strcmp(name_end(x), name_end(y));

	return order ? order : by_name(a, b);
}

struct names {
	const char **at;	/* sorted by their ends */
	int n;
};

/* All run directories; none where there is no folder yet. */
static struct names list_runs(const char *root, struct arena *a)
{
	struct names names = {0};
	int size = 0;

	for (const char *const *name = path_list(arena_printf(a, "%s/runs", root), a); *name; name++) {
		if (**name == '.')
			continue;
		GROW(names.at, names.n + 1, size);
		names.at[names.n++] = *name;
	}
	if (names.n)
		qsort(names.at, (size_t)names.n, sizeof *names.at, by_end);
	return names;
}

static int compare_end(const void *key, const void *name)
{
	return strcmp(key, name_end(*(const char *const *)name));
}

/* The directory of the job's run, whoever named it; else the name it will have. */
static const char *find_name(const struct names *names, const struct job *job, struct arena *a)
{
	const char *name = run_dir_name(job->label, job->seed, job->identity, a), **found = NULL;

	if (names->n)
		found = bsearch(name_end(name), names->at, (size_t)names->n, sizeof *names->at,
			compare_end);
	return found ? *found : name;
}

static void decide_by_state(struct job *job, const struct run_status *status, struct arena *a)
{
	const char *from = status->checkpoint ?
		arena_printf(a, "goes on from step %ld", status->checkpoint) : "starts again";

	job->step = status->checkpoint;
	switch (status->state) {
	case RUN_DONE:
		job->action = JOB_DONE;
		job->why = status->reason;
		break;
	case RUN_DIVERGED:
		job->action = JOB_DIVERGED;
		job->why =
			arena_printf(a, "%s; an outcome, so it is not run again", status->reason);
		break;
	case RUN_RUNNING:
		job->action = JOB_RUNNING;
		job->why = status->reason;
		break;
	case RUN_FAILED:
		job->action = JOB_RETRY;
		job->why = arena_printf(a, "%s; %s", status->reason, from);
		break;
	case RUN_STOPPED:
	case RUN_LOST:
		job->action = JOB_RESUME;
		job->why = arena_printf(a, "%s; %s", status->reason, from);
		break;
	default:
		job->action = JOB_NEW;
		job->why = "never run";
	}
}

int job_decide_again(const char *root, struct job *job, struct arena *a)
{
	const char *dir = arena_printf(a, "%s/runs/%s", root, job->name);
	struct run_status status;
	struct run_info info;

	job->action = JOB_NEW;
	job->step = 0;
	job->why = *job->identity ? "never run" : "its dataset is not there";
	if (!*job->identity || !path_exists(arena_printf(a, "%s/run.json", dir)))
		return 0;
	if (run_info_read(&info, dir, a))
		return -1;
	if (strcmp(info.identity, job->identity))
		return error("%s belongs to another run (%s, wanted %s): move it away", dir,
			info.identity, job->identity);
	run_dir_status(dir, a, &status);
	decide_by_state(job, &status, a);
	return 0;
}

void job_find_again(const char *root, struct job *job, struct arena *a)
{
	struct names names;

	if (path_exists(arena_printf(a, "%s/runs/%s", root, job->name)))
		return;
	names = list_runs(root, a);
	job->name = find_name(&names, job, a);
	free(names.at);
}

/* The first of the i jobs before this one that is the same run; NULL: none. */
static const struct job *find_equal(const struct job *jobs, int i)
{
	for (int k = 0; k < i && *jobs[i].identity; k++)
		if (!strcmp(jobs[k].identity, jobs[i].identity))
			return &jobs[k];
	return NULL;
}

int jobs_decide(const char *root, struct job *jobs, int n, struct arena *a)
{
	struct names names = list_runs(root, a);
	int ret = 0;

	for (int i = 0; i < n && !ret; i++) {
		const struct job *equal = find_equal(jobs, i);
		jobs[i].name = equal ? equal->name : find_name(&names, &jobs[i], a);
		ret = job_decide_again(root, &jobs[i], a);
		if (equal && job_is_work(&jobs[i]))
			jobs[i].why = arena_printf(a, "the run of %s", equal->label);
		jobs[i].again = equal;
	}
	free(names.at);
	return ret;
}

/* Of a run without a config here: what its run.json says of it, in the arena. */
static const char *stored_config(const char *dir, struct arena *a)
{
	struct run_info info;

	return run_info_read(&info, dir, a) ? NULL : info.config;
}

/* write: path_write() or path_write_soon(). run.json comes last: where it is, the orders are whole. */
static int write_orders(const struct job *job, const char *sweep, int workers, const char *dir,
	int (*write)(const char *path, const void *bytes, size_t n))
{
	struct arena a = {0};
	json_t *flat = job->config ? config_json(job->config) : NULL;
	char *config = flat ? json_dumps(flat, JSON_COMPACT) : NULL, *text;
	struct run_info info = {.identity = job->identity, .label = job->label, .sweep = sweep,
		.seed = job->seed, .steps = job->steps, .jobs = workers,
		.config = config ? config : stored_config(dir, &a)};
	struct str yaml;
	int ret = 0;

	str_init(&yaml);
	if (job->config) {
		config_yaml(job->config, true, &yaml);
		ret = write(arena_printf(&a, "%s/config.yaml", dir), yaml.text, yaml.length);
	}
	text = run_info_text(&info);
	if (!ret)
		ret = text ? write(arena_printf(&a, "%s/run.json", dir), text, strlen(text)) : -1;
	free(text);
	str_release(&yaml);
	free(config);
	json_decref(flat);
	arena_release(&a);
	return ret;
}

int job_write_orders(const struct job *job, const char *sweep, int workers, const char *dir)
{
	return write_orders(job, sweep, workers, dir, path_write);
}

/* The files that these keys of the config name lie where the job has them. */
static bool same_places(const struct config *c, const json_t *config)
{
	static const char *const keys[] = {"data.path", "train.init_from"};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *path = json_string_value(json_object_get(config, keys[i]));
		if (!path || strcmp(path, config_find(c, keys[i])->word))
			return false;
	}
	return true;
}

/* Nobody can follow orders that were written where files lay elsewhere, as those of another machine were. */
static bool has_orders(const struct job *job, const char *dir, struct arena *a)
{
	struct run_info info;
	json_t *config;
	bool same;

	if (!path_exists(arena_printf(a, "%s/run.json", dir)) || run_info_read(&info, dir, a))
		return false;
	config = info.config ? json_loads(info.config, 0, NULL) : NULL;
	same = same_places(job->config, config);
	json_decref(config);
	return same;
}

static int freeze(const struct job *job, const char *sweep, const char *dir, struct claims *claims)
{
	struct arena a = {0};
	struct claim_owner owner;
	struct claim claim;
	int ret = 0;

	if (!has_orders(job, dir, &a))
		ret = path_mkdirs(dir) || write_orders(job, sweep, 1, dir, path_write_soon) ? -1 : 0;
	if (!ret && claim_read(dir, &owner, &a) && !claim_take(claims, dir, &claim))
		claim_release(claims, dir, &claim);
	arena_release(&a);
	return ret;
}

int jobs_freeze(const char *root, const char *sweep, const struct job *jobs, int n)
{
	struct arena a = {0};
	const char *runs = arena_printf(&a, "%s/runs", root);
	struct claims claims;
	int ret = path_mkdirs(runs);

	claims_open(&claims);
	for (int i = 0; i < n && !ret; i++)
		if (job_is_work(&jobs[i]))
			ret = freeze(&jobs[i], sweep, arena_printf(&a, "%s/%s", runs, jobs[i].name), &claims);
	claims_close(&claims);
	if (!ret)
		ret = path_sync(runs);
	arena_release(&a);
	return ret;
}

/* --- recording -------------------------------------------------------------------------------- */

static json_t *real_or_null(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static json_t *run_json(const struct sweep_run *run, const struct job *job)
{
	json_t *axes = json_array();

	for (int i = 0; i < run->n_axes; i++)
		json_array_append_new(axes, json_pack("{s:s, s:s, s:s}", "key", run->axes[i].key,
			"short_key", run->axes[i].short_key, "value", run->axes[i].text));
	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:o}", "run", job->identity,
		"dir", job->name, "label", run->label, "variant", run->variant,
		"seed", (json_int_t)run->seed, "steps", (json_int_t)job->steps, "axes", axes);
}

static json_t *targets_json(const struct sweep *s)
{
	static const char *const kind[] = {[TARGET_BASELINE] = "baseline", [TARGET_LOSS] = "loss",
		[TARGET_PERPLEXITY] = "perplexity"};
	json_t *targets = json_array();

	for (int i = 0; i < s->n_targets; i++)
		json_array_append_new(
			targets, json_pack("{s:s, s:o}", "kind", kind[s->targets[i].kind], "loss",
					 real_or_null(s->targets[i].loss)));
	return targets;
}

static json_t *published_json(const struct sweep *s)
{
	json_t *published = json_array();

	for (int i = 0; i < s->n_published; i++)
		json_array_append_new(published,
			json_pack("{s:s, s:s, s:o, s:s}", "label", s->published[i].label,
				"quantity", s->published[i].quantity, "value",
				real_or_null(s->published[i].value), "text", s->published[i].text));
	return published;
}

static json_t *sweep_json(const struct sweep *s, const struct job *jobs)
{
	char wall[32];
	json_t *runs = json_array();

	for (int i = 0; i < s->n_runs; i++)
		json_array_append_new(runs, run_json(&s->runs[i], &jobs[i]));
	return json_pack("{s:s, s:s?, s:s?, s:s?, s:s, s:o, s:o, s:o}", "name", s->name,
		"file", s->file, "question", s->question, "baseline", s->baseline,
		"planned", clock_iso(clock_wall_s(), wall), "targets", targets_json(s),
		"published", published_json(s), "runs", runs);
}

static bool same_value(const json_t *a, const json_t *b, const char *key)
{
	return json_equal(json_object_get(a, key), json_object_get(b, key));
}

/* Its place in the list; -1: none. */
static long find_place(const json_t *runs, const json_t *run)
{
	for (size_t i = 0; i < json_array_size(runs); i++) {
		const json_t *at = json_array_get(runs, i);
		if (same_value(at, run, "label") && same_value(at, run, "seed"))
			return (long)i;
	}
	return -1;
}

static bool names_like(const struct sweep *whole, const json_t *run)
{
	const char *variant = json_string_value(json_object_get(run, "variant"));
	long seed = (long)json_integer_value(json_object_get(run, "seed"));

	for (int i = 0; i < whole->n_runs && variant; i++)
		if (!strcmp(whole->runs[i].variant, variant) && whole->runs[i].seed == seed)
			return true;
	return false;
}

/* Those that were known, in their order, the runs of the new record in their places, and then all others of it. */
static int keep_known(json_t *record, const char *root, const struct sweep *whole)
{
	json_t *before = catalog_read(root, whole->name), *runs = json_object_get(record, "runs"), *all = json_array();
	json_t *run;
	size_t i;

	json_array_foreach(json_object_get(before, "runs"), i, run) {
		long place = find_place(runs, run);
		if (place >= 0) {
			json_array_append(all, json_array_get(runs, (size_t)place));
			json_array_remove(runs, (size_t)place);
		} else if (names_like(whole, run)) {
			json_array_append(all, run);
		}
	}
	json_array_extend(all, runs);
	json_decref(before);
	return json_object_set_new(record, "runs", all);
}

/* Rows of a run whose directory somebody removed would be taken for those of the new run. */
static int forget_removed(struct db *db, const struct job *jobs, int n)
{
	struct db_statement s;

	db_prepare(&s, db, "DELETE FROM run WHERE identity = :identity "
		"AND EXISTS (SELECT 1 FROM attempt WHERE attempt.run_id = run.run_id)");
	for (int i = 0; i < n; i++) {
		if (jobs[i].action != JOB_NEW)
			continue;
		db_bind_text(&s, ":identity", jobs[i].identity);
		db_run(&s);
	}
	return db_finish(&s);
}

static int record_config(struct db *db, const struct job *job)
{
	long long run_id = catalog_run_id(db, job->identity);
	json_t *flat = config_json(job->config);
	char *json = json_dumps(flat, JSON_COMPACT | JSON_REAL_PRECISION(15));
	struct str yaml;
	int ret;

	str_init(&yaml);
	config_yaml(job->config, false, &yaml);
	ret = run_id < 0 ? -1 : catalog_set_config(db, run_id, yaml.text, json);
	str_release(&yaml);
	free(json);
	json_decref(flat);
	return ret;
}

/* Whoever runs them here means the directories here. */
static int record_runs(struct db *db, const char *root, const struct job *jobs, int n)
{
	int ret = db_begin(db);

	for (int i = 0; i < n && !ret; i++) {
		ret = home_move(db, root, jobs[i].name, jobs[i].identity);
		if (job_is_work(&jobs[i]) && !ret)
			ret = record_config(db, &jobs[i]);
	}
	if (!ret)
		return db_commit(db);
	db_rollback(db);
	return ret;
}

int jobs_record(struct db *db, const char *root, const struct sweep *sweep, const struct job *jobs,
	const struct sweep *whole)
{
	json_t *json = sweep_json(sweep, jobs);
	int ret;

	if (!json)
		return error("%s: a label or value is no UTF-8", sweep->file);
	ret = (whole && keep_known(json, root, whole)) || catalog_write(root, json) ? -1 : 0;
	if (db && !ret)
		ret = forget_removed(db, jobs, sweep->n_runs) ||
			catalog_add_sweep(db, root, json) ||
			record_runs(db, root, jobs, sweep->n_runs) ? -1 : 0;
	json_decref(json);
	return ret;
}
