#include "emulator.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "base/error.h"
#include "emulator_memory.h"

enum {
	MAX_COPIES = 256,		/* a thread has under way */
	MAX_KERNELS = 1024,		/* with a limit of their own */
	MAX_GRID_YZ = 65535,		/* blocks, as on any GPU */
	STACK_BYTES = (128 << 10) + 320,	/* not all at the same place of the caches */
	SHARED_DEFAULT = 48 << 10,	/* bytes a block may have unless told */
};

/* Where to go on. The compiler's own jumps keep three registers, for a turn has a few hundred instructions. */
typedef void *turn[5];

enum fibre_state { READY, AT_BARRIER, IN_COLLECTIVE, ENDED, N_STATES };

struct copy {
	char *to;
	const char *from;
	size_t bytes, zeros;
	int batch;
	const void *place;
};

/* A thread of the block. */
struct fibre {
	bool started;		/* has a frame to jump to */
	struct index index;	/* within the block */
	turn at;
	const struct emulator_collective *collective;	/* it waits in; its place in the program */
	const void *place;
	const char *barrier;	/* it waits in, with its vote */
	int vote;
	int n_copies, batch;	/* batches committed */
};

struct index threadIdx, blockIdx, blockDim, gridDim;

static struct fibre fibres[MAX_THREADS];
static unsigned lanes_in[MAX_THREADS / WARP][N_STATES];	/* of each warp; one that has its turn is READY */
static struct copy copies[MAX_THREADS][MAX_COPIES];
static _Alignas(64) char stacks[MAX_THREADS][STACK_BYTES];
static _Alignas(64) char gathered[WARP][EMULATOR_GIVEN];	/* what the lanes of a warp gave */

static struct {
	const struct emulator_launch *launch;
	enum emulator_order order;
	uint64_t random;
	turn scheduler;		/* behind a turn */
	jmp_buf end;		/* of the launch */
	struct fibre *running;
	int thread;		/* that is */
	int threads, ended, vote;	/* of a block; how many gave something to its last barrier */
	struct {
		const void *kernel;
		size_t bytes;
	} limits[MAX_KERNELS];
	int n_limits;
} gpu;

/* --- what kernels call ----------------------------------------------------------------------- */

void __pipeline_memcpy_async(void *to, const void *from, size_t bytes, size_t zeros);
void __pipeline_commit(void);
void __pipeline_wait_prior(size_t n);

/* Not in a function that is jumped to, whose own place the compiler would take for the target. */
static __attribute__((noinline, noreturn)) void jump(turn to)
{
	__builtin_longjmp(to, 1);
}

/* Back to the scheduler, until it says to go on. */
static void park(enum fibre_state state)
{
	unsigned *in = lanes_in[gpu.thread / WARP], lane = 1u << gpu.thread % WARP;

	in[READY] &= ~lane;
	in[state] |= lane;
	if (!__builtin_setjmp(gpu.running->at))
		jump(gpu.scheduler);
}

int emulator_lane(void)
{
	return gpu.thread % WARP;
}

int emulator_thread(void)
{
	return gpu.thread;
}

const char (*emulator_collect(const struct emulator_collective *c, const void *place))[EMULATOR_GIVEN]
{
	struct fibre *f = gpu.running;

	f->collective = c;
	f->place = place;
	if (!(c->mask >> emulator_lane() & 1))
		memory_fault(place, "%s: the mask %x lacks lane %d", c->what, c->mask,
			emulator_lane());
	park(IN_COLLECTIVE);
	return gathered;
}

int emulator_barrier(const char *what, int given)
{
	gpu.running->barrier = what;
	gpu.running->vote = given != 0;
	park(AT_BARRIER);
	return gpu.vote;
}

void emulator_misuse(const char *what)
{
	memory_fault(__builtin_return_address(0), "%s", what);
}

void __pipeline_memcpy_async(void *to, const void *from, size_t bytes, size_t zeros)
{
	const void *place = __builtin_return_address(0);
	struct fibre *f = gpu.running;

	if (f->n_copies == MAX_COPIES)
		memory_fault(place, "more than %d copies under way", MAX_COPIES);
	memory_copy_starts(to, from, bytes, zeros, place);
	copies[f - fibres][f->n_copies++] = (struct copy){to, from, bytes, zeros, f->batch, place};
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
		struct copy c = copies[f - fibres][k];
		if (c.batch >= f->batch - (int)n) {
			copies[f - fibres][left++] = c;
			continue;
		}
		memory_copy_arrives(c.to, c.from, c.bytes, c.zeros, c.place);
		wgmma_copy_arrived(emulator_thread());
	}
	f->n_copies = left;
}

