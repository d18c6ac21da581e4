/* Messages: their form, where they go, and how a process ends by them. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "test.h"

static void test_form(void **state)
{
	(void)state;
	assert_int_equal(error("file %s: %d bytes", "x", 3), -1);
	assert_string_equal(message, "moelab: file x: 3 bytes\n");
	errno = ENOENT;
	assert_int_equal(error_errno("cannot read %s", "x"), -1);
	assert_string_equal(message, "moelab: cannot read x: No such file or directory\n");
	assert_int_equal(error_at("a.yaml", 6, 3, "unknown key \"%s\"", "k"), -1);
	assert_string_equal(message, "a.yaml:6:3: unknown key \"k\"\n");
	error_at("a.yaml", 0, 0, "empty");
	assert_string_equal(message, "a.yaml: empty\n");
	warning("%d steps", 7);
	assert_string_equal(message, "moelab: warning: 7 steps\n");
}

static void test_long_line_is_one_line(void **state)
{
	char text[6000];

	(void)state;
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	error("%s", text);
	assert_in_range(strlen(message), 3000, 4095);
	assert_int_equal(message[strlen(message) - 1], '\n');
	errno = ENOSPC;
	error_errno("%s", text);
	assert_non_null(strstr(message, "x: No space left on device\n"));
}

static void test_levels(void **state)
{
	static const enum log_level levels[] = {LOG_QUIET, LOG_NORMAL, LOG_VERBOSE};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		log_level = levels[i];
		message[0] = '\0';
		info("seen");
		assert_string_equal(message, levels[i] >= LOG_NORMAL ? "seen\n" : "");
		message[0] = '\0';
		verbose("more");
		assert_string_equal(message, levels[i] >= LOG_VERBOSE ? "more\n" : "");
		error("always");
		assert_string_equal(message, "moelab: always\n");
	}
	log_level = LOG_NORMAL;
}

static void end_by_die(void)
{
	die("no memory");
}

static void end_by_check(void)
{
	int shape = 3;

	CHECK(shape == 4);
}

/* Status of a child process that calls f, and what it printed on stderr. */
static int status_of(void (*f)(void), char *printed, size_t size)
{
	int pipe_fds[2], status;
	ssize_t n, length = 0;
	pid_t child;

	assert_int_equal(pipe(pipe_fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (!child) {
		signal(SIGABRT, SIG_DFL);
		error_sink = NULL;
		dup2(pipe_fds[1], STDERR_FILENO);
		f();
		_exit(0);
	}
	close(pipe_fds[1]);
	while ((n = read(pipe_fds[0], printed + length, size - 1 - (size_t)length)) > 0)
		length += n;
	printed[length] = '\0';
	close(pipe_fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static void test_ends(void **state)
{
	char printed[4096];
	int status;

	(void)state;
	status = status_of(end_by_die, printed, sizeof printed);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), EXIT_ENVIRONMENT);
	assert_string_equal(printed, "moelab: fatal: no memory\n");
	status = status_of(end_by_check, printed, sizeof printed);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
	assert_non_null(strstr(printed, "moelab: bug: tests/base/test_error.c:"));
	assert_non_null(strstr(printed, "shape == 4"));
}

static void test_allocation(void **state)
{
	int *list = NULL, size = 0;
	char *text = xasprintf("%s-%d", "a", 5);

	(void)state;
	assert_string_equal(text, "a-5");
	free(text);
	for (int n = 0; n < 1000; n++) {
		GROW(list, n + 1, size);
		list[n] = n;
	}
	assert_in_range(size, 1000, 2000);
	for (int n = 0; n < 1000; n++)
		assert_int_equal(list[n], n);
	free(list);
	free(xmalloc(0));
	free(xcalloc(0, 8));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_form), TEST(test_long_line_is_one_line), TEST(test_levels), TEST(test_ends),
		TEST(test_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
