#include "emulator.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <ucontext.h>

#include "base/error.h"

enum {
	WARP = 32,
	MAX_THREADS = 256,		/* of a block */
	MAX_BLOCKS = 4096,		/* of a launch */
	MAX_COPIES = 256,		/* a thread has under way */
	MAX_KERNELS = 16,		/* with a limit of their own */
	STACK_BYTES = 128 << 10,
	SHARED_BYTES = 227 << 10,	/* a block can have, as on sm_90 */
	SHARED_DEFAULT = 48 << 10,
	DEVICE_BYTES = 8 << 20,
	GUARD_BYTES = 1024,		/* between allocations */
};

enum fibre_state { READY, AT_BARRIER, AT_SHUFFLE, ENDED };

struct copy {
	char *to;
	const char *from;
	size_t bytes;
	int batch;
	const void *place;
};

/* A thread of the block. */
struct fibre {
	enum fibre_state state;
	bool started;
	ucontext_t start;
	jmp_buf at;
	unsigned mask;		/* of the shuffle it waits in, with its value and partner */
	int partner;
	float value;
	struct copy copies[MAX_COPIES];
	int n_copies, batch;	/* batches committed */
	_Alignas(16) char stack[STACK_BYTES];
};

/* Who reached a word last. A stamp says when, and which thread; 0 is never. Two readers without
   order among them are enough: who is in order with both is in order with all. */
struct word {
	uint64_t writer, readers[2];
	bool owned;		/* part of an allocation */
	bool copied;		/* an asynchronous copy to it is under way */
};

struct memory {
	const char *name;
	char *at;
	size_t bytes;
	struct word *words;
};

struct index {
	unsigned x, y, z;
};

/* What kernels see. */
struct index threadIdx, blockIdx, blockDim;
_Alignas(256) char shared[SHARED_BYTES + GUARD_BYTES];

static _Alignas(256) char device[DEVICE_BYTES];
static struct word shared_words[sizeof shared / 4], device_words[DEVICE_BYTES / 4];

static struct memory memories[] = {
	{"shared", shared, sizeof shared, shared_words},
	{"device", device, sizeof device, device_words},
};

static struct fibre fibres[MAX_THREADS];

static struct {
	const struct emulator_launch *launch;
	enum emulator_order order;
	uint64_t random;
	jmp_buf scheduler;
	struct fibre *running;	/* NULL: none */
	uint64_t n_launches, block, epoch;	/* epoch: barriers passed by the block */
	bool stuck;		/* the block cannot go on */
	char fault[200];	/* the first */
	size_t allocated;	/* bytes of device memory */
	size_t n_shared;	/* words of shared memory that the block has */
	struct {
		const void *kernel;
		size_t bytes;
	} limits[MAX_KERNELS];
	int n_limits;
} gpu;

/* `place` is the program's, NULL: not known. Only the first fault is kept. */
static void PRINTF_LIKE(2, 3) fault(const void *place, const char *format, ...)
{
	extern const char __executable_start;
	const char *end = gpu.fault + sizeof gpu.fault;
	char *to = gpu.fault;
	va_list list;

	if (*to)
		return;
	to += snprintf(to, (size_t)(end - to), "block %u %u thread %u: ", blockIdx.x, blockIdx.y,
		threadIdx.x);
	va_start(list, format);
	to += vsnprintf(to, (size_t)(end - to), format, list);
	va_end(list);
	if (place && to < end)
		snprintf(to, (size_t)(end - to), " (at 0x%tx)",
			(const char *)place - 1 - &__executable_start);
}

/* --- memory --------------------------------------------------------------------------------- */

/* launch, block, epoch, thread: 20, 16, 16, 12 bits. */
static uint64_t stamp_now(void)
{
	return gpu.n_launches << 44 | gpu.block << 28 | gpu.epoch << 12 |
		(uint64_t)(gpu.running - fibres);
}

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
		fault(place, "race: %s byte %zu is %s by thread %d of block %d", name, byte, what,
			(int)(before & 4095), (int)(before >> 28 & 65535));
}

