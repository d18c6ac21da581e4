#include "op/delta_carried.h"

#include "base/error.h"
#include "op/delta_kernels.h"
#include "op/document_start.h"
#include "op/trial.h"

static void documents(const struct op_trial *t)
{
	delta_prepare_long(t);
	prepare_carried(t);
}

static const struct delta_attr usual = {DELTA_CHUNK}, short_chunks = {16};

#define SHAPES(B, T, H, K, V) \
	DELTA_SHAPES(B, T, H, K, V), [DELTA_START_BT] = {B, T}, [DELTA_S_BKV] = {B, (H) * (K), V}

/* One chunk and several, whole and not; documents that began before, and none. */
static const struct op_example examples[] = {
	{.name = "one chunk", .attr = &usual, .prepare = documents, .in = {SHAPES(1, 5, 2, 3, 4)}},
	{.name = "chunks", .attr = &short_chunks, .prepare = documents, .in = {SHAPES(3, 37, 2, 5, 6)}},
	{.name = "new sequences", .attr = &short_chunks, .prepare = delta_prepare_long, .in = {SHAPES(2, 20, 2, 3, 5)}},
	{.name = "wide", .attr = &usual, .prepare = documents, .no_gradient_check = true,
		.in = {SHAPES(1, 70, 2, 72, 130)}},
	{.name = "whole chunks", .attr = &usual, .prepare = documents, .no_gradient_check = true,
		.in = {SHAPES(2, 128, 2, 8, 16)}},
};

const struct op op_delta_carried = {
	.name = "delta_carried",
	.formula = "delta, from the memories S that the window before has left",
	.semantics = 1,
	.n_in = DELTA_CARRIED_N_IN,
	.n_out = DELTA_N_OUT,
	.n_saved = DELTA_N_SAVED,
	.in = {DELTA_INPUTS(0), [DELTA_S_BKV] = {"S_BKV", IN_MASTER | IN_UPDATED}},
	.out = {[DELTA_Y_BTV] = {"y_BTV", REAL, false}},
	.shape = delta_shape,
	.room = {[REF] = delta_room_ref, [CPU] = delta_room_cpu, [CUDA] = delta_room_cuda},
	.cost = delta_cost,
	.backward_reads_in = READS(DELTA_N_IN) - 1,	/* all but S_BKV */
	.forward = {[REF] = delta_forward_ref, [CPU] = delta_forward_cpu,
		[CUDA] = OP_CUDA(delta_forward_cuda)},
	.backward = {[REF] = delta_backward_ref, [CPU] = delta_backward_cpu,
		[CUDA] = OP_CUDA(delta_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
