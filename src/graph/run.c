#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "graph/internal.h"
#include "op/constant.h"

/* ---- planning as a whole -------------------------------------------------------------------- */

/* A program that has no kernels of the device at all may plan what others run; it has no memory there to bind. */
static int check_kernels(const struct graph *g)
{
	for (int i = 0; i < g->n_nodes && device_is_built(g->device); i++) {
		const struct node *n = g->nodes[i];
		if (!op_kernel_for(n->op->forward, g->device->id) || (n->shapes.training &&
			!op_kernel_for(n->op->backward, g->device->id)))
			return error("operator %s (%s) has no kernel for device %s", n->op->name, n->name,
				g->device->name);
	}
	return 0;
}

/* Inputs and metrics lie outside of the arena, each in one block that is copied at once. */
static void place_outside(struct graph *g)
{
	for (int i = 0; i < g->n_values; i++) {
		struct value *v = g->values[i];
		size_t bytes = graph_aligned(g, (size_t)tensor_size(&v->t) * g->device->bytes[v->t.kind]);
		if (v->place == PLACE_INPUT) {
			v->offset = g->memory.input_bytes;
			g->memory.input_bytes += bytes;
		} else if (v->place == PLACE_METRIC) {
			v->offset = g->memory.metric_bytes;
			g->memory.metric_bytes += bytes;
		}
	}
}

int graph_plan(struct graph *g, const struct graph_options *options)
{
	g->options = *options;
	CHECK(options->micro_batches >= 1);
	if (check_kernels(g))
		return -1;
	graph_build_program(g);
	graph_write_or_add(g);
	graph_share_storage(g);
	graph_pack(g);
	place_outside(g);
	return 0;
}

struct graph_memory graph_memory(const struct graph *g)
{
	return g->memory;
}

/* ---- memory of a model ---------------------------------------------------------------------- */

static bool one_weight_copy(const struct device *d)
{
	return d->bytes[REAL] == d->bytes[MASTER];
}

static size_t blob_bytes(const struct params *p, const struct device *d, int blob, bool training)
{
	if (blob == BLOB_WORKING)
		return one_weight_copy(d) ? 0 : (size_t)p->blob_size * d->bytes[REAL];
	if (blob != BLOB_WEIGHTS && !training)
		return 0;
	return (size_t)p->blob_size * d->bytes[MASTER];
}

size_t model_memory_bytes(const struct params *p, const struct device *d, bool training)
{
	size_t bytes = 0;

	for (int b = 0; b < N_BLOBS; b++)
		bytes += blob_bytes(p, d, b, training);
	return bytes;
}

void model_memory_alloc(struct model_memory *m, const struct params *p, const struct device *d,
	size_t arena_bytes, bool training)
{
	*m = (struct model_memory){.device = d, .queue = device_queue(d), .arena_bytes = arena_bytes};
	for (int b = 0; b < N_BLOBS; b++) {
		m->blob_bytes[b] = blob_bytes(p, d, b, training);
		if (m->blob_bytes[b])
			m->blob[b] = device_alloc(d, m->blob_bytes[b]);
	}
	if (one_weight_copy(d))
		m->blob[BLOB_WORKING] = m->blob[BLOB_WEIGHTS];
	m->arena = device_alloc(d, arena_bytes);
	m->state = device_alloc(d, sizeof *m->state);
}

void model_memory_carry(struct model_memory *m, const struct params *carried)
{
	m->carried_bytes = (size_t)carried->blob_size * m->device->bytes[MASTER];
	m->carried = device_alloc(m->device, m->carried_bytes);
}

void model_memory_forget(struct model_memory *m)
{
	static const char zeros[1 << 16];

	for (size_t at = 0; at < m->carried_bytes; at += sizeof zeros)
		device_from_host(m->device, (char *)m->carried + at, zeros,
			m->carried_bytes - at < sizeof zeros ? m->carried_bytes - at : sizeof zeros);
}

