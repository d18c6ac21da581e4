/* Every access to memory of a kernel: may the thread make it, and is it in order with all others? */
#include <string.h>

#include "emulator.h"
#include "emulator_memory.h"

enum { MAX_SEGMENTS = 1 << 20 };	/* of a block between two barriers */

/*
 * A segment is what a warp does between two points of order, a block's barrier or its own __syncwarp().
 * Threads of a segment have 32 numbers in a row, segments follow one another, those of a block between
 * two barriers lie together, as those of a block and of a launch do: numbers say what is in order.
 */
static struct {
	uint32_t now;		/* number of the thread that has its turn */
	bool has_turn;
	struct range stack;	/* of it; where no thread has its turn, all that is not the device's */
	struct range arguments;	/* of the launch */
	uint32_t launch_first, block_first, barrier_first;
	int n_segments;		/* since the barrier */
	int segment[MAX_THREADS / WARP];	/* a warp's present one */
} watch = {.stack = {NULL, SIZE_MAX}, .launch_first = WARP, .block_first = WARP, .barrier_first = WARP};

static unsigned char warp_of[MAX_SEGMENTS];	/* since the barrier */
static bool copied[(SHARED_MOST >> 2) + 256];	/* words of shared memory: a copy to it is under way */

/* ---- order ---------------------------------------------------------------------------------- */

/* Does nothing say which of two accesses is first, that of stamp `before` and the present one? `first`: number
   from which on accesses count. */
static inline bool is_unordered(uint32_t before, uint32_t first)
{
	uint32_t number = before >> 1, then, now;

	if (number < first || number == watch.now)
		return false;
	if (number < watch.barrier_first)
		return number < watch.block_first;
	then = (number - watch.barrier_first) / WARP;
	now = (watch.now - watch.barrier_first) / WARP;
	return then == now || warp_of[then] != warp_of[now];
}

/* Every block has shared memory of its own: what former blocks did there says nothing. */
static inline uint32_t first_of(const struct region *m)
{
	return m == &shared_region ? watch.block_first : watch.launch_first;
}

static __attribute__((noinline, noreturn)) void race(const char *what, const struct region *m,
	size_t byte, uint32_t before, const void *place)
{
	uint32_t number = before >> 1;

	if (number < watch.block_first)
		memory_fault(place, "race: %s byte %zu is %s by another block", m->name, byte, what);
	memory_fault(place, "race: %s byte %zu is %s by lane %u of warp %d", m->name, byte, what,
		number % WARP, warp_of[(number - watch.barrier_first) / WARP]);
}

enum access { READ, WRITE, ATOMIC };

/* Is an access in order with those seen? */
static inline void check(const struct seen *s, enum access how, const struct region *m, size_t byte,
	const void *place)
{
	uint32_t first = first_of(m);

	if (is_unordered(s->writer, first))
		race(how == WRITE ? "written, as" : "read, and written", m, byte, s->writer, place);
	for (int k = 0; k < 2; k++) {
		uint32_t r = s->readers[k];
		if ((how == WRITE || (r & 1) != (how == ATOMIC)) && is_unordered(r, first))
			race(how == WRITE ? "written, and read" :
				"read, and written, once atomically", m, byte, r, place);
	}
}

static inline void note(struct seen *s, enum access how, const struct region *m)
{
	uint32_t stamp = watch.now << 1 | (how == ATOMIC), first = first_of(m);

	if (how == WRITE) {
		*s = (struct seen){.writer = stamp};	/* what follows it follows the readers too */
	} else if (is_unordered(s->readers[0], first)) {
		s->readers[1] = stamp;
	} else {
		s->readers[0] = stamp;
		if (s->readers[1] && !is_unordered(s->readers[1], first))
			s->readers[1] = 0;
	}
}

/* ---- accesses ------------------------------------------------------------------------------- */

static inline bool is_within(struct range r, const void *at)
{
	return (uintptr_t)at - (uintptr_t)r.at < r.bytes;
}

/* The host's memory: nothing else than what the compiler keeps there for a thread. */
static __attribute__((noinline)) void check_host(const void *at, const void *place)
{
	const struct range indices[] = {{&threadIdx, sizeof threadIdx},
		{&blockIdx, sizeof blockIdx}, {&blockDim, sizeof blockDim},
		{&gridDim, sizeof gridDim}};
	bool good = is_within(watch.arguments, at);

	for (int k = 0; k < (int)ARRAY_SIZE(indices); k++)
		good |= is_within(indices[k], at);
	if (!good)
		memory_fault(place, "address %p: not the GPU's", at);
}

