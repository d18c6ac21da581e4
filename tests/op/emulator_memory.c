#include "emulator_memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "emulator.h"

#define DEVICE_BYTES ((size_t)64 << 30)	/* addresses; memory is there for what is touched */

enum {
	GUARD_BYTES = 1024,	/* between allocations */
	MAX_BLOCKS = 1 << 16,	/* of device memory */
};

_Alignas(1024) char shared[SHARED_MOST + GUARD_BYTES];	/* which kernels declare */

static struct word shared_words[sizeof shared / WORD];
static struct seen shared_halves[sizeof shared / WORD][2];
static unsigned char shared_owned[sizeof shared / WORD];

struct region shared_region = {"shared", shared, sizeof shared, shared_words, shared_halves,
	shared_owned};
struct region device_region = {"device", NULL, DEVICE_BYTES, NULL, NULL, NULL};

static struct region *const device = &device_region;

/* Allocations by address; free ones are joined only at the end. */
static struct block {
	size_t from, bytes;	/* from: offset in device memory */
	size_t data, data_bytes;	/* without what is around it */
	bool free;
} blocks[MAX_BLOCKS];

static struct {
	const void *kernel;
	size_t n_shared;	/* bytes that the block has */
	size_t top;		/* end of device memory used so far */
	int n_blocks;
	bool fatal;
	char fault[300];
} memory;

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

void memory_name_kernel(const void *kernel)
{
	memory.kernel = kernel;
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

/* ---- shared memory -------------------------------------------------------------------------- */

void memory_clear_shared(size_t bytes)
{
	memset(shared, 0xff, bytes);
	if (bytes == memory.n_shared)
		return;
	memset(shared_owned, 0, (memory.n_shared + WORD - 1) / WORD);
	memory.n_shared = bytes;
	memset(shared_owned, WORD, bytes / WORD);
	if (bytes % WORD)
		shared_owned[bytes / WORD] = bytes % WORD;
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
	device->words = reserve(DEVICE_BYTES / WORD * sizeof *device->words);
	device->halves = reserve(DEVICE_BYTES / WORD * sizeof *device->halves);
	device->owned = reserve(DEVICE_BYTES / WORD);
	memory_end_turn();
}

void memory_unsee(void)
{
	memset(shared_words, 0, sizeof shared_words);
	if (device->at)
		madvise(device->words, memory.top / WORD * sizeof *device->words, MADV_DONTNEED);
}

/* The free block that fits, or a new one at the end. */
static struct block *find_block(size_t bytes)
{
	for (struct block *b = blocks; b < blocks + memory.n_blocks; b++)
		if (b->free && b->bytes == bytes)
			return b;
	if (memory.n_blocks == MAX_BLOCKS || memory.top + bytes > DEVICE_BYTES)
		die("emulator: out of device memory");
	blocks[memory.n_blocks] = (struct block){.from = memory.top, .bytes = bytes, .free = true};
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
	b->data = from = b->from + GUARD_BYTES + offset;
	b->data_bytes = bytes;
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

static bool holds(const struct block *b, size_t from, size_t bytes)
{
	return from >= b->data && from - b->data < b->data_bytes &&
		bytes <= b->data_bytes - (from - b->data);
}

bool emulator_owns(const void *at, size_t bytes)
{
	static int last;	/* often asked for again */
	size_t from = (size_t)((const char *)at - device->at);

	if (last < memory.n_blocks && !blocks[last].free && holds(&blocks[last], from, bytes))
		return true;
	for (int k = 0; k < memory.n_blocks; k++)
		if (!blocks[k].free && holds(&blocks[k], from, bytes)) {
			last = k;
			return true;
		}
	return false;
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
