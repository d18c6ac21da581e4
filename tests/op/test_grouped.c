/* All kernels of products over segments, each called by itself: on the emulator here, on the GPU itself in a
   program with CUDA. */
#include "grouped_case.h"

/* functions: of those that ends apply, the first so many. */
static void try_sizes(int E, long S, int m, int n, int k, int functions)
{
	struct grouped_case list[MOST_ENDS];
	int count = each_end(list, E, S, m, n, k);
	char what[160];

	for (int i = 0; i < count; i++) {
		struct grouped_operands x;
		long plain, mma, wgmma = 0;
		if ((int)list[i].g.fn >= functions)
			continue;
		need_gpu();
		open_operands(&x, &list[i]);
		plain = try_kernel(&x, grouped_product_plain, 1);
		mma = try_kernel(&x, grouped_product_mma, 1);
		if (grouped_has_wgmma(gpu_queue()))
			wgmma = try_kernel(&x, grouped_product_wgmma, 1);
		close_operands(&x);
		describe(&list[i], what, sizeof what);
		if (plain || mma || wgmma)
			fail_msg("%s: plain %ld, mma %ld, wgmma %ld wrong", what, plain, mma, wgmma);
	}
}

/* A row, a column of pieces, a term of each kind less than a tile has, and more. */
static void test_small(void **state)
{
	(void)state;
	try_sizes(1, 7, 8, 8, 8, 3);
	try_sizes(5, 70, 24, 40, 72, 3);
}

/* More terms than the ring holds, 288 rows of one expert the most, more pieces than blocks, no rows at all in some. */
static void test_rings(void **state)
{
	(void)state;
	try_sizes(4, 640, 136, 264, 328, 2);
}

static void test_experts(void **state)
{
	(void)state;
	try_sizes(64, 300, 16, 24, 40, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_small),
		cmocka_unit_test(test_rings),
		cmocka_unit_test(test_experts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