static __attribute__((noinline, noreturn)) void nobodys(const struct region *m, size_t byte,
	const void *place)
{
	memory_fault(place, "%s byte %zu: nobody's", m->name, byte);
}

static inline const struct region *region_of(const void *at)
{
	if ((uintptr_t)at - (uintptr_t)shared_region.at < shared_region.bytes)
		return &shared_region;
	return (uintptr_t)at - (uintptr_t)device_region.at < device_region.bytes ? &device_region
		: NULL;
}

/* Bytes `from` to `end` of one word. */
static inline void touch_word(const struct region *m, size_t from, size_t end, enum access how,
	const void *place)
{
	size_t k = from / WORD;
	struct word *w = &m->words[k];
	bool whole = end - from == WORD;

	if (m->owned[k] < end - k * WORD)
		nobodys(m, from, place);
	if (m == &shared_region && copied[k])
		memory_fault(place, "shared byte %zu: a copy to it is under way", from);
	check(&w->whole, how, m, from, place);
	for (int half = 0; w->in_halves && half < 2; half++)
		if (from < k * WORD + 2 * (size_t)half + 2 && end > k * WORD + 2 * (size_t)half)
			check(&m->halves[k][half], how, m, from, place);
	if (whole) {
		note(&w->whole, how, m);
		w->in_halves &= how != WRITE;
		return;
	}
	if (!w->in_halves)
		memset(m->halves[k], 0, sizeof m->halves[k]);
	w->in_halves = true;
	for (int half = 0; half < 2; half++)
		if (from < k * WORD + 2 * (size_t)half + 2 && end > k * WORD + 2 * (size_t)half)
			note(&m->halves[k][half], how, m);
}

/* All of one word. What a thread reads again, with nothing written since, and nobody in its halves, says nothing new:
   that is most of what kernels do. */
static inline void touch_whole(const struct region *m, size_t from, enum access how, const void *place)
{
	const struct word *w = &m->words[from / WORD];

	if (how != READ || w->in_halves || w->whole.readers[0] != watch.now << 1)
		touch_word(m, from, from + WORD, how, place);
}

static __attribute__((noinline)) void touch_parts(const struct region *m, size_t from, size_t end, enum access how,
	const void *place)
{
	while (from < end) {
		size_t next = (from + WORD) / WORD * WORD;
		touch_word(m, from, next < end ? next : end, how, place);
		from = next;
	}
}

static inline void reach(const void *at, size_t bytes, enum access how, const void *place)
{
	const struct region *m = region_of(at);
	size_t from;

	if (!watch.has_turn) {
		emulator_faults_are_fatal();
		memory_fault(place, "the host reaches device memory");
	}
	if (!m) {
		check_host(at, place);
		return;
	}
	from = (size_t)((const char *)at - m->at);
	if (bytes % WORD || from % WORD)
		touch_parts(m, from, from + bytes, how, place);
	else
		for (size_t k = 0; k < bytes; k += WORD)
			touch_whole(m, from + k, how, place);
}

static inline void touch(const void *at, size_t bytes, enum access how, const void *place)
{
	if (!is_within(watch.stack, at))
		reach(at, bytes, how, place);
}

void emulator_atomic(const void *at, size_t bytes)
{
	const void *place = __builtin_return_address(0);

	if ((uintptr_t)at % bytes)
		memory_fault(place, "an atomic access misaligned");
	if (!region_of(at))
		memory_fault(place, "an atomic access to no shared or device memory");
	touch(at, bytes, ATOMIC, place);
}

void memory_read_shared(void *to, const void *at, size_t bytes, const void *place)
{
	if (region_of(at) != &shared_region)
		memory_fault(place, "address %p: not in shared memory", at);
	if ((uintptr_t)at % bytes)
		memory_fault(place, "%zu bytes at %p: misaligned", bytes, at);
	touch(at, bytes, READ, place);
	memcpy(to, at, bytes);
}

void emulator_read_shared(void *to, const void *at, size_t bytes)
{
	memory_read_shared(to, at, bytes, __builtin_return_address(0));
}

