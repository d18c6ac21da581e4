#include "emulator_memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emulator.h"

#define DEVICE_BYTES ((size_t)64 << 30)	/* addresses; memory is there for what is touched */

enum {
	GUARD_BYTES = 1024,	/* between allocations */
	GRANULE = 2,		/* bytes watched as one */
	WORD = 4,		/* bytes whose owner is known */
	MAX_SEGMENTS = 1 << 20,	/* of a block between two barriers */
	MAX_BLOCKS = 1 << 16,	/* of device memory */
};

/* Who reached two bytes last, as stamps: numbers of segments and threads, twice, plus 1 for an atomic
   access; 0 is never. Two readers without order among them are enough: who is in order with both is in
   order with all. Atomic accesses count as reads that are in no order with plain ones. */
struct granule {
	uint32_t writer, readers[2];
};

struct region {
	const char *name;
	char *at;
	size_t bytes;
	struct granule *granules;
	unsigned char *owned;	/* of a word: how many of its bytes are allocated */
};

_Alignas(256) char shared[SHARED_MOST + GUARD_BYTES];	/* which kernels declare */

static struct granule shared_granules[sizeof shared / GRANULE];
static unsigned char shared_owned[sizeof shared / WORD];
static bool copied[sizeof shared / WORD];	/* an asynchronous copy to it is under way */

static struct region regions[] = {
	{"device", NULL, DEVICE_BYTES, NULL, NULL},
	{"shared", shared, sizeof shared, shared_granules, shared_owned},
};
static struct region *const device = &regions[0];

/* Allocations by address; free ones are joined only at the end. */
static struct block {
	size_t from, bytes;	/* from: offset in device memory */
	bool free;
} blocks[MAX_BLOCKS];

/*
 * A segment is what a warp does between two points of order, a block's barrier or its own __syncwarp().
 * Threads of a segment have 32 numbers in a row, segments follow one another, those of a block between
 * two barriers lie together, as those of a block and of a launch do: numbers say what is in order.
 */
static struct {
	bool watching;
	uint32_t now;		/* number of the thread that has its turn */
	struct range stack, arguments;	/* the host's memory that it may reach */
	const void *kernel;
	uint32_t launch_first, block_first, barrier_first;
	int n_segments;		/* since the barrier */
	int segment[MAX_THREADS / WARP];	/* a warp's present one */
	size_t n_shared;	/* bytes that the block has */
	size_t top;		/* end of device memory used so far */
	int n_blocks;
	bool fatal;
	char fault[300];
	const void *place;
} memory = {.launch_first = WARP, .block_first = WARP, .barrier_first = WARP};

static unsigned char warp_of[MAX_SEGMENTS];	/* since the barrier */

/* ---- faults --------------------------------------------------------------------------------- */

static size_t offset_of(const void *place)
{
	extern const char __executable_start;

	return (size_t)((const char *)place - &__executable_start);
}

/* Function, file and line of a place, its callers where it is inlined. */
static void print_place(const void *place)
{
	char command[100], line[300];
	FILE *f;

	snprintf(command, sizeof command, "addr2line -f -C -i -p -e /proc/%d/exe 0x%zx", getpid(),
		offset_of(place));
	f = popen(command, "r");
	while (f && fgets(line, sizeof line, f))
		fprintf(stderr, "  %s", line);
	if (f)
		pclose(f);
}

void emulator_faults_are_fatal(void)
{
	memory.fatal = true;
}

