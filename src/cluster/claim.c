#include "cluster/claim.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/path.h"
#include "base/str.h"

#define NAME "CLAIM"
#define TORN "torn"		/* stands for the token that an unreadable claim lacks */
#define TORN_S 60.0		/* an unreadable claim older than this is that of a process that died over it */
#define ASK_AGAIN_S 15.0	/* what Slurm said holds so long, */
#define ASK_NEW_S 1.0		/* and a new question waits at most so long */

/* --- this process ----------------------------------------------------------------------------- */

static void new_token(char token[CLAIM_TOKEN])
{
	unsigned char bytes[(CLAIM_TOKEN - 1) / 2];

	if (getrandom(bytes, sizeof bytes, 0) != sizeof bytes)
		die("no random numbers for a claim: %s", strerror(errno));
	for (size_t i = 0; i < sizeof bytes; i++)
		sprintf(token + 2 * i, "%02x", bytes[i]);
}

/* Its identity may not leave the machine, says machine-id(5); a few digits of a hash may. */
static const char *machine_name(struct arena *a)
{
	const char *id = path_first_line("/etc/machine-id", a);
	char hex[HASH_HEX];

	hash_bytes(id, strlen(id), hex);
	return *id ? arena_printf(a, "%.8s", hex) : "";
}

static const char *link_text(const char *path, struct arena *a)
{
	char text[64];
	ssize_t n = readlink(path, text, sizeof text - 1);

	text[n > 0 ? n : 0] = '\0';
	return arena_strdup(a, text);
}

static void owner_self(struct claim_owner *o, struct arena *a)
{
	const char *node = getenv("SLURMD_NODENAME");

	*o = (struct claim_owner){.machine = machine_name(a), .pid_space = link_text("/proc/self/ns/pid", a),
		.uid = (long)getuid(), .token = ""};
	process_self(&o->process, a);
	slurm_place(&o->place, a);
	if (node && o->place.job)
		o->process.host = arena_strdup(a, node);
}

void claims_open(struct claims *c)
{
	*c = (struct claims){.slurm = slurm_is_here()};
	owner_self(&c->self, &c->arena);
}

void claims_close(struct claims *c)
{
	free(c->ids);
	arena_release(&c->told);
	arena_release(&c->arena);
	*c = (struct claims){0};
}

/* --- the file --------------------------------------------------------------------------------- */

/* 0, or -1 with errno. */
static int write_owner(const char *path, const struct claim_owner *self, const char *token)
{
	char wall[32];
	const struct slurm_place *p = &self->place;
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "token", token,
		"since", clock_iso(clock_wall_s(), wall), "host", self->process.host, "machine", self->machine,
		"boot_id", self->process.boot_id, "pid_space", self->pid_space,
		"pid", (json_int_t)self->process.pid, "start_time", (json_int_t)self->process.start_time,
		"uid", (json_int_t)self->uid);
	int ret;

	if (p->job)
		json_object_set_new(o, "slurm", json_pack("{s:s, s:I, s:I, s:I, s:i, s:s}", "cluster", p->cluster,
			"job", (json_int_t)p->job, "array", (json_int_t)p->array, "task", (json_int_t)p->task,
			"restarts", p->restarts, "step", p->step));
	/* Not synced: after a loss of power nobody works on the run, and a torn claim is known as such. */
	ret = json_dump_file(o, path, JSON_INDENT(1));
	json_decref(o);
	return ret;
}

static const char *take_text(const json_t *o, const char *key, struct arena *a)
{
	const char *text = json_string_value(json_object_get(o, key));

	return arena_strdup(a, text ? text : "");
}

static long long take_number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