void model_memory_release(struct model_memory *m)
{
	if (m->carried)
		device_free(m->device, m->carried, m->carried_bytes);
	for (int b = 0; b < N_BLOBS; b++)
		if (m->blob_bytes[b])
			device_free(m->device, m->blob[b], m->blob_bytes[b]);
	device_free(m->device, m->arena, m->arena_bytes);
	device_free(m->device, m->state, sizeof *m->state);
	*m = (struct model_memory){0};
}

/* ---- addresses ------------------------------------------------------------------------------ */

static char *outside_address(const struct graph *g, const struct value *v, int class, enum kind kind)
{
	const struct params *params = v->place == PLACE_CARRIED ? g->carried : g->params;
	long offset = v->param >= 0 ? params->list[v->param].offset : 0;
	enum blob blob = v->blob;

	if (v->place == PLACE_CARRIED)
		return (char *)g->model->carried + (size_t)offset * g->device->bytes[MASTER];
	if (v->place == PLACE_INPUT)
		return g->inputs + v->offset;
	if (v->place == PLACE_METRIC)
		return g->metric_memory + v->offset;
	if (v->place == PLACE_PARAM)
		blob = class == CELL_GRADIENT ? BLOB_GRADIENTS
			: kind == MASTER ? BLOB_WEIGHTS : BLOB_WORKING;
	return (char *)g->model->blob[blob] + (size_t)offset * g->device->bytes[kind];
}

/* Fills *t, the operand in `cell` of the given shape; NULL for absent ones. */
static const struct tensor *operand(const struct graph *g, int cell, const struct tensor *shape,
	struct tensor *t)
{
	int value, root;
	long column;

	if (cell < 0)
		return NULL;
	*t = *shape;
	value = graph_cell_value(g, cell);
	if (!graph_cell_planned(g, cell)) {
		t->at = outside_address(g, g->values[value], cell / g->n_values, t->kind);
		return t;
	}
	root = graph_cell_root(g, cell, &column);
	t->at = (char *)g->model->arena + g->cells[root].offset +
		(size_t)column * g->device->bytes[t->kind];
	if (value >= 0)
		t->ld = tensor_width(&g->values[graph_cell_value(g, root)]->t);
	return t;
}

static struct tensor gradient_shape(const struct graph *g, int value)
{
	struct tensor t = g->values[value]->t;

	if (g->values[value]->place == PLACE_PARAM)
		t.kind = MASTER;
	return t;
}

static void bind_constant(struct graph *g, struct call *c)
{
	struct constant_attr *attr = ARENA_NEW(g->arena, struct constant_attr);
	struct tensor shape = gradient_shape(g, c->constant_value);

	attr->shape = shape;
	for (int i = 0; i < g->n_losses; i++)
		if (g->losses[i].value == c->constant_value)
			attr->value = g->losses[i].weight / g->options.micro_batches;
	c->run.op = &op_constant;
	c->run.attr = attr;
	c->run.out[CONSTANT_Y] = operand(g, c->out[CONSTANT_Y], &shape, c->tensors);
}

static void bind_node(struct graph *g, struct call *c)
{
	const struct node *n = g->nodes[c->node];
	struct tensor *t = c->tensors;

	c->run.op = n->op;
	c->run.attr = n->shapes.attr;
	for (int i = 0; i < n->op->n_in; i++) {
		if (n->in[i] < 0)
			continue;
		struct tensor gradient = gradient_shape(g, n->in[i]);
		c->run.in[i] = operand(g, c->in[i], n->in_shape[i], t++);
		c->run.d_in[i] = operand(g, c->d_in[i], &gradient, t++);
	}
	for (int i = 0; i < n->op->n_out; i++) {
		const struct tensor *shape = &g->values[n->out[i]]->t;
		c->run.out[i] = operand(g, c->out[i], shape, t++);
		c->run.d_out[i] = operand(g, c->d_out[i], shape, t++);
	}
	for (int i = 0; i < n->op->n_saved; i++)
		c->run.saved[i] = operand(g, c->saved[i], &n->shapes.saved[i], t++);
	if (c->workspace >= 0)
		c->run.workspace = (char *)g->model->arena + g->cells[c->workspace].offset;
}