static void check_write(const struct word *w, uint64_t now, const struct memory *m,
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

static struct memory *memory_of(const void *at)
{
	for (int k = 0; k < (int)ARRAY_SIZE(memories); k++) {
		struct memory *m = &memories[k];
		if ((const char *)at >= m->at && (const char *)at < m->at + m->bytes)
			return m;
	}
	return NULL;
}

/* May the running thread reach it? The words, or NULL where nothing is known of the memory, as of
   a thread's stack, or after a fault. */
static struct word *reach(const void *at, size_t bytes, struct memory **m, const void *place)
{
	size_t byte;

	*m = memory_of(at);
	if (!*m || !gpu.running)
		return NULL;
	byte = (size_t)((const char *)at - (*m)->at);
	for (size_t k = byte / 4; k <= (byte + bytes - 1) / 4; k++) {
		if (k >= (*m)->bytes / 4 || !(*m)->words[k].owned) {
			fault(place, "%s byte %zu: nobody's", (*m)->name, k * 4);
			return NULL;
		}
		if ((*m)->words[k].copied) {
			fault(place, "%s byte %zu: a copy to it is under way", (*m)->name, k * 4);
			return NULL;
		}
	}
	return &(*m)->words[byte / 4];
}

static void touch(const void *at, size_t bytes, bool write, const void *place)
{
	struct memory *m;
	struct word *w = reach(at, bytes, &m, place);
	uint64_t now = w ? stamp_now() : 0;

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
	if (memory_of(at) && (uintptr_t)at % bytes)
		fault(place, "access of %zu bytes: the address is no multiple", bytes);
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

void *emulator_alloc(size_t bytes, size_t offset)
{
	size_t from = gpu.allocated + offset, words = (bytes + 3) / 4;

	gpu.allocated = (from + bytes + GUARD_BYTES + 255) / 256 * 256;
	if (gpu.allocated > sizeof device)
		die("emulator: more than %d bytes of device memory", DEVICE_BYTES);
	for (size_t k = from / 4; k < from / 4 + words; k++)
		device_words[k].owned = true;
	return device + from;
}

/* --- what kernels call ----------------------------------------------------------------------- */

void __syncthreads(void);
float __shfl_xor_sync(unsigned mask, float v, int lane_mask);
void __pipeline_memcpy_async(void *to, const void *from, size_t bytes);
void __pipeline_commit(void);
void __pipeline_wait_prior(size_t n);

/* Back to the scheduler, until it says to go on. */
static void park(enum fibre_state state)
{
	gpu.running->state = state;
	if (!_setjmp(gpu.running->at))
		_longjmp(gpu.scheduler, 1);
}

void __syncthreads(void)
{
	park(AT_BARRIER);
}

float __shfl_xor_sync(unsigned mask, float v, int lane_mask)
{
	struct fibre *f = gpu.running;

	f->mask = mask;
	f->partner = (int)(threadIdx.x % WARP) ^ lane_mask;
	f->value = v;
	park(AT_SHUFFLE);
	return f->value;
}

void __pipeline_memcpy_async(void *to, const void *from, size_t bytes)
{
	const void *place = __builtin_return_address(0);
	struct fibre *f = gpu.running;
	struct memory *m;
	struct word *w = reach(to, bytes, &m, place);

	if ((uintptr_t)to % bytes || (uintptr_t)from % bytes)
		fault(place, "copy of %zu bytes: an address is no multiple", bytes);
	touch(from, bytes, false, place);
	if (!w || m->at != shared || f->n_copies == MAX_COPIES) {
		fault(place, "a copy that is not to shared memory, or too many");
		return;
	}
	for (size_t k = 0; k < bytes / 4; k++) {
		check_write(&w[k], stamp_now(), m, place);
		w[k].copied = true;
	}
	f->copies[f->n_copies++] = (struct copy){to, from, bytes, f->batch, place};
}

void __pipeline_commit(void)
{
	gpu.running->batch++;
}

void __pipeline_wait_prior(size_t n)
{
	struct fibre *f = gpu.running;
	int left = 0;

	for (int k = 0; k < f->n_copies; k++) {
		struct copy c = f->copies[k];
		if (c.batch >= f->batch - (int)n) {
			f->copies[left++] = c;
			continue;
		}
		for (size_t i = 0; i < c.bytes / 4; i++)
			shared_words[(size_t)(c.to - shared) / 4 + i].copied = false;
		touch(c.from, c.bytes, false, c.place);
		touch(c.to, c.bytes, true, c.place);
		memcpy(c.to, c.from, c.bytes);
	}
	f->n_copies = left;
}

/* --- scheduling ------------------------------------------------------------------------------ */

static void set_order(int *list, int n)
{
	for (int k = 0; k < n; k++)
		list[k] = gpu.order == DESCENDING ? n - 1 - k : k;
	for (int k = n - 1; gpu.order == RANDOM && k > 0; k--) {
		int other, kept = list[k];
		gpu.random = gpu.random * 6364136223846793005u + 1442695040888963407u;
		other = (int)((gpu.random >> 33) % (unsigned)(k + 1));
		list[k] = list[other];
		list[other] = kept;
	}
}

static void fibre_main(void)
{
	gpu.launch->body(gpu.launch->closure);
	if (gpu.running->n_copies)
		fault(NULL, "ends with copies under way");
	park(ENDED);
}

static void resume(struct fibre *f)
{
	gpu.running = f;
	threadIdx.x = (unsigned)(f - fibres);
	if (!_setjmp(gpu.scheduler)) {
		if (f->started)
			_longjmp(f->at, 1);
		f->started = true;
		setcontext(&f->start);
	}
	gpu.running = NULL;
}

/* Gives values to the lanes of a warp that wait in a shuffle: all that its mask names, no others. */
static bool exchange(struct fibre *warp, int n_lanes)
{
	float given[WARP];
	unsigned waiting = 0, mask = 0;
	int distance = 0;

	for (int k = 0; k < n_lanes; k++) {
		if (warp[k].state != AT_SHUFFLE)
			continue;
		waiting |= 1u << k;
		mask = warp[k].mask;
		distance = warp[k].partner ^ k;
		given[k] = warp[k].value;
	}
	if (!waiting)
		return false;
	for (int k = 0; k < n_lanes; k++)
		if (waiting != mask || (waiting >> k & 1 && (warp[k].mask != mask ||
				(warp[k].partner ^ k) != distance ||
				!(mask >> warp[k].partner & 1)))) {
			fault(NULL, "warp %td: lanes %x wait in a shuffle of %x",
				(warp - fibres) / WARP, waiting, mask);
			gpu.stuck = true;
			return false;
		}
	for (int k = 0; k < n_lanes; k++)
		if (waiting >> k & 1) {
			warp[k].value = given[warp[k].partner];
			warp[k].state = READY;
		}
	return true;
}

/* Until every lane waits for other warps, or has ended. */
static void run_warp(struct fibre *warp, int n_lanes)
{
	int order[WARP];

	do {
		set_order(order, n_lanes);
		for (int k = 0; k < n_lanes; k++)
			if (warp[order[k]].state == READY)
				resume(&warp[order[k]]);
	} while (exchange(warp, n_lanes));
}

static int n_threads_in(enum fibre_state state)
{
	int n = 0;

	for (unsigned k = 0; k < gpu.launch->threads; k++)
		n += fibres[k].state == state;
	return n;
}

static void start_fibre(struct fibre *f)
{
	f->state = READY;
	f->started = false;
	f->n_copies = f->batch = 0;
	getcontext(&f->start);
	f->start.uc_stack.ss_sp = f->stack;
	f->start.uc_stack.ss_size = sizeof f->stack;
	makecontext(&f->start, fibre_main, 0);
}

static void start_block(void)
{
	memset(shared, 0xff, sizeof shared);
	memset(shared_words, 0, gpu.n_shared * sizeof *shared_words);
	gpu.n_shared = (gpu.launch->shared + 3) / 4;
	for (size_t k = 0; k < gpu.n_shared; k++)
		shared_words[k].owned = true;
	for (unsigned k = 0; k < gpu.launch->threads; k++)
		start_fibre(&fibres[k]);
	gpu.epoch = 0;
	gpu.stuck = false;
}

static void run_block(void)
{
	int n = (int)gpu.launch->threads, n_warps = (n + WARP - 1) / WARP;
	int order[MAX_THREADS / WARP];

	start_block();
	while (!gpu.stuck && n_threads_in(ENDED) < n) {
		set_order(order, n_warps);
		for (int k = 0; k < n_warps; k++) {
			int first = order[k] * WARP;
			run_warp(&fibres[first], n - first < WARP ? n - first : WARP);
		}
		if (gpu.stuck || n_threads_in(ENDED) == n)
			return;
		if (n_threads_in(AT_BARRIER) < n) {
			fault(NULL, "%d of %d threads wait in __syncthreads()",
				n_threads_in(AT_BARRIER), n);
			return;
		}
		for (int k = 0; k < n; k++)
			fibres[k].state = READY;
		gpu.epoch++;
	}
}

int emulator_launch(const struct emulator_launch *l)
{
	static int order[MAX_BLOCKS];
	unsigned n_blocks = l->grid[0] * l->grid[1] * l->grid[2];
	size_t allowed = SHARED_DEFAULT;

	for (int k = 0; k < gpu.n_limits; k++)
		if (gpu.limits[k].kernel == l->kernel)
			allowed = gpu.limits[k].bytes;
	if (!n_blocks || n_blocks > MAX_BLOCKS || !l->threads || l->threads > MAX_THREADS ||
		l->shared > allowed)
		return -1;
	gpu.launch = l;
	gpu.n_launches++;
	blockDim = (struct index){l->threads, 1, 1};
	set_order(order, (int)n_blocks);
	for (unsigned k = 0; k < n_blocks; k++) {
		unsigned block = (unsigned)order[k];
		blockIdx.x = block % l->grid[0];
		blockIdx.y = block / l->grid[0] % l->grid[1];
		blockIdx.z = block / l->grid[0] / l->grid[1];
		gpu.block = block;
		run_block();
	}
	return 0;
}

int emulator_allow(const void *kernel, size_t bytes)
{
	int k = 0;

	if (bytes > SHARED_BYTES)
		return -1;
	while (k < gpu.n_limits && gpu.limits[k].kernel != kernel)
		k++;
	CHECK(k < MAX_KERNELS);
	gpu.limits[k].kernel = kernel;
	gpu.limits[k].bytes = bytes;
	gpu.n_limits += k == gpu.n_limits;
	return 0;
}

void emulator_reset(enum emulator_order order)
{
	memset(device, 0xff, sizeof device);
	memset(device_words, 0, gpu.allocated / 4 * sizeof *device_words);
	memset(shared_words, 0, gpu.n_shared * sizeof *shared_words);
	memset(&gpu, 0, sizeof gpu);
	gpu.order = order;
	gpu.allocated = GUARD_BYTES;
}

const char *emulator_fault(void)
{
	return gpu.fault[0] ? gpu.fault : NULL;
}
