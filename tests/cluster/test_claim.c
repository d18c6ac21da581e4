/* Claims: made, kept, handed on; several processes race for one. */
#include "cluster/claim.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/path.h"
#include "base/str.h"
#include "caught.h"

enum { RACERS = 5, ROUNDS = 8 };

static char folder[64];
static struct arena arena;

static int enter(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/moelab-claim-XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static int leave(void **state)
{
	(void)state;
	arena_release(&arena);
	return path_remove_tree(folder);
}

/* What `ls` would show, in order of names. */
static int n_files(void)
{
	char *command = xasprintf("ls %s | wc -l", folder);
	FILE *f = popen(command, "r");
	int n = -1;

	assert_int_equal(fscanf(f, "%d", &n), 1);
	pclose(f);
	free(command);
	return n;
}

static pid_t child(void (*act)(void *), void *data)
{
	pid_t pid = fork();

	if (pid == 0) {
		act(data);
		_exit(0);
	}
	return pid;
}

static void claim_and_die(void *data)
{
	struct claims c;
	struct claim claim;

	claims_open(&c);
	(void)data;
	if (claim_take(&c, folder, &claim))
		_exit(1);
}

static void leave_dead_claim(void)
{
	int status;

	waitpid(child(claim_and_die, NULL), &status, 0);
	assert_int_equal(status, 0);
}

static void put_claim(const char *text)
{
	char *path = path_join(folder, "CLAIM");

	assert_int_equal(path_write(path, text, strlen(text)), 0);
	free(path);
}

static void test_one_owner(void **state)
{
	struct claims a, b;
	struct claim first, second;
	struct claim_owner o;

	(void)state;
	claims_open(&a);
	claims_open(&b);
	assert_false(claim_read(folder, &o, &arena));
	assert_int_equal(claim_take(&a, folder, &first), 0);
	assert_int_equal(claim_take(&b, folder, &second), CLAIM_TAKEN);
	assert_true(claim_is_mine(folder, first.token));
	assert_false(claim_is_mine(folder, second.token));
	assert_true(claim_read(folder, &o, &arena));
	assert_true(claim_is_own(&o));
	assert_int_equal(claim_life(&o, NULL), CLAIM_ALIVE);
	claim_release(&b, folder, &second);
	assert_int_equal(n_files(), 1);
	claim_release(&a, folder, &first);
	assert_int_equal(n_files(), 0);
	assert_int_equal(claim_take(&b, folder, &second), 0);
	claim_release(&b, folder, &second);
	claims_close(&a);
	claims_close(&b);
}

static void test_dead_owner(void **state)
{
	struct claims c;
	struct claim claim;
	struct claim_owner o;

	(void)state;
	leave_dead_claim();
	assert_true(claim_read(folder, &o, &arena));
	assert_int_equal(claim_life(&o, NULL), CLAIM_GONE);
	claims_open(&c);
	assert_int_equal(claim_take(&c, folder, &claim), 0);
	assert_true(claim.ready_s <= clock_s());	/* its host knows: nothing to wait for */
	assert_int_equal(n_files(), 1);
	claim_release(&c, folder, &claim);
	claims_close(&c);
}

/* Whatever container it was of: what was before the host's last start has ended. */
static void test_other_boot(void **state)
{
	struct claim_owner o;

	(void)state;
	leave_dead_claim();
	assert_true(claim_read(folder, &o, &arena));
	o.pid_space = "pid:[1]";
	assert_int_equal(claim_life(&o, NULL), CLAIM_UNKNOWN);
	o.process.boot_id = "2";
	assert_int_equal(claim_life(&o, NULL), CLAIM_GONE);
}

/* Slurm may call a host otherwise than the host does itself. */
static void test_node_of_another_name(void **state)
{
	struct claims c;
	struct claim claim;
	struct claim_owner o;

	(void)state;
	setenv("SLURMD_NODENAME", "n7", 1);
	setenv("SLURM_JOB_ID", "12", 1);
	claims_open(&c);
	assert_int_equal(claim_take(&c, folder, &claim), 0);
	assert_true(claim_read(folder, &o, &arena));
	assert_string_equal(o.process.host, "n7");
	assert_int_equal(claim_life(&o, NULL), CLAIM_ALIVE);
	unsetenv("SLURM_JOB_ID");
	unsetenv("SLURMD_NODENAME");
	claims_close(&c);
}

static char *claim_file(const char *suffix)
{
	return arena_printf(&arena, "%s/CLAIM%s", folder, suffix);
}

/* The right to a claim is left when the claim is another by now, and so is the right to that right. */
static void test_left_rights(void **state)
{
	struct claim_owner o;
	const char *right, *of_right, *word = "{\"token\": \"ee\"}";

	(void)state;
	leave_dead_claim();
	assert_true(claim_read(folder, &o, &arena));
	right = claim_file(arena_printf(&arena, ".%s", o.token));
	of_right = arena_printf(&arena, "%s.ee", right);
	assert_int_equal(path_write(right, word, strlen(word)), 0);
	assert_false(claim_is_left(claim_file(""), false));
	assert_true(claim_is_left(claim_file(""), true));
	assert_false(claim_is_left(right, false));
	assert_true(claim_is_left(right, true));
	assert_false(claim_is_left(of_right, false));
	assert_true(claim_is_left(claim_file(".ff"), false));
	assert_true(claim_is_left(claim_file(".torn"), false));
	put_claim("{\"token\": \"ff\"}");
	assert_true(claim_is_left(right, false));
	assert_true(claim_is_left(of_right, false));
	assert_false(claim_is_left(claim_file(".ff"), false));
	put_claim("torn");
	assert_false(claim_is_left(claim_file(".torn"), false));
	assert_true(claim_is_left(claim_file(".ff"), false));
	assert_false(claim_is_left(arena_printf(&arena, "%s/config.yaml", folder), true));
}

/* --- races: each of several processes takes a claim, works, and releases it -------------------- */

struct race {
	int go, inside, worst, n_taken;
};

static void race_for_it(void *data)
{
	struct race *r = data;
	struct claims c;
	struct claim claim;
	int inside;

	claims_open(&c);
	while (!__atomic_load_n(&r->go, __ATOMIC_SEQ_CST))
		usleep(50);
	while (claim_take(&c, folder, &claim))
		usleep(500);
	inside = __atomic_add_fetch(&r->inside, 1, __ATOMIC_SEQ_CST);
	if (inside > r->worst)
		r->worst = inside;
	if (!claim_is_mine(folder, claim.token))
		r->worst = 100;
	usleep(200);
	__atomic_add_fetch(&r->n_taken, 1, __ATOMIC_SEQ_CST);
	__atomic_sub_fetch(&r->inside, 1, __ATOMIC_SEQ_CST);
	/* Some die over it, so that others have to take it over. */
	if (getpid() % 2)
		claim_release(&c, folder, &claim);
}

/* One died, and so did who was about to take over from him. */
static void leave_dead_taker(void)
{
	char token[CLAIM_TOKEN] = "", *claim = path_join(folder, "CLAIM"), *aside = path_join(folder, "aside");
	struct claim_owner o;

	leave_dead_claim();
	assert_true(claim_read(folder, &o, &arena));
	strcpy(token, o.token);
	assert_int_equal(rename(claim, aside), 0);
	leave_dead_claim();
	assert_int_equal(rename(claim, arena_printf(&arena, "%s.%s", claim, token)), 0);
	assert_int_equal(rename(aside, claim), 0);
	free(aside);
	free(claim);
}

static void race(void (*leave_dead)(void))
{
	struct race *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[RACERS];
	int status;

	leave_dead();
	for (int i = 0; i < RACERS; i++)
		pids[i] = child(race_for_it, r);
	__atomic_store_n(&r->go, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < RACERS; i++)
		waitpid(pids[i], &status, 0);
	assert_int_equal(r->worst, 1);
	assert_int_equal(r->n_taken, RACERS);
	assert_true(n_files() <= 1);	/* the claim of the last, if he died over it */
	munmap(r, sizeof *r);
}

static void test_race(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		race(leave_dead_claim);
		assert_int_equal(path_remove_tree(folder), 0);
		assert_int_equal(mkdir(folder, 0777), 0);
	}
}

