#include "emulator_memory.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "emulator.h"

enum {
	DEVICE_BYTES = 8 << 20,
	GUARD_BYTES = 1024,	/* between allocations */
};

/* Who reached a word last. A stamp says when, and which thread; 0 is never. Two readers without
   order among them are enough: who is in order with both is in order with all. */
struct word {
	uint64_t writer, readers[2];
	bool owned;		/* part of an allocation */
	bool copied;		/* an asynchronous copy to it is under way */
};

struct region {
	const char *name;
	char *at;
	size_t bytes;
	struct word *words;
};

_Alignas(256) char shared[SHARED_MOST + GUARD_BYTES];	/* which kernels declare */

static _Alignas(256) char device[DEVICE_BYTES];
static struct word shared_words[sizeof shared / 4], device_words[DEVICE_BYTES / 4];

static const struct region regions[] = {
	{"shared", shared, sizeof shared, shared_words},
	{"device", device, sizeof device, device_words},
};

static struct {
	const struct turn *turn;	/* NULL: nobody has it */
	uint64_t now;		/* its stamp */
	size_t n_shared;	/* words that the block has */
	size_t allocated;	/* bytes of device memory */
	char fault[200];
} memory;

void memory_fault(const void *place, const char *format, ...)
{
	extern const char __executable_start;
	const char *end = memory.fault + sizeof memory.fault;
	char *to = memory.fault;
	va_list list;

	to += snprintf(to, (size_t)(end - to), "block %u %u thread %u: ", blockIdx.x, blockIdx.y,
		threadIdx.x);
	va_start(list, format);
	to += vsnprintf(to, (size_t)(end - to), format, list);
	va_end(list);
	if (place && to < end)
		snprintf(to, (size_t)(end - to), " (at 0x%tx)",
			(const char *)place - 1 - &__executable_start);
	emulator_stop();
}

/* Two accesses of which one is a write: does nothing say which is first? Bits of a stamp: launch
   20, block 16, epoch 16, thread 12. */
static bool is_race(uint64_t a, uint64_t b)
{
	if (a >> 44 != b >> 44)
		return false;
	return a >> 28 != b >> 28 || (a >> 12 == b >> 12 && a != b);
}

static void check_order(uint64_t before, uint64_t now, const char *what, const char *name,
	size_t byte, const void *place)
{
	if (is_race(before, now))
		memory_fault(place, "race: %s byte %zu is %s by thread %d of block %d", name, byte,
			what, (int)(before & 4095), (int)(before >> 28 & 65535));
}

static void check_write(const struct word *w, uint64_t now, const struct region *m,
	const void *place)
{
	size_t byte = (size_t)(w - m->words) * 4;

	check_order(w->writer, now, "written, as", m->name, byte, place);
	for (int k = 0; k < 2; k++)
		check_order(w->readers[k], now, "written, and read", m->name, byte, place);
}

static void note_read(struct word *w, uint64_t now)
{
	if (is_race(w->readers[0], now)) {
		w->readers[1] = now;
		return;
	}
	w->readers[0] = now;
	if (!is_race(w->readers[1], now))
		w->readers[1] = 0;
}

static bool is_within(struct range r, const void *at)
{
	return (uintptr_t)at - (uintptr_t)r.at < r.bytes;
}

static const struct region *region_of(const void *at)
{
	for (int k = 0; k < (int)ARRAY_SIZE(regions); k++) {
		const struct region *m = &regions[k];
		if (is_within((struct range){m->at, m->bytes}, at))
			return m;
	}
	return NULL;
}

/* The host's memory: nothing else than what the compiler keeps there for a thread. */
static void check_host(const void *at, const void *place)
{
	const struct range indices[] = {{&threadIdx, sizeof threadIdx},
		{&blockIdx, sizeof blockIdx}, {&blockDim, sizeof blockDim}};
	bool good = is_within(memory.turn->stack, at) || is_within(memory.turn->arguments, at);

	for (int k = 0; k < (int)ARRAY_SIZE(indices); k++)
		good |= is_within(indices[k], at);
	if (!good)
		memory_fault(place, "address %p: not the GPU's", at);
}

/* May the thread reach it? The words; NULL: the host's memory. */
static struct word *reach(const void *at, size_t bytes, const struct region **m, const void *place)
{
	size_t byte;

