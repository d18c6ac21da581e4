/*
 * A GPU played on the CPU, so that the sources of CUDA kernels run and are watched without one.
 * Kernels are compiled as C++ with the headers of cuda/ in place of CUDA's, and with calls at every
 * access to memory (gcc -fsanitize=thread; emulator.c has what these call).
 *
 * A block's threads are fibres; blocks run one after the other. Faults that are seen:
 *  - an access to anything but device memory that was allocated, the shared memory that the launch
 *    asked for and the thread's own stack, or misaligned;
 *  - a race: two accesses to a word, at least one a write, by two threads of a block with no
 *    __syncthreads() between, or by two blocks of a launch;
 *  - asynchronous copies arrive as late as they may, in the wait that demands them: any access in
 *    between, and a copy that nobody waits for;
 *  - threads that miss a __syncthreads(), lanes that miss a shuffle or disagree about it.
 * New memory, shared and other, is NaN. Not played: the order in which a GPU may carry out the
 * accesses of one thread, and what its own exp2 and its fused operations round otherwise.
 */
#ifndef EMULATOR_H
#define EMULATOR_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In which order blocks, warps and lanes take their turns. */
enum emulator_order { ASCENDING, DESCENDING, RANDOM, N_ORDERS };

/* Frees all device memory and forgets the fault. */
void emulator_reset(enum emulator_order order);
/* The fault since the reset, in words, its place for addr2line -e PROGRAM; NULL: none. */
const char *emulator_fault(void);

/* Device memory, 256-byte aligned plus `offset` bytes, freed by the next reset. */
void *emulator_alloc(size_t bytes, size_t offset);

struct emulator_launch {
	unsigned grid[3], threads;	/* threads of a block: one dimension */
	size_t shared;			/* bytes */
	const void *kernel;		/* its identity, for emulator_allow() */
	void (*body)(const void *closure);	/* calls the kernel */
	const void *closure;	/* has its arguments */
	size_t closure_bytes;
};

/* Runs it to its end, or to a fault, after which launches do nothing. -1: refused, as on a GPU. */
int emulator_launch(const struct emulator_launch *l);
/* Bytes of shared memory that a kernel may ask for, 48 KiB unless told. -1: more than there is. */
int emulator_allow(const void *kernel, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
