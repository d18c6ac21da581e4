#include "op/pick.h"

#include "base/error.h"
#include "base/num.h"
#include "op/document_start.h"
#include "op/kit/token.h"
#include "op/kit/vec.h"
#include "op/trial.h"

struct pick {
	const struct op_run *run;
	const struct tensor *logit, *start, *mask, *carried;
	long B, T, M;
};

static struct pick pick_of(const struct op_run *r, const struct tensor *const *in, const void *attr)
{
	const struct tensor *logit = in[PICK_LOGIT_BT1];

	return (struct pick){r, logit, in[PICK_START_BT], in[PICK_MASK_BT], in[PICK_CARRIED_B], logit->dims[0],
		logit->dims[1], ((const struct pick_attr *)attr)->rows};
}

static void pick_shape(struct op_shapes *s)
{
	struct pick p = pick_of(NULL, s->in, s->attr);

	CHECK(p.logit->n_dims == 3 && tensor_width(p.logit) == 1 && tensor_size(s->in[PICK_THRESHOLD]) == 1);
	CHECK(p.M >= 1 && p.M <= p.T);
	CHECK(!p.start || tensor_size(p.start) == p.B * p.T);
	CHECK(!p.mask || tensor_size(p.mask) == p.B * p.T);
	CHECK(!p.carried || (p.start && tensor_rows(p.carried) == p.B && tensor_width(p.carried) == 1));
	s->out[PICK_SLOT_BT] = tensor_of(INDEX, 2, p.B, p.T);
	s->out[PICK_TOKEN_BM] = s->out[PICK_START_BM] = tensor_of(INDEX, 2, p.B, p.M);
	s->out[PICK_GATE_BT] = tensor_of(MASTER, 2, p.B, p.T);
	s->out[PICK_FIRST] = s->out[PICK_COUNT] = tensor_of(INDEX, 1, 2L);
	s->out[PICK_SHARE] = tensor_of(MASTER, 1, 1L);
}

/* How many are picked in front of each token, and for the GPU how many in each sequence are, and are there. */
static void room(struct op_shapes *s)
{
	struct pick p = pick_of(NULL, s->in, s->attr);

	s->forward_workspace = (size_t)(p.B * (p.T + 2)) * sizeof(int);
}

static void pick_cost(const struct op_shapes *s, struct op_cost *c)
{
	double n = (double)tensor_size(s->in[PICK_LOGIT_BT1]), bytes = op_io_bytes(&op_pick, s);

	*c = (struct op_cost){.forward_flops = 4 * n, .backward_flops = 3 * n, .executed_flops = 7 * n,
		.forward_bytes = bytes, .backward_bytes = bytes};
}

static bool is_there(const struct pick *p, long b, long t)
{
	return token_there(p->mask, b * p->T + t);
}

static bool is_picked(const struct pick *p, long b, long t)
{
	const struct tensor *threshold = p->run->in[PICK_THRESHOLD];

	if (p->run->device->bytes[MASTER] == sizeof(double))
		return row_f64(p->logit, b * p->T + t)[0] > row_f64(threshold, 0)[0];
	return row_f32(p->logit, b * p->T + t)[0] > row_f32(threshold, 0)[0];
}

static void put_gate(const struct pick *p, long b, long t, bool kept)
{
	const struct tensor *gate = p->run->out[PICK_GATE_BT];

	if (p->run->device->bytes[MASTER] == sizeof(double))
		row_f64(gate, b)[t] = kept ? sigmoid_f64(row_f64(p->logit, b * p->T + t)[0]) : 0;
	else
		row_f32(gate, b)[t] = kept ? vec_sigmoid(row_f32(p->logit, b * p->T + t)[0]) : 0;
}