void graph_bind(struct graph *g, const struct model_memory *m)
{
	CHECK(m->arena_bytes >= g->memory.arena_bytes && m->device == g->device && !g->model);
	CHECK(!g->carried || m->carried_bytes == (size_t)g->carried->blob_size * g->device->bytes[MASTER]);
	g->model = m;
	g->inputs = device_alloc(g->device, g->memory.input_bytes);
	g->metric_memory = device_alloc(g->device, g->memory.metric_bytes);
	g->input_host = m->queue ? device_host_alloc(g->device, 2 * g->memory.input_bytes) : NULL;
	g->metric_host = device_host_alloc(g->device, g->memory.metric_bytes);
	for (int k = 0; k < g->n_calls; k++) {
		struct call *c = &g->calls[k];
		c->tensors = ARENA_ARRAY(g->arena, struct tensor,
			2 * (OP_MAX_IN + OP_MAX_OUT) + OP_MAX_SAVED);
		c->run = (struct op_run){.device = g->device, .state = m->state, .queue = m->queue,
			.plan = c->plan ? arena_get(g->arena, c->plan) : NULL};
		if (c->node < 0)
			bind_constant(g, c);
		else
			bind_node(g, c);
	}
}

/* ---- replay --------------------------------------------------------------------------------- */

static const struct value *input_named(const struct graph *g, const char *name)
{
	for (int i = 0; i < g->n_values; i++)
		if (g->values[i]->place == PLACE_INPUT && !strcmp(g->values[i]->name, name))
			return g->values[i];
	return NULL;
}

static const struct value *metric_named(const struct graph *g, const char *name)
{
	for (int i = 0; i < g->n_metrics; i++)
		if (!strcmp(g->values[g->metrics[i]]->name, name))
			return g->values[g->metrics[i]];
	return NULL;
}

static void wait(struct graph *g)
{
	if (g->model->queue)
		queue_wait(g->model->queue);
	g->ahead = 0;
}

void graph_set_input(struct graph *g, const char *name, const void *host)
{
	const struct value *v = input_named(g, name);

	size_t bytes;

	CHECK(v);
	bytes = (size_t)tensor_size(&v->t) * g->device->bytes[v->t.kind];
	if (!g->model->queue) {
		memcpy(g->inputs + v->offset, host, bytes);
		return;
	}
	/* Copies may still be under way from the half that the replay before the last one read. */
	if (g->ahead > 1)
		wait(g);
	char *from = g->input_host + (size_t)g->half * g->memory.input_bytes + v->offset;
	queue_copy_in(g->model->queue, g->inputs + v->offset, memcpy(from, host, bytes), bytes);
}

static void run_call(struct graph *g, struct call *c, bool first)
{
	op_kernel *kernel = op_kernel_for(c->backward ? c->run.op->backward : c->run.op->forward,
		g->device->id);

	c->run.add = c->add | (first ? 0 : c->param_gradients);
	kernel(&c->run);
}

static int first_call(const struct graph *g, enum program p)
{
	return p == PROGRAM_FORWARD ? 0 : g->n_forward;
}

static int end_call(const struct graph *g, enum program p)
{
	return p == PROGRAM_FORWARD ? g->n_forward : g->n_calls;
}

static void run_calls(struct graph *g, enum program p)
{
	for (int k = first_call(g, p); k < end_call(g, p); k++) {
		run_call(g, &g->calls[k], p != PROGRAM_BACKWARD_FURTHER);
		if (g->watcher)
			g->watcher(g->watched, g->calls[k].node, g->calls[k].backward, &g->calls[k].run);
	}
}

static void add_seconds(struct graph *g, const struct call *c, double seconds)
{
	if (c->node >= 0)
		(c->backward || c->again ? g->profile->backward_s : g->profile->forward_s)[c->node] +=
			seconds;
}