	*m = region_of(at);
	if (!memory.turn)
		return NULL;
	if (!*m) {
		check_host(at, place);
		return NULL;
	}
	byte = (size_t)((const char *)at - (*m)->at);
	for (size_t k = byte / 4; k <= (byte + bytes - 1) / 4; k++) {
		if (k >= (*m)->bytes / 4 || !(*m)->words[k].owned)
			memory_fault(place, "%s byte %zu: nobody's", (*m)->name, k * 4);
		if ((*m)->words[k].copied)
			memory_fault(place, "%s byte %zu: a copy to it is under way", (*m)->name,
				k * 4);
	}
	return &(*m)->words[byte / 4];
}

static void touch(const void *at, size_t bytes, bool write, const void *place)
{
	const struct region *m;
	struct word *w = reach(at, bytes, &m, place);
	uint64_t now = memory.now;

	for (size_t k = 0; w && k < (bytes + 3) / 4; k++, w++) {
		if (write) {
			check_write(w, now, m, place);
			w->writer = now;
		} else {
			check_order(w->writer, now, "read, and written", m->name,
				(size_t)(w - m->words) * 4, place);
			note_read(w, now);
		}
	}
}

static void touch_aligned(const void *at, size_t bytes, bool write, const void *place)
{
	if (region_of(at) && (uintptr_t)at % bytes)
		memory_fault(place, "access of %zu bytes: the address is no multiple", bytes);
	touch(at, bytes, write, place);
}

/* What gcc -fsanitize=thread calls. */
#define TOUCH(size) \
	void __tsan_read##size(const void *at); \
	void __tsan_write##size(const void *at); \
	void __tsan_unaligned_read##size(const void *at); \
	void __tsan_unaligned_write##size(const void *at); \
	void __tsan_read##size(const void *at) \
	{ \
		touch_aligned(at, size, false, __builtin_return_address(0)); \
	} \
	void __tsan_write##size(const void *at) \
	{ \
		touch_aligned(at, size, true, __builtin_return_address(0)); \
	} \
	void __tsan_unaligned_read##size(const void *at) \
	{ \
		touch(at, size, false, __builtin_return_address(0)); \
	} \
	void __tsan_unaligned_write##size(const void *at) \
	{ \
		touch(at, size, true, __builtin_return_address(0)); \
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
	touch(at, bytes, false, __builtin_return_address(0));
}

void __tsan_write_range(const void *at, size_t bytes)
{
	touch(at, bytes, true, __builtin_return_address(0));
}

void memory_copy_starts(void *to, const void *from, size_t bytes, const void *place)
{
	const struct region *m;
	struct word *w;

	if ((uintptr_t)to % bytes || (uintptr_t)from % bytes)
		memory_fault(place, "copy of %zu bytes: an address is no multiple", bytes);
	touch(from, bytes, false, place);
	w = reach(to, bytes, &m, place);
	if (!w || m->at != shared)
		memory_fault(place, "a copy that is not to shared memory");
	for (size_t k = 0; k < bytes / 4; k++) {
		check_write(&w[k], memory.now, m, place);
		w[k].copied = true;
	}
}

void memory_copy_arrives(void *to, const void *from, size_t bytes, const void *place)
{
	for (size_t k = 0; k < bytes / 4; k++)
		shared_words[(size_t)((char *)to - shared) / 4 + k].copied = false;
	touch(from, bytes, false, place);
	touch(to, bytes, true, place);
	memcpy(to, from, bytes);
}

void memory_turn(const struct turn *t)
{
	memory.turn = t;
	memory.now = t ? t->launch << 44 | t->block << 28 | t->epoch << 12 | t->thread : 0;
}

void memory_start_block(size_t bytes)
{
	memset(shared, 0xff, sizeof shared);
	memset(shared_words, 0, memory.n_shared * sizeof *shared_words);
	memory.n_shared = (bytes + 3) / 4;
	for (size_t k = 0; k < memory.n_shared; k++)
		shared_words[k].owned = true;
}

void *emulator_alloc(size_t bytes, size_t offset)
{
	size_t from = memory.allocated + offset, words = (bytes + 3) / 4;

	memory.allocated = (from + bytes + GUARD_BYTES + 255) / 256 * 256;
	if (memory.allocated > sizeof device)
		die("emulator: more than %d bytes of device memory", DEVICE_BYTES);
	for (size_t k = from / 4; k < from / 4 + words; k++)
		device_words[k].owned = true;
	return device + from;
}

void memory_reset(void)
{
	memset(device, 0xff, sizeof device);
	memset(device_words, 0, memory.allocated / 4 * sizeof *device_words);
	memset(shared_words, 0, memory.n_shared * sizeof *shared_words);
	memset(&memory, 0, sizeof memory);
	memory.allocated = GUARD_BYTES;
}

const char *emulator_fault(void)
{
	return memory.fault[0] ? memory.fault : NULL;
}
