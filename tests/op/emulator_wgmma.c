/*
 * Products of a warpgroup (wgmma m64n256k16, bf16): descriptors of matrices in shared memory, read as
 * the PTX ISA says ("Asynchronous Warpgroup Level Matrix Shared Memory Layout"), and the order that
 * its instructions ask for.
 */
#include <string.h>

#include "emulator.h"
#include "emulator_memory.h"

enum {
	MAX_PRODUCTS = 16,	/* a thread has under way */
	ROWS = 16, COLUMNS = 256, TERMS = 16,	/* ROWS: of a warp */
	SWIZZLE_128 = 1,
};

struct product {
	float *d;
	uint64_t a, b;
	bool a_rows, b_rows;
	int group, number;	/* number: of the thread's in this block */
	const void *place;
};

static struct {
	int n, group, asked;	/* n: products under way; group: committed; asked: products so far */
	bool fenced;		/* registers, since the last wait */
	bool unfenced, stale;	/* its copies arrived without a proxy fence since; and a barrier was passed */
} threads[MAX_THREADS];

/* Apart, for every block and barrier goes through the threads, of which few have products. */
static struct product products[MAX_THREADS][MAX_PRODUCTS];
static int n_threads;	/* of the block */

/* Operands as the first lane of a warp that came to a wait read them, for all its lanes. */
static struct operands {
	int warp, number;
	float a[ROWS][TERMS], b[COLUMNS][TERMS];
} read_last[MAX_PRODUCTS];

void wgmma_start_block(int n)
{
	n_threads = n;
	memset(threads, 0, (size_t)n * sizeof *threads);
	for (int k = 0; k < MAX_PRODUCTS; k++)
		read_last[k].warp = -1;
}

bool wgmma_is_pending(int thread)
{
	return threads[thread].n;
}

void wgmma_copy_arrived(int thread)
{
	threads[thread].unfenced = true;
}

void wgmma_pass_barrier(void)
{
	for (int k = 0; k < n_threads; k++)
		threads[k].stale |= threads[k].unfenced;
}

void emulator_proxy_fence(void)
{
	threads[emulator_thread()].unfenced = threads[emulator_thread()].stale = false;
}

unsigned emulator_shared_address(const void *at)
{
	return (unsigned)((const char *)at - shared_region.at);
}

void emulator_wgmma_fence(void)
{
	threads[emulator_thread()].fenced = true;
}

void emulator_wgmma_commit(void)
{
	threads[emulator_thread()].group++;
}

/* Bits: 0-13 start, 16-29 leading, 32-45 stride, all in 16 bytes; 49-51 base offset; 62-63 swizzle. */
static void check_descriptor(uint64_t d, const void *place)
{
	if (d >> 62 != SWIZZLE_128 || d & ~0xc0003fff3fff3fffu)
		memory_fault(place, "wgmma: descriptor %llx is of no kind that is emulated",
			(unsigned long long)d);
}

void emulator_wgmma(float *d, unsigned long long a, unsigned long long b, bool a_rows, bool b_rows)
{
	const void *place = __builtin_return_address(0);
	int t = emulator_thread();

	check_descriptor(a, place);
	check_descriptor(b, place);
	if (!threads[t].fenced)
		memory_fault(place, "wgmma: no wgmma.fence since registers were used");
	for (int k = 0; k < n_threads; k++)
		if (threads[k].stale)
			memory_fault(place, "wgmma: no proxy fence since thread %d's copies", k);
	if (threads[t].n == MAX_PRODUCTS)
		memory_fault(place, "more than %d products under way", MAX_PRODUCTS);
	products[t][threads[t].n++] = (struct product){d, a, b, a_rows, b_rows,
		threads[t].group, threads[t].asked++, place};
}

/*
 * Eight neighbours that hold (side, term): of terms in a K-major matrix, whose rows of 128 bytes are
 * sides, eight of them within `stride` bytes of the next eight; else of sides: rows are terms, 64
 * sides each, the next 64 sides `leading` bytes further, the next eight terms `stride`. Bits 4 to 6 of
 * an address are exchanged by its bits 7 to 9.
 */
static void read_eight(float *to, uint64_t d, bool rows, int side, int term, const void *place)
{
	unsigned start = (d & 0x3fff) << 4, leading = (d >> 16 & 0x3fff) << 4,
		stride = (d >> 32 & 0x3fff) << 4;
	unsigned at = start + (rows ?
		(unsigned)side % 8 * 128 + (unsigned)side / 8 * stride + (unsigned)term / 8 * 16 :
		(unsigned)side % 64 / 8 * 16 + (unsigned)side / 64 * leading +
			(unsigned)term % 8 * 128 + (unsigned)term / 8 * stride);
	uint16_t bits[8];

	at ^= at >> 3 & 0x70;
	memory_read_shared(bits, shared_region.at + at, sizeof bits, place);
	for (int k = 0; k < 8; k++) {
		uint32_t wide = (uint32_t)bits[k] << 16;
		memcpy(&to[k], &wide, sizeof wide);
	}
}

/* `n` sides from `side` on, multiples of eight. */
static void read_sides(float (*to)[TERMS], uint64_t d, bool rows, int side, int n, const void *place)
{
	float eight[8];

	for (int i = 0; rows && i < n; i++)
		for (int k = 0; k < TERMS; k += 8)
			read_eight(&to[i][k], d, true, side + i, k, place);
	for (int i = 0; !rows && i < n; i += 8)
		for (int k = 0; k < TERMS; k++) {
			read_eight(eight, d, false, side + i, k, place);
			for (int j = 0; j < 8; j++)
				to[i + j][k] = eight[j];
		}
}

static const struct operands *operands_of(const struct product *p, int warp)
{
	struct operands *x = &read_last[p->number % MAX_PRODUCTS];

	if (x->warp != warp || x->number != p->number) {
		read_sides(x->a, p->a, p->a_rows, warp % 4 * ROWS, ROWS, p->place);
		read_sides(x->b, p->b, p->b_rows, 0, COLUMNS, p->place);
		x->warp = warp;
		x->number = p->number;
	}
	return x;
}

/* The share of thread t: of rows and columns as mma_bf16() has them, the warps below each other. */
static void make(const struct product *p, int t)
{
	const struct operands *x = operands_of(p, t / WARP);

	for (int i = 0; i < COLUMNS / 2; i++) {
		const float *a = x->a[t % WARP / 4 + i % 4 / 2 * 8], *b = x->b[i / 4 * 8 + t % 4 * 2 + i % 2];
		double sum = p->d[i];
		for (int k = 0; k < TERMS; k++)
			sum += (double)a[k] * b[k];
		p->d[i] = (float)sum;
	}
}

void emulator_wgmma_wait(int n)
{
	int t = emulator_thread(), left = 0;

	for (int k = 0; k < threads[t].n; k++) {
		const struct product *p = &products[t][k];
		if (p->group >= threads[t].group - n)
			products[t][left++] = *p;
		else
			make(p, t);
	}
	threads[t].n = left;
	threads[t].fenced = false;
}
