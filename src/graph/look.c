/* What a recorded graph consists of, and what its kernels do as they do it. */
#include <stdio.h>

#include "base/error.h"
#include "graph/internal.h"

int graph_n_nodes(const struct graph *g)
{
	return g->n_nodes;
}

struct graph_node_info graph_node_info(const struct graph *g, int node)
{
	const struct node *n = g->nodes[node];
	struct graph_node_info info = {.name = n->name, .op = n->op, .shapes = &n->shapes,
		.has_backward = n->shapes.training};

	if (n->op->cost)
		n->op->cost(&n->shapes, &info.cost);
	return info;
}

const char *graph_operand(struct graph *g, int node, int i)
{
	const struct value *v = g->values[g->nodes[node]->in[i]], *root = v;
	long column = 0;

	for (; root->slice_of >= 0; root = g->values[root->slice_of])
		column += root->column;
	if (root->place == PLACE_PARAM)
		return g->params->list[root->param].name;
	if (root->producer < 0)
		return root->name ? root->name : "blob";
	if (root == v)
		return arena_printf(g->arena, "%s of %d",
			g->nodes[root->producer]->op->out[root->output].name, root->producer);
	return arena_printf(g->arena, "%s of %d, columns %ld to %ld",
		g->nodes[root->producer]->op->out[root->output].name, root->producer, column,
		column + tensor_width(&v->t) - 1);
}

bool graph_operand_is_param(const struct graph *g, int node, int i)
{
	return g->values[g->nodes[node]->in[i]]->place == PLACE_PARAM;
}

void graph_watch(struct graph *g, graph_watcher *watcher, void *data)
{
	CHECK(!g->model->queue);
	g->watcher = watcher;
	g->watched = data;
}

static void print_cells(const struct graph *g, FILE *f, const char *label, const int *cells, int n)
{
	for (int i = 0; i < n; i++) {
		int root;
		long column;
		if (cells[i] < 0)
			continue;
		root = graph_cell_root(g, cells[i], &column);
		if (graph_cell_planned(g, cells[i]))
			fprintf(f, " %s%d@%zu+%ld", label, i, g->cells[root].offset, column);
		else
			fprintf(f, " %s%d", label, i);
	}
}

void graph_print(const struct graph *g, FILE *f)
{
	for (int k = 0; k < g->n_calls; k++) {
		const struct call *c = &g->calls[k];
		fprintf(f, "%4d %s%s", k, c->node < 0 ? "constant" : g->nodes[c->node]->name,
			c->backward ? " backward" : c->again ? " again" : "");
		print_cells(g, f, "in", c->in, OP_MAX_IN);
		print_cells(g, f, "out", c->out, OP_MAX_OUT);
		print_cells(g, f, "saved", c->saved, OP_MAX_SAVED);
		print_cells(g, f, "d_out", c->d_out, OP_MAX_OUT);
		print_cells(g, f, "d_in", c->d_in, OP_MAX_IN);
		fprintf(f, " add %x\n", c->add);
	}
}
