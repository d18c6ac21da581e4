extern "C" {
#include "op/round.h"
}
#include "op/cuda/kit.cuh"

enum { THREADS = 256, EACH = 8 };

/* n eights: blobs begin and end at multiples of eight elements. */
template <typename real>
__global__ void round_blob(const float *master, real *work, long n)
{
	long i = (long)blockIdx.x * THREADS + threadIdx.x;

	if (i < n)
		store8(work + i * EACH, load8(master + i * EACH));
}

template <typename real>
__global__ void round_rest(const float *master, real *work, long from, long end)
{
	long i = from + threadIdx.x;

	if (i < end)
		work[i] = from_float<real>(master[i]);
}

template <typename real>
static void round_all(const struct op_run *r, const float *master, real *work, long size)
{
	long n = size / EACH;

	if (n)
		launch(r, round_blob<real>, dim3((unsigned)ceil_div(n, THREADS)), THREADS, 0, master, work,
			n);
	if (size % EACH)
		launch(r, round_rest<real>, dim3(1), THREADS, 0, master, work, n * EACH, size);
}

extern "C" void round_forward_cuda(const struct op_run *r)
{
	const struct tensor *master = r->in[ROUND_MASTER_N];

	with_real(r, [&](auto zero) {
		round_all(r, (const float *)master->at, (decltype(zero) *)r->in[ROUND_WORK_N]->at,
			tensor_size(master));
	});
}