/* 0; -1 with errno: it is not there or cannot be read. What is no claim has an empty token. */
static int read_owner(const char *path, struct claim_owner *out, struct arena *a)
{
	FILE *f = fopen(path, "re");
	json_t *o, *slurm;

	*out = (struct claim_owner){.token = ""};
	if (!f)
		return -1;
	o = json_loadf(f, 0, NULL);
	fclose(f);
	slurm = json_object_get(o, "slurm");
	*out = (struct claim_owner){.process = {.host = take_text(o, "host", a),
			.boot_id = take_text(o, "boot_id", a), .pid = take_number(o, "pid"),
			.start_time = take_number(o, "start_time")},
		.machine = take_text(o, "machine", a), .pid_space = take_text(o, "pid_space", a),
		.uid = (long)take_number(o, "uid"), .token = take_text(o, "token", a),
		.since = take_text(o, "since", a),
		.place = {.cluster = take_text(slurm, "cluster", a), .job = take_number(slurm, "job"),
			.array = take_number(slurm, "array"), .task = (long)take_number(slurm, "task"),
			.restarts = (int)take_number(slurm, "restarts"), .step = take_text(slurm, "step", a)}};
	json_decref(o);
	return 0;
}

bool claim_read(const char *dir, struct claim_owner *o, struct arena *a)
{
	return !read_owner(arena_printf(a, "%s/" NAME, dir), o, a) || errno != ENOENT;
}

/* The right to what is in BASE, BASE.TOKEN, which another token has taken the place of: nobody can use it. */
static bool is_void(const char *path, struct arena *a)
{
	const char *token = strrchr(path_name(path), '.');
	struct claim_owner o;
	const char *base;

	if (!token)
		return false;
	base = arena_printf(a, "%.*s", (int)(token - path), path);
	if (read_owner(base, &o, a))
		return errno == ENOENT;
	return strcmp(*o.token ? o.token : TORN, token + 1) || is_void(base, a);
}

bool claim_is_left(const char *path, bool over)
{
	const char *name = path_name(path);
	struct arena a = {0};
	bool left = over ? !strcmp(name, NAME) || str_starts(name, NAME ".") :
		str_starts(name, NAME ".") && is_void(path, &a);

	arena_release(&a);
	return left;
}

bool claim_is_mine(const char *dir, const char *token)
{
	struct arena a = {0};
	struct claim_owner o;
	bool mine = *token && claim_read(dir, &o, &a) && !strcmp(o.token, token);

	arena_release(&a);
	return mine;
}

bool claim_is_own(const struct claim_owner *o)
{
	struct arena a = {0};
	struct claim_owner self;
	bool own;

	owner_self(&self, &a);
	own = self.process.pid == o->process.pid && self.process.start_time == o->process.start_time &&
		!strcmp(self.process.host, o->process.host) && !strcmp(self.process.boot_id, o->process.boot_id);
	arena_release(&a);
	return own;
}

const char *claim_owner_text(const struct claim_owner *o, struct arena *a)
{
	const char *process = arena_printf(a, "process %lld on %s", o->process.pid, o->process.host);

	if (!*o->token)
		return "a process whose claim cannot be read";
	if (!o->place.job)
		return process;
	if (o->place.task < 0)
		return arena_printf(a, "%s, Slurm job %lld", process, o->place.array);
	return arena_printf(a, "%s, Slurm job %lld_%ld", process, o->place.array, o->place.task);
}

/* --- is its owner gone? ----------------------------------------------------------------------- */

/* Place of the job in the list of those asked about, where it is put if it is new. */
static int place_of(struct claims *c, long long id)
{
	for (int i = 0; i < c->n_ids; i++)
		if (c->ids[i] == id)
			return i;
	GROW(c->ids, c->n_ids + 1, c->size);
	c->ids[c->n_ids] = id;
	return c->n_ids++;
}

