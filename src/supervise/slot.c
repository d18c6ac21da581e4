#include "supervise/supervision.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/path.h"
#include "store/catalog.h"
#include "store/ingest.h"
#include "supervise/gpus.h"
#include "supervise/launch.h"
#include "supervise/outcome.h"

#define CLAIM_PAUSE_S 5.0	/* between looks at a claim of another machine */

enum { READ_BYTES = 1 << 16 };

static void say(struct supervision *v, const struct job *job, const char *what, const char *why)
{
	display_clear(&v->display);
	info("%s s%ld: %s%s%s", job->label, job->seed, what, why && *why ? ": " : "",
		why ? why : "");
}

/* A run that did not reach its end is an error, which -q leaves. */
static void say_over(struct supervision *v, const struct job *job, enum run_state state, const char *why)
{
	if (log_level < LOG_NORMAL && (state == RUN_FAILED || state == RUN_DIVERGED))
		error("%s s%ld: %s: %s", job->label, job->seed, run_state_name[state], why ? why : "");
	else if (state == RUN_STOPPED)
		say(v, job, why, NULL);		/* "stopped on request" */
	else
		say(v, job, run_state_name[state], why);
}

/* --- starting --------------------------------------------------------------------------------- */

static void put_off(struct task *t, double seconds)
{
	t->not_before_s = clock_s() + seconds;
}

/* With it all tasks that are its run under other labels. */
static void task_over(struct supervision *v, struct task *t, enum run_state outcome,
	const char *reason)
{
	bool failed = outcome == RUN_FAILED || outcome == RUN_DIVERGED;

	for (struct task *other = v->tasks; other < v->tasks + v->n_tasks; other++)
		if (other == t || (other->job->again && !strcmp(other->job->name, t->job->name))) {
			other->state = TASK_OVER;
			other->outcome = outcome;
			other->reason = reason;
		}
	v->n_failed += failed;
	if (failed && v->s->max_failures && v->n_failed >= v->s->max_failures)
		v->stopping = true;
}

/* An earlier failure is wiped off. */
static int write_orders(const struct supervision *v, const struct job *job, const struct slot *slot)
{
	return job_write_orders(job, v->s->sweep, slot->workers, slot->dir) ||
		run_dir_mark(slot->dir, RUN_QUEUED, NULL) ? -1 : 0;
}

static long long enter(struct supervision *v, const struct job *job)
{
	struct db *db = record_batch_db(&v->batch);
	struct run_info info = {.identity = job->identity, .label = job->label,
		.sweep = v->s->sweep, .seed = job->seed, .steps = job->steps};
	long long run_id = db ? catalog_run_id(db, job->identity) : -1;

	if (db && run_id < 0 && !catalog_add_run(db, v->s->root, job->name, &info))
		run_id = catalog_run_id(db, job->identity);
	if (run_id >= 0)
		catalog_set_state(db, run_id, RUN_RUNNING, NULL);
	return run_id;
}

/* Chooses the slot's GPU. false: all that has enough memory is taken by workers of ours; wait. */
static bool take_gpu(struct supervision *v, struct slot *slot)
{
	struct gpu list[GPUS_MAX];
	int workers[GPUS_MAX] = {0}, at_work = 0, n, chosen;

	slot->gpu[0] = '\0';
	slot->workers = v->n_slots;
	if (!v->s->on_gpus)
		return true;
	n = gpus_list(list);
	if (n)
		slot->workers = (v->n_slots + n - 1) / n;
	for (int k = 0; k < v->n_slots; k++)
		for (int i = 0; v->slots[k].task && i < n; i++)
			workers[i] += !strcmp(v->slots[k].gpu, list[i].uuid);
	for (int i = 0; i < n; i++) {
		/* A worker that has just begun has not taken its memory yet. */
		list[i].free_bytes = fmin(list[i].free_bytes, list[i].bytes - workers[i] * v->s->worker_bytes);
		at_work += workers[i];
	}
	chosen = gpus_choose(list, workers, n, v->s->worker_bytes);
	if (chosen < 0 && at_work)
		return false;
	/* Too little everywhere: the worker says what it needs and what there is. */
	if (chosen < 0)
		chosen = gpus_choose(list, workers, n, 0);
	if (chosen >= 0)
		strcpy(slot->gpu, list[chosen].uuid);
	return true;
}

static int start_worker(struct supervision *v, struct slot *slot, struct task *t)
{
	struct job *job = t->job;
	cpu_set_t cores;
	struct launch l = {.dir = slot->dir, .log = slot->log, .threads = v->s->threads,
		.gpu = slot->gpu[0] ? slot->gpu : NULL, .claim = t->claim.token};
	char wall[32];

	if (write_orders(v, job, slot))
		return -1;
	if (v->pin) {
		cores_of_worker(&v->cores, (int)(slot - v->slots), &cores);
		l.cores = &cores;
	}
	dprintf(slot->log, "--- %s %s: %s\n", clock_iso(clock_wall_s(), wall),
		job_action_name[job->action], job->why);
	if (launch_worker(v->s, &l, &slot->pid, &slot->pipe))
		return -1;
	slot->run_id = enter(v, job);
	slot->row = (struct display_row){.label = job->label, .seed = job->seed,
		.from = job->step, .step = job->step, .steps = job->steps, .loss = NAN,
		.val_loss = NAN, .begun_s = clock_s()};
	slot->task = t;
	slot->asked = false;
	t->state = TASK_ACTIVE;
	return 0;
}