/* --- scheduling ------------------------------------------------------------------------------ */

static int n_warps(void)
{
	return (gpu.threads + WARP - 1) / WARP;
}

static void set_order(int *list, int n)
{
	for (int k = 0; k < n; k++)
		list[k] = gpu.order == DESCENDING ? n - 1 - k : k;
	for (int k = n - 1; gpu.order == RANDOM && k > 0; k--) {
		int other, kept = list[k];
		gpu.random = gpu.random * 6364136223846793005u + 1442695040888963407u;
		other = (int)((gpu.random >> 32) * (unsigned)(k + 1) >> 32);
		list[k] = list[other];
		list[other] = kept;
	}
}

/* Begun once: from block to block, and launch to launch, a fibre goes on. */
static void fibre_main(void)
{
	for (;;) {
		gpu.launch->body(gpu.launch->closure);
		if (gpu.running->n_copies)
			memory_fault(NULL, "ends with copies under way");
		if (wgmma_is_pending(emulator_thread()))
			memory_fault(NULL, "ends with products under way");
		gpu.ended++;
		park(ENDED);
	}
}

static void begin(struct fibre *f)
{
	static ucontext_t start;

	f->started = true;
	getcontext(&start);
	start.uc_stack.ss_sp = stacks[f - fibres];
	start.uc_stack.ss_size = STACK_BYTES;
	makecontext(&start, fibre_main, 0);
	setcontext(&start);
}

static void resume(int thread)
{
	struct fibre *f = &fibres[thread];

	gpu.running = f;
	gpu.thread = thread;
	threadIdx = f->index;
	memory_turn(thread, (struct range){stacks[thread], STACK_BYTES});
	if (!__builtin_setjmp(gpu.scheduler)) {
		if (!f->started)
			begin(f);
		jump(f->at);
	}
	memory_end_turn();
}

/* Have all lanes that lane k waits for come, to the same? */
static bool is_complete(const struct fibre *warp, unsigned waiting, int k)
{
	const struct emulator_collective *c = warp[k].collective, *other;

	if (c->mask & ~waiting)
		return false;
	for (int l = 0; l < WARP; l++) {
		other = warp[l].collective;
		if (c->mask >> l & 1 && (other->mask != c->mask || other->bytes != c->bytes ||
				(other->what != c->what && strcmp(other->what, c->what))))
			return false;
	}
	return true;
}

static void complete(int w, const struct emulator_collective *c, unsigned alive)
{
	for (int l = 0; l < WARP; l++)
		if (c->mask >> l & 1)
			emulator_copy(gathered[l], fibres[w * WARP + l].collective->given, c->bytes);
	lanes_in[w][IN_COLLECTIVE] &= ~c->mask;
	lanes_in[w][READY] |= c->mask;
	if (c->orders && !(alive & ~c->mask))
		memory_order_warp(w);
}

/* Completes the collectives that all lanes of warp w have come to. false: nobody waits in one. */
static bool serve(int w, unsigned all)
{
	const struct fibre *warp = &fibres[w * WARP];
	unsigned waiting = lanes_in[w][IN_COLLECTIVE], left = waiting;

	for (int k = 0; k < WARP; k++)
		if (left >> k & 1 && is_complete(warp, left, k)) {
			left &= ~warp[k].collective->mask;
			complete(w, warp[k].collective, all & ~lanes_in[w][ENDED]);
		}
	if (waiting && left == waiting) {
		const struct fibre *f = &warp[__builtin_ctz(waiting)];
		memory_fault(f->place, "warp %d: lanes %x wait, lane %td in %s of %x", w, waiting, f - warp,
			f->collective->what, f->collective->mask);
	}
	return waiting;
}

static int n_lanes_of(int w)
{
	return gpu.threads - w * WARP < WARP ? gpu.threads - w * WARP : WARP;
}

static unsigned lanes_of(int w)
{
	return (unsigned)((1ull << n_lanes_of(w)) - 1);
}

/* Until every lane waits for other warps, or has ended. */
static void run_warp(int w)
{
	int order[WARP], n = n_lanes_of(w);

	do {
		set_order(order, n);
		for (int k = 0; k < n; k++)
			if (lanes_in[w][READY] >> order[k] & 1)
				resume(w * WARP + order[k]);
	} while (serve(w, lanes_of(w)));
}

