/*
 * The emulator's memory: what each two bytes of shared and device memory saw last, and the fault that
 * was found. Between the emulator's own files.
 */
#ifndef EMULATOR_MEMORY_H
#define EMULATOR_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"

enum {
	WARP = 32,
	MAX_THREADS = 1024,		/* of a block */
	SHARED_MOST = 227 << 10,	/* bytes a block can have, as on sm_90 */
	WORD = 4,		/* bytes watched as one, unless reached in halves */
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

/* ---- emulator_memory.c: what there is ------------------------------------------------------- */

/* Who reached it last, as stamps: numbers of segments and threads (below), twice, plus 1 for an atomic
   access; 0 is never. Two readers without order among them are enough: who is in order with both is in
   order with all. Atomic accesses count as reads that are in no order with plain ones. */
struct seen {
	uint32_t writer, readers[2];
};

struct word {
	struct seen whole;	/* accesses to all of it; a write forgets what its halves saw */
	bool in_halves;		/* since then somebody reached less: halves[] know */
};

struct region {
	const char *name;
	char *at;
	size_t bytes;
	struct word *words;
	struct seen (*halves)[2];
	unsigned char *owned;	/* of a word: how many of its bytes are allocated */
};

extern struct region shared_region, device_region;

/* A block's shared memory: all NaN. */
void memory_clear_shared(size_t bytes);
/* All memory seen by nobody. */
void memory_unsee(void);
/* Frees all, forgets the fault. */
void memory_reset(void);

/* Keeps it and ends the launch. `place` is the program's, NULL: not known. */
void memory_fault(const void *place, const char *format, ...) PRINTF_LIKE(2, 3)
	__attribute__((noreturn));
void memory_name_kernel(const void *kernel);	/* in which faults are from now on */
/* In emulator.c: back to the caller of the launch; the thread that runs, of the block. */
void emulator_stop(void) __attribute__((noreturn));
int emulator_thread(void);
/* Most of what is copied has the size of a number. */
static inline void emulator_copy(void *to, const void *from, size_t bytes)
{
	if (bytes == WORD)
		memcpy(to, from, WORD);
	else
		memcpy(to, from, bytes);
}

/* ---- emulator_watch.c: who reaches it, and when --------------------------------------------- */

/* Where a launch is: accesses with no order between them are those of different blocks, or of one block
   since the same barrier, and there of different warps or since the same order within the warp. */
void memory_start_launch(struct range arguments);
void memory_start_block(int n_warps);
void memory_pass_barrier(int n_warps);
void memory_order_warp(int warp);

/* Accesses are those of a thread of the block with this stack, or not watched. */
void memory_turn(int thread, struct range stack);
void memory_end_turn(void);

/* emulator_read_shared(), for the program's `place`. */
void memory_read_shared(void *to, const void *at, size_t bytes, const void *place);

/* An asynchronous copy sets out, and arrives: all but its last `zeros` bytes are read. */
void memory_copy_starts(void *to, const void *from, size_t bytes, size_t zeros, const void *place);
void memory_copy_arrives(void *to, const void *from, size_t bytes, size_t zeros, const void *place);

/* ---- emulator_wgmma.c: products of warpgroups ----------------------------------------------- */

void wgmma_start_block(int n);	/* of so many threads */
bool wgmma_is_pending(int thread);
void wgmma_copy_arrived(int thread);
void wgmma_pass_barrier(void);

#endif
