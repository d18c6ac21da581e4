/*
 * From nodes to calls: forward in order of recording; then, if training, the seeds of the losses and
 * backward in reverse order, each block's forward repeated in front of it if asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/internal.h"
#include "op/constant.h"

static void cells_new(struct graph *g)
{
	g->n_cells = N_CELL_CLASSES * g->n_values;
	GROW(g->cells, g->n_cells, g->cells_capacity);
	for (int class = 0; class < N_CELL_CLASSES; class++)
		for (int v = 0; v < g->n_values; v++) {
			const struct value *x = g->values[v];
			enum kind kind = class == CELL_GRADIENT && x->place == PLACE_PARAM ? MASTER : x->t.kind;
			g->cells[cell_of(g, class, v)] = (struct cell){
				.parent = x->slice_of < 0 ? -1 : cell_of(g, class, x->slice_of),
				.column = x->column, .first = 1, .last = 0,
				.bytes = (size_t)tensor_size(&x->t) * g->device->bytes[kind]};
		}
}

static int cell_extra(struct graph *g, size_t bytes)
{
	GROW(g->cells, g->n_cells + 1, g->cells_capacity);
	g->cells[g->n_cells] = (struct cell){.parent = -1, .first = 1, .last = 0, .bytes = bytes};
	return g->n_cells++;
}

static struct call *call_new(struct graph *g, int node)
{
	struct call *c;

	GROW(g->calls, g->n_calls + 1, g->calls_capacity);
	c = &g->calls[g->n_calls++];
	*c = (struct call){.node = node, .workspace = -1, .constant_value = -1};
	memset(c->in, -1, sizeof c->in);
	memset(c->out, -1, sizeof c->out);
	memset(c->saved, -1, sizeof c->saved);
	memset(c->d_in, -1, sizeof c->d_in);
	memset(c->d_out, -1, sizeof c->d_out);
	return c;
}

/* Is the value, or a slice of it, an operand of a node outside of the block that makes it? Such
   values are kept for that node's sake, so recomputation need not make them again. */
static bool leaves_block(const struct graph *g, int value, int block)
{
	for (int i = 0; i < g->n_nodes; i++) {
		const struct node *n = g->nodes[i];
		for (int k = 0; n->block != block && k < n->op->n_in; k++)
			if (n->in[k] >= 0 && graph_slice_root(g, n->in[k]) == value)
				return true;
	}
	return false;
}

/* Which values are made again in backward, and so read there from their second life. */
static bool *again_values(struct graph *g)
{
	bool *again = ARENA_ARRAY(g->arena, bool, g->n_values);

	for (int v = 0; g->options.recompute && g->training && v < g->n_values; v++) {
		const struct value *root = g->values[graph_slice_root(g, v)];
		int block = root->producer >= 0 ? g->nodes[root->producer]->block : -1;
		again[v] = block >= 0 && block < g->n_blocks - 1 && root->place == PLACE_ARENA &&
			!leaves_block(g, root->t.id, block);
	}
	return again;
}

static int operand(const struct graph *g, const bool *again, int value, bool second)
{
	return value < 0 ? -1 : cell_of(g, second && again[value] ? CELL_AGAIN : CELL_VALUE, value);
}

/* saved[node][k]: its cell in the life that backward reads. Where no backward follows a rule may
   still ask for it: forward works in it, and it lives for that one call. */
typedef int saved_cells[OP_MAX_SAVED];

static void saved_new(struct graph *g, const struct node *n, int *saved)
{
	for (int k = 0; k < n->op->n_saved; k++) {
		const struct tensor *t = &n->shapes.saved[k];
		saved[k] = t->n_dims
			? cell_extra(g, (size_t)tensor_size(t) * g->device->bytes[t->kind]) : -1;
	}
}

static void add_forward(struct graph *g, int node, const bool *again, bool second,
	const int *saved)
{
	const struct node *n = g->nodes[node];
	struct call *c = call_new(g, node);

	c->again = second;
	for (int i = 0; i < n->op->n_in; i++)
		c->in[i] = operand(g, again, n->in[i], second);
	/* A repeated call writes all its outputs to their second life, needed there or not. */
	for (int i = 0; i < n->op->n_out; i++)
		c->out[i] = cell_of(g, second && in_arena(g, n->out[i]) ? CELL_AGAIN : CELL_VALUE,
			n->out[i]);
	for (int i = 0; i < n->op->n_saved; i++)
		c->saved[i] = saved[i];
	c->plan = n->shapes.forward_plan;
	if (n->shapes.forward_workspace)
		c->workspace = cell_extra(g, n->shapes.forward_workspace);
}

