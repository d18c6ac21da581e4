/*
 * Which operands share storage: an output (or gradient) may lie on an operand that its operator allows,
 * when nobody reads that part of the storage later. It then becomes a part of the operand's cell.
 */
#include <stdlib.h>

#include "base/error.h"
#include "graph/internal.h"

int graph_cell_root(const struct graph *g, int cell, long *column)
{
	long at = 0;

	while (g->cells[cell].parent >= 0) {
		at += g->cells[cell].column;
		cell = g->cells[cell].parent;
	}
	if (column)
		*column = at;
	return cell;
}

int graph_cell_value(const struct graph *g, int cell)
{
	return cell < N_CELL_CLASSES * g->n_values ? cell % g->n_values : -1;
}

bool graph_cell_planned(const struct graph *g, int cell)
{
	int value;

	if (cell < 0)
		return false;
	value = graph_cell_value(g, cell);
	if (value < 0)
		return true;
	if (cell / g->n_values == CELL_GRADIENT)
		return g->values[value]->place == PLACE_ARENA || g->values[value]->place == PLACE_METRIC;
	return g->values[value]->place == PLACE_ARENA;
}

typedef void operand_fn(struct graph *g, int cell, int call, int *last_use);

static void for_operands(struct graph *g, int k, operand_fn *fn, int *last_use)
{
	const struct call *c = &g->calls[k];

	for (int i = 0; i < OP_MAX_IN; i++) {
		fn(g, c->in[i], k, last_use);
		fn(g, c->d_in[i], k, last_use);
	}
	for (int i = 0; i < OP_MAX_OUT; i++) {
		fn(g, c->out[i], k, last_use);
		fn(g, c->d_out[i], k, last_use);
	}
	for (int i = 0; i < OP_MAX_SAVED; i++)
		fn(g, c->saved[i], k, last_use);
	fn(g, c->workspace, k, last_use);
}

static void note_use(struct graph *g, int cell, int call, int *last_use)
{
	(void)g;
	if (cell >= 0)
		last_use[cell] = call;
}

static void note_life(struct graph *g, int cell, int call, int *last_use)
{
	struct cell *root;

	(void)last_use;
	if (!graph_cell_planned(g, cell))
		return;
	root = &g->cells[graph_cell_root(g, cell, NULL)];
	if (root->first > root->last)
		root->first = call;
	root->last = call;
}

static bool overlap(const struct graph *g, int a, int b)
{
	long at_a, at_b;

	if (a < 0 || b < 0 || graph_cell_root(g, a, &at_a) != graph_cell_root(g, b, &at_b))
		return false;
	return at_a < at_b + tensor_width(&g->values[graph_cell_value(g, b)]->t) &&
		at_b < at_a + tensor_width(&g->values[graph_cell_value(g, a)]->t);
}

/* What sharing goes by. */
struct sharing {
	int *last_use;		/* of each cell: the last call that has it as an operand */
	int *ring;		/* the next cell on the same storage, in a ring */
	int *n_writes;		/* to the gradient of each slice root */
};

/* `cell` becomes a part of the storage of `parent`. */
static void lie_on(struct graph *g, struct sharing *s, int cell, int parent)
{
	int next = s->ring[cell];

	s->ring[cell] = s->ring[parent];
	s->ring[parent] = next;
	g->cells[cell].parent = parent;
}

/* Nobody uses the part of the storage under `cell` after call k. */
static bool free_after(const struct graph *g, const struct sharing *s, int cell, int k)
{
	int root = graph_cell_root(g, cell, NULL), other = cell;

	if (!graph_cell_planned(g, cell) || graph_cell_value(g, root) < 0)
		return false;
	do {
		if (s->last_use[other] > k && overlap(g, cell, other))
			return false;
		other = s->ring[other];
	} while (other != cell);
	return true;
}

