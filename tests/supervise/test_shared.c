/*
 * What is shared with others: runs that other machines claim, before the supervisor begins or while it is at
 * them; GPUs, of which several workers share one as far as its memory goes, and only those that the batch
 * system leaves to this process.
 */
#include <dirent.h>

#include "base/cpu.h"
#include "supervise/cores.h"
#include "fake_worker.h"

static void claim_from_afar(const struct job *j)
{
	static const char text[] = "{\"token\": \"0123456789abcdef0123456789abcdef\", \"since\": \"\", "
		"\"host\": \"far\", \"machine\": \"1\", \"boot_id\": \"2\", \"pid_space\": \"3\", "
		"\"pid\": 4, \"start_time\": 5, \"uid\": 0}";

	assert_int_equal(path_mkdirs(dir_of(j)), 0);
	assert_int_equal(path_write(arena_printf(&arena, "%s/CLAIM", dir_of(j)), text, strlen(text)), 0);
}

static long long size_of(const struct job *j)
{
	struct stat st;

	return stat(arena_printf(&arena, "%s/metrics.jsonl", dir_of(j)), &st) ? -1 : (long long)st.st_size;
}

/* The others' run waits until it is let go, then it is done; nothing is left of claims. */
static void test_others_run_is_left(void **state)
{
	struct job jobs[] = {job("good", 1), job("good", 2)};
	const char *claim = arena_printf(&arena, "%s/CLAIM", dir_of(&jobs[0]));
	pid_t pid;

	(void)state;
	claim_from_afar(&jobs[0]);
	pid = supervise_aside(jobs, 2);
	wait_for_worker(&jobs[1], STEPS);
	nap(0.5);
	assert_int_equal(size_of(&jobs[0]), -1);
	assert_int_equal(unlink(claim), 0);
	assert_int_equal(wait_code(pid), EXIT_DONE);
	assert_int_equal(state_of(&jobs[0]), RUN_DONE);
	assert_false(path_exists(claim));
	assert_false(path_exists(arena_printf(&arena, "%s/CLAIM", dir_of(&jobs[1]))));
}

/* A sweep beside this one names the run otherwise and gets to it first: it is not done twice. */
static void test_run_of_another_label(void **state)
{
	struct job jobs[] = {job("slow", 1), job("good", 2)}, other = job("other", 2);
	struct supervisor one = two_workers(NULL);
	pid_t pid;

	(void)state;
	hold_slow(true);
	one.workers = 1;
	pid = fork();
	if (!pid)
		_exit(supervise_with(one, jobs, 2));
	wait_for_worker(&jobs[0], 1);
	other.identity = jobs[1].identity;
	assert_int_equal(jobs_decide(root, &other, 1, &arena), 0);
	assert_int_equal(supervisor_run(&one, &other, 1), EXIT_DONE);
	hold_slow(false);
	assert_int_equal(wait_code(pid), EXIT_DONE);
	assert_int_equal(state_of(&other), RUN_DONE);
	assert_false(path_exists(dir_of(&jobs[1])));
}

/* Taken over while it trains: its worker writes no line more, no checkpoint and no marker. Slurm takes this job for
   dead, so it draws no other run either. */
static void test_taken_over(void **state)
{
	struct job jobs[] = {job("slow", 1), job("good", 2)}, j = jobs[0];
	struct supervisor one = two_workers(NULL);
	pid_t pid;
	long long size;

	(void)state;
	hold_slow(true);
	one.workers = 1;
	pid = fork();
	if (!pid)
		_exit(supervise_with(one, jobs, 2));
	wait_for_worker(&j, 6);
	claim_from_afar(&j);
	nap(CLAIM_LOOK_S + 0.2);
	size = size_of(&j);
	assert_int_equal(wait_code(pid), EXIT_STOPPED);
	assert_int_equal(size_of(&j), size);
	assert_false(path_exists(arena_printf(&arena, "%s/DONE", dir_of(&j))));
	assert_false(path_exists(arena_printf(&arena, "%s/ckpt/step_20.safetensors", dir_of(&j))));
	assert_true(path_exists(arena_printf(&arena, "%s/CLAIM", dir_of(&j))));
	assert_int_equal(size_of(&jobs[1]), -1);
}