/* has_gradient[v], by slice root: some call before this one has written to its gradient. */
static void add_backward(struct graph *g, int node, const bool *again, bool *has_gradient,
	const int *saved)
{
	const struct node *n = g->nodes[node];
	struct call *c = call_new(g, node);

	c->backward = true;
	for (int i = 0; i < n->op->n_out; i++) {
		if (n->op->backward_reads_out >> i & 1)
			c->out[i] = operand(g, again, n->out[i], true);
		if (has_gradient[n->out[i]])
			c->d_out[i] = cell_of(g, CELL_GRADIENT, n->out[i]);
	}
	for (int i = 0; i < n->op->n_saved; i++)
		c->saved[i] = saved[i];
	for (int i = 0; i < n->op->n_in; i++) {
		int v = n->in[i];
		if (v < 0)
			continue;
		if (n->op->backward_reads_in >> i & 1)
			c->in[i] = operand(g, again, v, true);
		if (!g->values[v]->wants_gradient ||
			n->op->in[i].flags & (IN_INDEX | IN_NO_GRADIENT | IN_UPDATED))
			continue;
		c->d_in[i] = cell_of(g, CELL_GRADIENT, v);
		has_gradient[graph_slice_root(g, v)] = true;
		if (g->values[v]->place == PLACE_PARAM)
			c->param_gradients |= READS(i);
	}
	c->plan = n->shapes.backward_plan;
	if (n->shapes.backward_workspace)
		c->workspace = cell_extra(g, n->shapes.backward_workspace);
}

/* A call that sets the whole gradient of a value to a constant. */
static void constant_call(struct call *c, const struct graph *g, int value)
{
	c->constant_value = value;
	c->out[CONSTANT_Y] = cell_of(g, CELL_GRADIENT, value);
}

static bool receives_gradient(const struct node *n, const bool *has_gradient)
{
	for (int i = 0; n->shapes.training && i < n->op->n_out; i++)
		if (has_gradient[n->out[i]])
			return true;
	return false;
}

/* Repeat the block's nodes that backward depends on: those with saved buffers, and those whose
   outputs backward or a repeated node reads from their second life. */
static void repeat_block(struct graph *g, int block, const bool *again, const saved_cells *saved)
{
	bool *wanted = calloc((size_t)g->n_values, sizeof *wanted);
	bool *repeat = calloc((size_t)g->n_nodes, sizeof *repeat);

	CHECK(wanted && repeat);
	for (int i = g->n_nodes - 1; i >= 0; i--) {
		const struct node *n = g->nodes[i];
		bool any = false;
		if (n->block != block)
			continue;
		for (int k = 0; k < n->op->n_out; k++) {
			any |= wanted[n->out[k]];
			any |= n->shapes.training && (n->op->backward_reads_out >> k & 1) &&
				again[n->out[k]];
		}
		for (int k = 0; k < n->op->n_saved; k++)
			any |= n->shapes.training && saved[i][k] >= 0;
		repeat[i] = any;
		for (int k = 0; k < n->op->n_in; k++)
			if (n->in[k] >= 0 && again[n->in[k]] && (any || (n->shapes.training &&
				(n->op->backward_reads_in >> k & 1))))
				wanted[graph_slice_root(g, n->in[k])] = true;
	}
	for (int i = 0; i < g->n_nodes; i++)
		if (repeat[i])
			add_forward(g, i, again, true, saved[i]);
	free(wanted);
	free(repeat);
}

static void add_seeds(struct graph *g, bool *has_gradient)
{
	for (int i = 0; i < g->n_losses; i++) {
		const struct loss *l = &g->losses[i];
		if (!g->values[l->value]->wants_gradient)
			continue;
		constant_call(call_new(g, -1), g, l->value);
		has_gradient[l->value] = true;
	}
}

void graph_build_program(struct graph *g)
{
	bool *again, *has_gradient = ARENA_ARRAY(g->arena, bool, g->n_values);
	saved_cells *first = ARENA_ARRAY(g->arena, saved_cells, g->n_nodes);
	saved_cells *second = ARENA_ARRAY(g->arena, saved_cells, g->n_nodes);
	int repeated = -1;

	cells_new(g);
	again = again_values(g);
	g->n_calls = 0;
	for (int i = 0; i < g->n_nodes; i++) {
		int block = g->nodes[i]->block;
		saved_new(g, g->nodes[i], first[i]);
		memcpy(second[i], first[i], sizeof(saved_cells));
		if (g->options.recompute && block >= 0 && block < g->n_blocks - 1)
			saved_new(g, g->nodes[i], second[i]);
		add_forward(g, i, again, false, first[i]);
	}
	g->n_forward = g->n_calls;
	if (!g->training)
		return;
	add_seeds(g, has_gradient);
	for (int i = g->n_nodes - 1; i >= 0; i--) {
		int block = g->nodes[i]->block;
		if (!receives_gradient(g->nodes[i], has_gradient))
			continue;
		if (g->options.recompute && block >= 0 && block < g->n_blocks - 1 && block != repeated) {
			repeat_block(g, block, again, second);
			repeated = block;
		}
		add_backward(g, i, again, has_gradient, second[i]);
	}
}