/* Call by call, with the seconds of each: by the clock, or by marks in the queue. */
static void run_profiled(struct graph *g, enum program p)
{
	struct queue *q = g->model->queue;
	int first = first_call(g, p), end = end_call(g, p);

	for (int k = first; k < end; k++) {
		double start = clock_s();
		if (q)
			queue_mark(q, g->marks[k]);
		run_call(g, &g->calls[k], p != PROGRAM_BACKWARD_FURTHER);
		if (!q)
			add_seconds(g, &g->calls[k], clock_s() - start);
	}
	if (!q || first == end)
		return;
	queue_mark(q, g->marks[end]);
	for (int k = first; k < end; k++)
		add_seconds(g, &g->calls[k], queue_seconds(g->marks[k], g->marks[k + 1]));
}

/* Kernels load at their first launch and make their plans then, so the first replay is not recorded. */
static void replay(struct graph *g, enum program p)
{
	struct queue *q = g->model->queue;

	if (g->profile) {
		run_profiled(g, p);
		return;
	}
	if (!q || !g->warm[p] || g->unrecorded) {
		run_calls(g, p);
		g->warm[p] = true;
		return;
	}
	if (!g->recorded[p] && first_call(g, p) < end_call(g, p)) {
		queue_record_begin(q);
		run_calls(g, p);
		g->recorded[p] = queue_record_end(q);
	}
	if (g->recorded[p])
		queue_replay(q, g->recorded[p]);
}

void graph_forward(struct graph *g)
{
	replay(g, PROGRAM_FORWARD);
	g->ahead++;
	g->half ^= 1;
}

void graph_backward(struct graph *g, bool first)
{
	replay(g, first ? PROGRAM_BACKWARD_FIRST : PROGRAM_BACKWARD_FURTHER);
}

void graph_unrecorded(struct graph *g)
{
	g->unrecorded = true;
}

void graph_profile(struct graph *g, struct graph_profile *p)
{
	g->profile = p;
	if (!p || g->marks || !g->model->queue)
		return;
	g->marks = ARENA_ARRAY(g->arena, struct queue_mark *, g->n_calls + 1);
	for (int k = 0; k <= g->n_calls; k++)
		g->marks[k] = queue_mark_new();
}

void graph_fetch_metrics(struct graph *g)
{
	if (g->model->queue)
		queue_copy_out(g->model->queue, g->metric_host, g->metric_memory,
			g->memory.metric_bytes);
	else
		memcpy(g->metric_host, g->metric_memory, g->memory.metric_bytes);
	wait(g);
}

const struct tensor *graph_metric_shape(const struct graph *g, const char *name)
{
	const struct value *v = metric_named(g, name);

	CHECK(v);
	return &v->t;
}

/* The upper half of a float32. */
static double bf16_at(const void *at, long i)
{
	uint32_t bits = (uint32_t)((const uint16_t *)at)[i] << 16;
	float value;

	memcpy(&value, &bits, sizeof value);
	return value;
}

static double metric_at(const struct graph *g, const struct value *v, long i)
{
	const char *at = g->metric_host + v->offset;

	if (v->t.kind == INDEX)
		return ((const int *)at)[i];
	if (g->device->bytes[v->t.kind] == 2)
		return bf16_at(at, i);
	return g->device->bytes[v->t.kind] == 8 ? ((const double *)at)[i] : ((const float *)at)[i];
}

double graph_read(const struct graph *g, const char *name, long i)
{
	const struct value *v = metric_named(g, name);

	CHECK(v && i >= 0 && i < tensor_size(&v->t));
	return metric_at(g, v, i);
}

void graph_read_all(const struct graph *g, const char *name, double *out)
{
	const struct value *v = metric_named(g, name);

	CHECK(v);
	for (long i = 0; i < tensor_size(&v->t); i++)
		out[i] = metric_at(g, v, i);
}

double graph_loss_total(const struct graph *g)
{
	double total = 0;

	for (int i = 0; i < g->n_losses; i++)
		total += g->losses[i].weight * metric_at(g, g->values[g->losses[i].value], 0);
	return total;
}
