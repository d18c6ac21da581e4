/*
 * A GPU played on the CPU, so that the sources of CUDA kernels run and are watched without one.
 * Kernels are compiled as C++ with the headers of cuda/ in place of CUDA's, and with calls at every
 * access to memory (gcc -fsanitize=thread,alignment; emulator_memory.c has what these call).
 *
 * A block's threads are fibres; blocks run one after the other. Faults that are seen:
 *  - an access to anything but device memory that was allocated, the shared memory that the launch
 *    asked for and the thread's own stack, or misaligned;
 *  - a race: two accesses to the same two bytes, at least one a write, by two threads of a block with
 *    no __syncthreads() between (of a warp: and no __syncwarp() of all its lanes), or by two blocks
 *    of a launch; atomic accesses race with plain ones, not with each other;
 *  - asynchronous copies arrive as late as they may, in the wait that demands them: any access in
 *    between, and a copy that nobody waits for;
 *  - products of a warpgroup are made as late as they may, too: operands that are overwritten or sums
 *    that are used before a wait; copies that no proxy fence followed;
 *  - threads that miss a barrier; lanes that miss a shuffle, vote, matrix instruction or any other
 *    collective of a warp, or disagree about it; values read from lanes that its mask does not name;
 *  - the host's part of a .cu file that reads or writes device memory.
 * New memory, shared and other, is NaN. Not played: the order in which a GPU may carry out the
 * accesses of one thread, what its own exp2 and its fused operations round otherwise, bank conflicts.
 * `__shared__` variables of fixed size do not compile: shared memory is the launch's.
 */
#ifndef EMULATOR_H
#define EMULATOR_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* In which order blocks, warps and lanes take their turns. */
enum emulator_order { ASCENDING, DESCENDING, RANDOM, N_ORDERS };

/* Frees all device memory and forgets the fault. */
void emulator_reset(enum emulator_order order);
/* The fault since the reset, in words; NULL: none. */
const char *emulator_fault(void);
/* From now on a fault ends the process, after a message with its place in the source. */
void emulator_faults_are_fatal(void);

/* Device memory, 256-byte aligned plus `offset` bytes, freed by the next reset or by itself. */
void *emulator_alloc(size_t bytes, size_t offset);
void emulator_free(void *at);
/* Is it all device memory? What the host copies from and to. */
bool emulator_owns(const void *at, size_t bytes);
double emulator_used(void);	/* bytes of device memory */

struct emulator_launch {
	unsigned grid[3], block[3];	/* blocks of the launch, threads of a block */
	size_t shared;			/* bytes */
	const void *kernel;		/* its identity, for emulator_allow() */
	void (*body)(const void *closure);	/* calls the kernel */
	const void *closure;	/* has its arguments */
	size_t closure_bytes;
};

/* Runs it to its end, or to a fault, after which launches do nothing. -1: refused, as on a GPU. */
int emulator_launch(const struct emulator_launch *l);
bool emulator_accepts(const struct emulator_launch *l);
/* Bytes of shared memory that a kernel may ask for, 48 KiB unless told. -1: more than there is. */
int emulator_allow(const void *kernel, size_t bytes);

/* ---- what the headers of cuda/ call in a thread ---------------------------------------------- */

enum { EMULATOR_GIVEN = 64 };	/* bytes that a lane gives to a collective at most */

struct emulator_collective {
	const char *what;
	unsigned mask;		/* the lanes that take part, the caller among them */
	const void *given;	/* by the caller */
	size_t bytes;		/* of it, all lanes the same */
	bool orders;		/* accesses to memory before and after, as __syncwarp() does */
};

int emulator_lane(void);
/* Waits for all lanes of the mask to come to the same collective. What lane l gave is then at [l], until
   the caller's next one. place: of the call in the program. */
const char (*emulator_collect(const struct emulator_collective *c,
	const void *place))[EMULATOR_GIVEN];
void emulator_syncwarp(unsigned mask);
/* value becomes that of lane `from`. */
void emulator_shuffle(unsigned mask, const char *what, void *value, size_t bytes, int from);
/* The lanes of the mask that gave something else than 0. */
unsigned emulator_ballot(unsigned mask, const char *what, int given);
/* The lanes of the mask that gave the same. */
unsigned emulator_match(unsigned mask, const void *value, size_t bytes);
/* given of all lanes of the mask, by: + (sum), < (least), > (most) of integers (s: signed), & | ^ */
unsigned emulator_reduce(unsigned mask, const char *what, char by, bool is_signed, unsigned given);
/* Waits for all threads of the block to come to the same barrier: how many gave what is not 0. */
int emulator_barrier(const char *what, int given);
/* An atomic access to 4 or 8 bytes is about to be made. */
void emulator_atomic(const void *at, size_t bytes);
/* Reads 16 bytes of shared memory as one access. */
void emulator_read_shared(void *to, const void *at, size_t bytes);
/* Where it lies in shared memory. */
unsigned emulator_shared_address(const void *at);
/* Products of a warpgroup, op/cuda/wgmma.cuh: asked for, and made as late as may be, in the wait that
   demands them. The caller's share of D is d[128]; a, b: descriptors; rows: of K-major matrices. */
void emulator_wgmma(float *d, unsigned long long a, unsigned long long b, bool a_rows, bool b_rows);
void emulator_wgmma_fence(void);
void emulator_wgmma_commit(void);
void emulator_wgmma_wait(int n);
/* What the thread wrote to shared memory, and its copies that arrived, are there for products. */
void emulator_proxy_fence(void);
/* Ends the launch: the thread did what a kernel must not. */
void emulator_misuse(const char *what) __attribute__((noreturn));

#ifdef __cplusplus
}
#endif

#endif
