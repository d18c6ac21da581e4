/*
 * How many workers of how many threads. This program is its own worker: one that only pretends, with
 * the pace that MOELAB_TEST_PACE gives it, or the real one where that is not set.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "measure/crew.h"
#include "measure/pace.h"
#include "supervise/cores.h"
#include "folder.h"
#include "message.h"
#include "synthetic_dataset.h"

#define SWEEP "set: {model: {arch: mamba_mlp, d_model: 16, n_blocks: 1}, data.path: data,\n" \
	"  train: {tokens: 20000, batch: 4, micro_batch: 2, context: 16}}\n"

/* Marks claim to be 1 s apart at one thread, 1 / pace s at more; the first, cold ones ten times that. */
static int pretend(const char *pace, int fd, int threads)
{
	double now = 1000, each = threads > 1 ? 1 / atof(pace) : 1;

	if (atof(pace) < 0) {
		error("no pace today");
		return 1;
	}
	for (int i = 0; write(fd, &now, sizeof now) == sizeof now; i++) {
		now += i < 1 ? 10 * each : each;
		usleep(5000);
	}
	return 0;
}

static int worker(int argc, char **argv)
{
	struct worker_options o = {.device = "cpu", .pipe = atoi(argv[4]), .threads = atoi(argv[6])};
	const char *pace = getenv("MOELAB_TEST_PACE");

	if (strcmp(argv[argc - 1], "--pace"))
		return 1;
	return pace ? pretend(pace, o.pipe, o.threads) : pace_worker(argv[2], &o);
}

static int open_folder(void **state)
{
	(void)state;
	error_sink = keep_message;
	if (path_tmp_folder(folder, sizeof folder, "crew") || chdir(folder) || setenv("MOELAB_CORES", "cores", 1))
		return -1;
	return synthetic_dataset(".", 100000, 0.1, 0.05);
}

static struct plan open_plan(const char *more)
{
	char *text = xasprintf("%s%s", SWEEP, more);
	struct plan p;

	assert_int_equal(path_write("s.yaml", text, strlen(text)), 0);
	assert_int_equal(plan_open(&p, "s.yaml", NULL, &device_list[CPU], "results"), 0);
	free(text);
	return p;
}

/* What is chosen for so many equal runs at this pace; "" in why: nothing was said. */
static struct crew choose(const char *more, enum crew_by by, const char *pace, struct crew given,
	char *why)
{
	struct plan p = open_plan(more);
	struct str said;

	setenv("MOELAB_TEST_PACE", pace, 1);
	str_init(&said);
	crew_choose(&p, by, &given, &said);
	snprintf(why, 512, "%s", said.text);
	str_release(&said);
	plan_close(&p);
	return given;
}

#define assert_crew(c, w, t)                          \
	do {                                          \
		assert_int_equal((c).workers, w);     \
		assert_int_equal((c).threads, t);     \
	} while (0)

/* --- without measuring ------------------------------------------------------------------------- */

static const char *candidates(int most, int cores, int whole, int threads)
{
	static char text[256];
	struct crew list[CREW_MAX];
	int n = crew_candidates(most, cores, whole, threads, list), at = 0;

	for (int i = 0; i < n; i++)
		at += snprintf(text + at, sizeof text - (size_t)at, "%dx%d ", list[i].workers,
			list[i].threads);
	return text;
}

static void test_candidates(void **state)
{
	(void)state;
	assert_string_equal(candidates(7, 2, 2, 0), "2x1 1x2 ");
	assert_string_equal(candidates(1, 2, 2, 0), "1x2 ");
	assert_string_equal(candidates(3, 16, 16, 0), "3x5 2x8 1x16 ");
	assert_string_equal(candidates(100, 8, 4, 0), "8x1 4x2 4x1 2x4 2x2 1x8 1x4 ");
	assert_string_equal(candidates(100, 8, 4, 3), "2x3 1x3 ");
	assert_string_equal(candidates(100, 2, 2, 5), "1x5 ");
}

static void test_time_of_the_work(void **state)
{
	const double seconds[] = {4, 3, 2, 1, 5};

	(void)state;
	assert_true(crew_seconds(seconds, 5, 1) == 15);
	assert_true(crew_seconds(seconds, 5, 2) == 10);	/* 4 and 1 and 5, or 3 and 2 */
	assert_true(crew_seconds(seconds, 5, 8) == 5);
	assert_true(crew_seconds(seconds, 0, 2) == 0);
}

static void test_given_stands(void **state)
{
	struct crew none = {.flops_per_s = 0};
	char why[512];
	int cores = cpu_cores();

	(void)state;
	assert_crew(choose("seeds: [1, 2]\n", CREW_BY_MEASURING, "-1", (struct crew){3, 5, 0}, why), 3, 5);
	assert_string_equal(why, "");
	assert_crew(choose("seeds: [1, 2]\n", CREW_BY_MEASURING, "-1", (struct crew){1, 0, 0}, why), 1, cores);
	assert_crew(choose("seeds: [1]\n", CREW_BY_MEASURING, "-1", (struct crew){4, 0, 0}, why), 4, cores);
	assert_crew(choose("seeds: [1, 2]\n", CREW_BY_RULE, "-1", (struct crew){0, 4096, 0}, why), 1, 4096);
	assert_crew(choose("seeds: [1]\n", CREW_BY_MEASURING, "-1", none, why), 1, cores);
}

