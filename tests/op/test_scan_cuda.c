/* The scan's CUDA kernels without a GPU: their sources on an emulator (emulator.h). */
#include <omp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "emulator.h"
#include "emulator_queue.h"
#include "op/scan_kernels.h"
#include "scan_case.h"
#include "tensor/queue.h"

/* Longer than a tile or not, time in segments or not, aligned or not, one group of states or
   several. */
static const struct trial {
	struct shape shape;
	bool add;		/* gradients */
	size_t offset;		/* bytes by which tensors miss the alignment */
} trials[] = {
	{{2, 32, 136, 16, true, 0, REF}, false, 0},
	{{1, 150, 8, 16, true, 8, REF}, true, 0},	/* three segments */
	{{1, 40, 136, 16, false, 8, REF}, true, 0},
	{{1, 16, 128, 16, true, 0, REF}, false, 4},
	{{2, 37, 19, 16, true, 3, REF}, true, 0},
	{{1, 130, 19, 20, true, 3, REF}, true, 0},	/* two segments, two groups */
	{{1, 1, 1, 1, false, 0, REF}, false, 0},
	{{3, 17, 5, 37, false, 0, REF}, false, 0},
};

/* The operator as it runs on the GPU, and its operands there. */
struct on_gpu {
	struct op_run run;
	struct queue queue;
	struct tensor tensors[3 * SCAN_N_IN + 2 + SCAN_N_SAVED];
	int n;
};

static const struct tensor *upload(struct on_gpu *g, const struct scan_case *c,
	const struct tensor *t, size_t offset)
{
	struct tensor *x = &g->tensors[g->n];

	if (!t)
		return NULL;
	g->n++;
	*x = *t;
	x->at = emulator_alloc(tensor_bytes(c, t), offset);
	memcpy(x->at, t->at, tensor_bytes(c, t));
	return x;
}

static void upload_case(struct on_gpu *g, const struct scan_case *c, size_t offset)
{
	size_t forward = c->shapes.forward_workspace, backward = c->shapes.backward_workspace;

	*g = (struct on_gpu){.run = c->run};
	g->run.queue = &g->queue;
	for (int i = 0; i < SCAN_N_IN; i++) {
		g->run.in[i] = upload(g, c, c->run.in[i], offset);
		g->run.d_in[i] = upload(g, c, c->run.d_in[i], offset);
	}
	g->run.out[SCAN_Y_BTI] = upload(g, c, c->run.out[SCAN_Y_BTI], offset);
	g->run.d_out[SCAN_Y_BTI] = upload(g, c, c->run.d_out[SCAN_Y_BTI], offset);
	for (int i = 0; i < SCAN_N_SAVED; i++)
		g->run.saved[i] = upload(g, c, c->run.saved[i], 0);
	g->run.workspace = emulator_alloc(forward > backward ? forward : backward, 0);
}

static void download(struct scan_case *c, const struct on_gpu *g)
{
	for (int i = -1; i < SCAN_N_IN; i++) {
		const struct tensor *from = i < 0 ? g->run.out[SCAN_Y_BTI] : g->run.d_in[i];
		if (from)
			memcpy(result(c, i)->at, from->at, tensor_bytes(c, from));
	}
}

/* Nothing was written between the rows. */
static bool gaps_untouched(const struct scan_case *c)
{
	bool untouched = true;

	for (int i = -1; i < SCAN_N_IN; i++) {
		const struct tensor *t = result(c, i);
		for (long row = 0; t && row < tensor_rows(t) - 1; row++)
			for (long k = tensor_width(t); k < t->ld; k++)
				untouched &= isnan(row_f32(t, row)[k]);
	}
	return untouched;
}

static void assert_sound(void)
{
	if (emulator_fault())
		fail_msg("%s", emulator_fault());
}

/* Operands and places for results on a fresh device. */
static void start(struct on_gpu *g, struct scan_case *c, const struct trial *x,
	enum emulator_order order)
{
	clear_results(c, x->add);
	emulator_reset(order);
	upload_case(g, c, x->offset);
}

static void forward(struct on_gpu *g)
{
	struct op_run r = g->run;

	memset(r.d_in, 0, sizeof r.d_in);
	memset(r.d_out, 0, sizeof r.d_out);
	scan_forward_cuda(&r);
	emulator_wait();
}

static void run(struct scan_case *c, struct on_gpu *g)
{
	forward(g);
	scan_backward_cuda(&g->run);
	emulator_wait();
	assert_sound();
	download(c, g);
}

static void check(const struct trial *x)
{
	struct scan_case gpu, oracle;
	char first[HASH_HEX], bits[HASH_HEX];
	struct on_gpu g;
	const char *where;
	double worst;

	set_up(&gpu, &x->shape, CUDA_F32, x->shape.pad);
	set_up(&oracle, &x->shape, REF, 0);
	run_case(&oracle, x->add);
	for (int order = 0; order < N_ORDERS; order++) {
		start(&g, &gpu, x, (enum emulator_order)order);
		run(&gpu, &g);
		hash_results(&gpu, order ? bits : first);
		assert_string_equal(first, order ? bits : first);
	}
	worst = worst_distance(&gpu, &oracle, &where);
	printf("%3ld x %2ld x %3ld x %2ld%s%s pad %d offset %zu: %.1e (%s)\n", x->shape.B,
		x->shape.T, x->shape.I, x->shape.N, x->shape.gate ? " gated" : "",
		x->add ? " adds" : "", x->shape.pad, x->offset, worst, where);
	assert_true(worst <= 1e-4);
	assert_true(gaps_untouched(&gpu));
	arena_release(&gpu.arena);
	arena_release(&oracle.arena);
}

