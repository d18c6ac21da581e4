#include "cmd/tasks.h"

#include <string.h>

#include "base/path.h"
#include "cluster/claim.h"

void tasks_open(struct tasks *t, const char *root, const char *sweep)
{
	*t = (struct tasks){0};
	if (slurm_is_here())
		submission_list(root, sweep, &t->arena, &t->list, &t->n);
}

void tasks_close(struct tasks *t)
{
	arena_release(&t->arena);
	*t = (struct tasks){0};
}

void tasks_ask(struct tasks *t, const char *const *sweeps, int n)
{
	long long *ids;
	int n_ids = 0;

	for (int i = 0; i < t->n; i++)
		n_ids += t->list[i].n_jobs;
	ids = ARENA_ARRAY(&t->arena, long long, n_ids);
	n_ids = 0;
	for (int i = 0; i < t->n; i++)
		for (int k = 0; k < t->list[i].n_jobs && str_index(t->list[i].sweep, sweeps, n) >= 0; k++)
			ids[n_ids++] = t->list[i].jobs[k];
	t->answered = !slurm_jobs(ids, n_ids, &t->arena, &t->jobs, &t->n_jobs);
}

/* --- a sweep ------------------------------------------------------------------------------------ */

/* What tasks of one submission have in common: their state, and why they wait or ended so. */
struct sort {
	const char *state, *reason;
	enum slurm_phase phase;
	int n;
	struct str nodes;
};

static bool is_of(const struct slurm_job *job, const struct submission *s)
{
	for (int i = 0; i < s->n_jobs; i++)
		if (job->array == s->jobs[i] || job->id == s->jobs[i])
			return true;
	return false;
}

static bool waits(const struct slurm_job *job)
{
	return job->phase == SLURM_WAITING;
}

static struct sort *find_sort(struct sort *sorts, int *n, const struct slurm_job *job)
{
	for (int i = 0; i < *n; i++)
		if (!strcmp(sorts[i].state, job->state) &&
			(!waits(job) || !strcmp(sorts[i].reason, job->reason)))
			return &sorts[i];
	sorts[*n] = (struct sort){.state = job->state, .reason = job->reason, .phase = job->phase};
	str_init(&sorts[*n].nodes);
	return &sorts[(*n)++];
}

static int sort_tasks(const struct tasks *t, const struct submission *s, struct sort *sorts)
{
	int n = 0;

	for (int i = 0; i < t->n_jobs; i++) {
		const struct slurm_job *job = &t->jobs[i];
		struct sort *sort;
		if (!is_of(job, s))
			continue;
		sort = find_sort(sorts, &n, job);
		sort->n++;
		if (job->phase == SLURM_ACTIVE && *job->nodes && !strstr(sort->nodes.text, job->nodes))
			str_printf(&sort->nodes, " %s", job->nodes);
	}
	return n;
}

/* ", 3 PENDING (Resources)", ", 2 RUNNING on n1 n4", ", 1 TIMEOUT" */
static void put_sort(const struct sort *sort, struct str *out)
{
	str_printf(out, ", %d %s", sort->n, sort->state);
	if (sort->phase == SLURM_WAITING)
		str_printf(out, " (%s)", sort->reason);
	else if (sort->nodes.length)
		str_printf(out, " on%s", sort->nodes.text);
}

/* "JobHeldUser", and "launch failed requeued held", where a node could not even write the task's log. */
static bool waits_for_people(const struct sort *sort)
{
	return sort->phase == SLURM_WAITING && (strstr(sort->reason, "held") || strstr(sort->reason, "Held"));
}

void tasks_count(struct tasks *t, const char *sweep, struct task_counts *c)
{
	struct str states;

	*c = (struct task_counts){.known = t->answered};
	str_init(&states);
	for (int i = 0; i < t->n; i++) {
		const struct submission *s = &t->list[i];
		struct sort *sorts = ARENA_ARRAY(&t->arena, struct sort, t->n_jobs);
		int n = strcmp(s->sweep, sweep) ? 0 : sort_tasks(t, s, sorts);
		if (!strcmp(s->sweep, sweep) && s->n_jobs)
			c->job = s->jobs[0];
		for (int k = 0; k < n; k++) {
			c->n[sorts[k].phase] += sorts[k].n;
			put_sort(&sorts[k], &states);
			str_release(&sorts[k].nodes);
		}
	}
	c->states = arena_strdup(&t->arena, states.length ? states.text + strlen(", ") : "");
	str_release(&states);
}

