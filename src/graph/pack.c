/*
 * Lifetimes to addresses: the largest cell first, each at the lowest offset where no cell that lives
 * at the same time lies. A greedy heuristic for a hard problem (dynamic storage allocation); for the
 * nested lifetimes of forward and backward it comes within a few percent of the peak.
 */
#include <stdlib.h>

#include "base/error.h"
#include "graph/internal.h"

struct placed {
	size_t offset, end;
};

struct order {
	const struct graph *g;
	int cell;
};

static size_t rounded(const struct graph *g, const struct cell *c)
{
	return (c->bytes + g->device->align - 1) / g->device->align * g->device->align;
}

static bool used_root(const struct graph *g, int i)
{
	const struct cell *c = &g->cells[i];

	return c->parent < 0 && c->first <= c->last;
}

static int larger_first(const void *a, const void *b)
{
	const struct order *x = a, *y = b;
	size_t p = x->g->cells[x->cell].bytes, q = y->g->cells[y->cell].bytes;

	if (p != q)
		return p < q ? 1 : -1;
	return x->cell - y->cell;
}

static int by_offset(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;

	return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Lowest offset for a cell among n placed neighbours in time. */
static size_t lowest_gap(struct placed *busy, int n, size_t bytes)
{
	size_t at = 0;

	qsort(busy, (size_t)n, sizeof *busy, by_offset);
	for (int i = 0; i < n; i++) {
		if (busy[i].offset >= at + bytes)
			break;
		if (busy[i].end > at)
			at = busy[i].end;
	}
	return at;
}

void graph_pack(struct graph *g)
{
	struct order *order = xcalloc((size_t)g->n_cells, sizeof *order);
	struct placed *busy = xcalloc((size_t)g->n_cells, sizeof *busy);
	int n = 0;

	for (int i = 0; i < g->n_cells; i++)
		if (used_root(g, i))
			order[n++] = (struct order){g, i};
	qsort(order, (size_t)n, sizeof *order, larger_first);
	for (int i = 0; i < n; i++) {
		struct cell *c = &g->cells[order[i].cell];
		int n_busy = 0;
		for (int j = 0; j < i; j++) {
			const struct cell *o = &g->cells[order[j].cell];
			if (o->first <= c->last && c->first <= o->last)
				busy[n_busy++] = (struct placed){o->offset, o->offset + rounded(g, o)};
		}
		c->offset = lowest_gap(busy, n_busy, rounded(g, c));
		if (c->offset + rounded(g, c) > g->memory.arena_bytes)
			g->memory.arena_bytes = c->offset + rounded(g, c);
		g->memory.unshared_bytes += rounded(g, c);
		if (c->first < g->n_forward && c->last >= g->n_forward)
			g->memory.kept_bytes += rounded(g, c);
	}
	free(order);
	free(busy);
}