/* Has it failed since the work began that others share? Then they have tried. */
static bool failed_lately(const struct supervision *v, const char *dir)
{
	char *marker = path_join(dir, "FAILED");
	struct stat st;
	bool lately = v->s->failed_since && !stat(marker, &st) && st.st_mtime >= v->s->failed_since;

	free(marker);
	return lately;
}

/* True: nothing to run here any more, or not now. */
static bool settled(struct supervision *v, struct task *t, const char *dir)
{
	if (job_decide_again(v->s->root, t->job, v->s->arena)) {
		task_over(v, t, RUN_FAILED, "its directory cannot be used");
	} else if (t->job->action == JOB_DONE) {
		task_over(v, t, RUN_DONE, t->job->why);
	} else if (t->job->action == JOB_DIVERGED) {
		task_over(v, t, RUN_DIVERGED, t->job->why);
	} else if (t->job->action == JOB_RETRY && !t->crashes && failed_lately(v, dir)) {
		task_over(v, t, RUN_FAILED, t->job->why);
	} else if (t->job->action == JOB_RUNNING) {
		put_off(t, RETRY_PAUSE_S);
	} else {
		return false;
	}
	return true;
}

/* It is another's: who, and when to look again. */
static void leave_to_other(struct supervision *v, struct task *t, const char *dir)
{
	struct claim_owner o;

	if (t->job->action != JOB_RUNNING && claim_read(dir, &o, v->s->arena)) {
		t->job->action = JOB_RUNNING;
		t->job->why = arena_printf(v->s->arena, "claimed by %s since %s; if that is gone for good, remove "
			"%s/CLAIM", claim_owner_text(&o, v->s->arena), o.since ? o.since : "?", dir);
	}
	put_off(t, CLAIM_PAUSE_S);
}

/* The claim, besides the lock: true when it is ours and nobody else writes any more. */
static bool hold(struct supervision *v, struct task *t, const char *dir)
{
	int taken = 0;

	if (*t->claim.token && !claim_is_mine(dir, t->claim.token))
		t->claim.token[0] = '\0';
	if (!*t->claim.token && run_dir_is_worked(dir)) {
		put_off(t, RETRY_PAUSE_S);	/* the last worker of a dead supervisor, where locks say nothing */
		return false;
	}
	if (!*t->claim.token)
		taken = claim_take(&v->claims, dir, &t->claim);
	if (taken == CLAIM_TAKEN)
		leave_to_other(v, t, dir);
	else if (taken == CLAIM_FAILED)
		task_over(v, t, RUN_FAILED, "its directory cannot be written");
	else if (t->claim.ready_s > clock_s())
		t->not_before_s = t->claim.ready_s;
	else
		return true;
	return false;
}

static void let_go(struct supervision *v, struct slot *slot, struct task *t)
{
	claim_release(&v->claims, slot->dir, &t->claim);
	close(slot->log);
}

/*
 * Another supervisor that works without the database may have the run, or the last worker of a killed
 * one. The decision is taken again behind the claim: meanwhile others may have run it.
 */
void slot_start(struct supervision *v, struct slot *slot, struct task *t)
{
	job_find_again(v->s->root, t->job, v->s->arena);
	slot->dir = arena_printf(v->s->arena, "%s/runs/%s", v->s->root, t->job->name);
	slot->log = run_dir_lock(slot->dir);
	if (slot->log == CLAIM_TAKEN)
		put_off(t, RETRY_PAUSE_S);
	if (slot->log == CLAIM_FAILED)
		task_over(v, t, RUN_FAILED, "its directory cannot be written");
	if (slot->log < 0)
		return;
	if (!hold(v, t, slot->dir)) {
		close(slot->log);
	} else if (settled(v, t, slot->dir)) {
		let_go(v, slot, t);
	} else if (!take_gpu(v, slot)) {
		put_off(t, RETRY_PAUSE_S);
		let_go(v, slot, t);
	} else if (start_worker(v, slot, t)) {
		let_go(v, slot, t);
		task_over(v, t, RUN_FAILED, "its worker cannot be started");
	} else {
		say(v, t->job, job_action_name[t->job->action], t->job->why);
	}
}

/* --- what workers say ------------------------------------------------------------------------- */

static void show(struct display_row *row, const struct record *r)
{
	if (r->type == RECORD_IS_STEP) {
		row->step = (long)r->step.step;
		row->loss = r->step.ce;
		row->tokens_per_s = r->step.tokens_per_s;
	} else if (r->type == RECORD_IS_EVAL && !strcmp(r->eval.kind, "val")) {
		row->val_loss = r->eval.loss;
	}
}

