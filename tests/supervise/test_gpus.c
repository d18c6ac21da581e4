/* Which GPU a worker gets, with a program in place of nvidia-smi. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "supervise/gpus.h"
#include "folder.h"

/* The program prints these lines and ends with this code. */
static void play(const char *lines, int code)
{
	char *file = path_join(folder, "nvidia-smi");
	char *script = xasprintf("#!/bin/sh\ncat <<'END'\n%sEND\nexit %d\n", lines, code);

	assert_int_equal(path_write(file, script, strlen(script)), 0);
	assert_int_equal(chmod(file, 0755), 0);
	free(script);
	free(file);
}

static int open_folder(void **state)
{
	char *path;

	(void)state;
	if (path_tmp_folder(folder, sizeof folder, "gpus"))
		return -1;
	path = xasprintf("%s:%s", folder, getenv("PATH"));
	setenv("PATH", path, 1);
	free(path);
	return 0;
}

static const char four[] =
	"GPU-aaaa-1, NVIDIA H200, 143771, 143143\n"
	"GPU-bbbb-2, NVIDIA H200, 143771, 1000\n"
	"GPU-cccc-3, NVIDIA H200 NVL, 143771, 80000\n"
	"GPU-dddd-4, NVIDIA H200, 143771, 143143\n";

static void test_list(void **state)
{
	struct gpu list[GPUS_MAX];

	(void)state;
	unsetenv("CUDA_VISIBLE_DEVICES");
	play(four, 0);
	assert_int_equal(gpus_list(list), 4);
	assert_string_equal(list[2].uuid, "GPU-cccc-3");
	assert_string_equal(list[2].name, "NVIDIA H200 NVL");
	assert_true(list[2].free_bytes == 80000.0 * 1024 * 1024);
	play(four, 9);
	assert_int_equal(gpus_list(list), 0);
	play("No devices were found\n", 0);
	assert_int_equal(gpus_list(list), 0);
}

static void expect_visible(const char *visible, int n, const char *first)
{
	struct gpu list[GPUS_MAX];

	setenv("CUDA_VISIBLE_DEVICES", visible, 1);
	assert_int_equal(gpus_list(list), n);
	if (n)
		assert_string_equal(list[0].uuid, first);
	unsetenv("CUDA_VISIBLE_DEVICES");
}

static void test_visible(void **state)
{
	(void)state;
	play(four, 0);
	expect_visible("2", 1, "GPU-cccc-3");
	expect_visible("3,1", 2, "GPU-bbbb-2");
	expect_visible("GPU-dddd-4", 1, "GPU-dddd-4");
	expect_visible("GPU-d", 1, "GPU-dddd-4");
	expect_visible("", 0, NULL);
	expect_visible("-1", 0, NULL);
}

static void test_choose(void **state)
{
	struct gpu list[GPUS_MAX];
	int workers[GPUS_MAX] = {0}, n;
	const double gib = 1024.0 * 1024 * 1024;

	(void)state;
	play(four, 0);
	n = gpus_list(list);
	assert_int_equal(gpus_choose(list, workers, n, 20 * gib), 0);
	workers[0] = 1;
	assert_int_equal(gpus_choose(list, workers, n, 20 * gib), 3);
	workers[3] = 1;
	assert_int_equal(gpus_choose(list, workers, n, 20 * gib), 2);
	/* All are at work but the one that others fill: a second worker goes where most is free. */
	workers[2] = 1;
	assert_int_equal(gpus_choose(list, workers, n, 20 * gib), 0);
	assert_int_equal(gpus_choose(list, workers, n, 200 * gib), -1);
	assert_int_equal(gpus_choose(list, workers, n, 0), 1);
	assert_int_equal(gpus_choose(list, workers, 0, 0), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_visible),
		cmocka_unit_test(test_choose),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
