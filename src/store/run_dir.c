#include "store/run_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"
#include "store/record.h"

enum {
	TAIL_BYTES = 1 << 16,		/* of metrics.jsonl: holds the last words of a run */
	FOREIGN_SILENCE_S = 600,	/* a run on another host that is silent so long is lost */
};

const char *const run_state_name[N_RUN_STATES] = {
	"queued", "running", "done", "failed", "diverged", "stopped", "lost",
};
static const char *const marker_name[N_RUN_STATES] = {
	[RUN_DONE] = "DONE", [RUN_FAILED] = "FAILED", [RUN_DIVERGED] = "DIVERGED",
};

/* --- run.json --------------------------------------------------------------------------------- */

char *run_info_text(const struct run_info *info)
{
	json_t *config = info->config ? json_loads(info->config, 0, NULL) : NULL;
	json_t *object = json_pack("{s:s, s:s, s:s?, s:s*, s:I, s:I, s:i, s:o?}", "run", info->identity,
		"label", info->label, "sweep", info->sweep, "variant", info->variant,
		"seed", (json_int_t)info->seed, "steps", (json_int_t)info->steps, "jobs", info->jobs, "config", config);
	char *text = object ? json_dumps(object, JSON_INDENT(1) | JSON_REAL_PRECISION(15)) : NULL;

	if (!text)
		error("%s: label or sweep is no UTF-8", info->label);
	json_decref(object);
	return text;
}

int run_info_write(const struct run_info *info, const char *dir)
{
	char *text = run_info_text(info), *path = path_join(dir, "run.json");
	int ret = text ? path_write(path, text, strlen(text)) : -1;

	free(text);
	free(path);
	return ret;
}

/* A string of the object, in a; NULL if it is none. */
static const char *take_text(const json_t *object, const char *key, struct arena *a)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? arena_strdup(a, text) : NULL;
}

static const char *take_json(const json_t *object, const char *key, struct arena *a)
{
	char *text =
		json_dumps(json_object_get(object, key), JSON_COMPACT | JSON_REAL_PRECISION(15));
	const char *copy = text ? arena_strdup(a, text) : NULL;

	free(text);
	return copy;
}

int run_info_read(struct run_info *info, const char *dir, struct arena *a)
{
	char *path = path_join(dir, "run.json");
	json_error_t problem;
	json_t *object = json_load_file(path, 0, &problem);
	int ret = 0;

	*info = (struct run_info){
		.identity = take_text(object, "run", a),
		.label = take_text(object, "label", a),
		.sweep = take_text(object, "sweep", a),
		.variant = take_text(object, "variant", a),
		.seed = (long)json_integer_value(json_object_get(object, "seed")),
		.steps = (long)json_integer_value(json_object_get(object, "steps")),
		.jobs = (int)json_integer_value(json_object_get(object, "jobs")),
		.config = take_json(object, "config", a),
		.foreign = json_object_get(json_object_get(object, "config"), "foreign"),
	};
	if (!object && problem.line < 0)	/* it is not even opened */
		ret = error("cannot read %s: %s: is %s a run directory?", path, problem.text, dir);
	else if (!object)
		ret = error("%s:%d: damaged: %s: `moelab rm %s` takes the run away, `moelab run` does it anew", path,
			problem.line, problem.text, dir);
	else if (!info->identity || !info->label)
		ret = error("%s names no run: \"run\" and \"label\" are missing", path);
	json_decref(object);
	free(path);
	return ret;
}

const char *run_dir_name(const char *label, long seed, const char *identity, struct arena *a)
{
	return arena_printf(a, "%s-s%ld-%.8s", label, seed, identity);
}

/* --- state ------------------------------------------------------------------------------------ */

static int newest_first(const void *a, const void *b)
{
	long x = *(const long *)a, y = *(const long *)b;

	return (x < y) - (x > y);
}

long *run_dir_checkpoints(const char *folder, int *n)
{
	struct arena a = {0};
	long *steps = NULL, step;
	int size = 0;

	*n = 0;
	for (const char *const *name = path_list(folder, &a); *name; name++) {
		int end = 0;
		if (sscanf(*name, "step_%ld.safetensors%n", &step, &end) != 1 || end != (int)strlen(*name))
			continue;
		GROW(steps, *n + 1, size);
		steps[(*n)++] = step;
	}
	arena_release(&a);
	if (*n)
		qsort(steps, (size_t)*n, sizeof *steps, newest_first);
	return steps;
}

static long newest_checkpoint(const char *dir)
{
	char *folder = path_join(dir, "ckpt");
	int n;
	long *steps = run_dir_checkpoints(folder, &n), newest = n ? steps[0] : 0;

	free(steps);
	free(folder);
	return newest;
}

