/*
 * The emulator's memory: what each word of shared and device memory saw last, and the fault that
 * was found. Between the emulator's own files.
 */
#ifndef EMULATOR_MEMORY_H
#define EMULATOR_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { SHARED_MOST = 227 << 10 };	/* bytes a block can have, as on sm_90 */

struct index {
	unsigned x, y, z;
};

/* What kernels see. */
extern struct index threadIdx, blockIdx, blockDim;

/* Frees all, forgets the fault. */
void memory_reset(void);
/* Shared memory of a new block. */
void memory_start_block(size_t bytes);

struct range {
	const void *at;
	size_t bytes;
};

/* Which thread has its turn, and when: accesses are its. */
struct turn {
	uint64_t launch, block, epoch, thread;	/* epoch: barriers that the block passed */
	struct range stack, arguments;		/* the host's memory that it may reach */
};

void memory_turn(const struct turn *t);		/* NULL: nobody has; accesses are not watched */

/* An asynchronous copy sets out, and arrives. */
void memory_copy_starts(void *to, const void *from, size_t bytes, const void *place);
void memory_copy_arrives(void *to, const void *from, size_t bytes, const void *place);

/* Keeps it and ends the launch. `place` is the program's, NULL: not known. */
void memory_fault(const void *place, const char *format, ...) PRINTF_LIKE(2, 3)
	__attribute__((noreturn));
/* In emulator.c: back to the caller of the launch. */
void emulator_stop(void) __attribute__((noreturn));

#endif
