#include "train/worker_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/path.h"

enum {
	PIPE_BYTES = 1 << 20,		/* asked of the kernel; it may give less */
	QUEUE_BYTES = 1 << 20,		/* steps wait for the pipe up to here */
	BACKLOG_BYTES = 16 << 20,	/* steps wait for a full disk up to here */
};

/* A signal handler can only reach a global. */
static volatile sig_atomic_t stop_signal;

static void note_signal(int signal)
{
	stop_signal = signal;
}

static void set_handlers(void)
{
	static const int asking[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	for (size_t i = 0; i < ARRAY_SIZE(asking); i++) {
		struct sigaction note = {.sa_handler = note_signal, .sa_flags = SA_RESTART};
		if (asking[i] == SIGINT)
			note.sa_flags |= SA_RESETHAND;
		sigaction(asking[i], &note, NULL);
	}
	/* A dead supervisor and a full file are errors of write(). */
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGXFSZ, &ignore, NULL);
}

int worker_link_stop(void)
{
	return stop_signal;
}

/* The supervisor's death asks to stop; also if it came before this call. */
static void follow_supervisor(int pipe)
{
	struct pollfd p = {.fd = pipe};

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (poll(&p, 1, 0) == 1 && (p.revents & POLLERR))
		stop_signal = SIGTERM;
	fcntl(pipe, F_SETFD, FD_CLOEXEC);
	fcntl(pipe, F_SETFL, O_NONBLOCK);
	fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES);
}

int worker_link_open(struct worker_link *l, const char *run_dir, int pipe)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	*l = (struct worker_link){.file = -1, .pipe = pipe, .flushed_s = clock_s()};
	str_init(&l->line);
	str_init(&l->to_file);
	str_init(&l->to_pipe);
	l->dir = arena_strdup(&l->arena, run_dir);
	if (run_info_read(&l->info, run_dir, &l->arena))
		goto failed;
	l->file = run_dir_open_metrics(run_dir);
	if (l->file < 0)
		goto failed;
	if (fcntl(l->file, F_OFD_SETLK, &lock) && (errno == EAGAIN || errno == EACCES)) {
		error("%s: another worker is at this run", run_dir);
		goto failed;
	}
	set_handlers();
	if (pipe >= 0)
		follow_supervisor(pipe);
	return 0;
failed:
	worker_link_close(l);
	return -1;
}

void worker_link_guard(struct worker_link *l, const char *token)
{
	l->claim = token ? arena_strdup(&l->arena, token) : NULL;
}

bool worker_link_holds(struct worker_link *l, bool lately)
{
	if (!l->claim || l->taken || (lately && clock_s() - l->looked_s < CLAIM_LOOK_S))
		return !l->taken;
	l->looked_s = clock_s();
	l->taken = !claim_is_mine(l->dir, l->claim);
	if (l->taken) {
		error("%s: another process has taken over the run, or its claim was removed: this one ends "
			"without writing to it", l->dir);
		l->lost = 0;
	}
	return !l->taken;
}

/* As many of the waiting bytes as the descriptor takes. False: it failed for now. */
static bool write_some(int fd, struct str *waiting)
{
	size_t done = 0;
	ssize_t n;

	while (done < waiting->length) {
		n = write(fd, waiting->text + done, waiting->length - done);
		if (n > 0)
			done += (size_t)n;
		else if (errno != EINTR)
			break;
	}
	memmove(waiting->text, waiting->text + done, waiting->length - done + 1);
	waiting->length -= done;
	return waiting->length == 0;
}

static void flush_file(struct worker_link *l)
{
	if (write_some(l->file, &l->to_file)) {
		l->file_failed = false;
	} else if (!l->file_failed) {
		l->file_failed = true;
		error_errno("cannot write %s/metrics.jsonl: training goes on, records wait in "
			"memory", l->dir);
	}
}