static void test_race_after_dead_taker(void **state)
{
	(void)state;
	for (int i = 0; i < ROUNDS; i++) {
		race(leave_dead_taker);
		assert_int_equal(path_remove_tree(folder), 0);
		assert_int_equal(mkdir(folder, 0777), 0);
	}
}

/* --- other hosts ------------------------------------------------------------------------------ */

#define FAR "{\"token\": \"0123456789abcdef0123456789abcdef\", \"since\": \"\", \"host\": \"far\", " \
	"\"machine\": \"1\", \"boot_id\": \"2\", \"pid_space\": \"3\", \"pid\": 4, \"start_time\": 5, "

static void answer_squeue(const char *body)
{
	char *path = path_join(folder, "squeue"), *text = xasprintf("#!/bin/sh\n%s\n", body);

	assert_int_equal(path_write(path, text, strlen(text)), 0);
	assert_int_equal(chmod(path, 0755), 0);
	free(text);
	free(path);
}

/* What becomes of a claim of task 3 of array 12, in its second run, when squeue says so. */
static int take_when(const char *says, long uid, double *ready_s)
{
	char *before = xstrdup(getenv("PATH")), *path = xasprintf("%s:%s", folder, before), *text;
	struct claims c;
	struct claim claim;
	int ret;

	setenv("PATH", path, 1);
	answer_squeue(says);
	text = xasprintf(FAR "\"uid\": %ld, \"slurm\": {\"cluster\": \"\", \"job\": 14, \"array\": 12, "
		"\"task\": 3, \"restarts\": 1, \"step\": \"batch\"}}", uid);
	put_claim(text);
	claims_open(&c);
	ret = claim_take(&c, folder, &claim);
	*ready_s = claim.ready_s - clock_s();
	if (!ret)
		assert_true(claim_is_mine(folder, claim.token));
	claims_close(&c);
	setenv("PATH", before, 1);
	free(before);
	free(path);
	free(text);
	return ret;
}