/* What gcc -fsanitize=thread calls. */
#define ONE(name, size, how) \
	void __tsan_##name##size(const void *at); \
	void __tsan_unaligned_##name##size(const void *at); \
	static __attribute__((noinline)) void name##size(const void *at, const void *place) \
	{ \
		reach(at, size, how, place); \
	} \
	void __tsan_##name##size(const void *at) \
	{ \
		if (!is_within(watch.stack, at))	/* most are: no more than that for them */ \
			name##size(at, __builtin_return_address(0)); \
	} \
	void __tsan_unaligned_##name##size(const void *at) \
	{ \
		touch(at, size, how, __builtin_return_address(0)); \
	}
#define TOUCH(size) ONE(read, size, READ) ONE(write, size, WRITE)

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
	if (!watch.has_turn)
		die("%s:%u: address %zx is no multiple of %u", x->at.file, x->at.line, (size_t)at,
			1u << x->log2_alignment);
	memory_fault(__builtin_return_address(0), "address %zx is no multiple of %u", (size_t)at,
		1u << x->log2_alignment);
}

/* ---- asynchronous copies -------------------------------------------------------------------- */

void memory_copy_starts(void *to, const void *from, size_t bytes, size_t zeros, const void *place)
{
	size_t byte = (size_t)((char *)to - shared_region.at);

	if (!(bytes == 4 || bytes == 8 || bytes == 16) || zeros > bytes)
		memory_fault(place, "a copy of %zu bytes, %zu of zeros", bytes, zeros);
	if ((uintptr_t)to % bytes || (uintptr_t)from % bytes)
		memory_fault(place, "copy of %zu bytes: an address is no multiple", bytes);
	if (region_of(to) != &shared_region)
		memory_fault(place, "a copy that is not to shared memory");
	if (zeros < bytes && region_of(from) != &device_region)
		memory_fault(place, "a copy that is not from device memory");
	if (zeros < bytes)
		touch(from, bytes - zeros, READ, place);
	touch(to, bytes, WRITE, place);
	memset(&copied[byte / WORD], true, bytes / WORD);
}

void memory_copy_arrives(void *to, const void *from, size_t bytes, size_t zeros, const void *place)
{
	memset(&copied[(size_t)((char *)to - shared_region.at) / WORD], false, bytes / WORD);
	if (zeros < bytes)
		touch(from, bytes - zeros, READ, place);
	touch(to, bytes, WRITE, place);
	memcpy(to, from, bytes - zeros);
	memset((char *)to + bytes - zeros, 0, zeros);
}

/* ---- turns ---------------------------------------------------------------------------------- */

void memory_order_warp(int warp)
{
	if (watch.n_segments == MAX_SEGMENTS)
		memory_fault(NULL, "more than %d times __syncwarp() without __syncthreads()",
			MAX_SEGMENTS);
	warp_of[watch.n_segments] = (unsigned char)warp;
	watch.segment[warp] = watch.n_segments++;
}

void memory_pass_barrier(int n_warps)
{
	watch.barrier_first += (uint32_t)watch.n_segments * WARP;
	CHECK(watch.barrier_first < 1u << 31);
	watch.n_segments = 0;
	for (int k = 0; k < n_warps; k++)
		memory_order_warp(k);
}

void memory_start_block(int n_warps)
{
	memory_pass_barrier(n_warps);
	watch.block_first = watch.barrier_first;
}

/* Numbers run out after 2^26 segments: then all begins anew. */
void memory_start_launch(struct range arguments)
{
	watch.arguments = arguments;
	memset(copied, 0, sizeof copied);	/* a fault leaves some */
	watch.barrier_first += (uint32_t)watch.n_segments * WARP;
	watch.n_segments = 0;
	if (watch.barrier_first > 1u << 30) {
		memory_unsee();
		watch.barrier_first = WARP;
	}
	watch.launch_first = watch.barrier_first;
}

void memory_turn(int thread, struct range stack)
{
	watch.has_turn = true;
	watch.stack = stack;
	watch.now = watch.barrier_first + (uint32_t)(watch.segment[thread / WARP] * WARP +
		thread % WARP);
}

void memory_end_turn(void)
{
	watch.has_turn = false;
	watch.stack = (struct range){device_region.at + device_region.bytes,
		SIZE_MAX - device_region.bytes};
}
