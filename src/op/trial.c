#include "op/trial.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "tensor/queue.h"

enum { BAND = 256, FILL = 0xff };	/* bytes around operands of the host; NaN, or -1 */

/* An operand with the bytes around its rows, or with width 0 something that has none. */
struct block {
	struct block *next;
	const char *name;
	char *at, *host;	/* on the device; its copy on the host, the same where that is the device */
	size_t bytes;
	size_t front, row, step;	/* of the first row; bytes of a row, and from one to the next */
	long n_rows;
};

struct op_trial_memory {
	struct block *blocks;
	char *workspace;
	struct block *state;
	struct tensor *no_in[OP_MAX_IN], *no_out[OP_MAX_OUT];	/* NaN, in place of what is not read */
	/* Which side has what the other lacks. */
	bool host_newer, device_newer;
};

/* Sum of four uniform numbers of 16 bits, those of a mixed counter (Steele, Lea, Flood 2014, splitmix64):
   mean 0, variance 1, as fast as a large fill needs, and exact in float32. */
static double random_value(uint64_t stream, uint64_t i)
{
	uint64_t z = stream + (i + 1) * 0x9e3779b97f4a7c15u;
	long sum = 0;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	for (int k = 0; k < 64; k += 16)
		sum += (long)(z >> k & 0xffff);
	return (float)(sqrt(3) * ((double)sum * 0x1p-16 - 2));
}

/* ---- memory --------------------------------------------------------------------------------- */

static bool on_host(const struct op_trial *t)
{
	return device_is_host(t->shapes.device);
}

static struct block *get_block(struct op_trial *t, const char *name, size_t bytes)
{
	struct block *b = ARENA_NEW(&t->arena, struct block);

	*b = (struct block){.next = t->memory->blocks, .name = name, .bytes = bytes};
	b->at = device_alloc(t->shapes.device, bytes);
	b->host = on_host(t) ? b->at : device_host_alloc(t->shapes.device, bytes);
	t->memory->blocks = b;
	memset(b->host, FILL, bytes);
	return b;
}

/* Elements in front of a row of x, and from its end to the next row. */
static long padding(const struct tensor *x, bool master, int pad)
{
	return x->n_dims > 1 && x->kind != INDEX && !master ? pad : 0;
}

static struct tensor *get_tensor(struct op_trial *t, const char *name, struct tensor shape, long pad)
{
	size_t element = t->shapes.device->bytes[shape.kind], band = on_host(t) ? BAND : 0;
	struct tensor *x = ARENA_NEW(&t->arena, struct tensor);
	struct block *b;

	*x = shape;
	x->ld = tensor_width(x) + pad;
	b = get_block(t, name, 2 * band + ((size_t)pad + (size_t)tensor_span(x)) * element);
	b->front = band + (size_t)pad * element;
	b->row = (size_t)tensor_width(x) * element;
	b->step = (size_t)x->ld * element;
	b->n_rows = tensor_rows(x);
	x->at = b->at + b->front;
	return x;
}

static char *host_of(const struct op_trial *t, const struct tensor *x)
{
	for (struct block *b = t->memory->blocks; b; b = b->next)
		if ((size_t)((char *)x->at - b->at) < b->bytes)
			return b->host + ((char *)x->at - b->at);
	BUG("%s: a tensor that is not the trial's", t->op->name);
}

static void to_device(const struct op_trial *t)
{
	const struct device *d = t->shapes.device;

	for (struct block *b = t->memory->blocks; b && t->memory->host_newer && !on_host(t); b = b->next)
		device_from_host(d, b->at, b->host, b->bytes);
	t->memory->host_newer = false;
}

static void to_host(const struct op_trial *t)
{
	const struct device *d = t->shapes.device;

	for (struct block *b = t->memory->blocks; b && t->memory->device_newer && !on_host(t); b = b->next)
		device_to_host(d, b->host, b->at, b->bytes);
	t->memory->device_newer = false;
}

/* ---- values --------------------------------------------------------------------------------- */

static float bf16_value(float x)
{
	uint32_t bits;

	memcpy(&bits, &x, sizeof bits);
	if (!isnan(x))
		bits += 0x7fff + (bits >> 16 & 1);	/* nearest, ties to even */
	bits &= 0xffff0000u;
	memcpy(&x, &bits, sizeof x);
	return x;
}