static int n_threads_in(enum fibre_state state)
{
	int n = 0;

	for (int w = 0; w < n_warps(); w++)
		n += __builtin_popcount(lanes_in[w][state]);
	return n;
}

static void set_ready(void)
{
	for (int w = 0; w < n_warps(); w++) {
		memset(lanes_in[w], 0, sizeof lanes_in[w]);
		lanes_in[w][READY] = lanes_of(w);
	}
}

static void pass_barrier(void)
{
	const struct fibre *first = fibres;

	while (!(lanes_in[(first - fibres) / WARP][AT_BARRIER] >> (first - fibres) % WARP & 1))
		first++;
	gpu.vote = 0;
	for (int k = 0; k < gpu.threads; k++) {
		const struct fibre *f = &fibres[k];
		if (!(lanes_in[k / WARP][AT_BARRIER] >> k % WARP & 1) ||
			(f->barrier != first->barrier && strcmp(f->barrier, first->barrier)))
			memory_fault(NULL, "%d of %d threads wait in a barrier, %s()",
				n_threads_in(AT_BARRIER), gpu.threads, first->barrier);
		gpu.vote += f->vote;
	}
	set_ready();
	memory_pass_barrier(n_warps());
	wgmma_pass_barrier();
}

static void run_block(void)
{
	int order[MAX_THREADS / WARP];

	memory_clear_shared(gpu.launch->shared);
	memory_start_block(n_warps());
	wgmma_start_block(gpu.threads);
	gpu.ended = 0;
	set_ready();
	for (int k = 0; k < gpu.threads; k++)
		fibres[k].n_copies = fibres[k].batch = 0;
	for (;;) {
		set_order(order, n_warps());
		for (int k = 0; k < n_warps(); k++)
			run_warp(order[k]);
		if (gpu.ended == gpu.threads)
			return;
		pass_barrier();
	}
}

static void run_blocks(const int *order, int n_blocks)
{
	for (unsigned k = 0; k < (unsigned)gpu.threads; k++)
		fibres[k].index = (struct index){k % blockDim.x, k / blockDim.x % blockDim.y,
			k / blockDim.x / blockDim.y};
	for (int k = 0; k < n_blocks; k++) {
		unsigned block = (unsigned)order[k];
		blockIdx.x = block % gridDim.x;
		blockIdx.y = block / gridDim.x % gridDim.y;
		blockIdx.z = block / gridDim.x / gridDim.y;
		run_block();
	}
}

void emulator_stop(void)
{
	memory_end_turn();
	for (int k = 0; k < MAX_THREADS; k++)
		fibres[k].started = false;
	_longjmp(gpu.end, 1);
}

static double n_blocks_of(const struct emulator_launch *l)
{
	return (double)l->grid[0] * l->grid[1] * l->grid[2];
}

static unsigned threads_of(const struct emulator_launch *l)
{
	return l->block[0] * l->block[1] * l->block[2];
}

bool emulator_accepts(const struct emulator_launch *l)
{
	double blocks = n_blocks_of(l);
	unsigned threads = threads_of(l);
	size_t allowed = SHARED_DEFAULT;

	for (int k = 0; k < gpu.n_limits; k++)
		if (gpu.limits[k].kernel == l->kernel)
			allowed = gpu.limits[k].bytes;
	return blocks >= 1 && blocks <= INT32_MAX && l->grid[1] <= MAX_GRID_YZ &&
		l->grid[2] <= MAX_GRID_YZ && threads && threads <= MAX_THREADS &&
		l->block[2] <= 64 && l->shared <= allowed;
}

int emulator_launch(const struct emulator_launch *l)
{
	int n_blocks = (int)n_blocks_of(l), *order;

	if (!emulator_accepts(l))
		return -1;
	if (emulator_fault())
		return 0;
	order = xmalloc((size_t)n_blocks * sizeof *order);
	gpu.launch = l;
	gpu.threads = (int)threads_of(l);
	blockDim = (struct index){l->block[0], l->block[1], l->block[2]};
	gridDim = (struct index){l->grid[0], l->grid[1], l->grid[2]};
	set_order(order, n_blocks);
	memory_name_kernel(l->kernel);
	memory_start_launch((struct range){l->closure, l->closure_bytes});
	if (!_setjmp(gpu.end))
		run_blocks(order, n_blocks);
	free(order);
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
