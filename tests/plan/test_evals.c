/* What a plan says of evaluations and test sets, by hand: how often, of how many tokens, at which FLOPs. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "data/task.h"
#include "plan/plan.h"
#include "folder.h"
#include "near.h"

enum { WIDTH = 16, VOCAB = 21 };

/* 20 steps of 64 tokens. The 6 windows of an evaluation are two replays. */
#define SPEC "model: {d_model: 16, n_blocks: 1}\ndata: {path: data, vocab: 21}\n" \
	"train: {batch: 4, context: 16, tokens: 1280}\neval: {tokens: 96, every: 10}\n"
enum { EVAL_TOKENS = 2 * 64 };
/* Of the test sets 7 rows of 16 by 4, and 7 of 32 by 2. */
enum { TEST_TOKENS = 2 * 64 + 4 * 64 };

static int open_folder(void **state)
{
	static const char *const settings[] = {"train=16x3:64,8x2:64", "tests=16x2:7,32x4:7", "vocab=20",
		"fill=random", "val=6", "tune=0"};

	(void)state;
	log_level = LOG_QUIET;
	if (path_tmp_folder(folder, sizeof folder, "evals") || chdir(folder))
		return -1;
	return data_make(task_find("mqar"), &(struct make_options){.folder = "data", .settings = settings,
		.n_settings = (int)ARRAY_SIZE(settings)}) || path_write("s.yaml", SPEC, strlen(SPEC));
}

static struct plan open_plan(const char *arch, const char *more)
{
	const char *words[] = {arch, more};
	struct sweep_options options = {.overrides = words, .n_overrides = 2};
	struct plan p;

	assert_int_equal(plan_open(&p, "s.yaml", &options, &device_list[CPU], "results"), 0);
	return p;
}

/* FLOPs of a forward by token; of Mamba no matter how long the rows. A head that is not trained makes logits and a
   softmax alone. */
static double forward(const struct cost *c)
{
	double flops = (2 * WIDTH + 3) * VOCAB;

	for (int i = 0; i < c->n_parts; i++) {
		const struct cost_part *part = &c->parts[i];
		flops += part->forward + part->backward == c->head_per_token ? 0 : part->forward;
	}
	return flops;
}

static void expect_tokens(const struct plan *p, double flops, long evals, long tests)
{
	assert_near(flops / forward(&p->costs[0]), (double)(evals * EVAL_TOKENS + tests * TEST_TOKENS), 1e-6);
}

/* Before the first step, where they are due, and at the last; of test sets, if not else, at the end. */
static void test_as_often_as_they_are_due(void **state)
{
	struct plan p = open_plan("model.arch=mamba", "eval.tests_every=0");

	(void)state;
	expect_tokens(&p, plan_flops_left(&p, 0) - plan_flops(&p, 0), 3, 1);
	expect_tokens(&p, evals_left(&p.evals[0], 19), 1, 1);
	plan_close(&p);
	p = open_plan("model.arch=mamba", "eval.tests_every=6");
	expect_tokens(&p, plan_flops_left(&p, 0) - plan_flops(&p, 0), 3, 5);
	expect_tokens(&p, evals_left(&p.evals[0], 6), 2, 3);
	expect_tokens(&p, evals_left(&p.evals[0], 20), 0, 0);
	plan_close(&p);
}

static void test_once_without_capacity(void **state)
{
	struct plan p = open_plan("model.arch=moe_mamba", "model.moe.n_experts=4");

	(void)state;
	expect_tokens(&p, evals_left(&p.evals[0], 20), 1, 0);
	plan_close(&p);
}

static void test_without_the_dataset(void **state)
{
	struct plan p = open_plan("model.arch=mamba", "data.path=nowhere");

	(void)state;
	expect_tokens(&p, plan_flops_left(&p, 0) - plan_flops(&p, 0), 3, 0);
	plan_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_often_as_they_are_due),
		cmocka_unit_test(test_once_without_capacity),
		cmocka_unit_test(test_without_the_dataset),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
