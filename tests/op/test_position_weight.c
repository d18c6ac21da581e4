/* Weights of tokens by position, against values worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "op/position_weight.h"

enum { T = 8 };

static void run(const struct position_weight_attr *attr, int *start, float *w)
{
	int tokens[T] = {0};
	struct tensor token = tensor_of(INDEX, 2, 1L, (long)T), begin = token, out = tensor_of(MASTER, 2, 1L, (long)T);
	struct op_run r = {.op = &op_position_weight, .device = &device_list[CPU], .attr = attr};

	token.at = tokens;
	begin.at = start;
	out.at = w;
	r.in[POSITION_WEIGHT_TOKEN_BT] = &token;
	r.in[POSITION_WEIGHT_START_BT] = start ? &begin : NULL;
	r.out[POSITION_WEIGHT_W_BT] = &out;
	op_position_weight.forward[CPU](&r);
}

/* gain 1: 1 + log2(1 + p) at p = 0, 1, 3, 7 is 1, 2, 3, 4. */
static void test_doublings(void **state)
{
	struct position_weight_attr attr = {.gain = 1};
	double sum = 0;
	float w[T];

	(void)state;
	run(&attr, NULL, w);
	for (int t = 0; t < T; t++)
		sum += w[t];
	assert_true(fabs(sum / T - 1) < 1e-6);
	assert_true(fabs(w[1] / w[0] - 2) < 1e-6);
	assert_true(fabs(w[3] / w[0] - 3) < 1e-6);
	assert_true(fabs(w[7] / w[0] - 4) < 1e-6);
}

/* The second document begins at 5: its tokens weigh as those of the first with their position. */
static void test_documents(void **state)
{
	struct position_weight_attr attr = {.gain = 0.5};
	int start[T] = {0, 0, 0, 0, 0, 5, 5, 5};
	float w[T];

	(void)state;
	run(&attr, start, w);
	for (int t = 5; t < T; t++)
		assert_true(w[t] == w[t - 5]);
	assert_true(w[4] > w[3]);
}

/* Six of eight tokens count, so each by 8 / 6. */
static void test_from(void **state)
{
	struct position_weight_attr attr = {.from = 2};
	float w[T];

	(void)state;
	run(&attr, NULL, w);
	for (int t = 0; t < T; t++)
		assert_true(fabs(w[t] - (t < 2 ? 0 : 8.0 / 6)) < 1e-6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_doublings),
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_from),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
