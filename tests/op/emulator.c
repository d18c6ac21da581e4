#include "emulator.h"

#include <setjmp.h>
#include <stdbool.h>
#include <string.h>
#include <ucontext.h>

#include "base/error.h"
#include "emulator_memory.h"

enum {
	WARP = 32,
	MAX_THREADS = 256,		/* of a block */
	MAX_BLOCKS = 4096,		/* of a launch */
	MAX_COPIES = 256,		/* a thread has under way */
	MAX_KERNELS = 16,		/* with a limit of their own */
	STACK_BYTES = 128 << 10,
	SHARED_DEFAULT = 48 << 10,	/* bytes a block may have unless told */
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

struct index threadIdx, blockIdx, blockDim;

static struct fibre fibres[MAX_THREADS];

static struct {
	const struct emulator_launch *launch;
	enum emulator_order order;
	uint64_t random;
	jmp_buf scheduler, end;	/* of a turn, of the launch */
	struct fibre *running;
	uint64_t n_launches, block, epoch;	/* epoch: barriers passed by the block */
	struct {
		const void *kernel;
		size_t bytes;
	} limits[MAX_KERNELS];
	int n_limits;
} gpu;

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

	if (f->n_copies == MAX_COPIES)
		memory_fault(place, "more than %d copies under way", MAX_COPIES);
	memory_copy_starts(to, from, bytes, place);
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
		memory_copy_arrives(c.to, c.from, c.bytes, c.place);
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
		memory_fault(NULL, "ends with copies under way");
	park(ENDED);
}

static void resume(struct fibre *f)
{
	const struct turn turn = {gpu.n_launches, gpu.block, gpu.epoch, (uint64_t)(f - fibres),
		{f->stack, sizeof f->stack}, {gpu.launch->closure, gpu.launch->closure_bytes}};

	gpu.running = f;
	threadIdx.x = (unsigned)(f - fibres);
	memory_turn(&turn);
	if (!_setjmp(gpu.scheduler)) {
		if (f->started)
			_longjmp(f->at, 1);
		f->started = true;
		setcontext(&f->start);
	}
	memory_turn(NULL);
}

/* Gives values to the lanes that wait in a shuffle: all that its mask names, and no others. */
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
				!(mask >> warp[k].partner & 1))))
			memory_fault(NULL, "warp %td: lanes %x wait in a shuffle of %x",
				(warp - fibres) / WARP, waiting, mask);
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
	memory_start_block(gpu.launch->shared);
	for (unsigned k = 0; k < gpu.launch->threads; k++)
		start_fibre(&fibres[k]);
	gpu.epoch = 0;
}

static void run_block(void)
{
	int n = (int)gpu.launch->threads, n_warps = (n + WARP - 1) / WARP;
	int order[MAX_THREADS / WARP];

	start_block();
	while (n_threads_in(ENDED) < n) {
		set_order(order, n_warps);
		for (int k = 0; k < n_warps; k++) {
			int first = order[k] * WARP;
			run_warp(&fibres[first], n - first < WARP ? n - first : WARP);
		}
		if (n_threads_in(ENDED) == n)
			return;
		if (n_threads_in(AT_BARRIER) < n)
			memory_fault(NULL, "%d of %d threads wait in __syncthreads()",
				n_threads_in(AT_BARRIER), n);
		for (int k = 0; k < n; k++)
			fibres[k].state = READY;
		gpu.epoch++;
	}
}

static void run_blocks(const unsigned grid[3], unsigned n_blocks)
{
	static int order[MAX_BLOCKS];

	set_order(order, (int)n_blocks);
	for (unsigned k = 0; k < n_blocks; k++) {
		unsigned block = (unsigned)order[k];
		blockIdx.x = block % grid[0];
		blockIdx.y = block / grid[0] % grid[1];
		blockIdx.z = block / grid[0] / grid[1];
		gpu.block = block;
		run_block();
	}
}

void emulator_stop(void)
{
	memory_turn(NULL);
	_longjmp(gpu.end, 1);
}

int emulator_launch(const struct emulator_launch *l)
{
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
	if (!emulator_fault() && !_setjmp(gpu.end))
		run_blocks(l->grid, n_blocks);
	return 0;
}

int emulator_allow(const void *kernel, size_t bytes)
{
	int k = 0;

	if (bytes > SHARED_MOST)
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
	memory_reset();
	memset(&gpu, 0, sizeof gpu);
	gpu.order = order;
}
