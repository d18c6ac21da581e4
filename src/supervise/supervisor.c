#include "supervise/supervision.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"

#define TICK_S 0.2		/* between commits, and at most between looks at everything */
#define ORPHAN_WAIT_S 15.0	/* a worker whose supervisor died takes a step and a checkpoint */
#define FREE_BYTES 64e6		/* of disk, to begin with */
enum { BUSY_MS = 2000 };	/* a reader may hold up the writer, as long as pipes are deep */

/* --- display --------------------------------------------------------------------------------- */

static void draw(struct supervision *v, bool now)
{
	struct display_total total = {.sweep = v->s->sweep, .n = v->n_tasks, .begun_s = v->begun_s,
		.now_s = clock_s()};
	double done = v->steps_done;

	for (int i = 0; i < v->n_tasks; i++) {
		const struct task *t = &v->tasks[i];
		total.done += t->state == TASK_OVER && t->outcome == RUN_DONE;
		total.failed += t->state == TASK_OVER &&
			(t->outcome == RUN_FAILED || t->outcome == RUN_DIVERGED);
	}
	for (int i = 0; i < v->n_slots; i++)
		if (v->slots[i].task) {
			v->rows[total.running++] = v->slots[i].row;
			done += (double)(v->slots[i].row.step - v->slots[i].row.from);
		}
	total.share = v->steps_all > 0 ? done / v->steps_all : 0;
	display_draw(&v->display, &total, v->rows, total.running, now);
}

/* --- the loop --------------------------------------------------------------------------------- */

static int n_active(const struct supervision *v)
{
	int n = 0;

	for (int i = 0; i < v->n_slots; i++)
		n += v->slots[i].task != NULL;
	return n;
}

static void start_waiting(struct supervision *v)
{
	int next = 0;

	for (int i = 0; i < v->n_slots; i++) {
		while (!v->slots[i].task && !v->stopping) {
			while (next < v->n_tasks && (v->tasks[next].state != TASK_WAITING ||
					v->tasks[next].job->again || v->tasks[next].not_before_s > clock_s()))
				next++;
			if (next == v->n_tasks)
				return;
			slot_start(v, &v->slots[i], &v->tasks[next]);
		}
	}
}

static void reap(struct supervision *v)
{
	int status;

	for (int i = 0; i < v->n_slots; i++)
		if (v->slots[i].task &&
			waitpid(v->slots[i].pid, &status, WNOHANG) == v->slots[i].pid)
			slot_end(v, &v->slots[i], status);
}

static void stop_all(struct supervision *v, int signal, const char *why)
{
	int n = n_active(v);

	display_clear(&v->display);
	info("%s: %d worker%s a checkpoint and stop%s%s", why, n, n == 1 ? " writes" : "s write",
		n == 1 ? "s" : "", signal == SIGINT ? "; once more kills them" : "");
	v->stop_signal = signal;
	v->stopping = true;
	stop_workers(v, SIGTERM);
}

static void take_signals(struct supervision *v)
{
	unsigned char signal;

	while (read(v->signals, &signal, 1) == 1) {
		if (signal != SIGCHLD && !v->stop_signal) {
			stop_all(v, signal, strsignal(signal));
		} else if (signal == SIGINT) {
			display_clear(&v->display);
			info("killing the workers: their runs go back to their last checkpoints");
			v->killed = true;
			stop_workers(v, SIGKILL);
		} else if (signal != SIGCHLD) {
			v->stop_signal = signal;
		}
	}
	if (v->s->limit_s > 0 && clock_s() - v->begun_s > v->s->limit_s && !v->stop_signal)
		stop_all(v, SIGTERM, "time limit");
}

static void wait_for_news(struct supervision *v)
{
	struct pollfd fds[1 + 1024];
	int n = 0;

	fds[n++] = (struct pollfd){.fd = v->signals, .events = POLLIN};
	for (int i = 0; i < v->n_slots && n < (int)ARRAY_SIZE(fds); i++)
		if (v->slots[i].task && v->slots[i].pipe >= 0)
			fds[n++] = (struct pollfd){.fd = v->slots[i].pipe, .events = POLLIN};
	poll(fds, (nfds_t)n, (int)(TICK_S * 1000));
	for (int i = 0; i < v->n_slots; i++)
		if (v->slots[i].task)
			slot_read(v, &v->slots[i]);
}

