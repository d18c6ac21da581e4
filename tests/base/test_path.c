/* Files, paths and hashes of files. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/path.h"
#include "folder.h"
#include "test.h"

static int make_folder(void **state)
{
	(void)state;
	return path_tmp_folder(folder, sizeof folder, "path");
}

static void assert_frees(char *got, const char *wanted)
{
	assert_string_equal(got, wanted);
	free(got);
}

static void test_names(void **state)
{
	(void)state;
	assert_frees(path_join("a/b", "c"), "a/b/c");
	assert_frees(path_join("a/b", "/c"), "/c");
	assert_frees(path_join(".", "c"), "c");
	assert_frees(path_folder("a/b.c"), "a");
	assert_frees(path_folder("b.c"), ".");
	assert_frees(path_folder("/b"), "/");
	assert_string_equal(path_name("a/b.c"), "b.c");
	assert_string_equal(path_name("b.c"), "b.c");
}

static void test_list_and_map(void **state)
{
	char *list = path_join(folder, "list"), *file = path_join(list, "b"), *hidden = path_join(list, ".a");
	struct arena a = {0};
	const char *const *names;
	const void *map;
	size_t n;

	(void)state;
	assert_null(path_list(list, &a)[0]);
	assert_int_equal(path_mkdirs(list) || path_write(file, "bytes", 5) || path_write(hidden, "", 0), 0);
	names = path_list(list, &a);
	assert_string_equal(names[0], ".a");
	assert_string_equal(names[1], "b");
	assert_null(names[2]);
	map = path_map(file, &n);
	assert_true(map && n == 5 && !memcmp(map, "bytes", n));
	path_unmap(map, n);
	map = path_map(hidden, &n);
	assert_true(map && n == 0);
	path_unmap(map, n);
	assert_null(path_map(list, &n));
	assert_non_null(strstr(message, "cannot read"));
	assert_int_equal(path_remove_tree(list), 0);
	arena_release(&a);
	free(list);
	free(file);
	free(hidden);
}

static void test_temporary(void **state)
{
	char made[256], tight[16];

	(void)state;
	setenv("TMPDIR", folder, 1);
	assert_int_equal(path_tmp_folder(made, sizeof made, "x"), 0);
	assert_true(path_exists(made) && !strncmp(made, folder, strlen(folder)));
	assert_int_equal(path_tmp_folder(tight, sizeof tight, "x"), -1);
	setenv("TMPDIR", "", 1);
	assert_int_equal(path_tmp_folder(made, sizeof made, "x"), 0);
	assert_true(!strncmp(made, "/tmp/moelab-x-", 14));
	assert_int_equal(path_remove_tree(made), 0);
	setenv("TMPDIR", "/nonexistent", 1);
	assert_int_equal(path_tmp_folder(made, sizeof made, "x"), -1);
	unsetenv("TMPDIR");
}

/* A pipe under the name stays one, and gets the bytes; so does a device. */
static void test_write_into_a_pipe(void **state)
{
	char *file = path_join(folder, "pipe"), got[4] = "";
	struct stat s;
	int fd;

	(void)state;
	assert_int_equal(mkfifo(file, 0600), 0);
	fd = open(file, O_RDWR);
	assert_int_equal(path_write(file, "abc", 3), 0);
	assert_int_equal(read(fd, got, 3), 3);
	assert_string_equal(got, "abc");
	assert_int_equal(stat(file, &s), 0);
	assert_true(S_ISFIFO(s.st_mode));
	close(fd);
	free(file);
}

/* An open file under its descriptor's name: written on from where it stands, and no other in its place. */
static void test_write_into_a_descriptor(void **state)
{
	char *file = path_join(folder, "log"), name[32], *text;
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);

	(void)state;
	assert_int_equal(write(fd, "one ", 4), 4);
	snprintf(name, sizeof name, "/dev/fd/%d", fd);
	assert_int_equal(path_write(name, "two ", 4), 0);
	assert_int_equal(path_write(name, "three", 5), 0);
	text = path_read(file, NULL);
	assert_string_equal(text, "one two three");
	free(text);
	close(fd);
	assert_int_equal(path_write(name, "four", 4), -1);
	assert_non_null(strstr(message, "cannot write /dev/fd/"));
	free(file);
}

/* A piece that is no memory: bytes that count up. */
static void count_up(const void *first, size_t at, void *to, size_t n)
{
	for (size_t i = 0; i < n; i++)
		((unsigned char *)to)[i] = (unsigned char)(*(const unsigned char *)first + at + i);
}

static void test_piece_that_is_read(void **state)
{
	static const unsigned char first = 7;
	enum { N = (33 << 20) + 5 };	/* more than one buffer */
	struct path_piece pieces[] = {{.bytes = "head", .n = 4}, {&first, N, count_up}};
	char *file = path_join(folder, "read");
	size_t n, wrong = 0;
	char *text;

	(void)state;
	assert_int_equal(path_write_pieces(file, pieces, 2), 0);
	text = path_read(file, &n);
	assert_int_equal(n, N + 4);
	assert_memory_equal(text, "head", 4);
	for (size_t i = 0; i < N; i++)
		wrong += (unsigned char)text[4 + i] != (unsigned char)(7 + i);
	assert_int_equal(wrong, 0);
	free(text);
	free(file);
}

