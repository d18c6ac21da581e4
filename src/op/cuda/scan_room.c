#include "op/cuda/scan_room.h"

#include "base/error.h"
#include "base/num.h"
#include "op/scan.h"

enum {
	ENOUGH = 512,	/* blocks that fill a GPU */
	FEW = 128,	/* blocks for which cutting time pays: it doubles the exponentials */
	LEAST = 64,	/* tokens of a segment */
	TILE = 16,	/* of which segments are multiples */
};

struct scan_sizes scan_sizes(struct scan_dims d)
{
	struct scan_sizes n = {.B = (int)d.B, .T = (int)d.T, .I = (int)d.I, .N = (int)d.N};
	long blocks = d.B * ceil_div(d.I, SCAN_CHANNELS);
	long segments = blocks <= FEW ? min_long(ceil_div(ENOUGH, blocks), d.T / LEAST) : 1;

	n.n_groups = (int)ceil_div(d.N, SCAN_GROUP);
	n.n_blocks = (int)ceil_div(d.I, SCAN_CHANNELS);
	n.n_backward_blocks = (int)ceil_div(d.I, SCAN_BACKWARD_CHANNELS);
	n.n_kept = (int)ceil_div(d.T, SCAN_KEPT);
	n.length = (int)(ceil_div(ceil_div(d.T, segments > 1 ? segments : 1), TILE) * TILE);
	n.n_segments = (int)ceil_div(d.T, n.length);
	return n;
}

static long sequences(const struct scan_sizes *n)
{
	return (long)n->B * n->n_segments;
}

long scan_ends_floats(const struct scan_sizes *n)
{
	return n->n_segments > 1 ? sequences(n) * n->n_groups * SCAN_GROUP * n->I : 0;
}

long scan_steps_floats(const struct scan_sizes *n)
{
	return n->n_segments > 1 ? sequences(n) * n->I : 0;
}

long scan_walkers_floats(const struct scan_sizes *n, int n_blocks, int threads)
{
	long groups = n->n_groups > 1 ? n->n_groups + 1 : 0;	/* and a place for their sums */

	return sequences(n) * n_blocks * threads * groups * SCAN_GROUP;
}

long scan_bc_floats(const struct scan_sizes *n)
{
	return (long)n->n_groups * n->n_backward_blocks * n->B * n->n_kept * SCAN_PLACES;
}

long scan_parameters_floats(const struct scan_sizes *n)
{
	return sequences(n) * (n->n_groups * SCAN_GROUP + 2) * n->I;
}

void scan_room_cuda(struct op_shapes *s)
{
	struct scan_dims d = scan_dims(s->in);
	struct scan_sizes n = scan_sizes(d);
	long ends = scan_ends_floats(&n) + scan_steps_floats(&n);

	CHECK(d.T < 1l << 30 && d.I < 1l << 30 && sequences(&n) * n.n_backward_blocks < 1l << 31);
	s->forward_workspace = sizeof(float) *
		(size_t)(ends + scan_walkers_floats(&n, n.n_blocks, SCAN_FORWARD_THREADS));
	s->backward_workspace = sizeof(float) *
		(size_t)(ends + scan_bc_floats(&n) + scan_parameters_floats(&n) +
			scan_walkers_floats(&n, n.n_backward_blocks, SCAN_BACKWARD_THREADS));
	if (!s->training)
		return;
	s->saved[SCAN_STATES] = tensor_of(REAL, 4, d.B, (long)n.n_kept,
		(long)n.n_groups * SCAN_GROUP, (d.I + 1) / 2 * 2);
	if (s->in[SCAN_Z_BTI])
		s->saved[SCAN_UNGATED] = tensor_of(REAL, 3, d.B, d.T, d.I);
}
