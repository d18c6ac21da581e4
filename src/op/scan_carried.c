#include "op/scan_carried.h"

#include <string.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/scan_kernels.h"
#include "op/trial.h"

static void scan_carried_shape(struct op_shapes *s)
{
	struct scan_dims d = scan_dims(s->in);
	const struct tensor *h = s->in[SCAN_CARRIED_H_BIN];

	scan_shape(s);
	CHECK(h->n_dims == 3 && h->dims[0] == d.B && h->dims[1] == d.I && h->dims[2] == d.N);
}

/* Forward has changed h_BIN when backward comes. */
static void room_ref(struct op_shapes *s)
{
	struct scan_dims d = scan_dims(s->in);

	scan_room_ref(s);
	if (s->training)
		s->saved[SCAN_STATES] = tensor_of(MASTER, 3, d.B, d.I, d.N);
}

static void scan_carried_forward_ref(const struct op_run *r)
{
	const struct tensor *h = r->in[SCAN_CARRIED_H_BIN], *saved = r->saved[SCAN_STATES];

	for (long k = 0; saved && k < tensor_rows(h); k++)
		memcpy(row_f64(saved, k), row_f64(h, k), (size_t)tensor_width(h) * sizeof(double));
	scan_forward_from(r, h);
}

static void scan_carried_backward_ref(const struct op_run *r)
{
	scan_backward_from(r, r->saved[SCAN_STATES]);
}

static void documents(const struct op_trial *t)
{
	document_start_carried_example(t, t->in[SCAN_START_BT]);
}

#define SHAPES(B, T, I, N) [SCAN_U_BTI] = {B, T, I}, [SCAN_DTRAW_BTI] = {B, T, I}, \
	[SCAN_ALOG_IN] = {I, N}, [SCAN_B_BTN] = {B, T, N}, [SCAN_C_BTN] = {B, T, N}, [SCAN_D_I] = {I}, \
	[SCAN_DTBIAS_I] = {I}, [SCAN_CARRIED_H_BIN] = {B, I, N}

/* Lengths that no tile divides, and one that all do; several groups of states; several segments of time. */
static const struct op_example examples[] = {
	{.name = "plain", .in = {SHAPES(1, 4, 3, 2)}},
	{.name = "gated", .in = {SHAPES(2, 5, 19, 16), [SCAN_Z_BTI] = {2, 5, 19}}},
	{.name = "whole", .no_gradient_check = true, .in = {SHAPES(1, 32, 136, 16), [SCAN_Z_BTI] = {1, 32, 136}}},
	{.name = "states", .no_gradient_check = true, .in = {SHAPES(2, 35, 40, 37), [SCAN_Z_BTI] = {2, 35, 40}}},
	{.name = "documents", .prepare = documents,
		.in = {SHAPES(3, 197, 5, 7), [SCAN_Z_BTI] = {3, 197, 5}, [SCAN_START_BT] = {3, 197}}},
};

const struct op op_scan_carried = {
	.name = "scan_carried",
	.formula = "scan, from the states h that the window before has left",
	.semantics = 1,
	.n_in = SCAN_CARRIED_N_IN,
	.n_out = SCAN_N_OUT,
	.n_saved = SCAN_N_SAVED,
	.in = {
		[SCAN_U_BTI] = {"u_BTI", 0},
		[SCAN_DTRAW_BTI] = {"dtraw_BTI", 0},
		[SCAN_ALOG_IN] = {"A_log_IN", IN_MASTER},
		[SCAN_B_BTN] = {"B_BTN", 0},
		[SCAN_C_BTN] = {"C_BTN", 0},
		[SCAN_D_I] = {"D_I", IN_MASTER},
		[SCAN_DTBIAS_I] = {"dt_bias_I", IN_MASTER},
		[SCAN_Z_BTI] = {"z_BTI", IN_OPTIONAL},
		[SCAN_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX},
		[SCAN_CARRIED_H_BIN] = {"h_BIN", IN_MASTER | IN_UPDATED},
	},
	.out = {[SCAN_Y_BTI] = {"y_BTI", REAL, false}},
	.shape = scan_carried_shape,
	.room = {[REF] = room_ref, [CPU] = scan_room_cpu, [CUDA] = scan_room_cuda},
	.cost = scan_cost,
	.backward_reads_in = READS(SCAN_N_IN) - 1,	/* all but h_BIN */
	.d_in_takes = {[SCAN_U_BTI] = TAKES(SCAN_Y_BTI)},
	.forward = {[REF] = scan_carried_forward_ref, [CPU] = scan_forward_cpu,
		[CUDA] = OP_CUDA(scan_forward_cuda)},
	.backward = {[REF] = scan_carried_backward_ref, [CPU] = scan_backward_cpu,
		[CUDA] = OP_CUDA(scan_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
