/* Programs of other packages: what they say, how they end, that they are ended. */
#include "base/program.h"
#include "test.h"

static void test_program(void **state)
{
	static const char *const slow[] = {"sleep", "30", NULL}, *const missing[] = {"no-such-program", NULL};
	static const char *const both[] = {"sh", "-c", "echo out; echo err >&2; exit 3", NULL};
	struct arena a = {0};
	struct program_answer answer;

	(void)state;
	assert_int_equal(program_run(slow, 0.2, &a).code, PROGRAM_TIMEOUT);
	assert_int_equal(program_run(missing, 5, &a).code, PROGRAM_MISSING);
	answer = program_run(both, 5, &a);
	assert_int_equal(answer.code, 3);
	assert_string_equal(answer.output, "out\n");
	assert_string_equal(answer.errors, "err");
	arena_release(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_program)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
