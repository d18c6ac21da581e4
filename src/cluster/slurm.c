#include "cluster/slurm.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/program.h"
#include "base/str.h"

bool slurm_is_here(void)
{
	const char *path = getenv("PATH");
	bool here = false;

	for (const char *at = path ? path : ""; *at && !here; at += strspn(at, ":")) {
		int length = (int)strcspn(at, ":");
		char *file = xasprintf("%.*s/squeue", length, at);
		here = !access(file, X_OK);
		free(file);
		at += length;
	}
	return here;
}

/* One line for people about a call that gave no answer. */
static const char *complaint(const char *program, const struct program_answer *answer, struct arena *a)
{
	if (answer->code == PROGRAM_MISSING)
		return arena_printf(a, "%s is not in PATH: is this machine a part of a Slurm cluster?", program);
	if (answer->code == PROGRAM_TIMEOUT)
		return arena_printf(a, "%s did not answer within %.0f s: is slurmctld up? (scontrol ping)",
			program, SLURM_LIMIT_S);
	return arena_printf(a, "%s: %s", program, *answer->errors ? answer->errors : "failed without a word");
}

/* --- jobs ------------------------------------------------------------------------------------- */

/* Columns of squeue -O, cut at their widths. */
enum { COLUMN_ID, COLUMN_ARRAY, COLUMN_TASK, COLUMN_STATE, COLUMN_RESTARTS, COLUMN_NODES, COLUMN_REASON,
	N_COLUMNS };
static const int column_width[N_COLUMNS] = {20, 20, 20, 24, 12, 200, 200};
#define COLUMNS "JobID:20,ArrayJobID:20,ArrayTaskID:20,State:24,RestartCnt:12,NodeList:200,Reason:200"

static enum slurm_phase phase_of(const char *state)
{
	static const char *const waiting[] = {"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED",
		"SPECIAL_EXIT", "RESV_DEL_HOLD"};
	static const char *const ended[] = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED",
		"NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"};

	if (str_index(state, waiting, ARRAY_SIZE(waiting)) >= 0)
		return SLURM_WAITING;
	return str_index(state, ended, ARRAY_SIZE(ended)) >= 0 ? SLURM_ENDED : SLURM_ACTIVE;
}

/* Field `column` of a line of fixed widths, without the blanks around it; in the arena. */
static char *take_column(const char *line, int column, struct arena *a)
{
	size_t at = 0, length = strlen(line), width = (size_t)column_width[column];
	char *text;

	for (int i = 0; i < column; i++)
		at += (size_t)column_width[i];
	at = at < length ? at : length;
	while (width && line[at] == ' ')
		at++, width--;
	text = arena_printf(a, "%.*s", (int)width, line + at);
	for (size_t end = strlen(text); end && text[end - 1] == ' '; end--)
		text[end - 1] = '\0';
	return text;
}

static bool read_job(const char *line, struct slurm_job *job, struct arena *a)
{
	long long id, array, task, restarts;

	if (!str_to_long(take_column(line, COLUMN_ID, a), &id))
		return false;
	if (!str_to_long(take_column(line, COLUMN_ARRAY, a), &array))
		array = id;
	if (!str_to_long(take_column(line, COLUMN_TASK, a), &task))
		task = -1;
	if (!str_to_long(take_column(line, COLUMN_RESTARTS, a), &restarts))
		restarts = 0;
	*job = (struct slurm_job){.id = id, .array = array, .task = (long)task, .restarts = (int)restarts,
		.state = take_column(line, COLUMN_STATE, a), .nodes = take_column(line, COLUMN_NODES, a),
		.reason = take_column(line, COLUMN_REASON, a)};
	job->phase = phase_of(job->state);
	return true;
}

static void read_jobs(const char *output, struct arena *a, struct slurm_job **jobs, int *n)
{
	char *text = arena_strdup(a, output), *line = text, *end;
	int n_lines = 0;

	for (const char *c = text; *c; c++)
		n_lines += *c == '\n';
	*jobs = ARENA_ARRAY(a, struct slurm_job, n_lines);
	for (; (end = strchr(line, '\n')); line = end + 1) {
		*end = '\0';
		*n += read_job(line, &(*jobs)[*n], a);
	}
}

/* "1,2,3", in the arena. */
static const char *list_of(const long long *ids, int n, struct arena *a)
{
	struct str list;

	str_init(&list);
	for (int i = 0; i < n; i++)
		str_printf(&list, "%s%lld", i ? "," : "", ids[i]);
	return str_keep(&list, a);
}

int slurm_jobs(const long long *ids, int n_ids, struct arena *a, struct slurm_job **jobs, int *n)
{
	const char *argv[] = {"squeue", "-h", "-r", "-t", "all", "-O", COLUMNS, "-j", list_of(ids, n_ids, a),
		NULL};
	struct program_answer answer;

	*n = 0;
	*jobs = NULL;
	if (!n_ids)
		return 0;
	answer = program_run(argv, SLURM_LIMIT_S, a);
	/* Of a single job that it has forgotten it says so instead of nothing. */
	if (answer.code && !strstr(answer.errors, "Invalid job id")) {
		warning("%s", complaint("squeue", &answer, a));
		return -1;
	}
	read_jobs(answer.output, a, jobs, n);
	return 0;
}

