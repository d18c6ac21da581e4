/* File systems that are this machine's own, and what journal a database has on others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "store/db.h"
#include "store/mount.h"

static char folder[256], path[384];

static int set_up(void **state)
{
	(void)state;
	assert_int_equal(path_tmp_folder(folder, sizeof folder, "mount"), 0);
	snprintf(path, sizeof path, "%s/lab.db", folder);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return path_remove_tree(folder);
}

static void test_local_mounts(void **state)
{
	static const char table[] =
		"22 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
		"23 22 0:30 / /mnt/big\\040disk rw - nfs4 server:/x rw\n"
		"24 23 8:2 / /mnt/big\\040disk/scratch rw - xfs /dev/sdb rw\n"
		"25 22 0:31 / /lustre rw - lustre server:/y rw\n"
		"26 22 0:32 / /odd rw - newfs none rw\n";
	char file[384];

	(void)state;
	snprintf(file, sizeof file, "%s/mountinfo", folder);
	assert_int_equal(path_write(file, table, strlen(table)), 0);
	assert_true(mount_is_local("/home/x", file));
	assert_false(mount_is_local("/mnt/big disk/x", file));
	assert_true(mount_is_local("/mnt/big disk/scratch/x", file));
	assert_true(mount_is_local("/mnt/big disks", file));
	assert_false(mount_is_local("/lustre", file));
	assert_false(mount_is_local("/odd/x", file));
}

/* The journal of a database on a file system of this type, while it is written. */
static void assert_journal(const char *type, const char *journal)
{
	char file[400], table[128];
	struct db_statement s;
	struct db db;

	snprintf(file, sizeof file, "%s/mountinfo", folder);
	snprintf(table, sizeof table, "1 0 0:1 / / rw shared:1 - %s where rw\n", type);
	assert_int_equal(path_write(file, table, strlen(table)), 0);
	mount_table = file;
	assert_int_equal(db_open(&db, path, DB_WRITE), 0);
	mount_table = "/proc/self/mountinfo";
	db_prepare(&s, &db, "PRAGMA journal_mode");
	assert_true(db_step(&s));
	assert_string_equal(db_text(&s, 0), journal);
	assert_int_equal(db_finish(&s), 0);
	db_close(&db);
}

/* A write-ahead log needs memory that all of its processes share, so their machine must be one. */
static void test_journal_by_file_system(void **state)
{
	static const char *const shared[] = {"nfs", "nfs4", "lustre", "gpfs", "beegfs", "fuse.sshfs",
		"fuseblk", "cifs", "ceph", "9p", "afs", "unheard-of"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(shared); i++)
		assert_journal(shared[i], "delete");
	assert_journal("ext4", "wal");
	assert_journal("nfs", "delete");	/* it was moved there */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_local_mounts, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_journal_by_file_system, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