static void test_write_and_read(void **state)
{
	static const struct path_piece pieces[] = {{.bytes = "ab", .n = 2}, {.bytes = "", .n = 0},
		{.bytes = "c\0d", .n = 3}};
	char *file = path_join(folder, "deep/er/file"), *parent = path_folder(file), *text;
	char *below = path_join(file, "more");
	size_t n;

	(void)state;
	assert_int_equal(path_write(file, "x", 1), -1);
	assert_non_null(strstr(message, "No such file or directory"));
	assert_int_equal(path_mkdirs(parent), 0);
	assert_int_equal(path_mkdirs(parent), 0);
	assert_int_equal(path_write(file, "long old text", 13), 0);
	assert_int_equal(path_mkdirs(file), -1);
	assert_non_null(strstr(message, "deep/er/file: File exists"));
	assert_int_equal(path_mkdirs(below), -1);
	assert_non_null(strstr(message, "deep/er/file: File exists"));
	assert_int_equal(path_write_pieces(file, pieces, 3), 0);
	text = path_read(file, &n);
	assert_int_equal(n, 5);
	assert_memory_equal(text, "abc\0d", 6);
	free(text);
	assert_true(path_exists(file));
	assert_int_equal(path_remove_tree(parent), 0);
	assert_false(path_exists(file));
	assert_int_equal(path_remove_tree(parent), 0);
	assert_null(path_read(file, NULL));
	assert_true(path_free_bytes(folder) > 0);
	assert_true(path_free_bytes("/no/such/folder") < 0);
	free(below);
	free(parent);
	free(file);
}

static void test_small_files(void **state)
{
	char *file = path_join(folder, "small"), *other = path_join(folder, "other");
	struct arena a = {0};

	(void)state;
	assert_string_equal(path_first_line(file, &a), "");
	assert_int_equal(path_write_soon(file, "one\ntwo\n", 8), 0);
	assert_string_equal(path_first_line(file, &a), "one");
	assert_int_equal(path_write_soon(file, "three", 5), 0);
	assert_int_equal(path_sync(folder), 0);
	assert_string_equal(path_first_line(file, &a), "three");
	assert_int_equal(path_write(other, "four", 4), 0);
	assert_int_equal(path_rename(file, other), 0);
	assert_false(path_exists(file));
	assert_string_equal(path_first_line(other, &a), "three");
	arena_release(&a);
	free(file);
	free(other);
}

/* A file that cannot be replaced stays as it is, and nothing is left beside it. */
static void test_failed_write_leaves_nothing(void **state)
{
	char *parent = path_join(folder, "parent"), *target = path_join(parent, "taken");
	char *inside = path_join(target, "inside");

	(void)state;
	assert_int_equal(path_mkdirs(target), 0);
	assert_int_equal(path_write(inside, "x", 1), 0);
	assert_int_equal(path_write(target, "y", 1), -1);
	assert_non_null(strstr(message, "cannot rename"));
	assert_true(path_exists(inside));
	assert_int_equal(path_remove_tree(target), 0);
	assert_int_equal(rmdir(parent), 0);
	free(inside);
	free(target);
	free(parent);
}

static void test_big_file(void **state)
{
	enum { N = 300000 };
	char *bytes = xmalloc(N), *file = path_join(folder, "big"), *text;
	char of_file[HASH_HEX], of_bytes[HASH_HEX];
	size_t n;

	(void)state;
	for (int i = 0; i < N; i++)
		bytes[i] = (char)(i * 31 + i / 256);
	assert_int_equal(path_write(file, bytes, N), 0);
	text = path_read(file, &n);
	assert_int_equal(n, N);
	assert_memory_equal(text, bytes, N);
	hash_bytes(bytes, N, of_bytes);
	assert_int_equal(hash_file(file, of_file), 0);
	assert_string_equal(of_file, of_bytes);
	assert_int_equal(hash_file("/no/such/file", of_file), -1);
	free(text);
	free(file);
	free(bytes);
}

/* XXH3's own value for no bytes; a running hash does not depend on how it is fed. */
static void test_hash(void **state)
{
	char one[HASH_HEX], many[HASH_HEX];
	struct hash *h = hash_open();

	(void)state;
	hash_bytes("", 0, one);
	assert_string_equal(one, "99aa06d3014798d86001c324468d497f");
	hash_bytes("moelab", 6, one);
	hash_add(h, "mo", 2);
	hash_add(h, "", 0);
	hash_add(h, "elab", 4);
	hash_close(h, many);
	assert_string_equal(one, many);
	hash_bytes("moelac", 6, many);
	assert_string_not_equal(one, many);
	assert_true(hash_u64("layers.0.moe.w1") != hash_u64("layers.1.moe.w1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_names), TEST(test_list_and_map), TEST(test_small_files), TEST(test_temporary),
		TEST(test_write_and_read),
		TEST(test_piece_that_is_read), TEST(test_write_into_a_pipe),
		TEST(test_write_into_a_descriptor),
		TEST(test_failed_write_leaves_nothing), TEST(test_big_file), TEST(test_hash),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