static void test_rule_and_limits(void **state)
{
	struct crew none = {.flops_per_s = 0};
	char why[512];
	int cores = cpu_cores(), two = cores < 2 ? 1 : 2;

	(void)state;
	assert_crew(choose("seeds: [1, 2]\n", CREW_BY_RULE, "-1", none, why), two, cores / two);
	assert_crew(choose("seeds: [1, 2]\nlimits: {memory_gib: 0.0001}\n", CREW_BY_MEASURING, "-1",
		none, why), 1, cores);
	if (two == 1)
		skip();
	assert_crew(choose("seeds: [1, 2]\n", CREW_BY_NEED, "-1", none, why), two, cores / two);
	assert_non_null(strstr(why, "by rule: the work is too short"));
}

/* Cores that another supervisor has are left to it. */
static void test_cores_of_others(void **state)
{
	struct crew none = {.flops_per_s = 0};
	struct core_claim others;
	char why[512];
	int cores = cpu_cores();

	(void)state;
	if (cores < 2 || !cores_claim(&others, 1, cores - 1))
		skip();
	assert_crew(choose("seeds: [1, 2]\n", CREW_BY_RULE, "-1", none, why), 1, 1);
	assert_non_null(strstr(why, "1 worker x 1 thread; other sweeps have "));
	cores_release(&others);
}

/* --- by measuring ------------------------------------------------------------------------------ */

/* Two cores of those there are, so that all machines have the same choice: 2 x 1 or 1 x 2. */
static bool keep_two_cores(cpu_set_t *before)
{
	cpu_set_t two;

	sched_getaffinity(0, sizeof *before, before);
	CPU_ZERO(&two);
	for (int id = 0; id < CPU_SETSIZE && CPU_COUNT(&two) < 2; id++)
		if (CPU_ISSET(id, before))
			CPU_SET(id, &two);
	return !sched_setaffinity(0, sizeof two, &two) && cpu_cores() == 2;
}

static void test_the_quicker_crew(void **state)
{
	struct crew none = {.flops_per_s = 0}, c;
	cpu_set_t before;
	char why[512];
	int whole;

	(void)state;
	if (!keep_two_cores(&before) || cores_free(&whole) != 2 || whole != 2) {
		sched_setaffinity(0, sizeof before, &before);
		skip();
	}
	c = choose("seeds: [1, 2, 3, 4]\n", CREW_BY_MEASURING, "1.5", none, why);
	assert_crew(c, 2, 1);
	/* 2 sequences x 16 tokens of a micro-batch in a second, the warm-up not counted. */
	assert_non_null(strstr(why, ": 2 x 1 64 tokens/s (all runs "));
	assert_non_null(strstr(why, "), 1 x 2 48 tokens/s (all runs "));
	assert_non_null(strstr(why, "), chose 2 x 1"));
	assert_crew(choose("seeds: [1, 2, 3, 4]\n", CREW_BY_MEASURING, "2.5", none, why), 1, 2);
	assert_non_null(strstr(why, "1 x 2 80 tokens/s"));
	/* More tokens/s with two workers, but the third run would then be alone on one thread. */
	assert_crew(choose("seeds: [1, 2, 3]\n", CREW_BY_MEASURING, "1.6", none, why), 1, 2);
	message[0] = '\0';
	assert_crew(choose("seeds: [1, 2, 3]\n", CREW_BY_MEASURING, "-1", none, why), 2, 1);
	assert_non_null(strstr(message, "1 x 2 could not be measured: "));
	assert_non_null(strstr(message, "no pace today"));
	assert_non_null(strstr(why, "2 workers x 1 thread by rule"));
	sched_setaffinity(0, sizeof before, &before);
}

/* Real workers: their pace, and nothing is left of them. */
static void test_real_workers(void **state)
{
	struct plan p = open_plan("seeds: [1]\n");
	struct pace pace = {.config = &p.sweep.runs[0].config, .device = "cpu", .tokens = 32, .limit_s = 60};

	(void)state;
	unsetenv("MOELAB_TEST_PACE");
	assert_true(pace_measure(&pace, 2, 1) > 100);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	pace.limit_s = 0;
	message[0] = '\0';
	assert_true(pace_measure(&pace, 1, 1) < 0);
	assert_non_null(strstr(message, "no answer in time"));
	plan_close(&p);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_candidates), cmocka_unit_test(test_time_of_the_work),
		cmocka_unit_test(test_given_stands), cmocka_unit_test(test_rule_and_limits),
		cmocka_unit_test(test_cores_of_others), cmocka_unit_test(test_the_quicker_crew),
		cmocka_unit_test(test_real_workers),
	};

	if (argc > 6 && !strcmp(argv[1], "worker"))
		return worker(argc, argv);
	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