/* When nothing else is left, runs of others are waited for: workers of a dead supervisor end. */
static bool more_to_come(struct supervision *v)
{
	bool waiting = false, taking = false;

	for (int i = 0; i < v->n_tasks && !v->stopping; i++) {
		waiting |= v->tasks[i].state == TASK_WAITING;
		taking |= v->tasks[i].state == TASK_WAITING && *v->tasks[i].claim.token;
	}
	if (n_active(v) || taking) {
		v->idle_s = 0;
		return true;
	}
	if (!v->idle_s)
		v->idle_s = clock_s();
	return waiting && clock_s() - v->idle_s < ORPHAN_WAIT_S;
}

static void commit(struct supervision *v)
{
	record_batch_commit(&v->batch);
	if (v->s->db && !v->s->db->gone && db_is_gone(v->s->db)) {
		display_clear(&v->display);
		warning("database %s was deleted or replaced: nothing more is written to it now, all "
			"is kept in the run directories", v->s->db->path);
	}
}

static void loop(struct supervision *v)
{
	for (;;) {
		start_waiting(v);
		if (!more_to_come(v))
			break;
		wait_for_news(v);
		take_signals(v);
		reap(v);
		if (record_batch_age_s(&v->batch) > TICK_S)
			commit(v);
		draw(v, false);
	}
	record_batch_commit(&v->batch);
	claims_let_go(v);
	display_clear(&v->display);
}

/* --- beginning and end ------------------------------------------------------------------------ */

/* Workers on GPUs leave the cores to others: one of theirs waits most of the time. */
static int take_cores(struct supervision *v)
{
	int threads = v->s->threads;

	if ((long)v->n_slots * threads > cpu_cores() && !v->s->oversubscribe) {
		error("%d workers of %d threads each need more cores than there are (%d): lower -j "
			"or --threads, or give --oversubscribe (seconds then say little)",
			v->n_slots, threads, cpu_cores());
		return EXIT_USAGE;
	}
	if (v->s->on_gpus)
		return EXIT_DONE;
	v->pin = cores_claim(&v->cores, v->n_slots, threads);
	if (!v->pin && !v->s->oversubscribe)
		info("workers are not pinned: another sweep has some of the cores, or a quota "
			"limits them");
	return EXIT_DONE;
}

static int check_disk(const struct supervisor *s, const struct job *jobs, int n)
{
	char need_text[32], free_text[32], *runs = path_join(s->root, "runs");
	double need = FREE_BYTES, have;
	int ret = path_mkdirs(runs);

	for (int i = 0; i < n; i++)
		if (job_is_work(&jobs[i]))
			need += jobs[i].disk_bytes;
	have = path_free_bytes(runs);
	if (!ret && have >= 0 && have < need)
		ret = error("the disk of %s has %s free, the runs need up to %s", runs,
			str_bytes(have, free_text), str_bytes(need, need_text));
	free(runs);
	return ret ? EXIT_ENVIRONMENT : EXIT_DONE;
}

/* Runs that were begun come before new ones, and the first seed of all configurations before the second of any, so that
   there is a whole table early. Otherwise as in the plan. */
static int turn_of(const struct job *jobs, int i)
{
	int first = 0;

	while (jobs[first].seed != jobs[i].seed)
		first++;
	return jobs[i].action == JOB_RESUME ? -1 : first;
}

static int by_turn(const void *a, const void *b)
{
	const struct task *x = a, *y = b;

	if (x->turn != y->turn)
		return x->turn < y->turn ? -1 : 1;
	return (x->job > y->job) - (x->job < y->job);
}

static void open_tasks(struct supervision *v, struct job *jobs, int n)
{
	int n_work = 0;

	v->tasks = ARENA_ARRAY(v->s->arena, struct task, n);
	v->n_tasks = n;
	for (int i = 0; i < n; i++) {
		struct task *t = &v->tasks[i];
		*t = (struct task){.job = &jobs[i], .turn = turn_of(jobs, i), .reason = jobs[i].why};
		if (jobs[i].action == JOB_DONE || jobs[i].action == JOB_DIVERGED) {
			t->state = TASK_OVER;
			t->outcome = jobs[i].action == JOB_DONE ? RUN_DONE : RUN_DIVERGED;
		} else if (!jobs[i].again) {
			n_work++;
			v->steps_all += (double)(jobs[i].steps - jobs[i].step);
		}
	}
	qsort(v->tasks, (size_t)n, sizeof *v->tasks, by_turn);
	v->n_slots = n_work < v->s->workers ? n_work : v->s->workers;
	v->slots = ARENA_ARRAY(v->s->arena, struct slot, v->n_slots);
	v->rows = ARENA_ARRAY(v->s->arena, struct display_row, v->n_slots);
	for (int i = 0; i < v->n_slots; i++) {
		v->slots[i].pipe = -1;
		str_init(&v->slots[i].text);
	}
}