/* What is claimed in place of an owner who may still end a write waits; who stops meanwhile lets it go. */
static void test_wait_before_work(void **state)
{
	static const struct timespec long_ago[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
	struct job j = job("good", 1);
	const char *claim = arena_printf(&arena, "%s/CLAIM", dir_of(&j));
	struct stat st;
	pid_t pid;

	(void)state;
	assert_int_equal(path_mkdirs(dir_of(&j)), 0);
	assert_int_equal(path_write(claim, "", 0), 0);
	assert_int_equal(utimensat(AT_FDCWD, claim, long_ago, 0), 0);
	pid = supervise_aside(&j, 1);
	for (int i = 0; i < 500 && !stat(claim, &st) && !st.st_size; i++)
		nap(0.01);
	nap(0.3);
	assert_int_equal(size_of(&j), -1);
	kill(pid, SIGUSR1);
	assert_int_equal(wait_code(pid), EXIT_STOPPED);
	assert_int_equal(size_of(&j), -1);
	assert_false(path_exists(claim));
}

/* Who removes a claim, or the whole directory, of a run at work ends this run and no other. */
static void test_claim_removed(void **state)
{
	struct job jobs[] = {job("slow", 1), job("slow", 2)};
	pid_t pid;

	(void)state;
	hold_slow(true);
	pid = supervise_aside(jobs, 2);
	wait_for_worker(&jobs[0], 6);
	assert_int_equal(unlink(arena_printf(&arena, "%s/CLAIM", dir_of(&jobs[0]))), 0);
	hold_slow(false);
	assert_int_equal(wait_code(pid), EXIT_STOPPED);
	assert_int_equal(state_of(&jobs[0]), RUN_LOST);
	assert_int_equal(state_of(&jobs[1]), RUN_DONE);
}

/* A supervisor that dies leaves a claim, which its host knows to be nobody's. */
static void test_claim_of_the_dead(void **state)
{
	struct job j = job("slow", 1);
	pid_t pid, worker;

	(void)state;
	hold_slow(true);
	pid = supervise_aside(&j, 1);
	worker = wait_for_worker(&j, 6);
	kill(pid, SIGKILL);
	kill(worker, SIGKILL);
	hold_slow(false);
	assert_int_equal(wait_code(pid), -SIGKILL);
	assert_true(path_exists(arena_printf(&arena, "%s/CLAIM", dir_of(&j))));
	assert_int_equal(supervise(&j, 1), EXIT_DONE);
	assert_false(path_exists(arena_printf(&arena, "%s/CLAIM", dir_of(&j))));
	assert_sql("count(*) = 20 AND max(step) = 20 FROM step");
}

/* Several supervisors of the same work do not each try what has failed. */
static void test_failure_of_another(void **state)
{
	struct job j = job("fail", 1);
	struct supervisor s = two_workers(NULL);

	(void)state;
	s.failed_since = (long long)time(NULL);
	assert_int_equal(supervise_with(s, &j, 1), EXIT_RUN_FAILED);
	assert_int_equal(supervise_with(s, &j, 1), EXIT_RUN_FAILED);
	assert_sql("count(*) = 1 FROM attempt");
	s.failed_since += 3600;
	assert_int_equal(supervise_with(s, &j, 1), EXIT_RUN_FAILED);
	assert_sql("count(*) = 2 FROM attempt");
}

/* A crash of its own worker is another matter: it is tried again as ever. */
static void test_crash_is_tried_again(void **state)
{
	struct job j = job("crash-once", 1);
	struct supervisor s = two_workers(NULL);

	(void)state;
	s.failed_since = (long long)time(NULL);
	assert_int_equal(supervise_with(s, &j, 1), EXIT_DONE);
	assert_sql("count(*) = 2 FROM attempt");
}

/* --- GPUs: a program stands in for nvidia-smi, workers note what they see ---------------------- */

static const char list[] = "#!/bin/sh\ncat <<'END'\n"
	"GPU-aaaa-1, NVIDIA H200, 1000, 990\n"
	"GPU-bbbb-2, NVIDIA H200, 1000, 990\nEND\n";

static void play_nvidia_smi(void)
{
	char *file = path_join(root, "nvidia-smi"), *path = xasprintf("%s:%s", root, getenv("PATH"));

	assert_int_equal(path_write(file, list, strlen(list)), 0);
	assert_int_equal(chmod(file, 0755), 0);
	setenv("PATH", path, 1);
	free(path);
	free(file);
}

static int n_entries(const char *folder)
{
	DIR *d = opendir(folder);
	int n = -2;		/* . and .. */

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

/* ROOT/at_work has a file for each worker; what it sees at its beginning goes into ROOT/seen. */
static int noting_worker(char **argv)
{
	char *at_work = getenv("AT_WORK"), *own, *seen;
	int ret, whole;

	if (!at_work)
		return fake_worker(argv);
	own = xasprintf("%s/%d", at_work, (int)getpid());
	seen = xasprintf("%s/../seen", at_work);
	path_write(own, "", 0);
	FILE *f = fopen(seen, "ae");
	fprintf(f, "%s %d%s%s\n", getenv("CUDA_VISIBLE_DEVICES"), n_entries(at_work),
		cores_free(&whole) < cpu_cores() ? ", cores are taken" : "", getpgrp() == getpid() ? "" : ", hears ^C");
	fclose(f);
	ret = fake_worker(argv);
	unlink(own);
	free(own);
	free(seen);
	return ret;
}

/* GPU 1 alone is ours; of three workers with 400 MiB each two fit at a time, though it is empty at first. */
static void test_memory_and_visibility(void **state)
{
	struct job jobs[] = {job("slow", 1), job("slow", 2), job("slow", 3)};
	struct supervisor s = two_workers(NULL);
	char *at_work = path_join(root, "at_work"), *text, *seen = path_join(root, "seen");
	char *cores = path_join(root, "cores");		/* other programs of this machine may hold the common ones */

	(void)state;
	play_nvidia_smi();
	assert_int_equal(path_mkdirs(at_work), 0);
	setenv("AT_WORK", at_work, 1);
	setenv("MOELAB_CORES", cores, 1);
	setenv("CUDA_VISIBLE_DEVICES", "1", 1);
	s.workers = 3;
	s.on_gpus = true;
	s.worker_bytes = 400.0 * 1024 * 1024;
	assert_int_equal(supervise_with(s, jobs, 3), EXIT_DONE);
	text = path_read(seen, NULL);
	assert_non_null(strstr(text, "GPU-bbbb-2 2\n"));
	assert_null(strstr(text, "GPU-aaaa-1"));
	assert_null(strstr(text, " 3\n"));
	unsetenv("MOELAB_CORES");
	free(text);
	free(cores);
	free(seen);
	free(at_work);
}

/* Seconds of a run that has its GPU to itself compare, however many workers there are. */
static void test_workers_of_a_gpu(void **state)
{
	(void)state;
	play_nvidia_smi();
	unsetenv("CUDA_VISIBLE_DEVICES");
	unsetenv("AT_WORK");
	for (int n = 1; n <= 3; n++) {
		struct job jobs[] = {job("fast", 10 * n), job("fast", 10 * n + 1), job("fast", 10 * n + 2)};
		struct supervisor s = two_workers(NULL);
		struct run_info info;
		s.workers = n;
		s.on_gpus = true;
		assert_int_equal(supervise_with(s, jobs, 3), EXIT_DONE);
		assert_int_equal(run_info_read(&info, dir_of(&jobs[0]), &arena), 0);
		assert_int_equal(info.jobs, n < 3 ? 1 : 2);
	}
}

/* A worker on a GPU leaves all cores to other sweeps, one on the CPU does not; after it they are free again. One on
   the CPU has the environment as it was. */
static void test_cores_are_left(void **state)
{
	char *at_work = path_join(root, "at_work"), *cores = path_join(root, "cores"), *seen = path_join(root, "seen");
	int whole;

	(void)state;
	setenv("CUDA_VISIBLE_DEVICES", "1", 1);
	play_nvidia_smi();
	assert_int_equal(path_mkdirs(at_work), 0);
	setenv("AT_WORK", at_work, 1);
	setenv("MOELAB_CORES", cores, 1);
	for (int on_gpus = 0; on_gpus < 2; on_gpus++) {
		struct job j = job("fast", on_gpus + 1);
		struct supervisor s = two_workers(NULL);
		char *text;
		s.workers = 1;
		s.on_gpus = on_gpus;
		s.oversubscribe = false;
		assert_int_equal(supervise_with(s, &j, 1), EXIT_DONE);
		text = path_read(seen, NULL);
		assert_true((strstr(text, "taken") == NULL) == on_gpus);
		assert_true(str_starts(text, on_gpus ? "GPU-bbbb-2 1" : "1 1"));
		assert_null(strstr(text, "hears"));
		assert_int_equal(cores_free(&whole), cpu_cores());
		assert_int_equal(unlink(seen), 0);
		free(text);
	}
	unsetenv("MOELAB_CORES");
	free(seen);
	free(cores);
	free(at_work);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(test_others_run_is_left), TEST(test_run_of_another_label), TEST(test_taken_over),
		TEST(test_wait_before_work), TEST(test_claim_removed),
		TEST(test_claim_of_the_dead), TEST(test_failure_of_another), TEST(test_crash_is_tried_again),
		TEST(test_memory_and_visibility), TEST(test_workers_of_a_gpu), TEST(test_cores_are_left),
	};

	if (argc > 2 && !strcmp(argv[1], "worker"))
		return noting_worker(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