static void take_lines(struct supervision *v, struct slot *slot)
{
	struct arena a = {0};
	struct record r;
	char *line = slot->text.text, *end;

	while ((end = strchr(line, '\n'))) {
		if (record_parse(&r, line, (size_t)(end - line), &a)) {
			show(&slot->row, &r);
			record_batch_add(&v->batch, slot->run_id, &r);
		}
		line = end + 1;
	}
	slot->text.length -= (size_t)(line - slot->text.text);
	memmove(slot->text.text, line, slot->text.length + 1);
	arena_release(&a);
}

void slot_read(struct supervision *v, struct slot *slot)
{
	char bytes[READ_BYTES];
	ssize_t n = -1;

	while (slot->pipe >= 0 && (n = read(slot->pipe, bytes, sizeof bytes)) > 0) {
		str_add_bytes(&slot->text, bytes, (size_t)n);
		take_lines(v, slot);
	}
	if (n == 0) {		/* the worker has closed it; SIGCHLD tells of its end */
		close(slot->pipe);
		slot->pipe = -1;
	}
}

void claims_let_go(struct supervision *v)
{
	for (int i = 0; i < v->n_tasks; i++) {
		struct task *t = &v->tasks[i];
		if (*t->claim.token)
			claim_release(&v->claims, arena_printf(v->s->arena, "%s/runs/%s", v->s->root, t->job->name),
				&t->claim);
	}
}

/* --- ending ----------------------------------------------------------------------------------- */

void stop_workers(struct supervision *v, int signal)
{
	for (int i = 0; i < v->n_slots; i++)
		if (v->slots[i].task) {
			kill(v->slots[i].pid, signal);
			v->slots[i].asked = true;
		}
}

/*
 * The files get what the worker did not say itself, the database what the pipe did not carry. What
 * the worker says of a good end or a divergence stands; of a failure, its exit and last words say
 * more.
 */
static void settle_run(struct supervision *v, struct slot *slot, int status, struct outcome *o)
{
	bool marks = o->state == RUN_DONE || o->state == RUN_DIVERGED || o->state == RUN_FAILED;
	struct ingest_count count = {0};
	struct run_status said;
	struct db *db;

	outcome_record(slot->dir, slot->pid, status);
	run_dir_status(slot->dir, v->s->arena, &said);
	if (marks && (said.state != o->state || o->state == RUN_FAILED))
		run_dir_mark(slot->dir, o->state, o->reason);
	else if (marks)
		o->reason = said.reason;
	record_batch_commit(&v->batch);
	db = record_batch_db(&v->batch);
	if (db && slot->run_id >= 0 && !ingest_records(db, slot->run_id, slot->dir, &count))
		catalog_set_state(db, slot->run_id, o->state, o->reason);
}

/*
 * The claim is not ours any more. If another has taken the run over, Slurm, which it asked, takes our job
 * for dead: we end altogether.
 */
static void lose_run(struct supervision *v, struct slot *slot, struct task *t)
{
	struct claim_owner o;

	if (!claim_read(slot->dir, &o, v->s->arena)) {
		task_over(v, t, RUN_LOST, "its directory or its claim was removed");
		say(v, t->job, run_state_name[RUN_LOST], t->reason);
		return;
	}
	t->state = TASK_WAITING;
	put_off(t, CLAIM_PAUSE_S);
	say(v, t->job, "lost", "another process has taken it over");
	if (!v->stopping) {
		v->stopping = true;
		stop_workers(v, SIGTERM);
	}
}

/* Its last word is taken, its run settled or tried again. */
static void end_run(struct supervision *v, struct slot *slot, int status)
{
	struct task *t = slot->task;
	struct outcome o = outcome_of(status, slot->dir, slot->row.step, slot->asked, v->s->arena);

	settle_run(v, slot, status, &o);
	if (o.crash && t->crashes++ < v->s->retries && !v->stopping) {
		t->state = TASK_WAITING;
		put_off(t, RETRY_PAUSE_S);
		say(v, t->job, "crashed, tried again", o.reason);
	} else {
		task_over(v, t, o.state, o.reason);
		say_over(v, t->job, o.state, o.reason);
		if (v->s->fail_fast && (o.state == RUN_FAILED || o.state == RUN_DIVERGED)) {
			v->stopping = true;
			stop_workers(v, SIGTERM);
		}
	}
}

void slot_end(struct supervision *v, struct slot *slot, int status)
{
	struct task *t = slot->task;

	slot_read(v, slot);
	v->steps_done += (double)(slot->row.step - slot->row.from);
	if (claim_is_mine(slot->dir, t->claim.token))
		end_run(v, slot, status);
	else
		lose_run(v, slot, t);
	if (slot->pipe >= 0)
		close(slot->pipe);
	let_go(v, slot, t);
	str_clear(&slot->text);
	slot->task = NULL;
	slot->pipe = -1;
}

