/* Which cores workers get: the order by siblings, and claims that keep supervisors apart. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/path.h"
#include "supervise/cores.h"

static char folder[256];

static int open_file(void **state)
{
	char *file;
	int ret;

	(void)state;
	if (path_tmp_folder(folder, sizeof folder, "cores"))
		return -1;
	file = path_join(folder, "cores");
	ret = setenv("MOELAB_CORES", file, 1);
	free(file);
	return ret;
}

static int remove_file(void **state)
{
	(void)state;
	return path_remove_tree(folder);
}

/* Four cores of two siblings each, numbered as Linux does: 0 and 4, 1 and 5, ... */
static const char *order(int workers, int threads)
{
	static char text[32];
	struct core cores[8];
	int n = 0;

	for (int id = 0; id < 8; id++)
		cores[id] = (struct core){id, id % 4, id / 4};
	cores_order(cores, 8, workers, threads);
	for (int i = 0; i < 8; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, "%d", cores[i].id);
	return text;
}

static void test_order_by_siblings(void **state)
{
	(void)state;
	assert_string_equal(order(2, 1), "01234567");
	assert_string_equal(order(6, 1), "01234567");
	assert_string_equal(order(2, 2), "01234567");	/* whole cores for all four threads */
	assert_string_equal(order(3, 2), "04152637");	/* a whole core each */
	assert_string_equal(order(2, 4), "04152637");
	assert_string_equal(order(1, 8), "04152637");
}

static void test_cores_of_a_worker(void **state)
{
	struct core_claim c = {.file = -1, .threads = 2, .id = {3, 7, 1, 5}};
	cpu_set_t set;

	(void)state;
	cores_of_worker(&c, 1, &set);
	assert_int_equal(CPU_COUNT(&set), 2);
	assert_true(CPU_ISSET(1, &set) && CPU_ISSET(5, &set));
}

static void test_workers_are_apart(void **state)
{
	struct core_claim c;
	cpu_set_t a, b, both;

	(void)state;
	if (cpu_cores() < 2)
		skip();
	if (!cores_claim(&c, 2, 1))
		skip();		/* a quota */
	cores_of_worker(&c, 0, &a);
	cores_of_worker(&c, 1, &b);
	CPU_AND(&both, &a, &b);
	assert_int_equal(CPU_COUNT(&a), 1);
	assert_int_equal(CPU_COUNT(&b), 1);
	assert_int_equal(CPU_COUNT(&both), 0);
	assert_false(cores_claim(&(struct core_claim){0}, CPU_SETSIZE, 1));
	cores_release(&c);
}

static void test_supervisors_are_apart(void **state)
{
	struct core_claim first, second;
	cpu_set_t a, b, both;
	int whole, all = cores_free(&whole);

	(void)state;
	assert_int_equal(all, cpu_cores());
	assert_in_range(whole, 1, all);
	if (!cores_claim(&first, 1, 1) || all < 2)
		skip();
	assert_int_equal(cores_free(&whole), all - 1);
	assert_false(cores_claim(&second, all, 1));
	assert_int_equal(cores_free(&whole), all - 1);	/* nothing is kept of a claim refused */
	assert_true(cores_claim(&second, 1, 1));
	cores_of_worker(&first, 0, &a);
	cores_of_worker(&second, 0, &b);
	CPU_AND(&both, &a, &b);
	assert_int_equal(CPU_COUNT(&both), 0);
	cores_release(&second);
	cores_release(&first);
	assert_int_equal(cores_free(&whole), all);
}

/* However a supervisor ends, its cores are free again. */
static void test_a_claim_ends_with_its_process(void **state)
{
	int whole, all = cores_free(&whole), said[2], status;
	char byte;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(said), 0);
	pid = fork();
	if (!pid) {
		struct core_claim c;
		byte = cores_claim(&c, 1, 1);
		if (write(said[1], &byte, 1) == 1)
			pause();
		_exit(1);
	}
	assert_int_equal(read(said[0], &byte, 1), 1);
	assert_int_equal(cores_free(&whole), all - byte);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	assert_int_equal(cores_free(&whole), all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_by_siblings), cmocka_unit_test(test_cores_of_a_worker),
		cmocka_unit_test(test_workers_are_apart), cmocka_unit_test(test_supervisors_are_apart),
		cmocka_unit_test(test_a_claim_ends_with_its_process),
	};

	return cmocka_run_group_tests(tests, open_file, remove_file);
}
