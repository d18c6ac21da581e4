/*
 * The emulator's memory: what each two bytes of shared and device memory saw last, and the fault that
 * was found. Between the emulator's own files.
 */
#ifndef EMULATOR_MEMORY_H
#define EMULATOR_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum {
	WARP = 32,
	MAX_THREADS = 1024,		/* of a block */
	SHARED_MOST = 227 << 10,	/* bytes a block can have, as on sm_90 */
};

struct index {
	unsigned x, y, z;
};

/* What kernels see. */
extern struct index threadIdx, blockIdx, blockDim, gridDim;

struct range {
	const void *at;
	size_t bytes;
};

/* Frees all, forgets the fault. */
void memory_reset(void);

/* Where a launch is: accesses with no order between them are those of different blocks, or of one block
   since the same barrier, and there of different warps or since the same order within the warp. */
void memory_start_launch(const void *kernel, struct range arguments);
void memory_start_block(size_t shared_bytes, int n_warps);
void memory_pass_barrier(int n_warps);
void memory_order_warp(int warp);

/* Accesses are those of a thread of the block with this stack, or not watched. */
void memory_turn(int thread, struct range stack);
void memory_end_turn(void);

/* An asynchronous copy sets out, and arrives: all but its last `zeros` bytes are read. */
void memory_copy_starts(void *to, const void *from, size_t bytes, size_t zeros, const void *place);
void memory_copy_arrives(void *to, const void *from, size_t bytes, size_t zeros, const void *place);

/* Keeps it and ends the launch. `place` is the program's, NULL: not known. */
void memory_fault(const void *place, const char *format, ...) PRINTF_LIKE(2, 3)
	__attribute__((noreturn));
/* In emulator.c: back to the caller of the launch. */
void emulator_stop(void) __attribute__((noreturn));

#endif
