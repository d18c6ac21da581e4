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
#include "emulator_faults.h"
#include "op/cuda/scan_cuda.h"
#include "op/scan_kernels.h"
#include "scan_case.h"

/* Longer than a tile or not, whole tiles or not, aligned or not, one launch or several. */
static const struct trial {
	struct shape shape;
	bool add;		/* gradients */
	size_t offset;		/* bytes by which tensors miss the alignment */
} trials[] = {
	{{2, 32, 128, 16, true, 0, REF}, false, 0},	/* whole from here */
	{{1, 48, 128, 16, false, 4, REF}, true, 0},
	{{2, 32, 128, 32, true, 8, REF}, true, 0},
	{{1, 64, 64, 16, true, 0, REF}, false, 0},	/* whole for backward alone */
	{{2, 32, 128, 16, true, 0, REF}, false, 4},
	{{2, 32, 128, 16, true, 2, REF}, true, 0},
	{{1, 1, 1, 1, false, 0, REF}, false, 0},
	{{2, 1, 64, 16, true, 0, REF}, true, 0},
	{{2, 37, 19, 16, true, 3, REF}, true, 0},
	{{3, 33, 132, 16, true, 4, REF}, false, 0},
	{{1, 32, 128, 20, true, 0, REF}, false, 0},
	{{1, 50, 70, 5, false, 1, REF}, false, 0},
	{{2, 40, 100, 37, true, 0, REF}, false, 0},
	{{1, 17, 100, 20, false, 0, REF}, true, 0},
	{{2, 17, 64, 32, true, 8, REF}, false, 0},
};

static struct scan_rows rows_on_device(const struct scan_case *c, const struct tensor *t,
	size_t offset, bool add)
{
	struct scan_rows x = {0};

	if (t) {
		x = (struct scan_rows){emulator_alloc(tensor_bytes(c, t), offset), t->ld, add};
		memcpy(x.at, t->at, tensor_bytes(c, t));
	}
	return x;
}

static struct scan_cuda scan_on_device(const struct scan_case *c, const struct trial *x)
{
	const struct tensor *const *in = c->run.in, *const *d_in = c->run.d_in;
	struct scan_cuda s = {.B = (int)x->shape.B, .T = (int)x->shape.T, .I = (int)x->shape.I,
		.N = (int)x->shape.N};
	size_t offset = x->offset;

	s.u = rows_on_device(c, in[SCAN_U_BTI], offset, false);
	s.dtraw = rows_on_device(c, in[SCAN_DTRAW_BTI], offset, false);
	s.b = rows_on_device(c, in[SCAN_B_BTN], offset, false);
	s.c = rows_on_device(c, in[SCAN_C_BTN], offset, false);
	s.z = rows_on_device(c, in[SCAN_Z_BTI], offset, false);
	s.a_log = rows_on_device(c, in[SCAN_ALOG_IN], offset, false);
	s.d = rows_on_device(c, in[SCAN_D_I], offset, false);
	s.dt_bias = rows_on_device(c, in[SCAN_DTBIAS_I], offset, false);
	s.y = rows_on_device(c, c->run.out[SCAN_Y_BTI], offset, false);
	s.states = emulator_alloc(scan_cuda_states(&s), 0);
	if (s.z.at)
		s.ungated = (struct scan_rows){.ld = s.u.ld, .at = emulator_alloc(
			(size_t)(x->shape.B * x->shape.T * s.u.ld) * sizeof(float), offset)};
	s.dy = rows_on_device(c, c->run.d_out[SCAN_Y_BTI], offset, false);
	s.du = rows_on_device(c, d_in[SCAN_U_BTI], offset, x->add);
	s.ddtraw = rows_on_device(c, d_in[SCAN_DTRAW_BTI], offset, x->add);
	s.db = rows_on_device(c, d_in[SCAN_B_BTN], offset, x->add);
	s.dc = rows_on_device(c, d_in[SCAN_C_BTN], offset, x->add);
	s.dz = rows_on_device(c, d_in[SCAN_Z_BTI], offset, x->add);
	s.da_log = rows_on_device(c, d_in[SCAN_ALOG_IN], offset, x->add);
	s.dd = rows_on_device(c, d_in[SCAN_D_I], offset, x->add);
	s.ddt_bias = rows_on_device(c, d_in[SCAN_DTBIAS_I], offset, x->add);
	s.workspace = emulator_alloc(scan_cuda_workspace(&s), 0);
	return s;
}

