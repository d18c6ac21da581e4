#include "op/delta_carried.h"

#include <string.h>

#include "base/error.h"
#include "op/delta_kernels.h"
#include "op/document_start.h"
#include "op/trial.h"

static void delta_carried_shape(struct op_shapes *s)
{
	struct delta_dims d = delta_dims(s->in, s->attr);
	const struct tensor *S = s->in[DELTA_CARRIED_S_BKV];

	delta_shape(s);
	CHECK(S->n_dims == 3 && S->dims[0] == d.B && S->dims[1] == d.H * d.K && S->dims[2] == d.V);
}

/* Forward has changed S_BKV when backward comes. */
static void room_ref(struct op_shapes *s)
{
	const struct tensor *S = s->in[DELTA_CARRIED_S_BKV];

	delta_room_ref(s);
	if (s->training)
		s->saved[DELTA_STATES] = tensor_of(MASTER, 3, S->dims[0], S->dims[1], S->dims[2]);
}

static void delta_carried_forward_ref(const struct op_run *r)
{
	const struct tensor *S = r->in[DELTA_CARRIED_S_BKV], *saved = r->saved[DELTA_STATES];

	for (long k = 0; saved && k < tensor_rows(S); k++)
		memcpy(row_f64(saved, k), row_f64(S, k), (size_t)tensor_width(S) * sizeof(double));
	delta_forward_from(r, S);
}

static void delta_carried_backward_ref(const struct op_run *r)
{
	delta_backward_from(r, r->saved[DELTA_STATES]);
}

/* Memories that live for many tokens. */
static void prepare(const struct op_trial *t)
{
	for (long h = 0; h < tensor_size(t->in[DELTA_ALOG_H]); h++)
		op_trial_set(t, t->in[DELTA_ALOG_H], h, -3 + 0.5 * (double)h);
}

static void documents(const struct op_trial *t)
{
	prepare(t);
	document_start_carried_example(t, t->in[DELTA_START_BT]);
}

static const struct delta_attr usual = {DELTA_CHUNK}, short_chunks = {16};

#define SHAPES(B, T, H, K, V) \
	[DELTA_Q_BTK] = {B, T, (H) * (K)}, [DELTA_K_BTK] = {B, T, (H) * (K)}, \
		[DELTA_V_BTV] = {B, T, (H) * (V)}, [DELTA_BRAW_BTH] = {B, T, H}, \
		[DELTA_DTRAW_BTH] = {B, T, H}, [DELTA_ALOG_H] = {H}, [DELTA_DTBIAS_H] = {H}, \
		[DELTA_START_BT] = {B, T}, [DELTA_CARRIED_S_BKV] = {B, (H) * (K), V}

/* One chunk and several, whole and not; documents that began before, and none. */
static const struct op_example examples[] = {
	{.name = "one chunk", .attr = &usual, .prepare = documents, .in = {SHAPES(1, 5, 2, 3, 4)}},
	{.name = "chunks", .attr = &short_chunks, .prepare = documents, .in = {SHAPES(3, 37, 2, 5, 6)}},
	{.name = "new sequences", .attr = &short_chunks, .prepare = prepare, .in = {SHAPES(2, 20, 2, 3, 5)}},
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
	.in = {
		[DELTA_Q_BTK] = {"q_BTK", 0},
		[DELTA_K_BTK] = {"k_BTK", 0},
		[DELTA_V_BTV] = {"v_BTV", 0},
		[DELTA_BRAW_BTH] = {"braw_BTH", 0},
		[DELTA_DTRAW_BTH] = {"dtraw_BTH", 0},
		[DELTA_ALOG_H] = {"A_log_H", IN_MASTER},
		[DELTA_DTBIAS_H] = {"dt_bias_H", IN_MASTER},
		[DELTA_START_BT] = {"start_BT", IN_INDEX},
		[DELTA_CARRIED_S_BKV] = {"S_BKV", IN_MASTER | IN_UPDATED},
	},
	.out = {[DELTA_Y_BTV] = {"y_BTV", REAL, false}},
	.shape = delta_carried_shape,
	.room = {[REF] = room_ref, [CPU] = delta_room_cpu, [CUDA] = delta_room_cuda},
	.cost = delta_cost,
	.backward_reads_in = READS(DELTA_N_IN) - 1,	/* all but S_BKV */
	.forward = {[REF] = delta_carried_forward_ref, [CPU] = delta_forward_cpu,
		[CUDA] = OP_CUDA(delta_forward_cuda)},
	.backward = {[REF] = delta_carried_backward_ref, [CPU] = delta_backward_cpu,
		[CUDA] = OP_CUDA(delta_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
