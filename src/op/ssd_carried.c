#include "op/ssd_carried.h"

#include <math.h>

#include "base/error.h"
#include "op/document_start.h"
#include "op/ssd_kernels.h"
#include "op/trial.h"

/* Decays are not above 0. */
static void given(const struct op_trial *t)
{
	const struct tensor *decay = t->in[SSD_DECAY_BTH];

	prepare_carried(t);
	for (long i = 0; i < tensor_size(decay); i++)
		op_trial_set(t, decay, i, -0.01 - 0.3 * fabs(op_trial_get(t, decay, i)));
}

static const struct ssd_attr one_group = {1, SSD_CHUNK}, two_groups = {2, SSD_CHUNK}, short_chunks = {2, 16};

#define SHAPES(B, T, H, P, N, N_ALL) \
	SSD_SHAPES(B, T, H, P, N_ALL), [SSD_START_BT] = {B, T}, [SSD_H_BIN] = {B, (H) * (P), N}

/* One chunk and several, whole and not; documents that began before, and none. */
static const struct op_example examples[] = {
	{.name = "one chunk", .attr = &one_group, .prepare = prepare_carried, .in = {SHAPES(1, 5, 2, 3, 4, 4)}},
	{.name = "groups", .attr = &short_chunks, .prepare = prepare_carried, .in = {SHAPES(2, 37, 4, 5, 3, 6)}},
	{.name = "new sequences", .attr = &short_chunks, .in = {SHAPES(2, 20, 2, 3, 5, 10)}},
	{.name = "given decays", .attr = &short_chunks, .prepare = given, .in = {[SSD_X_BTI] = {2, 37, 12},
		[SSD_B_BTN] = {2, 37, 10}, [SSD_C_BTN] = {2, 37, 10}, [SSD_D_H] = {4}, [SSD_START_BT] = {2, 37},
		[SSD_DECAY_BTH] = {2, 37, 4}, [SSD_WEIGHT_BTH] = {2, 37, 4}, [SSD_OWN_BTH] = {2, 37, 4},
		[SSD_H_BIN] = {2, 12, 5}}},
	{.name = "wide", .attr = &two_groups, .prepare = prepare_carried, .no_gradient_check = true,
		.in = {SHAPES(1, 130, 4, 72, 72, 144)}},
	{.name = "whole chunks", .attr = &one_group, .prepare = prepare_carried, .no_gradient_check = true,
		.in = {SHAPES(3, 128, 2, 8, 16, 16)}},
};

const struct op op_ssd_carried = {
	.name = "ssd_carried",
	.formula = "ssd, from the states h that the window before has left",
	.semantics = 1,
	.n_in = SSD_CARRIED_N_IN,
	.n_out = SSD_N_OUT,
	.n_saved = SSD_N_SAVED,
	.in = {SSD_INPUTS(0), [SSD_H_BIN] = {"h_BIN", IN_MASTER | IN_UPDATED}},
	.out = {[SSD_Y_BTI] = {"y_BTI", REAL, false}},
	.shape = ssd_shape,
	.room = {[REF] = ssd_room_ref, [CPU] = ssd_room_cpu, [CUDA] = ssd_room_cuda},
	.cost = ssd_cost,
	.backward_reads_in = READS(SSD_N_IN) - 1,	/* all but h_BIN */
	.forward = {[REF] = ssd_forward_ref, [CPU] = ssd_forward_cpu, [CUDA] = OP_CUDA(ssd_forward_cuda)},
	.backward = {[REF] = ssd_backward_ref, [CPU] = ssd_backward_cpu,
		[CUDA] = OP_CUDA(ssd_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