static void flush_pipe(struct worker_link *l)
{
	if (l->pipe >= 0 && !write_some(l->pipe, &l->to_pipe) && errno != EAGAIN) {
		l->pipe = -1;		/* the supervisor is gone; its death signal is on its way */
		str_clear(&l->to_pipe);
	}
}

int worker_link_flush(struct worker_link *l, bool sync)
{
	if (!worker_link_holds(l, !sync)) {
		str_clear(&l->to_file);
		return -1;
	}
	flush_file(l);
	flush_pipe(l);
	l->flushed_s = clock_s();
	if (l->file_failed)
		return -1;
	if (sync && fdatasync(l->file))
		return error_errno("cannot write %s/metrics.jsonl", l->dir);
	return 0;
}

void worker_link_add(struct worker_link *l, const struct record *r)
{
	bool step = r->type == RECORD_IS_STEP;

	str_clear(&l->line);
	record_write(r, &l->line);
	if (!step || l->to_file.length < BACKLOG_BYTES)
		str_add_bytes(&l->to_file, l->line.text, l->line.length);
	else
		l->lost++, l->lost_bytes += l->line.length;
	if (l->pipe >= 0 && (!step || l->to_pipe.length < QUEUE_BYTES))
		str_add_bytes(&l->to_pipe, l->line.text, l->line.length);
	else if (l->pipe >= 0)
		l->dropped++;
	if (!step || clock_s() - l->flushed_s > LINK_FLUSH_S)
		worker_link_flush(l, false);
}

void worker_link_event(struct worker_link *l, const char *kind, long step, const char *format, ...)
{
	struct record r = record_new(RECORD_IS_EVENT);
	char *text, wall[32];
	va_list ap;

	va_start(ap, format);
	if (vasprintf(&text, format, ap) < 0)
		die("out of memory: text of an event");
	va_end(ap);
	r.event = (struct event_record){.kind = kind, .step = step,
		.wall = clock_iso(clock_wall_s(), wall), .text = text};
	worker_link_add(l, &r);
	free(text);
}

int worker_link_attempt(struct worker_link *l, struct record *attempt)
{
	struct attempt_record *at = &attempt->attempt;
	char wall[32], *path = path_join(l->dir, "attempt.json");
	struct process self;
	int ret;

	CHECK(attempt->type == RECORD_IS_ATTEMPT);
	process_self(&self, &l->arena);
	at->run = l->info.identity;
	at->label = l->info.label;
	at->seed = l->info.seed;
	at->sweep = l->info.sweep;
	at->jobs = l->info.jobs;
	at->started = arena_strdup(&l->arena, clock_iso(clock_wall_s(), wall));
	at->host = self.host;
	at->pid = self.pid;
	at->boot_id = self.boot_id;
	at->start_time = self.start_time;
	worker_link_add(l, attempt);
	ret = path_write(path, l->line.text, l->line.length);
	free(path);
	return ret;
}

int worker_link_finish(struct worker_link *l, enum run_state state, const char *reason)
{
	return worker_link_flush(l, true) ? -1 : run_dir_mark(l->dir, state, reason);
}

/* Of a record that is in the file in part, the rest: the line is torn, and none. */
static void tell_losses(struct worker_link *l)
{
	long n = l->lost;

	worker_link_flush(l, false);
	for (size_t i = 0; i < l->to_file.length; i++)
		n += l->to_file.text[i] == '\n';
	if (n)
		error("%s/metrics.jsonl: %ld records of %zu bytes are lost", l->dir, n,
			l->lost_bytes + l->to_file.length);
}

void worker_link_close(struct worker_link *l)
{
	if (l->dropped)
		warning("%ld step records did not go up the pipe; metrics.jsonl has them",
			l->dropped);
	if (l->file >= 0)
		tell_losses(l);
	if (l->file >= 0)
		close(l->file);
	if (l->pipe >= 0)
		close(l->pipe);
	str_release(&l->line);
	str_release(&l->to_file);
	str_release(&l->to_pipe);
	arena_release(&l->arena);
	*l = (struct worker_link){.file = -1, .pipe = -1};
}