/* Among the operands of call k, `cell` (one of them) is the only one on its part of the storage. */
static bool alone(const struct graph *g, const struct call *c, int cell)
{
	int met = 0;

	for (int i = 0; i < OP_MAX_IN; i++)
		met += overlap(g, cell, c->in[i]) + overlap(g, cell, c->d_in[i]);
	for (int i = 0; i < OP_MAX_OUT; i++)
		met += overlap(g, cell, c->d_out[i]);
	return met == 1;
}

static bool same_form(const struct graph *g, int a, int b)
{
	const struct tensor *x = &g->values[graph_cell_value(g, a)]->t;
	const struct tensor *y = &g->values[graph_cell_value(g, b)]->t;

	return x->kind == y->kind && tensor_same_shape(x, y);
}

static bool is_root(const struct graph *g, int cell)
{
	return graph_cell_planned(g, cell) && g->cells[cell].parent < 0;
}

static void share_outputs(struct graph *g, struct sharing *s, int k)
{
	struct call *c = &g->calls[k];
	const struct op *op = g->nodes[c->node]->op;

	for (int o = 0; o < op->n_out; o++) {
		int i = op->out_takes[o] - 1, out = c->out[o], in = i < 0 ? -1 : c->in[i];
		if (i < 0 || in < 0 || !is_root(g, out) || !graph_cell_planned(g, in))
			continue;
		if (same_form(g, in, out) && free_after(g, s, in, k) && alone(g, c, in))
			lie_on(g, s, out, in);
	}
}

static int writes_to(const struct graph *g, const struct sharing *s, int cell)
{
	return s->n_writes[graph_slice_root(g, graph_cell_value(g, cell))];
}

static void share_gradients(struct graph *g, struct sharing *s, int k)
{
	struct call *c = &g->calls[k];
	const struct op *op = g->nodes[c->node]->op;

	for (int i = 0; i < op->n_in; i++) {
		int o = op->d_in_takes[i] - 1, j = op->d_in_equals[i] - 1, d = c->d_in[i];
		if (d < 0 || !is_root(g, d) || c->add >> i & 1)
			continue;
		if (o >= 0 && c->d_out[o] >= 0 && same_form(g, d, c->d_out[o]) &&
			free_after(g, s, c->d_out[o], k) && alone(g, c, c->d_out[o]))
			lie_on(g, s, d, c->d_out[o]);
		else if (j >= 0 && c->d_in[j] >= 0 && is_root(g, d) && !(c->add >> j & 1) &&
			graph_cell_planned(g, c->d_in[j]) && same_form(g, d, c->d_in[j]) &&
			writes_to(g, s, d) == 1 && writes_to(g, s, c->d_in[j]) == 1)
			lie_on(g, s, d, c->d_in[j]);
	}
}

static struct sharing sharing_new(struct graph *g)
{
	size_t n = (size_t)g->n_cells;
	struct sharing s = {xcalloc(n, sizeof(int)), xcalloc(n, sizeof(int)),
		xcalloc((size_t)g->n_values, sizeof(int))};
	int root;

	for (int i = 0; i < g->n_cells; i++) {
		s.last_use[i] = -1;
		s.ring[i] = i;
	}
	for (int i = 0; i < g->n_cells; i++)
		if (g->cells[i].parent >= 0)
			lie_on(g, &s, i, g->cells[i].parent);
	for (int k = 0; k < g->n_calls; k++)
		for_operands(g, k, note_use, s.last_use);
	for (int k = g->n_forward; k < g->n_calls; k++)
		for (int i = 0; i < OP_MAX_IN; i++)
			if ((root = graph_written_root(g, &g->calls[k], i)) >= 0)
				s.n_writes[root]++;
	return s;
}

void graph_share_storage(struct graph *g)
{
	struct sharing s = sharing_new(g);

	for (int k = 0; k < g->n_calls; k++) {
		if (g->calls[k].node < 0 || g->calls[k].again)
			continue;
		if (g->calls[k].backward)
			share_gradients(g, &s, k);
		else
			share_outputs(g, &s, k);
	}
	for (int k = 0; k < g->n_calls; k++)
		for_operands(g, k, note_life, NULL);
	free(s.last_use);
	free(s.ring);
	free(s.n_writes);
}
