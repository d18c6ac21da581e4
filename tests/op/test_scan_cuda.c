/* The scan's CUDA kernels without a GPU: their sources on an emulator (cuda/emulator.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "cuda/emulator.h"
#include "op/scan_cuda.h"
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
		s.ungated = (struct scan_rows){emulator_alloc(
			(size_t)(x->shape.B * x->shape.T * s.u.ld) * sizeof(float), offset), s.u.ld, false};
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
		struct scan_cuda s;
		clear_results(&gpu, x->add);
		emulator_reset(order);
		s = scan_on_device(&gpu, x);
		scan_cuda_forward(&s, NULL);
		scan_cuda_backward(&s, NULL);
		assert_int_equal(emulator_faults(), 0);
		results_from_device(&gpu, &s);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kernels),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