static int exit_code(const struct supervision *v)
{
	int failed = 0, pending = 0;

	for (int i = 0; i < v->n_tasks; i++) {
		const struct task *t = &v->tasks[i];
		failed += t->state == TASK_OVER &&
			(t->outcome == RUN_FAILED || t->outcome == RUN_DIVERGED);
		pending += t->state != TASK_OVER || t->outcome == RUN_STOPPED ||
			   t->outcome == RUN_LOST;
	}
	if (v->killed)
		return 128 + SIGINT;
	if (v->stop_signal)
		return EXIT_STOPPED;
	if (failed)
		return EXIT_RUN_FAILED;
	if (pending)
		return EXIT_STOPPED;
	return v->s->db && v->s->db->broken && !v->s->db->gone ? EXIT_ENVIRONMENT : EXIT_DONE;
}

/* One line for all, and one for each run that failed or is another's: what stopped has just been said. */
static void summarize(const struct supervision *v)
{
	int count[N_RUN_STATES] = {0};
	char duration[32];
	struct str line;

	str_init(&line);
	for (int i = 0; i < v->n_tasks; i++) {
		const struct task *t = &v->tasks[i];
		bool elsewhere = t->state == TASK_WAITING && t->job->action == JOB_RUNNING;
		enum run_state state = elsewhere ? RUN_RUNNING :
			t->state == TASK_OVER ? t->outcome : RUN_QUEUED;
		count[state]++;
		if (elsewhere || state == RUN_FAILED || state == RUN_DIVERGED)
			info("%s s%ld: %s: %s", t->job->label, t->job->seed,
				elsewhere ? "running elsewhere" : run_state_name[state],
				elsewhere ? t->job->why : t->reason);
	}
	for (int i = 0; i < N_RUN_STATES; i++)
		if (count[i])
			str_printf(&line, ", %d %s", count[i], run_state_name[i]);
	info("%s: %d runs%s, in %s", v->s->sweep, v->n_tasks, line.text,
		str_duration(clock_s() - v->begun_s, duration));
	str_release(&line);
}

static const int caught[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};

/* A signal handler can only reach a global. */
static int signals_in;

/* In whatever thread the signal comes to. A full pipe has news enough. */
static void note_signal(int signal)
{
	unsigned char news = (unsigned char)signal;
	int before = errno;

	if (write(signals_in, &news, 1) < 0)
		errno = before;
}

static void catch_signals(struct supervision *v, struct sigaction *before)
{
	struct sigaction note = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK))
		die("no pipe for signals: %s", strerror(errno));
	v->signals = ends[0];
	signals_in = ends[1];
	for (size_t i = 0; i < ARRAY_SIZE(caught); i++)
		sigaction(caught[i], &note, &before[i]);
}

/* What was asked to stop ends with the code that says so, though a scheduler's next signal comes meanwhile. */
static void release_signals(struct supervision *v, const struct sigaction *before)
{
	static const struct sigaction ignore = {.sa_handler = SIG_IGN};

	for (size_t i = 0; i < ARRAY_SIZE(caught); i++) {
		bool late = v->stop_signal && caught[i] != SIGINT && caught[i] != SIGCHLD;

		sigaction(caught[i], late ? &ignore : &before[i], NULL);
	}
	close(v->signals);
	close(signals_in);
}

int supervisor_run(const struct supervisor *s, struct job *jobs, int n)
{
	struct supervision v = {.s = s, .batch = {.db = s->db}, .begun_s = clock_s()};
	struct sigaction before[ARRAY_SIZE(caught)];
	int code;

	if (s->db)
		sqlite3_busy_timeout(s->db->handle, BUSY_MS);
	open_tasks(&v, jobs, n);
	code = v.n_slots ? take_cores(&v) : EXIT_DONE;
	if (!code)
		code = v.n_slots ? check_disk(s, jobs, n) : EXIT_DONE;
	claims_open(&v.claims);
	if (!code) {
		catch_signals(&v, before);
		display_open(&v.display, clock_s());
		loop(&v);
		summarize(&v);
		release_signals(&v, before);
		code = exit_code(&v);
	}
	if (s->end)
		*s->end = (struct supervisor_end){.signal = v.stop_signal, .steps = v.steps_done};
	for (int i = 0; i < v.n_slots; i++)
		str_release(&v.slots[i].text);
	if (v.pin)
		cores_release(&v.cores);
	claims_close(&v.claims);
	return code;
}