void memory_fault(const void *place, const char *format, ...)
{
	const char *end = memory.fault + sizeof memory.fault;
	char *to = memory.fault;
	va_list list;

	to += snprintf(to, (size_t)(end - to), "block %u %u %u thread %u %u %u: ", blockIdx.x,
		blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
	va_start(list, format);
	to += vsnprintf(to, (size_t)(end - to), format, list);
	va_end(list);
	if (place && to < end)
		snprintf(to, (size_t)(end - to), " (at 0x%zx)", offset_of(place) - 1);
	if (memory.fatal) {
		fprintf(stderr, "GPU: %s\n", memory.fault);
		print_place(memory.kernel);
		if (place)
			print_place((const char *)place - 1);
		die("a kernel's fault on the emulator");
	}
	emulator_stop();
}

/* ---- order ---------------------------------------------------------------------------------- */

/* Does nothing say which of two accesses is first, that of stamp `before` and the present one? */
static inline bool is_unordered(uint32_t before)
{
	uint32_t number = before >> 1;
	int then, now;

	if (number < memory.launch_first || number == memory.now)
		return false;
	if (number < memory.barrier_first)
		return number < memory.block_first;
	then = (int)((number - memory.barrier_first) / WARP);
	now = (int)((memory.now - memory.barrier_first) / WARP);
	return then == now || warp_of[then] != warp_of[now];
}

static __attribute__((noinline)) void race(const char *what, const struct region *m, const struct granule *g,
	uint32_t before, const void *place)
{
	uint32_t number = before >> 1;
	size_t byte = (size_t)(g - m->granules) * GRANULE;

	if (number < memory.block_first)
		memory_fault(place, "race: %s byte %zu is %s by another block", m->name, byte, what);
	memory_fault(place, "race: %s byte %zu is %s by lane %u of warp %d", m->name, byte, what,
		number % WARP, warp_of[(number - memory.barrier_first) / WARP]);
}

static inline void check_write(const struct region *m, const struct granule *g, const void *place)
{
	if (is_unordered(g->writer))
		race("written, as", m, g, g->writer, place);
	for (int k = 0; k < 2; k++)
		if (is_unordered(g->readers[k]))
			race("written, and read", m, g, g->readers[k], place);
}

static inline void check_read(const struct region *m, const struct granule *g, bool atomic,
	const void *place)
{
	if (is_unordered(g->writer))
		race("read, and written", m, g, g->writer, place);
	for (int k = 0; k < 2; k++)
		if ((g->readers[k] & 1) != atomic && is_unordered(g->readers[k]))
			race("read, and written, once atomically", m, g, g->readers[k], place);
}

static inline void note_read(struct granule *g, uint32_t stamp)
{
	if (is_unordered(g->readers[0])) {
		g->readers[1] = stamp;
		return;
	}
	g->readers[0] = stamp;
	if (!is_unordered(g->readers[1]))
		g->readers[1] = 0;
}

/* ---- accesses ------------------------------------------------------------------------------- */

static inline bool is_within(struct range r, const void *at)
{
	return (uintptr_t)at - (uintptr_t)r.at < r.bytes;
}

static inline const struct region *region_of(const void *at)
{
	for (int k = 0; k < (int)ARRAY_SIZE(regions); k++)
		if ((uintptr_t)at - (uintptr_t)regions[k].at < regions[k].bytes)
			return &regions[k];
	return NULL;
}

/* The host's memory: nothing else than what the compiler keeps there for a thread. */
static __attribute__((noinline)) void check_host(const void *at, const void *place)
{
	const struct range indices[] = {{&threadIdx, sizeof threadIdx},
		{&blockIdx, sizeof blockIdx}, {&blockDim, sizeof blockDim},
		{&gridDim, sizeof gridDim}};
	bool good = is_within(memory.arguments, at);

	for (int k = 0; k < (int)ARRAY_SIZE(indices); k++)
		good |= is_within(indices[k], at);
	if (!good)
		memory_fault(place, "address %p: not the GPU's", at);
}

static void check_owned(const struct region *m, size_t from, size_t bytes, const void *place)
{
	for (size_t k = from / WORD; k * WORD < from + bytes; k++) {
		size_t used = from + bytes - k * WORD;
		if (k >= m->bytes / WORD || m->owned[k] < (used < WORD ? used : WORD))
			memory_fault(place, "%s byte %zu: nobody's", m->name,
				k * WORD < from ? from : k * WORD);
		if (m->at == shared && copied[k])
			memory_fault(place, "%s byte %zu: a copy to it is under way", m->name,
				k * WORD);
	}
}

enum access { READ, WRITE, ATOMIC };

static inline void touch(const void *at, size_t bytes, enum access how, const void *place)
{
	const struct region *m;
	uint32_t stamp = memory.now << 1 | (how == ATOMIC);
	struct granule *g, *end;
	size_t from;

	if (is_within(memory.stack, at) || !memory.watching)
		return;
	m = region_of(at);
	if (!m) {
		check_host(at, place);
		return;
	}
	from = (size_t)((const char *)at - m->at);
	check_owned(m, from, bytes, place);
	g = &m->granules[from / GRANULE];
	end = &m->granules[(from + bytes - 1) / GRANULE + 1];
	for (; g < end; g++)
		if (how == WRITE) {
			check_write(m, g, place);
			g->writer = stamp;
		} else {
			check_read(m, g, how == ATOMIC, place);
			note_read(g, stamp);
		}
}

void emulator_atomic(const void *at, size_t bytes)
{
	if ((uintptr_t)at % bytes)
		memory_fault(__builtin_return_address(0), "an atomic access misaligned");
	if (!region_of(at))
		memory_fault(__builtin_return_address(0), "an atomic access to no shared or device memory");
	touch(at, bytes, ATOMIC, __builtin_return_address(0));
}

void emulator_read_shared(void *to, const void *at, size_t bytes)
{
	const struct region *m = region_of(at);

	if (!m || m->at != shared)
		memory_fault(__builtin_return_address(0), "address %p: not in shared memory", at);
	if ((uintptr_t)at % bytes)
		memory_fault(__builtin_return_address(0), "%zu bytes at %p: misaligned", bytes, at);
	touch(at, bytes, READ, __builtin_return_address(0));
	memcpy(to, at, bytes);
}

/* What gcc -fsanitize=thread calls. */
#define TOUCH(size) \
	void __tsan_read##size(const void *at); \
	void __tsan_write##size(const void *at); \
	void __tsan_unaligned_read##size(const void *at); \
	void __tsan_unaligned_write##size(const void *at); \
	void __tsan_read##size(const void *at) \
	{ \
		touch(at, size, READ, __builtin_return_address(0)); \
	} \
	void __tsan_write##size(const void *at) \
	{ \
		touch(at, size, WRITE, __builtin_return_address(0)); \
	} \
	void __tsan_unaligned_read##size(const void *at) \
	{ \
		touch(at, size, READ, __builtin_return_address(0)); \
	} \
	void __tsan_unaligned_write##size(const void *at) \
	{ \
		touch(at, size, WRITE, __builtin_return_address(0)); \
	}

TOUCH(1)
TOUCH(2)
TOUCH(4)
TOUCH(8)
TOUCH(16)

void __tsan_init(void);
void __tsan_func_entry(const void *from);
void __tsan_func_exit(void);
void __tsan_read_range(const void *at, size_t bytes);
void __tsan_write_range(const void *at, size_t bytes);

void __tsan_init(void)
{
}

void __tsan_func_entry(const void *from)
{
	(void)from;
}

void __tsan_func_exit(void)
{
}

void __tsan_read_range(const void *at, size_t bytes)
{
	touch(at, bytes, READ, __builtin_return_address(0));
}

void __tsan_write_range(const void *at, size_t bytes)
{
	touch(at, bytes, WRITE, __builtin_return_address(0));
}

/* What gcc -fsanitize=alignment calls, where an address is no multiple of its type's alignment. */
struct mismatch {
	struct {
		const char *file;
		unsigned line, column;
	} at;
	const void *type;
	unsigned char log2_alignment, kind;
};

void __ubsan_handle_type_mismatch_v1(const struct mismatch *x, uintptr_t at);

void __ubsan_handle_type_mismatch_v1(const struct mismatch *x, uintptr_t at)
{
	if (!memory.watching)
		die("%s:%u: address %zx is no multiple of %u", x->at.file, x->at.line, (size_t)at,
			1u << x->log2_alignment);
	memory_fault(__builtin_return_address(0), "address %zx is no multiple of %u", (size_t)at,
		1u << x->log2_alignment);
}

void memory_copy_starts(void *to, const void *from, size_t bytes, size_t zeros, const void *place)
{
	size_t byte = (size_t)((char *)to - shared);

	if (!(bytes == 4 || bytes == 8 || bytes == 16) || zeros > bytes)
		memory_fault(place, "a copy of %zu bytes, %zu of zeros", bytes, zeros);
	if ((uintptr_t)to % bytes || (uintptr_t)from % bytes)
		memory_fault(place, "copy of %zu bytes: an address is no multiple", bytes);
	if (!is_within((struct range){shared, sizeof shared}, to))
		memory_fault(place, "a copy that is not to shared memory");
	if (zeros < bytes && region_of(from) != device)
		memory_fault(place, "a copy that is not from device memory");
	if (zeros < bytes)
		touch(from, bytes - zeros, READ, place);
	check_owned(&regions[1], byte, bytes, place);
	for (size_t k = byte; k < byte + bytes; k += GRANULE)
		check_write(&regions[1], &shared_granules[k / GRANULE], place);
	memset(&copied[byte / WORD], true, bytes / WORD);
}

void memory_copy_arrives(void *to, const void *from, size_t bytes, size_t zeros, const void *place)
{
	memset(&copied[(size_t)((char *)to - shared) / WORD], false, bytes / WORD);
	if (zeros < bytes)
		touch(from, bytes - zeros, READ, place);
	touch(to, bytes, WRITE, place);
	memcpy(to, from, bytes - zeros);
	memset((char *)to + bytes - zeros, 0, zeros);
}

/* ---- turns ---------------------------------------------------------------------------------- */

static int new_segment(int warp)
{
	if (memory.n_segments == MAX_SEGMENTS)
		memory_fault(NULL, "more than %d times __syncwarp() without __syncthreads()",
			MAX_SEGMENTS);
	warp_of[memory.n_segments] = (unsigned char)warp;
	return memory.n_segments++;
}

void memory_order_warp(int warp)
{
	memory.segment[warp] = new_segment(warp);
}

void memory_pass_barrier(int n_warps)
{
	memory.barrier_first += (uint32_t)memory.n_segments * WARP;
	CHECK(memory.barrier_first < 1u << 31);
	memory.n_segments = 0;
	for (int k = 0; k < n_warps; k++)
		memory_order_warp(k);
}

void memory_start_block(size_t bytes, int n_warps)
{
	size_t n = memory.n_shared;

	memset(shared_granules, 0, (n + GRANULE - 1) / GRANULE * sizeof *shared_granules);
	memset(shared_owned, 0, (n + WORD - 1) / WORD);
	memset(copied, 0, (n + WORD - 1) / WORD * sizeof *copied);
	memory.n_shared = bytes;
	memset(shared, 0xff, bytes);
	memset(shared_owned, WORD, bytes / WORD);
	if (bytes % WORD)
		shared_owned[bytes / WORD] = bytes % WORD;
	memory_pass_barrier(n_warps);
	memory.block_first = memory.barrier_first;
}

/* Numbers run out after 2^26 segments: then all begins anew. */
void memory_start_launch(const void *kernel, struct range arguments)
{
	memory.kernel = kernel;
	memory.arguments = arguments;
	memory.barrier_first += (uint32_t)memory.n_segments * WARP;
	memory.n_segments = 0;
	if (memory.barrier_first > 1u << 30) {
		madvise(device->granules, memory.top / GRANULE * sizeof *device->granules,
			MADV_DONTNEED);
		memory.barrier_first = WARP;
	}
	memory.launch_first = memory.barrier_first;
}

void memory_turn(int thread, struct range stack)
{
	memory.watching = true;
	memory.stack = stack;
	memory.now = memory.barrier_first + (uint32_t)(memory.segment[thread / WARP] * WARP +
		thread % WARP);
}

void memory_end_turn(void)
{
	memory.watching = false;
}

/* ---- device memory -------------------------------------------------------------------------- */

static void *reserve(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (at == MAP_FAILED)
		die("emulator: %zu bytes of addresses refused", bytes);
	return at;
}

static void reserve_device(void)
{
	device->at = reserve(DEVICE_BYTES);
	device->granules = reserve(DEVICE_BYTES / GRANULE * sizeof *device->granules);
	device->owned = reserve(DEVICE_BYTES / WORD);
}

/* The free block that fits, or a new one at the end. */
static struct block *find_block(size_t bytes)
{
	for (struct block *b = blocks; b < blocks + memory.n_blocks; b++)
		if (b->free && b->bytes == bytes)
			return b;
	if (memory.n_blocks == MAX_BLOCKS || memory.top + bytes > DEVICE_BYTES)
		die("emulator: out of device memory");
	blocks[memory.n_blocks] = (struct block){memory.top, bytes, true};
	memory.top += bytes;
	return &blocks[memory.n_blocks++];
}

void *emulator_alloc(size_t bytes, size_t offset)
{
	struct block *b;
	size_t from;

	if (!device->at)
		reserve_device();
	b = find_block((GUARD_BYTES + offset + bytes) / 256 * 256 + 256);
	b->free = false;
	from = b->from + GUARD_BYTES + offset;
	memset(&device->owned[from / WORD], WORD, bytes / WORD);
	if (bytes % WORD)
		device->owned[(from + bytes) / WORD] = bytes % WORD;
	return memset(device->at + from, 0xff, bytes);
}

void emulator_free(void *at)
{
	size_t from = (size_t)((char *)at - device->at);
	struct block *b = blocks;

	if (!at)
		return;
	while (b < blocks + memory.n_blocks && !(b->from <= from && from < b->from + b->bytes))
		b++;
	CHECK(b < blocks + memory.n_blocks && !b->free);
	b->free = true;
	memset(&device->owned[b->from / WORD], 0, b->bytes / WORD);
	while (memory.n_blocks && blocks[memory.n_blocks - 1].free)
		memory.top = blocks[--memory.n_blocks].from;
}

bool emulator_owns(const void *at, size_t bytes)
{
	size_t from = (size_t)((const char *)at - device->at);

	if (region_of(at) != device || from + bytes > DEVICE_BYTES)
		return false;
	for (size_t k = from / WORD; k * WORD < from + bytes; k++) {
		size_t used = from + bytes - k * WORD;
		if (device->owned[k] < (used < WORD ? used : WORD))
			return false;
	}
	return true;
}

double emulator_used(void)
{
	double bytes = 0;

	for (int k = 0; k < memory.n_blocks; k++)
		bytes += blocks[k].free ? 0 : (double)blocks[k].bytes;
	return bytes;
}

void memory_reset(void)
{
	if (device->at)
		memset(device->owned, 0, memory.top / WORD);
	memory.n_blocks = 0;
	memory.top = 0;
	memory.fault[0] = '\0';
}

const char *emulator_fault(void)
{
	return memory.fault[0] ? memory.fault : NULL;
}
