/* Patches of values and the squared error of a forecast, against values worked out by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/half.h"
#include "op/patch.h"
#include "op/running_mean.h"
#include "op/squared_error.h"

enum { T = 6, N = 3, P = 2 };

struct patched {
	float x[N * 2 * P], scale[2];
	int id[N], asked[N];
};

static struct patched patch(int *tokens, int *targets, bool halves)
{
	struct patched y;
	struct tensor token = tensor_of(INDEX, 2, 1L, (long)T), target = token, id = tensor_of(INDEX, 2, 1L, (long)N),
		asked = id, x = tensor_of(REAL, 3, 1L, (long)N, halves ? 2L * P : (long)P),
		scale = tensor_of(MASTER, 2, 1L, 2L);
	struct op_run r = {.op = &op_patch, .device = &device_list[CPU], .attr = &(struct patch_attr){P, halves},
		.in = {&token, &target}, .out = {&x, &scale, &id, &asked}};

	token.at = tokens;
	target.at = targets;
	x.at = y.x;
	scale.at = y.scale;
	id.at = y.id;
	asked.at = y.asked;
	op_patch.forward[CPU](&r);
	return y;
}

static void expect(const float *x, const double *expected, int n)
{
	for (int i = 0; i < n; i++)
		assert_true(fabs(x[i] - expected[i]) < 1e-6);
}

static void test_bytes(void **state)
{
	static const double expected[] = {-1, 1, 0, 51 / 127.5 - 1, 0, 0};
	struct patched y = patch((int[]){0, 255, 300, 51, 256, 65535}, (int[]){1, 2, 3, -1, 5, 6}, false);

	(void)state;
	expect(y.x, expected, T);
	assert_true(y.scale[0] == 0 && y.scale[1] == 1);
	assert_true(y.id[0] == 255 && y.id[1] == 51 && y.id[2] == 65535);
	assert_true(y.asked[0] == 2 && y.asked[1] == -1 && y.asked[2] == 6);
}

/* 1, 3, 5 are there: mean 3, variance 8 / 3. */
static void test_halves(void **state)
{
	const double s = sqrt(8.0 / 3 + 1e-5);
	const double expected[] = {-2 / s, 0, 0, 1, 0, 0, 1, 0, 2 / s, 0, 0, 1};
	struct patched y = patch((int[]){half_bits(1), HALF_MISSING, 0x7c00, half_bits(3), half_bits(5), HALF_MISSING},
		(int[T]){0}, true);

	(void)state;
	expect(y.x, expected, 2 * T);
	assert_true(fabs(y.scale[0] - 3) < 1e-6 && fabs(y.scale[1] - s) < 1e-6);
	y = patch((int[]){0x7c00, 0x7e00, 0xfc00, HALF_MISSING, 0x7c00, 0x7c00}, (int[T]){0}, true);
	assert_true(y.scale[0] == 0 && y.scale[1] == 1 && y.x[0] == 0 && y.x[P] == 1);
}

/* Predictions 10 + 2 y = 12, 8, 10 against 11, nothing, nothing, 10.5: errors 1 and -0.5. */
static void test_squared_error(void **state)
{
	float predicted[] = {1, 5, -1, 0}, m_s[] = {10, 2}, loss, mean, squares[4], errors[4], share, d_loss = 3, dy[4];
	int targets[] = {half_bits(11), -1, HALF_MISSING, half_bits(10.5)};
	double work[2];
	struct tensor y = tensor_of(REAL, 3, 1L, 2L, 2L), gradient = y, target = tensor_of(INDEX, 2, 1L, 4L),
		scale = tensor_of(MASTER, 2, 1L, 2L), one = tensor_of(MASTER, 1, 1L), two = one, three = one, d = one,
		row = tensor_of(MASTER, 2, 1L, 4L), other = row;
	struct op_run r = {.op = &op_squared_error, .device = &device_list[CPU], .in = {&y, &target, &scale},
		.out = {[SQUARED_ERROR_LOSS] = &one, [SQUARED_ERROR_SQUARE_BT] = &row,
			[SQUARED_ERROR_ERROR_BT] = &other, [SQUARED_ERROR_MEAN] = &two}, .saved = {&three}, .workspace = work};

	(void)state;
	y.at = predicted, target.at = targets, scale.at = m_s, one.at = &loss, two.at = &mean, three.at = &share;
	row.at = squares, other.at = errors, d.at = &d_loss, gradient.at = dy;
	op_squared_error.forward[CPU](&r);
	assert_true(loss == (1 + 0.25f) / 2 && mean == loss);
	expect(squares, (double[]){1, 0, 0, 0.25}, 4);
	expect(errors, (double[]){1, 0, 0, 0.5}, 4);
	r.d_out[SQUARED_ERROR_LOSS] = &d;
	r.d_in[SQUARED_ERROR_Y_BNP] = &gradient;
	op_squared_error.backward[CPU](&r);
	expect(dy, (double[]){3 * 2 * 2 * 1 / 2.0, 0, 0, -3 * 2 * 2 * 0.5 / 2}, 4);
}

/* 2, 4, 9 with a document that begins at the third. */
static void test_running_mean(void **state)
{
	float in[] = {2, 4, 9}, out[3];
	int first[] = {0, 0, 2};
	struct tensor x = tensor_of(REAL, 3, 1L, 3L, 1L), y = x, start = tensor_of(INDEX, 2, 1L, 3L);
	struct op_run r = {.op = &op_running_mean, .device = &device_list[CPU], .in = {&x, NULL}, .out = {&y}};

	(void)state;
	x.at = in, y.at = out, start.at = first;
	op_running_mean.forward[CPU](&r);
	expect(out, (double[]){2, 3, 5}, 3);
	r.in[RUNNING_MEAN_START_BT] = &start;
	op_running_mean.forward[CPU](&r);
	expect(out, (double[]){2, 3, 9}, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_bytes), cmocka_unit_test(test_halves),
		cmocka_unit_test(test_squared_error), cmocka_unit_test(test_running_mean)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
