/* The emulator itself: it finds each fault, in every order, and none where there is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "emulator.h"
#include "emulator_faults.h"

enum { THREADS = 64, BLOCKS = 3, N = THREADS * BLOCKS };

static const char *const found[N_FAULTS] = {
	[NO_WAIT] = "a copy to it is under way",
	[NEVER_WAITED] = "ends with copies under way",
	[NO_BARRIER] = "race: shared byte",
	[UNEVEN_BARRIER] = "wait in a barrier, __syncthreads()",
	[OTHER_BARRIER] = "64 of 64 threads wait in a barrier",
	[MISSING_LANE] = "lanes fffffff7 wait, lane 0 in __shfl_xor_sync of ffffffff",
	[OTHER_MASK] = "lane 3 wants the value of lane 2, which the mask 8 lacks",
	[OTHER_COLLECTIVE] = "lanes ffffffff wait",
	[MASK_WITHOUT_ITSELF] = "the mask 4 lacks lane 3",
	[NO_SYNCWARP] = "race: shared byte",
	[SYNCWARP_ALONE] = "race: shared byte",
	[PLAIN_AND_ATOMIC] = "race: shared byte 0",
	[SAME_HALF] = "race: shared byte",
	[BEYOND_SHARED] = "shared byte 512: nobody's",
	[BEYOND_DEVICE] = "nobody's",
	[OF_THE_HOST] = "not the GPU's",
	[MISALIGNED] = "is no multiple",
	[MISALIGNED_VECTOR] = "is no multiple of 16",
	[MISALIGNED_MATRIX] = "misaligned",
	[MATRIX_OF_THE_DEVICE] = "not in shared memory",
	[MATRIX_NOT_WRITTEN] = "race: shared byte",
	[NO_PROXY_FENCE] = "wgmma: no proxy fence since thread",
	[NO_WGMMA_FENCE] = "wgmma: no wgmma.fence",
	[NO_WGMMA_WAIT] = "ends with products under way",
	[OTHER_OPERANDS] = "wgmma: lanes disagree about the operands",
	[OTHER_DESCRIPTOR] = "is of no kind that is emulated",
	[OPERAND_COPIED] = "a copy to it is under way",
	[SAME_PLACE] = "race: device byte",
};

static void check_result(const float *to, const float *from)
{
	for (int i = 0; i < N; i++) {
		const float *share = from + i / THREADS * THREADS;
		int j = i % THREADS, next = (j + 1) % THREADS;
		assert_true(to[i] == share[next] + share[((j ^ 1) + 1) % THREADS]);
	}
}

static void check_fault(enum fault fault, enum emulator_order order)
{
	bool refused = fault == TOO_MUCH_SHARED || fault == TOO_MANY_THREADS;
	float *from, *to;

	emulator_reset(order);
	from = emulator_alloc(N * sizeof *from, 0);
	to = emulator_alloc(N * sizeof *to, 0);
	for (int i = 0; i < N; i++)
		from[i] = (float)i;
	assert_int_equal(faults_launch(fault, to, from, BLOCKS, THREADS) != 0, refused);
	if (!found[fault]) {
		if (emulator_fault())
			fail_msg("%s", emulator_fault());
		if (!refused)
			check_result(to, from);
	} else if (!emulator_fault() || !strstr(emulator_fault(), found[fault])) {
		fail_msg("fault %d, order %d: \"%s\" instead of \"%s\"", fault, order,
			emulator_fault() ? emulator_fault() : "none", found[fault]);
	}
}

static void test_faults(void **state)
{
	(void)state;
	for (int k = 0; k < N_FAULTS * N_ORDERS; k++)
		check_fault((enum fault)(k / N_ORDERS), (enum emulator_order)(k % N_ORDERS));
}

/* Device memory that was given back is nobody's, and what is asked for again is NaN. */
static void test_freed_memory(void **state)
{
	float *from, *to;

	(void)state;
	emulator_reset(ASCENDING);
	from = emulator_alloc(N * sizeof *from, 0);
	to = emulator_alloc(N * sizeof *to, 0);
	memset(from, 0, N * sizeof *from);
	assert_true(emulator_owns(from, N * sizeof *from) && !emulator_owns(from, N * sizeof *from + 1));
	emulator_free(from);
	assert_false(emulator_owns(from, 1));
	faults_launch(SOUND, to, from, BLOCKS, THREADS);
	assert_non_null(emulator_fault());
	assert_non_null(strstr(emulator_fault(), "nobody's"));
	assert_ptr_equal(emulator_alloc(N * sizeof *from, 0), from);
	assert_true(from[N - 1] != from[N - 1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_freed_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
