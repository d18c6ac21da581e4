/* How the scan's CUDA kernels (op/cuda/scan.cuh) cut their work, and the memory they need. */
#ifndef OP_CUDA_SCAN_ROOM_H
#define OP_CUDA_SCAN_ROOM_H

#include "op/scan_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum {
	SCAN_GROUP = 16,	/* states that registers hold at a time */
	SCAN_KEPT = 8,		/* tokens from one kept state to the next */
	SCAN_CHANNELS = 128, SCAN_BACKWARD_CHANNELS = 64,	/* of a block of so many threads: */
	SCAN_FORWARD_THREADS = 128, SCAN_BACKWARD_THREADS = 128,
	SCAN_PLACES = 2 * 32 * 4,	/* of SCAN_KEPT tokens' sums: B and C, lane, register */
};

struct scan_sizes {
	int B, T, I, N;
	int n_groups;			/* of states */
	int n_blocks, n_backward_blocks;	/* of channels */
	int n_kept;			/* states kept of a sequence */
	int n_segments, length;		/* of time; tokens of each, a multiple of every tile */
};

struct scan_sizes scan_sizes(struct scan_dims d);

/* Floats: parts of the workspace, as their users have them. */
long scan_ends_floats(const struct scan_sizes *n);
long scan_steps_floats(const struct scan_sizes *n);
long scan_walkers_floats(const struct scan_sizes *n, int n_blocks, int threads);
long scan_bc_floats(const struct scan_sizes *n);
long scan_parameters_floats(const struct scan_sizes *n);

#ifdef __cplusplus
}
#endif

#endif