/* Slots, gates and tokens of a sequence; before[t]: picked tokens in front of t. Gives their number. */
static int pick_tokens(const struct pick *p, long b, int *before)
{
	const struct op_run *r = p->run;
	int n = 0;

	for (long t = 0; t < p->T; t++) {
		bool picked = is_there(p, b, t) && is_picked(p, b, t), kept = picked && n < p->M;
		before[t] = n;
		row_int(r->out[PICK_SLOT_BT], b)[t] = kept ? (int)(b * p->M) + n : -1;
		put_gate(p, b, t, kept);
		if (kept)
			row_int(r->out[PICK_TOKEN_BM], b)[n] = (int)(b * p->T + t);
		n += picked;
	}
	for (long j = n; j < p->M; j++)
		row_int(r->out[PICK_TOKEN_BM], b)[j] = -1;
	return n;
}

/* Where the documents of a sequence's rows begin. */
static void start_rows(const struct pick *p, long b, const int *before, int n)
{
	const int *token = row_int(p->run->out[PICK_TOKEN_BM], b);
	int *start = row_int(p->run->out[PICK_START_BM], b), earlier = p->carried ? *row_int(p->carried, b) : 0;
	long last = first_seen(p->start, b, p->T - 1);

	for (long j = 0; j < p->M; j++) {
		long of = token[j] < 0 ? 0 : first_seen(p->start, b, token[j] - b * p->T);
		if (token[j] < 0)
			start[j] = p->carried ? NOT_THERE : (int)j;
		else
			start[j] = of < 0 ? -earlier : before[of];
	}
	if (p->carried)
		*row_int(p->carried, b) = (int)(last < 0 ? earlier + min_long(n, p->M)
			: min_long(n, p->M) - min_long(before[last], p->M));
}

/* For all devices of the host. */
static void pick_forward(const struct op_run *r)
{
	struct pick p = pick_of(r, r->in, r->attr);
	int *first = row_int(r->out[PICK_FIRST], 0), *count = row_int(r->out[PICK_COUNT], 0);
	int n_picked = 0, n_there = 0;

	first[0] = 0;
	first[1] = (int)(p.B * p.M);
	#pragma omp parallel for schedule(static) reduction(+:n_picked, n_there)
	for (long b = 0; b < p.B; b++) {
		int *before = (int *)r->workspace + b * p.T, n = pick_tokens(&p, b, before);
		start_rows(&p, b, before, n);
		n_picked += n;
		for (long t = 0; t < p.T; t++)
			n_there += is_there(&p, b, t);
	}
	count[0] = n_picked;
	count[1] = n_there;
	if (r->device->bytes[MASTER] == sizeof(double))
		row_f64(r->out[PICK_SHARE], 0)[0] = n_there ? (double)n_picked / n_there : 0;
	else
		row_f32(r->out[PICK_SHARE], 0)[0] = n_there ? (float)n_picked / (float)n_there : 0;
}

static void pick_backward_ref(const struct op_run *r)
{
	const struct tensor *gate = r->out[PICK_GATE_BT];

	for (long i = 0, T = tensor_width(gate); i < tensor_size(gate); i++) {
		double g = row_f64(gate, i / T)[i % T], *to = row_f64(r->d_in[PICK_LOGIT_BT1], i);
		double d = row_f64(r->d_out[PICK_GATE_BT], i / T)[i % T] * g * (1 - g);
		*to = d + (op_adds(r, PICK_LOGIT_BT1) ? *to : 0);
	}
}

static void pick_backward(const struct op_run *r)
{
	const struct tensor *gate = r->out[PICK_GATE_BT];
	long T = tensor_width(gate);

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < tensor_size(gate); i++) {
		float g = row_f32(gate, i / T)[i % T], *to = row_f32(r->d_in[PICK_LOGIT_BT1], i);
		float d = row_f32(r->d_out[PICK_GATE_BT], i / T)[i % T] * g * (1 - g);
		*to = d + (op_adds(r, PICK_LOGIT_BT1) ? *to : 0);
	}
}