static double get(const void *at, enum kind kind, size_t bytes, long i)
{
	if (kind == INDEX)
		return ((const int32_t *)at)[i];
	if (bytes == sizeof(double))
		return ((const double *)at)[i];
	if (bytes == sizeof(float))
		return ((const float *)at)[i];

	uint32_t bits = (uint32_t)((const uint16_t *)at)[i] << 16;
	float value;
	memcpy(&value, &bits, sizeof value);
	return value;
}

static void set(void *at, enum kind kind, size_t bytes, long i, double value)
{
	if (kind == INDEX) {
		((int32_t *)at)[i] = (int32_t)value;
	} else if (bytes == sizeof(double)) {
		((double *)at)[i] = value;
	} else if (bytes == sizeof(float)) {
		((float *)at)[i] = (float)value;
	} else {
		uint32_t bits;
		float rounded = bf16_value((float)value);
		memcpy(&bits, &rounded, sizeof bits);
		((uint16_t *)at)[i] = (uint16_t)(bits >> 16);
	}
}

static long place_of(const struct tensor *x, long i)
{
	return i / tensor_width(x) * x->ld + i % tensor_width(x);
}

double op_trial_get(const struct op_trial *t, const struct tensor *x, long i)
{
	if (t->memory->device_newer)
		to_host(t);
	return get(host_of(t, x), x->kind, t->shapes.device->bytes[x->kind], place_of(x, i));
}

static void set_at(const struct op_trial *t, const struct tensor *x, char *host, long i, double value)
{
	if (t->to_bf16 && x->kind == REAL)
		value = bf16_value((float)value);
	set(host, x->kind, t->shapes.device->bytes[x->kind], place_of(x, i), value);
}

void op_trial_set(const struct op_trial *t, const struct tensor *x, long i, double value)
{
	if (t->memory->device_newer)
		to_host(t);
	if (!t->memory->host_newer)
		t->memory->host_newer = true;
	set_at(t, x, host_of(t, x), i, value);
}

static void fill(const struct op_trial *t, const struct tensor *x, uint64_t stream)
{
	char *host = host_of(t, x);

	to_host(t);
	t->memory->host_newer = true;
	#pragma omp parallel for schedule(static)
	for (long k = 0; k < tensor_size(x); k++)
		set_at(t, x, host, k, x->kind == INDEX ? 0 : random_value(stream, (uint64_t)k));
}

/* ---- opening -------------------------------------------------------------------------------- */

static bool has_gradient(const struct op *op, int i)
{
	return !(op->in[i].flags & (IN_INDEX | IN_NO_GRADIENT | IN_UPDATED));
}

static bool has_backward(const struct op *op)
{
	return op->backward[REF] != NULL;
}

static bool is_master(const struct op *op, int i)
{
	return op->in[i].flags & IN_MASTER;
}

/* A parameter's gradient is a master whatever its working copy is. */
static struct tensor gradient_shape(const struct op *op, int i, const struct tensor *in)
{
	struct tensor shape = *in;

	if (op->in[i].flags & IN_WEIGHT)
		shape.kind = MASTER;
	return shape;
}

static void get_inputs(struct op_trial *t, const struct op_trial_case *c)
{
	for (int i = 0; i < t->op->n_in; i++) {
		if (!c->in[i])
			continue;
		t->in[i] = get_tensor(t, t->op->in[i].name, *c->in[i],
			padding(c->in[i], is_master(t->op, i), c->pad));
		t->shapes.in[i] = t->in[i];
	}
}

static void get_results(struct op_trial *t, int pad)
{
	const struct op *op = t->op;

	for (int i = 0; i < op->n_in; i++)
		if (t->in[i] && has_backward(op) && has_gradient(op, i))
			t->d_in[i] = get_tensor(t, op->in[i].name, gradient_shape(op, i, t->in[i]),
				padding(t->in[i], is_master(op, i), pad));
	for (int i = 0; i < op->n_out; i++) {
		const struct tensor *shape = &t->shapes.out[i];
		t->out[i] = get_tensor(t, op->out[i].name, *shape, padding(shape, false, pad));
		if (has_backward(op) && !op->out[i].no_gradient)
			t->d_out[i] = get_tensor(t, op->out[i].name, *shape, padding(shape, false, pad));
	}
	for (int i = 0; i < op->n_saved; i++)
		if (t->shapes.saved[i].n_dims)
			t->saved[i] = get_tensor(t, "a saved buffer", t->shapes.saved[i], 0);
}

