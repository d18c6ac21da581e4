/* Limits of control groups, read from folders laid out as the kernel lays them out. */
#include <math.h>

#include "base/cgroup.h"
#include "base/cpu.h"
#include "base/path.h"
#include "test.h"

static char root[256];

static void put(const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", root, name), *folder = path_folder(path);

	assert_int_equal(path_mkdirs(folder), 0);
	assert_int_equal(path_write(path, text, strlen(text)), 0);
	free(folder);
	free(path);
}

static struct cgroup look(const char *groups)
{
	char *file = xasprintf("%s/groups", root);
	struct cgroup c;

	put("groups", groups);
	cgroup_read(root, file, &c);
	free(file);
	return c;
}

static int set_up(void **state)
{
	catch_messages(state);
	return path_tmp_folder(root, sizeof root, "cgroup");
}

static int tear_down(void **state)
{
	(void)state;
	return path_remove_tree(root);
}

static void test_version_2(void **state)
{
	struct cgroup c;

	(void)state;
	put("job/cpu.max", "350000 100000\n");
	put("job/memory.max", "max\n");
	put("job/memory.current", "700\n");
	put("job/task/cpu.max", "max 100000\n");
	put("job/task/memory.max", "1000\n");
	put("job/task/memory.current", "600\n");
	put("job/task/memory.stat", "anon 450\ninactive_file_x 3\ninactive_file 150\n");
	c = look("0::/job/task\n");
	assert_true(c.cores == 3.5);
	assert_true(c.memory_bytes == 1000);
	assert_true(c.free_bytes == 550);
	c = look("0::/job\n");
	assert_true(c.cores == 3.5 && isinf(c.memory_bytes) && isinf(c.free_bytes));
	c = look("0::/elsewhere\n");
	assert_true(isinf(c.cores));
}

static void test_version_1(void **state)
{
	struct cgroup c;

	(void)state;
	put("cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
	put("cpu,cpuacct/cpu.cfs_period_us", "100000\n");
	put("cpu,cpuacct/a/cpu.cfs_quota_us", "200000\n");
	put("cpu,cpuacct/a/cpu.cfs_period_us", "50000\n");
	put("memory/memory.limit_in_bytes", "5000\n");
	put("memory/memory.usage_in_bytes", "4000\n");
	put("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n");
	c = look("5:cpu,cpuacct:/a/b\n4:memory:/of/the/host\n0::/\n");
	assert_true(c.cores == 4);
	assert_true(c.memory_bytes == 5000);
	assert_true(c.free_bytes == 1500);
	c = look("4:memory\n\n5:cpu,cpuacct:/\n");
	assert_true(isinf(c.cores) && isinf(c.memory_bytes));
}

static void test_this_machine(void **state)
{
	(void)state;
	assert_true(cpu_cores() >= 1);
	assert_true(cpu_free_memory_bytes() > 1e7);
	assert_true(cpu_free_memory_bytes() <= cpu_memory_bytes());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_version_2, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_version_1, set_up, tear_down),
		cmocka_unit_test(test_this_machine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