/* No logit lies near the threshold. Every fifth token is masked where there is a mask. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *logit = t->in[PICK_LOGIT_BT1];

	op_trial_set(t, t->in[PICK_THRESHOLD], 0, 0.25);
	for (long i = 0; i < tensor_size(logit); i++)
		op_trial_set(t, logit, i, 0.5 * (double)(i * i % 11 + i % 3) - 2);
	for (long i = 0; t->in[PICK_MASK_BT] && i < tensor_size(logit); i++)
		op_trial_set(t, t->in[PICK_MASK_BT], i, i % 5 == 4 ? -1 : 0);
	for (long b = 0; t->in[PICK_CARRIED_B] && b < tensor_rows(t->in[PICK_CARRIED_B]); b++)
		op_trial_set(t, t->in[PICK_CARRIED_B], b, (double)(2 + 3 * b));
	if (t->in[PICK_CARRIED_B])
		prepare_carried(t);
	else
		prepare_documents(t);
}

static const struct pick_attr three = {3}, many = {300}, most = {400}, all = {21}, one = {1};

static const struct op_example examples[] = {
	{.name = "too few rows", .attr = &three, .prepare = prepare,
		.in = {[PICK_LOGIT_BT1] = {2, 17, 1}, [PICK_THRESHOLD] = {1}, [PICK_MASK_BT] = {2, 17}}},
	{.name = "too many rows", .attr = &many, .prepare = prepare,
		.in = {[PICK_LOGIT_BT1] = {2, 531, 1}, [PICK_THRESHOLD] = {1}}},
	{.name = "documents", .attr = &most, .prepare = prepare,
		.in = {[PICK_LOGIT_BT1] = {3, 531, 1}, [PICK_THRESHOLD] = {1}, [PICK_START_BT] = {3, 531}}},
	{.name = "carried", .attr = &all, .prepare = prepare, .no_gradient_check = true,
		.in = {[PICK_LOGIT_BT1] = {3, 21, 1}, [PICK_THRESHOLD] = {1}, [PICK_START_BT] = {3, 21},
			[PICK_CARRIED_B] = {3, 1}}},
	{.name = "too few rows, carried", .attr = &three, .prepare = prepare, .no_gradient_check = true,
		.in = {[PICK_LOGIT_BT1] = {3, 21, 1}, [PICK_THRESHOLD] = {1}, [PICK_START_BT] = {3, 21},
			[PICK_CARRIED_B] = {3, 1}}},
	{.name = "one token carried", .attr = &one, .prepare = prepare, .no_gradient_check = true,
		.in = {[PICK_LOGIT_BT1] = {4, 1, 1}, [PICK_THRESHOLD] = {1}, [PICK_START_BT] = {4, 1},
			[PICK_CARRIED_B] = {4, 1}}},
};

const struct op op_pick = {
	.name = "pick",
	.formula = "rows of the first M tokens of a sequence with logit > threshold;  gate = logistic(logit)",
	.semantics = 1,
	.n_in = PICK_N_IN,
	.n_out = PICK_N_OUT,
	.in = {
		[PICK_LOGIT_BT1] = {"logit", IN_MASTER},
		[PICK_THRESHOLD] = {"threshold", IN_MASTER | IN_NO_GRADIENT},
		[PICK_START_BT] = {"start_BT", IN_OPTIONAL | IN_INDEX},
		[PICK_MASK_BT] = {"mask_BT", IN_OPTIONAL | IN_INDEX},
		[PICK_CARRIED_B] = {"carried_B", IN_OPTIONAL | IN_INDEX | IN_UPDATED},
	},
	.out = {
		[PICK_SLOT_BT] = {"slot_BT", INDEX, true},
		[PICK_TOKEN_BM] = {"token_BM", INDEX, true},
		[PICK_START_BM] = {"start_BM", INDEX, true},
		[PICK_GATE_BT] = {"gate_BT", MASTER, false},
		[PICK_FIRST] = {"first", INDEX, true},
		[PICK_COUNT] = {"count", INDEX, true},
		[PICK_SHARE] = {"share", MASTER, true},
	},
	.shape = pick_shape,
	.room = {[REF] = room, [CPU] = room, [CUDA] = room},
	.cost = pick_cost,
	.backward_reads_out = READS(PICK_GATE_BT),
	.forward = {[REF] = pick_forward, [CPU] = pick_forward, [CUDA] = OP_CUDA(pick_forward_cuda)},
	.backward = {[REF] = pick_backward_ref, [CPU] = pick_backward, [CUDA] = OP_CUDA(pick_backward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