/* Asks about all jobs at once if it is time to; true: there is an answer about this one. */
static bool ask_slurm(struct claims *c, long long id)
{
	int at = place_of(c, id);
	double age_s = clock_s() - c->asked_s;

	if (!c->asked_s || age_s > (at < c->n_asked ? ASK_AGAIN_S : ASK_NEW_S)) {
		arena_release(&c->told);
		c->answered = !slurm_jobs(c->ids, c->n_ids, &c->told, &c->jobs, &c->n_jobs);
		c->n_asked = c->n_ids;
		c->asked_s = clock_s();
	}
	return c->answered && at < c->n_asked;
}

static enum claim_life slurm_says(const struct claim_owner *o, struct claims *c)
{
	const struct slurm_job *job;

	if (!c || !c->slurm || !o->place.job || o->uid != c->self.uid)
		return CLAIM_UNKNOWN;
	if (*o->place.cluster && *c->self.place.cluster && strcmp(o->place.cluster, c->self.place.cluster))
		return CLAIM_UNKNOWN;
	if (!ask_slurm(c, o->place.array))
		return CLAIM_UNKNOWN;
	job = slurm_find(c->jobs, c->n_jobs, o->place.array, o->place.task);
	if (!job || job->phase != SLURM_ACTIVE || job->restarts > o->place.restarts)
		return CLAIM_GIVEN_UP;
	return CLAIM_ALIVE;
}

enum claim_life claim_life(const struct claim_owner *o, struct claims *c)
{
	struct arena a = {0};
	struct claim_owner self;
	enum claim_life life;
	struct process p = o->process;

	owner_self(&self, &a);
	if (strcmp(p.host, self.process.host) || strcmp(o->machine, self.machine) ||
			(!strcmp(p.boot_id, self.process.boot_id) && strcmp(o->pid_space, self.pid_space))) {
		life = slurm_says(o, c);
	} else {
		p.host = NULL;		/* of this host, whatever it is called */
		life = process_alive(&p) ? CLAIM_ALIVE : CLAIM_GONE;
	}
	arena_release(&a);
	return life;
}

/* --- taking ----------------------------------------------------------------------------------- */

struct taking {
	struct claims *c;
	struct arena arena;
	const char *mine;	/* a file that holds our claim */
	double ready_s;
};

/* A name of our own, by which `gc` knows a file that was left behind. */
static const char *temporary(const char *path, const char *token, struct arena *a)
{
	return arena_printf(a, "%s-%s.tmp0", path, token);
}

/* Where there are no links. A reader may see it before its text. */
static int copy_new(const char *from, const char *path)
{
	size_t n;
	char *text = path_read(from, &n);
	int fd = text ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666) : -1;
	int ret = fd >= 0 ? 1 : text && errno == EEXIST ? 0 : -1;

	if (fd >= 0 && (write(fd, text, n) != (ssize_t)n || fsync(fd)))
		ret = -1;
	if (fd >= 0)
		close(fd);
	free(text);
	return ret;
}

/* Makes path, with our claim in it, if it is not there. 1: made, 0: it is there, -1 with errno. */
static int make_new(const struct taking *t, const char *path)
{
	struct stat own, there;

	if (!link(t->mine, path))
		return 1;
	/* NFS may do it, lose the answer, and be asked again: then it is there, and ours. */
	if (errno == EEXIST)
		return !stat(t->mine, &own) && !stat(path, &there) && own.st_dev == there.st_dev &&
			own.st_ino == there.st_ino;
	if (errno == EPERM || errno == ENOTSUP || errno == ENOSYS || errno == EMLINK)
		return copy_new(t->mine, path);
	return -1;
}

/* Has nobody written into the unreadable claim for a while, by the clock of its file system? */
static bool is_torn(const struct taking *t, const char *path)
{
	struct stat old, now;

	return !stat(path, &old) && !stat(t->mine, &now) && (double)(now.st_mtime - old.st_mtime) > TORN_S;
}