static void test_kernels(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(trials); k++)
		check(&trials[k]);
}

/* Without what backward wants: the same y. */
static void test_evaluation(void **state)
{
	static const struct trial x = {{2, 37, 19, 20, true, 3, REF}, false, 0};
	char kept[HASH_HEX], bare[HASH_HEX];
	struct scan_case gpu;
	struct on_gpu g;

	(void)state;
	set_up(&gpu, &x.shape, CUDA_F32, x.shape.pad);
	for (int training = 1; training >= 0; training--) {
		start(&g, &gpu, &x, RANDOM);
		if (!training)
			memset(g.run.saved, 0, sizeof g.run.saved);
		forward(&g);
		assert_sound();
		download(&gpu, &g);
		hash_results(&gpu, training ? kept : bare);
	}
	assert_string_equal(kept, bare);
	arena_release(&gpu.arena);
}

/* One operand alone may miss the alignment: results are as before. */
static void test_alignment(void **state)
{
	static const struct trial x = {{1, 16, 128, 16, true, 0, REF}, false, 0};
	static const int in[] = {SCAN_U_BTI, SCAN_DTRAW_BTI, SCAN_B_BTN, SCAN_C_BTN, SCAN_Z_BTI};
	struct scan_case gpu, oracle;
	struct on_gpu g;
	const char *where;

	(void)state;
	set_up(&gpu, &x.shape, CUDA_F32, 0);
	set_up(&oracle, &x.shape, REF, 0);
	run_case(&oracle, false);
	for (size_t k = 0; k < 2 * ARRAY_SIZE(in) + 2; k++) {
		const struct tensor **list[] = {&g.run.d_out[SCAN_Y_BTI], &g.run.out[SCAN_Y_BTI]};
		const struct tensor **one = k < ARRAY_SIZE(in) ? &g.run.in[in[k]]
			: k < 2 * ARRAY_SIZE(in) ? &g.run.d_in[in[k - ARRAY_SIZE(in)]]
			: list[k - 2 * ARRAY_SIZE(in)];
		struct tensor moved;
		start(&g, &gpu, &x, RANDOM);
		moved = **one;
		moved.at = memcpy(emulator_alloc(tensor_bytes(&gpu, *one), sizeof(float)), moved.at,
			tensor_bytes(&gpu, *one));
		*one = &moved;
		run(&gpu, &g);
		assert_true(worst_distance(&gpu, &oracle, &where) <= 1e-4);
	}
	arena_release(&gpu.arena);
	arena_release(&oracle.arena);
}

/* Gradients that nobody wants are not touched, the others are the same. */
static void test_unwanted(void **state)
{
	static const struct trial x = {{1, 32, 24, 32, true, 0, REF}, false, 0};
	struct scan_case gpu, oracle;
	struct on_gpu g;

	(void)state;
	set_up(&oracle, &x.shape, REF, 0);
	run_case(&oracle, false);
	set_up(&gpu, &x.shape, CUDA_F32, 0);
	for (int only = 0; only < SCAN_START_BT; only++) {
		const struct tensor *d_in[SCAN_N_IN];
		const char *where;
		memcpy(d_in, gpu.run.d_in, sizeof d_in);
		for (int i = 0; i < SCAN_N_IN; i++)
			gpu.run.d_in[i] = i == only ? d_in[i] : NULL;
		start(&g, &gpu, &x, RANDOM);
		run(&gpu, &g);
		assert_true(worst_distance(&gpu, &oracle, &where) <= 1e-4);
		memcpy(gpu.run.d_in, d_in, sizeof d_in);
	}
	arena_release(&gpu.arena);
	arena_release(&oracle.arena);
}

/* The operator of device cuda_scan, which brings host tensors to the GPU and back. */
static void test_operator(void **state)
{
	static const struct shape shape = {2, 37, 19, 20, true, 3, REF};
	struct scan_case gpu, oracle;
	const char *where;

	(void)state;
	set_up(&gpu, &shape, CPU, shape.pad);
	set_up(&oracle, &shape, REF, 0);
	emulator_reset(RANDOM);
	for (int add = 0; add < 2; add++) {
		run_case(&oracle, add);
		clear_results(&gpu, add);
		scan_forward_cuda_scan(&gpu.run);
		scan_backward_cuda_scan(&gpu.run);
		assert_sound();
		assert_true(worst_distance(&gpu, &oracle, &where) <= 1e-4);
		assert_true(gaps_untouched(&gpu));
	}
	arena_release(&gpu.arena);
	arena_release(&oracle.arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernels),
		cmocka_unit_test(test_evaluation),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_unwanted),
		cmocka_unit_test(test_operator),
	};

	omp_set_num_threads(1);		/* nothing here is worth a team */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
