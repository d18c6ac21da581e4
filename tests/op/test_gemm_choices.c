/* The file of algorithms for matrix products: kept, shared between processes, mended by nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "op/cuda/gemm_choices.h"
#include "message.h"

static char folder[256], path[300];

static struct gemm_choices *opened(void)
{
	struct gemm_choices *c = gemm_choices_new();

	assert_int_equal(gemm_choices_open(c, path), 0);
	return c;
}

static void add(struct gemm_choices *c, const char *key, uint64_t value, uint64_t expected)
{
	struct gemm_algorithm a = {{value, ~value, 3}};

	gemm_choices_add(c, key, &a);
	assert_int_equal(a.word[0], expected);
	assert_int_equal(a.word[1], ~expected);
}

static void expect(struct gemm_choices *c, const char *key, uint64_t expected)
{
	struct gemm_algorithm a;

	assert_true(gemm_choices_find(c, key, &a));
	assert_int_equal(a.word[0], expected);
	assert_int_equal(a.word[1], ~expected);
	assert_int_equal(a.word[2], 3);
}

static void append(const char *text)
{
	FILE *f = fopen(path, "a");

	fputs(text, f);
	fclose(f);
}

/* What one process adds, the next one finds; the text has what was used, in order. */
static void kept(void **state)
{
	struct gemm_choices *c = opened();
	char *text;

	(void)state;
	add(c, "GPU: b", 0xfedcba9876543210, 0xfedcba9876543210);
	add(c, "GPU: a", 7, 7);
	gemm_choices_free(c);
	c = opened();
	expect(c, "GPU: b", 0xfedcba9876543210);
	text = gemm_choices_text(c);
	assert_memory_equal(text, "v1 GPU: b = fedcba98765432100123456789abcdef0000000000000003",
		59);
	assert_null(strstr(text, "GPU: a"));
	free(text);
	expect(c, "GPU: a", 7);
	text = gemm_choices_text(c);
	assert_true(strstr(text, "GPU: a") < strstr(text, "GPU: b"));
	free(text);
	gemm_choices_free(c);
}

/* Two processes at once: the first decides. One that finds an algorithm unusable replaces it. */
static void shared(void **state)
{
	struct gemm_choices *first = opened(), *second = opened();

	(void)state;
	add(first, "shared", 1, 1);
	add(second, "shared", 2, 1);
	add(second, "other", 3, 3);
	add(first, "more", 4, 4);
	expect(first, "other", 3);
	add(second, "shared", 5, 5);
	gemm_choices_free(first);
	gemm_choices_free(second);
	first = opened();
	expect(first, "shared", 5);
	expect(first, "more", 4);
	gemm_choices_free(first);
}

/* Lines that are none are named and passed over; a torn last line does not spoil the next. */
static void bad_lines(void **state)
{
	struct gemm_choices *c;
	struct gemm_algorithm a;

	(void)state;
	append("v9 later = 00\nv1 torn = 0123");
	error_sink = keep_message;
	c = opened();
	error_sink = NULL;
	assert_non_null(strstr(message, "choices:8: not the algorithm of a product: passed over"));
	assert_false(gemm_choices_find(c, "torn", &a));
	add(c, "behind", 8, 8);
	gemm_choices_free(c);
	error_sink = keep_message;
	c = opened();
	error_sink = NULL;
	expect(c, "behind", 8);
	gemm_choices_free(c);
}

/* A place that cannot be written is an error; without a file choices are kept in memory. */
static void no_file(void **state)
{
	struct gemm_choices *c = gemm_choices_new();

	(void)state;
	error_sink = keep_message;
	assert_int_equal(gemm_choices_open(c, "/nowhere/choices"), -1);
	error_sink = NULL;
	assert_non_null(strstr(message, "/nowhere/choices: No such file"));
	add(c, "memory", 9, 9);
	expect(c, "memory", 9);
	gemm_choices_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kept), cmocka_unit_test(shared), cmocka_unit_test(bad_lines),
		cmocka_unit_test(no_file),
	};
	int failed;

	if (path_tmp_folder(folder, sizeof folder, "choices"))
		return EXIT_ENVIRONMENT;
	snprintf(path, sizeof path, "%s/choices", folder);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	path_remove_tree(folder);
	return failed;
}