static size_t larger(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* What kernels get beside operands: workspace, plans, and the state in the device's memory. */
static void get_room(struct op_trial *t)
{
	const struct op_shapes *s = &t->shapes;

	t->workspace = larger(s->forward_workspace, s->backward_workspace);
	t->memory->workspace = device_alloc(s->device, t->workspace);
	t->plan[0] = s->forward_plan ? arena_get(&t->arena, s->forward_plan) : NULL;
	t->plan[1] = s->backward_plan ? arena_get(&t->arena, s->backward_plan) : NULL;
	t->memory->state = get_block(t, "state", sizeof t->state);
	memcpy(t->memory->state->host, &t->state, sizeof t->state);
}

void op_trial_places(const struct op_trial *t, const struct tensor *slot_BT,
	const struct tensor *token_S)
{
	long n = tensor_size(slot_BT), rows = tensor_size(token_S);

	for (long s = 0; s < rows; s++)
		op_trial_set(t, token_S, s, -1);
	for (long i = 0; i < n; i++) {
		long k = i * 1013 % n, s = rows < n ? k : k * rows / n;
		op_trial_set(t, slot_BT, i, (double)(s < rows ? s : -1));
		if (s < rows)
			op_trial_set(t, token_S, s, (double)i);
	}
}

void op_trial_open(struct op_trial *t, const struct op_trial_case *c, const struct device *device)
{
	*t = (struct op_trial){.op = c->op, .to_bf16 = c->to_bf16, .state = {.step = 3, .micro = 1, .seed = 5,
		.lr = 1e-2, .correction1 = 1 - pow(0.9, 4), .correction2 = 1 - pow(0.999, 4)}};
	t->memory = ARENA_NEW(&t->arena, struct op_trial_memory);
	t->shapes = (struct op_shapes){.device = device, .attr = c->attr, .training = has_backward(c->op)};
	get_inputs(t, c);
	op_infer(t->op, &t->shapes);
	get_results(t, c->pad);
	get_room(t);
	t->run = (struct op_run){.op = t->op, .device = device, .attr = c->attr,
		.state = (const struct step_state *)t->memory->state->at, .queue = device_queue(device),
		.workspace = t->memory->workspace};
	memcpy(t->run.in, t->in, sizeof t->in);
	memcpy(t->run.out, t->out, sizeof t->out);
	memcpy(t->run.saved, t->saved, sizeof t->saved);
	op_trial_clear_workspace(t);
	for (int i = 0; i < t->op->n_in; i++)
		if (t->in[i])
			fill(t, t->in[i], hash_u64(t->op->in[i].name));
	t->memory->host_newer = true;
	if (c->prepare)
		c->prepare(t);
}

void op_trial_close(struct op_trial *t)
{
	const struct device *d = t->shapes.device;

	for (struct block *b = t->memory->blocks; b; b = b->next) {
		device_free(d, b->at, b->bytes);
		if (b->host != b->at)
			device_host_free(d, b->host);
	}
	device_free(d, t->memory->workspace, t->workspace);
	arena_release(&t->arena);
}

static double tensor_bytes(const struct tensor *x, const struct device *d)
{
	return (double)tensor_span(x) * (double)d->bytes[x->kind];
}

double op_trial_bytes(const struct op_trial_case *c, const struct device *device)
{
	struct op_shapes s = {.device = device, .attr = c->attr, .training = has_backward(c->op)};
	double bytes = 0;

	memcpy(s.in, c->in, sizeof s.in);
	op_infer(c->op, &s);
	for (int i = 0; i < c->op->n_in; i++) {
		if (!c->in[i])
			continue;
		struct tensor gradient = gradient_shape(c->op, i, c->in[i]);
		bytes += tensor_bytes(c->in[i], device);
		if (has_backward(c->op) && has_gradient(c->op, i))
			bytes += tensor_bytes(&gradient, device);
	}
	for (int i = 0; i < c->op->n_out; i++)
		bytes += tensor_bytes(&s.out[i], device) * (1 + has_backward(c->op));
	for (int i = 0; i < c->op->n_saved; i++)
		bytes += s.saved[i].n_dims ? tensor_bytes(&s.saved[i], device) : 0;
	return bytes + (double)larger(s.forward_workspace, s.backward_workspace);
}

/* ---- running -------------------------------------------------------------------------------- */

static void run(struct op_trial *t, op_kernel *const kernels[N_DEVICES], void *plan)
{
	to_device(t);
	t->run.plan = plan;
	op_kernel_for(kernels, t->shapes.device->id)(&t->run);
	t->memory->device_newer = true;
}

void op_trial_forward(struct op_trial *t)
{
	run(t, t->op->forward, t->plan[0]);
}

void op_trial_fill_d_out(struct op_trial *t)
{
	for (int i = 0; i < t->op->n_out; i++)
		if (t->d_out[i])
			fill(t, t->d_out[i], hash_u64(t->op->out[i].name) + 1);
	memcpy(t->run.d_out, t->d_out, sizeof t->d_out);
	memcpy(t->run.d_in, t->d_in, sizeof t->d_in);
}

/* A tensor of NaN of the same shape, made once. */
static const struct tensor *nothing(struct op_trial *t, const struct tensor *like, struct tensor **kept)
{
	if (like && !*kept) {
		to_host(t);
		*kept = get_tensor(t, "what backward does not read", *like, 0);
		t->memory->host_newer = true;
	}
	return *kept;
}

/* undeclared: what backward does not read is there, and NaN. */
static void backward(struct op_trial *t, bool undeclared)
{
	const struct op *op = t->op;

	for (int i = 0; i < op->n_in; i++)
		if (!(op->backward_reads_in & READS(i)))
			t->run.in[i] = undeclared ? nothing(t, t->in[i], &t->memory->no_in[i]) : NULL;
	for (int i = 0; i < op->n_out; i++)
		if (!(op->backward_reads_out & READS(i)))
			t->run.out[i] = undeclared ? nothing(t, t->out[i], &t->memory->no_out[i]) : NULL;
	run(t, op->backward, t->plan[1]);
	memcpy(t->run.in, t->in, sizeof t->in);
	memcpy(t->run.out, t->out, sizeof t->out);
}

void op_trial_backward(struct op_trial *t)
{
	backward(t, false);
}

void op_trial_backward_undeclared(struct op_trial *t)
{
	backward(t, true);
}

/* ---- for tests ------------------------------------------------------------------------------ */

void op_trial_clear_workspace(const struct op_trial *t)
{
	static const unsigned char nan[1 << 16] = {[0 ... (1 << 16) - 1] = FILL};

	for (size_t at = 0; at < t->workspace; at += sizeof nan)
		device_from_host(t->shapes.device, t->memory->workspace + at, nan,
			t->workspace - at < sizeof nan ? t->workspace - at : sizeof nan);
}

/* Has a byte in [from, end) of a block been written? */
static bool is_written(const struct block *b, size_t from, size_t end)
{
	for (size_t k = from; k < end; k++)
		if ((unsigned char)b->host[k] != FILL)
			return true;
	return false;
}

const char *op_trial_damage(const struct op_trial *t)
{
	to_host(t);
	for (const struct block *b = t->memory->blocks; b; b = b->next) {
		size_t from = 0;
		for (long row = 0; row < b->n_rows; row++) {
			if (is_written(b, from, b->front + (size_t)row * b->step))
				return b->name;
			from = b->front + (size_t)row * b->step + b->row;
		}
		if (b->n_rows && is_written(b, from, b->bytes))
			return b->name;
	}
	return NULL;
}

bool op_trial_same(const struct op_trial *t, const struct tensor *x, const struct op_trial *u,
	const struct tensor *y)
{
	size_t element = t->shapes.device->bytes[x->kind];

	to_host(t);
	to_host(u);
	for (long row = 0; row < tensor_rows(x); row++)
		if (memcmp(host_of(t, x) + (size_t)(row * x->ld) * element,
				host_of(u, y) + (size_t)(row * y->ld) * element,
				(size_t)tensor_width(x) * element))
			return false;
	return true;
}
