/*
 * Which gradients are written and which added: the first call that writes to a gradient writes, later
 * ones add. Slices write to columns of their root: as long as each write meets columns that are all new
 * or all written, and all are written in the end, nothing need be cleared; else the root is cleared once
 * and all add.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/internal.h"
#include "op/constant.h"

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

/* All writes to gradients, by slice root, in the order of calls: those of root r are at[first[r]] to
   at[first[r + 1]]. */
struct writes {
	struct write {
		int call, input;
	} *at;
	int *first;
};

int graph_written_root(const struct graph *g, const struct call *c, int i)
{
	int value = c->d_in[i] < 0 ? -1 : graph_cell_value(g, c->d_in[i]);

	return value < 0 ? -1 : graph_slice_root(g, value);
}

static struct writes writes_new(const struct graph *g)
{
	struct writes w = {.first = xcalloc((size_t)g->n_values + 2, sizeof *w.first)};
	int *fill, root;

	for (int k = g->n_forward; k < g->n_calls; k++)
		for (int i = 0; i < OP_MAX_IN; i++)
			if ((root = graph_written_root(g, &g->calls[k], i)) >= 0)
				w.first[root + 2]++;
	for (int v = 0; v < g->n_values; v++)
		w.first[v + 2] += w.first[v + 1];
	w.at = xcalloc((size_t)w.first[g->n_values + 1] + 1, sizeof *w.at);
	fill = w.first + 1;	/* where the next one of a root goes; in the end, where the next root begins */
	for (int k = g->n_forward; k < g->n_calls; k++)
		for (int i = 0; i < OP_MAX_IN; i++)
			if ((root = graph_written_root(g, &g->calls[k], i)) >= 0)
				w.at[fill[root]++] = (struct write){k, i};
	return w;
}

static void writes_free(struct writes *w)
{
	free(w->at);
	free(w->first);
}

/*
 * Follow all writes to the gradient of one slice root; seed: the call that sets all of it, or -1. Gives
 * the first call that writes, with *clear set if the root must be cleared in front of it; -1: none.
 */
static int decide_adds(struct graph *g, const struct writes *w, int root, int seed, bool *clear)
{
	long width = tensor_width(&g->values[root]->t), n = 0;
	char *covered = xcalloc((size_t)width, 1);
	int first = seed;

	*clear = false;
	if (seed >= 0)
		memset(covered, 1, (size_t)width);
	for (const struct write *x = w->at + w->first[root]; x < w->at + w->first[root + 1]; x++) {
		struct call *c = &g->calls[x->call];
		int kind = cover(g, graph_cell_value(g, c->d_in[x->input]), covered);
		*clear |= kind < 0;
		if (kind == 1)
			c->add |= READS(x->input);
		if (first < 0)
			first = x->call;
	}
	for (long i = 0; i < width; i++)
		n += covered[i];
	free(covered);
	*clear |= first >= 0 && n < width;
	return first;
}

static struct call clear_call(const struct graph *g, int root)
{
	struct call clear = {.node = -1, .workspace = -1, .constant_value = root};

	memset(clear.in, -1, sizeof clear.in);
	memset(clear.out, -1, sizeof clear.out);
	memset(clear.saved, -1, sizeof clear.saved);
	memset(clear.d_in, -1, sizeof clear.d_in);
	memset(clear.d_out, -1, sizeof clear.d_out);
	clear.out[CONSTANT_Y] = cell_of(g, CELL_GRADIENT, root);
	return clear;
}

struct clearing {
	int call, root;		/* in front of the call */
};

static int by_call(const void *a, const void *b)
{
	const struct clearing *x = a, *y = b;

	return x->call != y->call ? x->call - y->call : x->root - y->root;
}

static void insert_clears(struct graph *g, struct clearing *list, int n)
{
	qsort(list, (size_t)n, sizeof *list, by_call);
	GROW(g->calls, g->n_calls + n, g->calls_capacity);
	for (int k = g->n_calls - 1, left = n; left; k--) {
		g->calls[k + left] = g->calls[k];
		while (left && list[left - 1].call == k) {
			left--;
			g->calls[k + left] = clear_call(g, list[left].root);
		}
	}
	g->n_calls += n;
}

/* Seeds: for each value the call that sets its whole gradient, or -1. */
static int *seeds_new(const struct graph *g)
{
	int *seeds = xcalloc((size_t)g->n_values, sizeof *seeds);

	memset(seeds, -1, (size_t)g->n_values * sizeof *seeds);
	for (int k = g->n_calls - 1; k >= g->n_forward; k--)
		if (g->calls[k].constant_value >= 0)
			seeds[g->calls[k].constant_value] = k;
	return seeds;
}

void graph_write_or_add(struct graph *g)
{
	struct writes w = writes_new(g);
	struct clearing *list = xcalloc((size_t)g->n_values, sizeof *list);
	int *seeds = seeds_new(g), n = 0;

	for (int v = 0; v < g->n_values; v++) {
		bool clear;
		int first;
		if (g->values[v]->slice_of >= 0 || !g->values[v]->wants_gradient)
			continue;
		first = decide_adds(g, &w, v, seeds[v], &clear);
		if (!clear)
			continue;
		CHECK(g->values[v]->place == PLACE_ARENA);
		list[n++] = (struct clearing){first, v};
		for (int i = w.first[v]; i < w.first[v + 1]; i++)
			g->calls[w.at[i].call].add |= READS(w.at[i].input);
	}
	insert_clears(g, list, n);
	free(list);
	free(seeds);
	writes_free(&w);
}