#define SAYS(state, restarts) \
	"printf '%-20s%-20s%-20s%-24s%-12s%-200s%-200s\\n' 14 12 3 " state " " #restarts " n1 None"

static void test_slurm_decides(void **state)
{
	double ready_s;
	long me = (long)getuid();

	(void)state;
	assert_int_equal(take_when(SAYS("RUNNING", 1), me, &ready_s), CLAIM_TAKEN);
	assert_int_equal(take_when(SAYS("COMPLETING", 1), me, &ready_s), CLAIM_TAKEN);
	assert_int_equal(take_when(SAYS("RUNNING", 2), me, &ready_s), 0);
	assert_true(ready_s > CLAIM_WAIT_S - 2 && ready_s <= CLAIM_WAIT_S);
	assert_int_equal(take_when(SAYS("PENDING", 1), me, &ready_s), 0);
	assert_int_equal(take_when(SAYS("NODE_FAIL", 1), me, &ready_s), 0);
	assert_int_equal(take_when("echo Invalid job id specified >&2; exit 1", me, &ready_s), 0);
	/* Of others' jobs Slurm may keep silent, and a controller that is down says nothing. */
	assert_int_equal(take_when("", me + 1, &ready_s), CLAIM_TAKEN);
	catch_messages();
	assert_int_equal(take_when("echo Unable to contact >&2; exit 1", me, &ready_s), CLAIM_TAKEN);
	error_sink = NULL;
}