static void results_from_device(struct scan_case *c, const struct scan_cuda *s)
{
	const struct scan_rows *const rows[SCAN_N_IN] = {&s->du, &s->ddtraw, &s->da_log, &s->db,
		&s->dc, &s->dd, &s->ddt_bias, &s->dz};

	for (int i = -1; i < SCAN_N_IN; i++)
		if (result(c, i))
			memcpy(result(c, i)->at, i < 0 ? s->y.at : rows[i]->at,
				tensor_bytes(c, result(c, i)));
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
static struct scan_cuda start(struct scan_case *c, const struct trial *x, enum emulator_order order)
{
	clear_results(c, x->add);
	emulator_reset(order);
	return scan_on_device(c, x);
}

static void run(struct scan_case *c, const struct scan_cuda *s)
{
	scan_cuda_forward(s, NULL);
	scan_cuda_backward(s, NULL);
	assert_sound();
	results_from_device(c, s);
}

static void check(const struct trial *x)
{
	struct scan_case gpu, oracle;
	char first[HASH_HEX], bits[HASH_HEX];
	const char *where;
	double worst;

	set_up(&gpu, &x->shape, CPU, x->shape.pad);
	set_up(&oracle, &x->shape, REF, 0);
	run_case(&oracle, x->add);
	for (int order = 0; order < N_ORDERS; order++) {
		struct scan_cuda s = start(&gpu, x, (enum emulator_order)order);
		run(&gpu, &s);
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

	(void)state;
	set_up(&gpu, &x.shape, CPU, x.shape.pad);
	for (int training = 1; training >= 0; training--) {
		struct scan_cuda s = start(&gpu, &x, RANDOM);
		if (!training) {
			s.states = NULL;
			s.ungated.at = NULL;
		}
		scan_cuda_forward(&s, NULL);
		assert_sound();
		results_from_device(&gpu, &s);
		hash_results(&gpu, training ? kept : bare);
	}
	assert_string_equal(kept, bare);
	arena_release(&gpu.arena);
}

/* One operand alone may miss the alignment. */
static void test_alignment(void **state)
{
	static const struct trial x = {{1, 16, 128, 16, true, 0, REF}, false, 0};
	enum { N_ROWS = 10 };
	struct scan_case gpu, oracle;
	const char *where;

	(void)state;
	set_up(&gpu, &x.shape, CPU, 0);
	set_up(&oracle, &x.shape, REF, 0);
	run_case(&oracle, false);
	for (int k = 0; k < N_ROWS; k++) {
		struct scan_cuda s = start(&gpu, &x, RANDOM);
		struct scan_rows *const rows[N_ROWS] = {&s.u, &s.dtraw, &s.b, &s.c, &s.z,
			&s.ungated, &s.dy, &s.du, &s.ddtraw, &s.dz};
		size_t bytes = (size_t)(x.shape.B * x.shape.T * rows[k]->ld) * sizeof(float);
		rows[k]->at = memcpy(emulator_alloc(bytes, sizeof(float)), rows[k]->at, bytes);
		run(&gpu, &s);
		assert_true(worst_distance(&gpu, &oracle, &where) <= 1e-4);
	}
	arena_release(&gpu.arena);
	arena_release(&oracle.arena);
}

/* Gradients that nobody wants are not touched, the others are the same. */
static void test_unwanted(void **state)
{
	static const struct trial x = {{1, 32, 128, 32, true, 0, REF}, false, 0};
	struct scan_case gpu, oracle;

	(void)state;
	set_up(&oracle, &x.shape, REF, 0);
	run_case(&oracle, false);
	set_up(&gpu, &x.shape, CPU, 0);
	for (int only = 0; only < SCAN_START_BT; only++) {
		const struct tensor *d_in[SCAN_N_IN];
		const char *where;
		struct scan_cuda s;
		memcpy(d_in, gpu.run.d_in, sizeof d_in);
		for (int i = 0; i < SCAN_N_IN; i++)
			gpu.run.d_in[i] = i == only ? d_in[i] : NULL;
		s = start(&gpu, &x, RANDOM);
		run(&gpu, &s);
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

/* The emulator itself: it finds each fault, in every order, and none where there is none. */
static void test_faults(void **state)
{
	enum { THREADS = 64, BLOCKS = 3, N = THREADS * BLOCKS };
	static const char *const found[N_FAULTS] = {
		[NO_WAIT] = "a copy to it is under way",
		[NO_BARRIER] = "race: shared byte",
		[UNEVEN_BARRIER] = "wait in a barrier, __syncthreads()",
		[MISSING_LANE] = "lanes fffffff7 wait, lane 0 in __shfl_xor_sync of ffffffff",
		[OTHER_MASK] = "lane 3 wants the value of lane 2, which the mask 8 lacks",
		[BEYOND_SHARED] = "shared byte 256: nobody's",
		[BEYOND_DEVICE] = "nobody's",
		[OF_THE_HOST] = "not the GPU's",
		[MISALIGNED] = "is no multiple",
		[SAME_PLACE] = "race: device byte",
	};

	(void)state;
	for (int k = 0; k < N_FAULTS * N_ORDERS; k++) {
		enum fault fault = (enum fault)(k / N_ORDERS);
		float *from, *to;
		bool refused;
		emulator_reset((enum emulator_order)(k % N_ORDERS));
		from = emulator_alloc(N * sizeof *from, 0);
		to = emulator_alloc(N * sizeof *to, 0);
		for (int i = 0; i < N; i++)
			from[i] = (float)i;
		refused = faults_launch(fault, to, from, BLOCKS, THREADS);
		assert_int_equal(refused, fault == TOO_MUCH_SHARED);
		if (found[fault]) {
			assert_non_null(emulator_fault());
			assert_non_null(strstr(emulator_fault(), found[fault]));
			continue;
		}
		assert_sound();
		for (int i = 0; i < N && fault == SOUND; i++) {
			const float *share = from + i / THREADS * THREADS;
			int j = i % THREADS, next = (j + 1) % THREADS;
			assert_true(to[i] == share[next] + share[((j ^ 1) + 1) % THREADS]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_kernels),
		cmocka_unit_test(test_evaluation),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_unwanted),
		cmocka_unit_test(test_operator),
	};

	omp_set_num_threads(1);		/* nothing here is worth a team */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
