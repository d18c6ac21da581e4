#include "op/scan_carried.h"

#include "base/error.h"
#include "op/document_start.h"
#include "op/scan_kernels.h"

#define SHAPES(B, T, I, N) SCAN_SHAPES(B, T, I, N), [SCAN_H_BIN] = {B, I, N}

/* Lengths that no tile divides, and one that all do; several groups of states; several segments of time. */
static const struct op_example examples[] = {
	{.name = "plain", .in = {SHAPES(1, 4, 3, 2)}},
	{.name = "gated", .in = {SHAPES(2, 5, 19, 16), [SCAN_Z_BTI] = {2, 5, 19}}},
	{.name = "whole", .no_gradient_check = true, .in = {SHAPES(1, 32, 136, 16), [SCAN_Z_BTI] = {1, 32, 136}}},
	{.name = "states", .no_gradient_check = true, .in = {SHAPES(2, 35, 40, 37), [SCAN_Z_BTI] = {2, 35, 40}}},
	{.name = "whole, states", .no_gradient_check = true, .in = {SHAPES(1, 32, 3, 20)}},
	{.name = "documents", .prepare = prepare_carried,
		.in = {SHAPES(3, 197, 5, 7), [SCAN_Z_BTI] = {3, 197, 5}, [SCAN_START_BT] = {3, 197}}},
};

const struct op op_scan_carried = {
	.name = "scan_carried",
	.formula = "scan, from the states h that the window before has left",
	.semantics = 1,
	.n_in = SCAN_CARRIED_N_IN,
	.n_out = SCAN_N_OUT,
	.n_saved = SCAN_N_SAVED,
	.in = {SCAN_INPUTS, [SCAN_H_BIN] = {"h_BIN", IN_MASTER | IN_UPDATED}},
	.out = {[SCAN_Y_BTI] = {"y_BTI", REAL, false}},
	.shape = scan_shape,
	.room = {[REF] = scan_room_ref, [CPU] = scan_room_cpu, [CUDA] = scan_room_cuda},
	.cost = scan_cost,
	.backward_reads_in = READS(SCAN_N_IN) - 1,	/* all but h_BIN */
	.d_in_takes = {[SCAN_U_BTI] = TAKES(SCAN_Y_BTI)},
	.forward = {[REF] = scan_forward_ref, [CPU] = scan_forward_cpu,
		[CUDA] = OP_CUDA(scan_forward_cuda)},
	.backward = {[REF] = scan_backward_ref, [CPU] = scan_backward_cpu,
		[CUDA] = OP_CUDA(scan_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