/* A job that was not asked about when others were is not known to be over. */
static void test_question_of_another_job(void **state)
{
	char *before = xstrdup(getenv("PATH")), *path = xasprintf("%s:%s", folder, before);
	struct claim_owner o = {.process = {.host = "far", .boot_id = "2"}, .machine = "1", .pid_space = "3",
		.uid = (long)getuid(), .token = "ff",
		.place = {.cluster = "", .job = 14, .array = 12, .task = 3, .restarts = 1}};
	struct claims c;

	(void)state;
	setenv("PATH", path, 1);
	answer_squeue(SAYS("RUNNING", 1));
	claims_open(&c);
	assert_int_equal(claim_life(&o, &c), CLAIM_ALIVE);
	o.place.array = 15;
	assert_int_equal(claim_life(&o, &c), CLAIM_UNKNOWN);
	claims_close(&c);
	setenv("PATH", before, 1);
	free(path);
	free(before);
}

static void test_other_host(void **state)
{
	struct claims c;
	struct claim claim;
	struct claim_owner o;

	(void)state;
	put_claim(FAR "\"uid\": 0}");
	claims_open(&c);
	assert_int_equal(claim_take(&c, folder, &claim), CLAIM_TAKEN);
	assert_true(claim_read(folder, &o, &arena));
	assert_string_equal(claim_owner_text(&o, &arena), "process 4 on far");
	claims_close(&c);
}

static void test_torn(void **state)
{
	static const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct claims c;
	struct claim claim;
	char *path = path_join(folder, "CLAIM");

	(void)state;
	claims_open(&c);
	put_claim("");
	assert_int_equal(claim_take(&c, folder, &claim), CLAIM_TAKEN);
	utimensat(AT_FDCWD, path, long_ago, 0);
	assert_int_equal(claim_take(&c, folder, &claim), 0);
	assert_true(claim.ready_s > clock_s());
	claims_close(&c);
	free(path);
}

/* A claim taken over by another is not removed by its former owner. */
static void test_late_release(void **state)
{
	struct claims c;
	struct claim claim;

	(void)state;
	claims_open(&c);
	assert_int_equal(claim_take(&c, folder, &claim), 0);
	put_claim(FAR "\"uid\": 0}");
	claim_release(&c, folder, &claim);
	assert_int_equal(n_files(), 1);
	claims_close(&c);
}

/* Nor one that another is taking over, who has the right to it already. */
static void test_release_of_what_another_takes(void **state)
{
	static const char other[] = FAR "\"uid\": 0}";
	struct claims c;
	struct claim claim;

	(void)state;
	claims_open(&c);
	assert_int_equal(claim_take(&c, folder, &claim), 0);
	assert_int_equal(path_write(claim_file(arena_printf(&arena, ".%s", claim.token)), other, strlen(other)), 0);
	claim_release(&c, folder, &claim);
	assert_int_equal(n_files(), 2);
	claims_close(&c);
}

static void test_no_directory(void **state)
{
	struct claims c;
	struct claim claim;

	(void)state;
	catch_messages();
	claims_open(&c);
	assert_int_equal(claim_take(&c, claim_file("/none"), &claim), CLAIM_FAILED);
	assert_caught("cannot claim ");
	error_sink = NULL;
	claims_close(&c);
}

/* On a full disk a claim stays, as of one whose owner is gone soon; nothing else does. */
static void test_release_on_a_full_disk(void **state)
{
	struct rlimit none = {0, RLIM_INFINITY}, before;
	struct claims c;
	struct claim claim;

	(void)state;
	claims_open(&c);
	assert_int_equal(claim_take(&c, folder, &claim), 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	none.rlim_max = before.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
	claim_release(&c, folder, &claim);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(n_files(), 1);
	claims_close(&c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, enter, leave)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_one_owner), TEST(test_dead_owner), TEST(test_other_boot), TEST(test_node_of_another_name),
		TEST(test_left_rights), TEST(test_race), TEST(test_race_after_dead_taker), TEST(test_slurm_decides),
		TEST(test_question_of_another_job), TEST(test_other_host), TEST(test_torn), TEST(test_late_release),
		TEST(test_release_of_what_another_takes), TEST(test_no_directory), TEST(test_release_on_a_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