/* Is the owner gone, so that his claim may be replaced? Then also sets from when on. */
static bool may_replace(struct taking *t, const char *path, const struct claim_owner *o)
{
	enum claim_life life = *o->token ? claim_life(o, t->c) :
		is_torn(t, path) ? CLAIM_GIVEN_UP : CLAIM_UNKNOWN;

	if (life == CLAIM_GIVEN_UP)
		t->ready_s = clock_s() + CLAIM_WAIT_S;
	return life == CLAIM_GIVEN_UP || life == CLAIM_GONE;
}

static int replace(struct taking *t, const char *path, const struct claim_owner *old);

/*
 * The right to replace or remove what is in path with this token. 1: it is ours, in the file at *right; 0:
 * another's who may be alive, or the token is not in path any more; -1 with errno.
 */
static int win_right(struct taking *t, const char *path, const char *token, char **right)
{
	struct claim_owner holder, now;
	int ret;

	*right = arena_printf(&t->arena, "%s.%s", path, *token ? token : TORN);
	ret = make_new(t, *right);
	if (ret == 0 && !read_owner(*right, &holder, &t->arena) && may_replace(t, *right, &holder))
		ret = replace(t, *right, &holder);
	if (ret != 1)
		return ret;
	if (!read_owner(path, &now, &t->arena) && !strcmp(now.token, token))
		return 1;
	unlink(*right);
	return 0;
}

/* Puts our claim in the place of one whose owner is gone. As win_right(). */
static int replace(struct taking *t, const char *path, const struct claim_owner *old)
{
	char *right, *copy = arena_printf(&t->arena, "%s0", t->mine);
	int ret = win_right(t, path, old->token, &right);

	if (ret != 1)
		return ret;
	if (make_new(t, copy) != 1 || rename(copy, path))
		ret = -1;
	unlink(right);
	return ret;
}

/* A claim is there: the first look at it costs no writing. */
static bool is_held(struct claims *c, const char *path, struct arena *a)
{
	struct claim_owner o;
	enum claim_life life;

	if (read_owner(path, &o, a) || !*o.token)
		return false;
	life = claim_life(&o, c);
	return life == CLAIM_ALIVE || life == CLAIM_UNKNOWN;
}

static int take(struct taking *t, const char *path)
{
	struct claim_owner o;
	int ret = make_new(t, path);

	if (ret)
		return ret;
	if (read_owner(path, &o, &t->arena))
		return errno == ENOENT ? 0 : -1;	/* released meanwhile: the next try gets it */
	return may_replace(t, path, &o) ? replace(t, path, &o) : 0;
}

int claim_take(struct claims *c, const char *dir, struct claim *claim)
{
	struct taking t = {.c = c, .ready_s = clock_s()};
	const char *path = arena_printf(&t.arena, "%s/" NAME, dir);
	char token[CLAIM_TOKEN];
	int ret = 0;

	*claim = (struct claim){.token = ""};
	new_token(token);
	t.mine = temporary(path, token, &t.arena);
	if (!is_held(c, path, &t.arena)) {
		ret = write_owner(t.mine, &c->self, token) ? -1 : take(&t, path);
		if (ret < 0)
			error_errno("cannot claim %s", path);
		unlink(t.mine);
	}
	if (ret == 1) {
		strcpy(claim->token, token);
		claim->ready_s = t.ready_s;
	}
	arena_release(&t.arena);
	return ret == 1 ? 0 : ret == 0 ? CLAIM_TAKEN : CLAIM_FAILED;
}

void claim_release(struct claims *c, const char *dir, struct claim *claim)
{
	struct taking t = {.c = c};
	const char *path = arena_printf(&t.arena, "%s/" NAME, dir);
	char *right, token[CLAIM_TOKEN];

	new_token(token);
	t.mine = temporary(path, token, &t.arena);
	if (claim_is_mine(dir, claim->token)) {
		if (!write_owner(t.mine, &c->self, token) && win_right(&t, path, claim->token, &right) == 1) {
			unlink(path);
			unlink(right);
		}
		unlink(t.mine);
	}
	claim->token[0] = '\0';
	arena_release(&t.arena);
}
