/* What a spec says of a run: keys that stand for others, and what does not go together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "caught.h"

#include "spec/run_spec.h"
#include "spec/schema.h"

static const struct field_table *const tables[] = {&run_fields, NULL};
static const struct schema_choice choices[] = {{"mamba", "", NULL}};
static const struct schema schema = {.common = tables, .selector = "model.arch", .choices = choices, .n_choices = 1};

static struct arena arena;

static int release(void **state)
{
	(void)state;
	error_sink = NULL;
	arena_release(&arena);
	return 0;
}

static int open_spec(struct run_spec *s, const char *keys)
{
	char *text = xasprintf("{model.arch: mamba, train.tokens: 64000, data.path: x%s}", keys);
	struct config c;
	int ret;

	assert_int_equal(config_parse(&arena, "spec", arena_strdup(&arena, text), NULL, 0, &schema, &c), 0);
	ret = run_spec_open(s, &c);
	free(text);
	return ret;
}

static struct run_spec spec_of(const char *keys)
{
	struct run_spec s;

	assert_int_equal(open_spec(&s, keys), 0);
	return s;
}

static void refused(const char *keys, const char *why)
{
	struct run_spec s;

	catch_messages();
	assert_int_equal(open_spec(&s, keys), -1);
	assert_caught(why);
	error_sink = NULL;
}

static void test_keys_that_stand_for_others(void **state)
{
	(void)state;
	assert_int_equal(spec_of(", seed: 7").data_seed, 7);
	assert_int_equal(spec_of(", seed: 7, data.seed: 0").data_seed, 0);
	assert_int_equal(spec_of(", train.batch: 8").micro_batch, 8);
	assert_int_equal(spec_of(", train.batch: 8, train.micro_batch: 2").micro_batch, 2);
	assert_int_equal(spec_of(", train.context: 32, train.position_from: 31").position_from, 31);
	assert_true(run_streams(&(struct run_spec){.sampling = "stream"}));
}

static void test_what_does_not_go_together(void **state)
{
	(void)state;
	refused(", train.batch: 8, train.micro_batch: 3", "train.micro_batch 3 does not divide train.batch 8");
	refused(", train.context: 32, train.position_from: 32", "leaves no token of train.context 32");
	refused(", data.sampling: stream, train.batch: 8, train.micro_batch: 4", "takes the whole batch at once");
	refused(", data.sampling: stream, train.recompute: block", "set train.recompute=none");
	refused(", samples.every: 5", "samples.every without samples.prompts");
	refused(", samples.prompts: [a, \"\"]", "a text that is not empty must stand here");
	refused(", samples.prompts: {a: b}", "a list of texts must stand here, not a map");
}

/* A hash without the file that it is of. */
static void test_pin(void **state)
{
	static const char text[] = "{model.arch: mamba, train.tokens: 1, data.path: x, train.init_hash: ab}";
	struct config c;

	(void)state;
	assert_int_equal(config_parse(&arena, "spec", text, NULL, 0, &schema, &c), 0);
	catch_messages();
	assert_int_equal(run_spec_pin(&arena, &c), -1);
	assert_caught("train.init_hash without train.init_from");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_keys_that_stand_for_others, release),
		cmocka_unit_test_teardown(test_what_does_not_go_together, release),
		cmocka_unit_test_teardown(test_pin, release),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