const struct slurm_job *slurm_find(const struct slurm_job *jobs, int n, long long array, long task)
{
	for (int i = 0; i < n; i++)
		if (jobs[i].array == array && jobs[i].task == task)
			return &jobs[i];
	return NULL;
}

/* --- orders ----------------------------------------------------------------------------------- */

long long slurm_submit(const char *script, const char *array)
{
	struct arena a = {0};
	const char *option = array ? arena_printf(&a, "--array=%s", array) : script;
	const char *argv[] = {"sbatch", "--parsable", option, array ? script : NULL, NULL};
	struct program_answer answer = program_run(argv, SLURM_LIMIT_S, &a);
	char *text = arena_strdup(&a, answer.output);
	long long id = -1;

	text[strcspn(text, ";\n")] = '\0';	/* "12" or "12;cluster" */
	if (answer.code)
		error("%s", complaint("sbatch", &answer, &a));
	else if (!str_to_long(text, &id))
		error("sbatch gave no job id but: %s", answer.output);
	arena_release(&a);
	return id;
}

int slurm_cancel(const long long *ids, int n_ids)
{
	struct arena a = {0};
	const char **argv = ARENA_ARRAY(&a, const char *, n_ids + 2);
	struct program_answer answer;
	int ret = 0;

	argv[0] = "scancel";
	for (int i = 0; i < n_ids; i++)
		argv[1 + i] = arena_printf(&a, "%lld", ids[i]);
	answer = program_run(argv, SLURM_LIMIT_S, &a);
	if (answer.code && !strstr(answer.errors, "Invalid job id"))
		ret = error("%s", complaint("scancel", &answer, &a));
	arena_release(&a);
	return ret;
}

int slurm_requeue(const struct slurm_place *p)
{
	struct arena a = {0};
	/* The number of its job alone can be that of the array, which would requeue all of it. */
	const char *id = p->task < 0 ? arena_printf(&a, "%lld", p->job) :
		arena_printf(&a, "%lld_%ld", p->array, p->task);
	const char *argv[] = {"scontrol", "requeue", id, NULL};
	struct program_answer answer = program_run(argv, SLURM_LIMIT_S, &a);
	int ret = answer.code ? error("%s", complaint("scontrol requeue", &answer, &a)) : 0;

	arena_release(&a);
	return ret;
}

long slurm_config(const char *key, long otherwise)
{
	const char *argv[] = {"scontrol", "show", "config", NULL};
	struct arena a = {0};
	struct program_answer answer = program_run(argv, SLURM_LIMIT_S, &a);
	size_t length = strlen(key);
	long value = otherwise;

	for (const char *line = answer.output; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (!strncmp(line, key, length))
			sscanf(line + length, " = %ld", &value);
	}
	arena_release(&a);
	return value;
}

/* --- times ------------------------------------------------------------------------------------ */

double slurm_seconds(const char *time)
{
	const char *dash = strchr(time, '-'), *rest = dash ? dash + 1 : time;
	double days = 0, part[3] = {0};
	int n = 0;
	char *end;

	if (dash)
		days = strtod(time, &end);
	if (dash && end != dash)
		return NAN;
	do {
		rest += n > 0;
		if (n == 3 || !isdigit((unsigned char)*rest))
			return NAN;
		part[n++] = strtod(rest, &end);
		rest = end;
	} while (*rest == ':');
	if (*rest)
		return NAN;
	if (dash)	/* days-hours[:minutes[:seconds]] */
		return 86400 * days + 3600 * part[0] + 60 * part[1] + part[2];
	/* minutes, minutes:seconds, hours:minutes:seconds */
	return n == 1 ? 60 * part[0] : n == 2 ? 60 * part[0] + part[1] :
		3600 * part[0] + 60 * part[1] + part[2];
}

const char *slurm_time(double seconds, char *buffer)
{
	long minutes = (long)ceil(seconds / 60), days = minutes / 1440;

	if (days)
		snprintf(buffer, 32, "%ld-%02ld:%02ld:00", days, minutes / 60 % 24, minutes % 60);
	else
		snprintf(buffer, 32, "%02ld:%02ld:00", minutes / 60, minutes % 60);
	return buffer;
}

/* --- this process ----------------------------------------------------------------------------- */

static long long number(const char *name, long long otherwise)
{
	const char *text = getenv(name);
	long long value;

	return text && str_to_long(text, &value) ? value : otherwise;
}

void slurm_place(struct slurm_place *p, struct arena *a)
{
	const char *cluster = getenv("SLURM_CLUSTER_NAME"), *step = getenv("SLURM_STEP_ID");
	long long job = number("SLURM_JOB_ID", 0);

	*p = (struct slurm_place){.cluster = arena_strdup(a, cluster ? cluster : ""), .job = job,
		.array = number("SLURM_ARRAY_JOB_ID", job), .task = (long)number("SLURM_ARRAY_TASK_ID", -1),
		.restarts = (int)number("SLURM_RESTART_COUNT", 0), .step = arena_strdup(a, step ? step : "batch")};
}
