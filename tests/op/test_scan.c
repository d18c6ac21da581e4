/* What test_ops does not see of the scan: a forward run that keeps no states, memory by length. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/rng.h"
#include "op/op.h"
#include "op/scan.h"

static struct tensor *random_tensor(struct arena *a, struct tensor shape, uint64_t stream)
{
	struct tensor *t = ARENA_NEW(a, struct tensor);

	*t = shape;
	t->at = arena_get(a, (size_t)tensor_size(t) * sizeof(float));
	for (long k = 0; k < tensor_size(t); k++) {
		struct rng_block b = rng_block((struct rng_key){1, stream, 0}, (uint64_t)k);
		row_f32(t, 0)[k] = (float)rng_uniform(b, 0) - 0.5f;
	}
	return t;
}

/* Output of a forward run; B = 2 and N = 5, with gate. */
static struct tensor *scan_output(struct arena *a, long T, long I, bool training)
{
	struct op_shapes s = {.device = &device_list[CPU], .training = training};
	struct op_run r = {.op = &op_scan, .device = s.device};
	const struct tensor bti = tensor_of(REAL, 3, 2L, T, I), btn = tensor_of(REAL, 3, 2L, T, 5L);
	const struct tensor i1 = tensor_of(MASTER, 1, I);
	const struct tensor shapes[SCAN_N_IN] = {
		[SCAN_U_BTI] = bti, [SCAN_DTRAW_BTI] = bti, [SCAN_Z_BTI] = bti,
		[SCAN_B_BTN] = btn, [SCAN_C_BTN] = btn, [SCAN_D_I] = i1, [SCAN_DTBIAS_I] = i1,
		[SCAN_ALOG_IN] = tensor_of(MASTER, 2, I, 5L),
	};

	for (int i = 0; i < SCAN_START_BT; i++)
		s.in[i] = r.in[i] = random_tensor(a, shapes[i], (uint64_t)i);
	op_infer(&op_scan, &s);
	assert_int_equal(s.saved[SCAN_STATES].n_dims != 0, training);
	r.out[SCAN_Y_BTI] = random_tensor(a, s.out[SCAN_Y_BTI], 99);
	if (training)
		r.saved[SCAN_STATES] = random_tensor(a, s.saved[SCAN_STATES], 98);
	r.workspace = arena_get(a, s.forward_workspace);
	memset(r.workspace, 0xff, s.forward_workspace);
	op_scan.forward[CPU](&r);
	return (struct tensor *)r.out[SCAN_Y_BTI];
}

static void test_evaluation(void **state)
{
	struct arena a = {0};
	struct tensor *kept = scan_output(&a, 150, 21, true);
	struct tensor *bare = scan_output(&a, 150, 21, false);

	(void)state;
	assert_memory_equal(kept->at, bare->at, (size_t)tensor_size(kept) * sizeof(float));
	arena_release(&a);
}

static long saved_size(long T)
{
	struct tensor x = tensor_of(REAL, 3, 1L, T, 64L), a = tensor_of(MASTER, 2, 64L, 16L);
	struct tensor b = tensor_of(REAL, 3, 1L, T, 16L), d = tensor_of(MASTER, 1, 64L);
	struct op_shapes s = {.device = &device_list[CPU], .training = true, .in = {
		[SCAN_U_BTI] = &x, [SCAN_DTRAW_BTI] = &x, [SCAN_ALOG_IN] = &a, [SCAN_B_BTN] = &b,
		[SCAN_C_BTN] = &b, [SCAN_D_I] = &d, [SCAN_DTBIAS_I] = &d}};

	op_infer(&op_scan, &s);
	return tensor_size(&s.saved[SCAN_STATES]);
}

/* Half an activation at 16 states, whatever the length. */
static void test_memory(void **state)
{
	(void)state;
	for (long T = 1024; T <= 16384; T *= 4)
		assert_true(saved_size(T) <= T * 64 / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_evaluation), cmocka_unit_test(test_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
