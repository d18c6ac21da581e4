/*
 * Lifetimes to addresses: the largest cell first, each at the lowest offset where no cell that lives
 * at the same time lies. A greedy heuristic for a hard problem (dynamic storage allocation); for the
 * nested lifetimes of forward and backward it comes within a few percent of the peak.
 */
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "graph/internal.h"

struct order {
	const struct graph *g;
	int cell;
};

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

/* Placed cells by rising offset, with the calls between which they live. */
struct placed {
	size_t offset, end;
	int first, last;
};

/* Lowest offset for a cell among n placed ones, of which those that live at another time do not count. */
static size_t lowest_gap(const struct placed *list, int n, const struct cell *c, size_t bytes)
{
	size_t at = 0;

	for (int i = 0; i < n; i++) {
		if (list[i].first > c->last || c->first > list[i].last)
			continue;
		if (list[i].offset >= at + bytes)
			break;
		if (list[i].end > at)
			at = list[i].end;
	}
	return at;
}

static void insert(struct placed *list, int n, struct placed p)
{
	int low = 0, high = n;

	while (low < high) {
		int middle = (low + high) / 2;
		if (list[middle].offset <= p.offset)
			low = middle + 1;
		else
			high = middle;
	}
	memmove(list + low + 1, list + low, (size_t)(n - low) * sizeof *list);
	list[low] = p;
}

void graph_pack(struct graph *g)
{
	struct order *order = xcalloc((size_t)g->n_cells, sizeof *order);
	struct placed *list = xcalloc((size_t)g->n_cells, sizeof *list);
	struct graph_memory *m = &g->memory;
	int n = 0;

	for (int i = 0; i < g->n_cells; i++)
		if (used_root(g, i))
			order[n++] = (struct order){g, i};
	qsort(order, (size_t)n, sizeof *order, larger_first);
	for (int i = 0; i < n; i++) {
		struct cell *c = &g->cells[order[i].cell];
		size_t bytes = graph_aligned(g, c->bytes), end;
		c->offset = lowest_gap(list, i, c, bytes);
		end = c->offset + bytes;
		insert(list, i, (struct placed){c->offset, end, c->first, c->last});
		m->arena_bytes = end > m->arena_bytes ? end : m->arena_bytes;
		m->unshared_bytes += bytes;
		if (c->first < g->n_forward && c->last >= g->n_forward)
			m->kept_bytes += bytes;
	}
	free(order);
	free(list);
}
