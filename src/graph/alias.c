/*
 * Which gradients are written and which added, and which operands share storage.
 *
 * Write or add: the first call that writes to a gradient writes, later ones add. Slices write to
 * columns of their root: as long as each write meets columns that are all new or all written, and
 * all are written in the end, nothing need be cleared; else the root is cleared once and all add.
 *
 * In place: an output (or gradient) may lie on an operand that its operator allows, when nobody
 * reads that part of the storage later. It then becomes a part of the operand's cell.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/internal.h"
#include "op/constant.h"

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

/* ---- write or add --------------------------------------------------------------------------- */

/* Columns of its slice root that a value covers. */
static void slice_range(const struct graph *g, int value, long *begin, long *end)
{
	long width = tensor_width(&g->values[value]->t);

	*begin = 0;
	for (; g->values[value]->slice_of >= 0; value = g->values[value]->slice_of)
		*begin += g->values[value]->column;
	*end = *begin + width;
}

/* One write to the gradient of `value`: updates covered[]; 0: first, 1: onto all written, -1: mixed. */
static int cover(const struct graph *g, int value, char *covered)
{
	long begin, end, before = 0;

	slice_range(g, value, &begin, &end);
	for (long i = begin; i < end; i++) {
		before += covered[i];
		covered[i] = 1;
	}
	return before == 0 ? 0 : before == end - begin ? 1 : -1;
}

/* Follow all writes to the gradient of one slice root. Returns the first call that writes, with
 * *clear set if the root must be cleared in front of it; -1 if there is none. */
static int decide_adds(struct graph *g, int root, bool *clear)
{
	long width = tensor_width(&g->values[root]->t), n = 0;
	char *covered = xcalloc((size_t)width, 1);
	int first = -1;

	*clear = false;
	for (int k = g->n_forward; k < g->n_calls; k++) {
		struct call *c = &g->calls[k];
		if (c->constant_value == root && first < 0) {
			first = k;
			memset(covered, 1, (size_t)width);
		}
		for (int i = 0; i < OP_MAX_IN; i++) {
			int value = c->d_in[i] < 0 ? -1 : graph_cell_value(g, c->d_in[i]), kind;
			if (value < 0 || graph_slice_root(g, value) != root)
				continue;
			kind = cover(g, value, covered);
			*clear |= kind < 0;
			if (kind == 1)
				c->add |= READS(i);
			if (first < 0)
				first = k;
		}
	}
	for (long i = 0; i < width; i++)
		n += covered[i];
	free(covered);
	*clear |= first >= 0 && n < width;
	return first;
}

static void add_everywhere(struct graph *g, int root)
{
	for (int k = g->n_forward; k < g->n_calls; k++)
		for (int i = 0; i < OP_MAX_IN; i++) {
			struct call *c = &g->calls[k];
			int value = c->d_in[i] < 0 ? -1 : graph_cell_value(g, c->d_in[i]);
			if (value >= 0 && graph_slice_root(g, value) == root)
				c->add |= READS(i);
		}
}

static void insert_clear(struct graph *g, int at, int root)
{
	struct call clear = {.node = -1, .workspace = -1, .constant_value = root};

	memset(clear.in, -1, sizeof clear.in);
	memset(clear.out, -1, sizeof clear.out);
	memset(clear.saved, -1, sizeof clear.saved);
	memset(clear.d_in, -1, sizeof clear.d_in);
	memset(clear.d_out, -1, sizeof clear.d_out);
	clear.out[CONSTANT_Y] = cell_of(g, CELL_GRADIENT, root);
	GROW(g->calls, g->n_calls + 1, g->calls_capacity);
	memmove(g->calls + at + 1, g->calls + at, (size_t)(g->n_calls - at) * sizeof *g->calls);
	g->calls[at] = clear;
	g->n_calls++;
}

static void write_or_add(struct graph *g)
{
	for (int v = 0; v < g->n_values; v++) {
		bool clear;
		int first;
		if (g->values[v]->slice_of >= 0 || !g->values[v]->wants_gradient)
			continue;
		first = decide_adds(g, v, &clear);
		if (!clear)
			continue;
		CHECK(g->values[v]->place == PLACE_ARENA);
		add_everywhere(g, v);
		insert_clear(g, first, v);
	}
}

/* ---- sharing -------------------------------------------------------------------------------- */

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

/* Nobody uses the part of the storage under `cell` after call k. */
static bool free_after(const struct graph *g, int cell, int k, const int *last_use)
{
	int n = N_CELL_CLASSES * g->n_values, root = graph_cell_root(g, cell, NULL);

	if (!graph_cell_planned(g, cell) || graph_cell_value(g, root) < 0)
		return false;
	for (int other = 0; other < n; other++)
		if (last_use[other] > k && overlap(g, cell, other))
			return false;
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

static void share_outputs(struct graph *g, int k, const int *last_use)
{
	struct call *c = &g->calls[k];
	const struct op *op = g->nodes[c->node]->op;

	for (int o = 0; o < op->n_out; o++) {
		int i = op->out_takes[o] - 1, out = c->out[o], in = i < 0 ? -1 : c->in[i];
		if (i < 0 || in < 0 || !is_root(g, out) || !graph_cell_planned(g, in))
			continue;
		if (same_form(g, in, out) && free_after(g, in, k, last_use) && alone(g, c, in))
			g->cells[out].parent = in;
	}
}

static int writes(const struct graph *g, int cell)
{
	int n = 0, root = graph_slice_root(g, graph_cell_value(g, cell));

	for (int k = g->n_forward; k < g->n_calls; k++)
		for (int i = 0; i < OP_MAX_IN; i++)
			n += g->calls[k].d_in[i] >= 0 &&
				graph_slice_root(g, graph_cell_value(g, g->calls[k].d_in[i])) == root;
	return n;
}

static void share_gradients(struct graph *g, int k, const int *last_use)
{
	struct call *c = &g->calls[k];
	const struct op *op = g->nodes[c->node]->op;

	for (int i = 0; i < op->n_in; i++) {
		int o = op->d_in_takes[i] - 1, j = op->d_in_equals[i] - 1, d = c->d_in[i];
		if (d < 0 || !is_root(g, d) || c->add >> i & 1)
			continue;
		if (o >= 0 && c->d_out[o] >= 0 && same_form(g, d, c->d_out[o]) &&
			free_after(g, c->d_out[o], k, last_use) && alone(g, c, c->d_out[o]))
			g->cells[d].parent = c->d_out[o];
		else if (j >= 0 && c->d_in[j] >= 0 && is_root(g, d) && !(c->add >> j & 1) &&
			graph_cell_planned(g, c->d_in[j]) && same_form(g, d, c->d_in[j]) &&
			writes(g, d) == 1 && writes(g, c->d_in[j]) == 1)
			g->cells[d].parent = c->d_in[j];
	}
}

void graph_share_storage(struct graph *g)
{
	int *last_use;

	write_or_add(g);
	last_use = xcalloc((size_t)g->n_cells, sizeof *last_use);
	memset(last_use, -1, (size_t)g->n_cells * sizeof *last_use);
	for (int k = 0; k < g->n_calls; k++)
		for_operands(g, k, note_use, last_use);
	for (int k = 0; k < g->n_calls; k++) {
		if (g->calls[k].node < 0 || g->calls[k].again)
			continue;
		if (g->calls[k].backward)
			share_gradients(g, k, last_use);
		else
			share_outputs(g, k, last_use);
	}
	for (int k = 0; k < g->n_calls; k++)
		for_operands(g, k, note_life, NULL);
	free(last_use);
}