/* The last bytes of metrics.jsonl, in a; "" if there is none. */
static char *metrics_tail(const char *path, struct arena *a)
{
	char *tail = arena_get(a, TAIL_BYTES + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;

	if (fd < 0 || pread(fd, tail, TAIL_BYTES, size > TAIL_BYTES ? size - TAIL_BYTES : 0) < 0)
		tail[0] = '\0';
	if (fd >= 0)
		close(fd);
	return tail;
}

static bool has_word(const char *line, size_t n, const char *word)
{
	return memmem(line, n, word, strlen(word));
}

/* Was "stop" the last word of its newest process? Lines that cannot say so are not worth parsing. */
static bool said_stop(const char *path, struct arena *a)
{
	char *line = metrics_tail(path, a), *end;
	struct record r;
	bool stopped = false;

	for (; (end = strchr(line, '\n')); line = end + 1) {
		size_t n = (size_t)(end - line);
		if ((!has_word(line, n, "\"attempt\"") && !has_word(line, n, "\"stop\"")) ||
			!record_parse(&r, line, n, a))
			continue;
		if (r.type == RECORD_IS_ATTEMPT)
			stopped = false;
		else if (r.type == RECORD_IS_EVENT && !strcmp(r.event.kind, "stop"))
			stopped = true;
	}
	return stopped;
}

static bool grew_lately(const char *path)
{
	struct stat st;

	return !stat(path, &st) && time(NULL) - st.st_mtime < FOREIGN_SILENCE_S;
}

/* Who has the claim knows that nobody else writes any more. */
static bool is_ours(const char *dir, struct arena *a)
{
	struct claim_owner o;

	return claim_read(dir, &o, a) && claim_is_own(&o);
}

/* attempt.json, and the process it tells of. false: there was none yet. */
static bool newest_process(const char *dir, struct arena *a, struct process *p, const char **started)
{
	const char *attempt = path_first_line(arena_printf(a, "%s/attempt.json", dir), a);
	struct record r;

	if (!record_parse(&r, attempt, strlen(attempt), a) || r.type != RECORD_IS_ATTEMPT)
		return false;
	*p = (struct process){.host = r.attempt.host, .boot_id = r.attempt.boot_id,
		.pid = r.attempt.pid, .start_time = r.attempt.start_time};
	*started = r.attempt.started;
	return true;
}

/* The state of a run without a marker, from its newest process. */
static enum run_state unmarked_state(const char *dir, struct arena *a, const char **reason)
{
	const char *metrics = arena_printf(a, "%s/metrics.jsonl", dir), *started;
	struct process p;

	if (!newest_process(dir, a, &p, &started))
		return RUN_QUEUED;
	*reason = arena_printf(a, "process %lld on %s, since %s", p.pid, p.host ? p.host : "?", started);
	if (process_is_here(&p) ? process_alive(&p) :
			grew_lately(metrics) && !said_stop(metrics, a) && !is_ours(dir, a))
		return RUN_RUNNING;
	if (said_stop(metrics, a)) {
		*reason = "stopped on request";
		return RUN_STOPPED;
	}
	*reason = arena_printf(a, "%s: ended without a word", *reason);
	return RUN_LOST;
}

void run_dir_status(const char *dir, struct arena *a, struct run_status *status)
{
	*status = (struct run_status){.reason = "", .checkpoint = newest_checkpoint(dir)};
	for (int s = 0; s < N_RUN_STATES; s++) {
		const char *marker =
			arena_printf(a, "%s/%s", dir, marker_name[s] ? marker_name[s] : "");
		if (marker_name[s] && path_exists(marker)) {
			status->state = (enum run_state)s;
			status->reason = path_first_line(marker, a);
			return;
		}
	}
	status->state = unmarked_state(dir, a, &status->reason);
}

int run_dir_mark(const char *dir, enum run_state state, const char *reason)
{
	int ret = 0;

	for (int s = 0; s < N_RUN_STATES; s++) {
		char *path =
			marker_name[s] && s != (int)state ? path_join(dir, marker_name[s]) : NULL;
		if (path && unlink(path) && errno != ENOENT)
			ret = error_errno("cannot remove %s", path);
		free(path);
	}
	if (!ret && marker_name[state]) {
		char *path = path_join(dir, marker_name[state]), *line = xasprintf("%s\n", reason);
		ret = path_write(path, line, strlen(line));
		free(path);
		free(line);
	}
	return ret;
}

bool run_dir_is_worked(const char *dir)
{
	struct arena a = {0};
	const char *started;
	struct process p;
	bool worked = newest_process(dir, &a, &p, &started) && process_is_here(&p) && process_alive(&p);

	arena_release(&a);
	return worked;
}

int run_dir_lock(const char *dir)
{
	char *path = path_join(dir, "log.txt");
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = path_mkdirs(dir) ? -1 : open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

	if (fd < 0) {
		error_errno("cannot write %s", path);
		fd = CLAIM_FAILED;
	} else if (fcntl(fd, F_OFD_SETLK, &lock) && (errno == EAGAIN || errno == EACCES)) {
		close(fd);
		fd = CLAIM_TAKEN;
	}
	free(path);
	return fd;
}

static bool is_claimed(const char *dir)
{
	struct arena a = {0};
	struct claim_owner o;
	bool claimed = claim_read(dir, &o, &a);
	struct claims c;

	if (claimed) {
		claims_open(&c);
		enum claim_life life = claim_life(&o, &c);
		claimed = life == CLAIM_ALIVE || life == CLAIM_UNKNOWN;
		claims_close(&c);
	}
	arena_release(&a);
	return claimed;
}

bool run_dir_is_claimed(const char *dir)
{
	char *path = path_join(dir, "log.txt");
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool claimed = fd >= 0 && !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;

	if (fd >= 0)
		close(fd);
	free(path);
	return claimed || is_claimed(dir);
}

int run_dir_open_metrics(const char *dir)
{
	char *path = path_join(dir, "metrics.jsonl"), last = '\n';
	int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	off_t size = fd >= 0 ? lseek(fd, 0, SEEK_END) : 0;

	if (fd < 0)
		error_errno("cannot write %s", path);
	else if (size > 0 && pread(fd, &last, 1, size - 1) == 1 && last != '\n' &&
			write(fd, "\n", 1) != 1)
		warning("cannot end the torn last line of %s", path);
	free(path);
	return fd;
}