/* Returns how many of its tasks will go on with runs. */
static int put_submission(const struct tasks *t, const struct submission *s, struct str *out)
{
	struct arena a = {0};
	struct sort *sorts = ARENA_ARRAY(&a, struct sort, t->n_jobs);
	int n = sort_tasks(t, s, sorts), live = 0;

	if (n)
		str_printf(out, "%s: Slurm job %lld of %s", s->sweep, s->n_jobs ? s->jobs[0] : 0, s->submitted);
	for (int i = 0; i < n; i++) {
		put_sort(&sorts[i], out);
		live += sorts[i].phase == SLURM_ENDED ? 0 : sorts[i].n;
		str_release(&sorts[i].nodes);
	}
	if (n)
		str_add(out, "\n");
	for (int i = 0; i < n; i++)
		if (waits_for_people(&sorts[i]))
			str_printf(out, "%s: `scontrol release %lld` lets held tasks go, `moelab cancel %s` ends them\n",
				s->sweep, s->n_jobs ? s->jobs[0] : 0, s->sweep);
	arena_release(&a);
	return live;
}

void tasks_sweep(const struct tasks *t, const char *sweep, int left, struct str *out)
{
	const struct submission *last = NULL;
	size_t before = out->length;
	int live = 0;

	for (int i = 0; i < t->n && left && t->answered; i++)
		if (!strcmp(t->list[i].sweep, sweep)) {
			last = &t->list[i];
			live += put_submission(t, last, out);
		}
	if (!last)
		return;
	if (out->length == before)
		str_printf(out, "%s: Slurm has forgotten its jobs; what their tasks recorded counts\n", sweep);
	if (!live)
		str_printf(out, "%s: no task is left in the queue: `moelab submit %s` goes on with %s\n", sweep,
			last->file ? last->file : sweep,
			left == 1 ? "the run that is left" : "the runs that are left");
}

/* --- a run -------------------------------------------------------------------------------------- */

/* What a word of Slurm's means for a run, and what helps. */
static const char *meaning(const char *state)
{
	static const char *const words[][2] = {
		{"TIMEOUT", "its time limit was over; the run goes on from its last checkpoint"},
		{"OUT_OF_MEMORY", "it needed more memory than its job had: lower train.micro_batch, or submit with "
			"--sbatch '--mem=...'"},
		{"NODE_FAIL", "its node failed; another task goes on from its last checkpoint"},
		{"CANCELLED", "somebody cancelled it"},
		{"PREEMPTED", "others came first"},
		{"FAILED", "its task failed: its log tells why"},
	};

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (!strcmp(words[i][0], state))
			return words[i][1];
	return NULL;
}

static void put_word(const struct tasks *t, const struct slurm_place *place, struct str *out)
{
	const struct slurm_job *job = slurm_find(t->jobs, t->n_jobs, place->array, place->task);
	const char *what = job ? meaning(job->state) : NULL;

	if (!t->answered)
		return;
	if (!job) {
		str_add(out, "Slurm: has forgotten that job; what its task recorded counts\n");
		return;
	}
	str_printf(out, "Slurm: %s", job->state);
	if (job->phase == SLURM_WAITING)
		str_printf(out, " (%s)", job->reason);
	if (*job->nodes)
		str_printf(out, " on %s", job->nodes);
	if (job->restarts)
		str_printf(out, ", requeued %d times", job->restarts);
	str_printf(out, "%s%s\n", what ? ": " : "", what ? what : "");
}

void tasks_run(const struct tasks *t, const char *dir, struct str *out)
{
	struct arena a = {0};
	struct claim_owner o;

	if (claim_read(dir, &o, &a)) {
		str_printf(out, "claimed by %s, since %s\n", claim_owner_text(&o, &a), o.since ? o.since : "?");
		if (o.place.job)
			put_word(t, &o.place, out);
	}
	arena_release(&a);
}

const char *tasks_place(const char *dir, struct arena *a)
{
	struct claim_owner o;

	if (!claim_read(dir, &o, a) || !o.place.job)
		return "";
	return arena_printf(a, "  on %s, Slurm job %lld%s since %s", o.process.host, o.place.array,
		o.place.task < 0 ? "" : arena_printf(a, "_%ld", o.place.task), o.since ? o.since : "?");
}
