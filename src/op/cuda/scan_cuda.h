/*
 * The scan on a GPU: launchers on device memory, float32. op/scan.h has the formula.
 *
 * Forward: one thread per channel walks through time with 16 states in registers. Backward: four
 * threads share two channels, four states of each a thread, and walk back SCAN_KEPT tokens at a
 * time from the states that forward kept in front of them; what forward also kept, y in front of
 * the gate, saves the sums over states. Sums over channels are taken by shuffles in a fixed pattern and one
 * partial result per block, sums over sequences by one partial result each: no atomics, so the
 * same input gives the same bits. More than 16 states take further launches, which add.
 */
#ifndef OP_SCAN_CUDA_H
#define OP_SCAN_CUDA_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SCAN_KEPT = 8 };	/* tokens from one kept state to the next */

/* Device memory: rows ld floats apart. at NULL: absent input, gradient nobody wants. */
struct scan_rows {
	float *at;
	long ld;
	bool add;		/* gradients: add to what is there */
};

struct scan_cuda {
	int B, T, I, N;		/* B at most 65535 */
	struct scan_rows u, dtraw, b, c, z;		/* rows are tokens, B * T; z optional */
	struct scan_rows a_log, d, dt_bias;		/* [I, N], and one row of I each */
	struct scan_rows y;				/* forward's result */
	/* [B, ceil(T / SCAN_KEPT), ceil(N / 4), I, 4], aligned to 16 bytes; forward
	   writes it unless NULL, backward reads it */
	float *states;
	/* y in front of the gate, rows as y; with z forward writes it where it has a place, and
	   backward reads it */
	struct scan_rows ungated;
	struct scan_rows dy;				/* from here on backward only */
	struct scan_rows du, ddtraw, db, dc, dz;
	struct scan_rows da_log, dd, ddt_bias;		/* [I, N], and one row of I each */
	float *workspace;				/* scan_cuda_workspace() bytes */
};

size_t scan_cuda_states(const struct scan_cuda *s);	/* bytes */
size_t scan_cuda_workspace(const struct scan_cuda *s);	/* bytes, backward */
/* Both only enqueue; `stream` is a cudaStream_t. A failing launch ends the process. */
void scan_cuda_forward(const struct scan_cuda *s, void *stream);
void scan_cuda_backward(const struct scan_cuda *s, void *stream);

#ifdef __cplusplus
}
#endif

#endif
