/*
 * Chunks of rows: logits by a product, then a block a row, which takes its row into shared memory
 * while it sums, and in training writes dlogit over it; then two products. For R rows, V logits, D
 * columns: 6 R V D FLOPs, and 2 R V logits' bytes read and 2 R V written beside the products'.
 * In training logits have the type of activations, in evaluation they are float32. So in bf16 the nll of a step is
 * right to the rounding of the largest logit, 2^-9 of it, and where a model is sure of itself may fall below 0.
 */
#include "op/cuda/cross_entropy.cuh"

/* ---- a row ---------------------------------------------------------------------------------- */

/* Logits [j * EACH, j * EACH + EACH) of the row, behind the last one -inf. */
template <typename logit>
__device__ __forceinline__ eight logits_at(const logit *row, const logit *stage, int j, int n)
{
	eight x;

	if (j * EACH + EACH <= n)
		return load8((stage ? stage : row) + j * EACH);
	#pragma unroll
	for (int i = 0; i < EACH; i++)
		x.v[i] = j * EACH + i < n ? to_float(row[j * EACH + i]) : -INFINITY;
	return x;
}

__device__ __forceinline__ void take(softmax *s, const eight &x, int at, float own, int target)
{
	float most = x.v[0];

	#pragma unroll
	for (int i = 1; i < EACH; i++)
		most = fmaxf(most, x.v[i]);
	if (most > s->most) {
		s->sum *= exp_below(s->most, most);
		s->most = most;
	}
	float base = s->most * LOG2E;
	#pragma unroll
	for (int i = 0; i < EACH; i++)
		s->sum += exp2_fast(x.v[i] * LOG2E - base);
	if (!(most <= own))
		s->beaten = 1;
	if (most == own && at < target)
		for (int i = 0; i < EACH; i++)
			if (x.v[i] == own && at + i < target)
				s->beaten = 1;
}

/* Vectors that a thread takes of each part of the row. */
__device__ __forceinline__ int part_length(int n)
{
	return (int)ceil_div(n, (long)EACH * blockDim.x * N_PARTS);
}

/* Starts the copies of the row, part by part. Each thread copies what it alone will read. */
template <typename logit>
__device__ __forceinline__ void copy_row(logit *stage, const logit *row, int n)
{
	int each = part_length(n);

	for (int part = 0; part < N_PARTS; part++) {
		for (int k = part * each; k < (part + 1) * each; k++) {
			int at = (k * blockDim.x + threadIdx.x) * EACH;
			if (at + EACH > n)
				break;
			#pragma unroll
			for (int i = 0; i < EACH; i += 16 / (int)sizeof(logit))
				copy_async(stage + at + i, row + at + i, true);
		}
		__pipeline_commit();
	}
}

template <typename logit, bool staged>
__device__ __forceinline__ void read_row(softmax *s, const logit *row, logit *stage, int n,
	float own, int target)
{
	int each = part_length(n);

	#pragma unroll
	for (int part = 0; part < N_PARTS; part++) {
		if (staged)
			__pipeline_wait_prior(N_PARTS - 1 - part);
		#pragma unroll 2
		for (int k = part * each; k < (part + 1) * each; k++) {
			int j = k * blockDim.x + threadIdx.x;
			if (j * EACH >= n)
				break;
			take(s, logits_at<logit>(row, staged ? stage : NULL, j, n), j * EACH, own,
				target);
		}
	}
}

/* dlogit = weight (p - [target]), over the logits; 0 in padded columns. */
template <typename logit, bool staged>
__device__ __forceinline__ void write_row(logit *row, const logit *stage, int n, int n_columns,
	float lse, int target, float weight)
{
	float base = lse * LOG2E;

	#pragma unroll 2
	for (int j = threadIdx.x; j * EACH < n_columns; j += blockDim.x) {
		eight x = logits_at<logit>(row, staged ? stage : NULL, j, n);
		#pragma unroll
		for (int i = 0; i < EACH; i++)
			x.v[i] = exp2_fast(x.v[i] * LOG2E - base) * weight;
		if (j == target / EACH) {
			#pragma unroll
			for (int i = 0; i < EACH; i++)
				x.v[i] -= target % EACH == i ? weight : 0;
		}
		store8(row + j * EACH, x);
	}
}

template <typename logit>
__device__ __forceinline__ void clear_row(logit *row, int n_columns)
{
	for (int j = threadIdx.x; j * EACH < n_columns; j += blockDim.x)
		store8(row + j * EACH, eight{});
}

/* The target's logit once more, in float32, so that nll has not the rounding of logits. */
template <typename real>
__device__ __forceinline__ float own_part(const real *x, const real *w, long d)
{
	float sum = 0;

	for (long i = threadIdx.x; i < d; i += blockDim.x)
		sum += to_float(x[i]) * to_float(w[i]);
	return sum;
}

__device__ __forceinline__ float weight_at(const rows<float> &weight, long b, long i)
{
	return weight.at ? weight[b][i] : 1;
}

template <typename real, typename logit, bool training, bool staged>
__global__ void token_rows(head<real, logit> h)
{
	softmax *of_warp = shared_memory<softmax>(), s = {-INFINITY, 0, 0, 0};
	logit *row = h.logits[blockIdx.x], *stage = (logit *)(of_warp + MOST_WARPS);
	long t = h.from + blockIdx.x, b = t / h.t_width, i = t % h.t_width;
	bool exact = sizeof(logit) == sizeof(float);

	if (staged)
		copy_row(stage, row, h.n_vocab);
	int target = h.target[b][i];
	if (target < 0) {
		__pipeline_wait_prior(0);
		if (training)
			clear_row(row, h.n_columns);
		if (threadIdx.x == 0) {
			h.nll[b][i] = 0;
			h.correct[b][i] = 0;
		}
		keep(h, b, i, {0, 1, 0, 1}, 0);
		return;
	}
	float own = to_float(row[target]);
	read_row<logit, staged>(&s, row, stage, h.n_vocab, own, target);
	if (!exact)
		s.own = own_part(h.x[t], h.w[target], h.d);
	s = join_block(s, of_warp);
	float lse = s.most + logf(s.sum), weight = weight_at(h.weight, b, i) / (float)*h.n_valid;
	mixture m = {lse - (exact ? own : s.own), 1, 0, 1};
	bool beaten = s.beaten != 0;
	if (h.gate.at) {
		m = mixture_of(h, t, b, i, m.nll);
		beaten = beaten_by_other(h, row, t, b, i, lse, target, m, of_warp);
		keep(h, b, i, m, weight);
		weight *= m.share;
	}
	if (threadIdx.x == 0) {
		h.nll[b][i] = m.nll;
		h.correct[b][i] = !beaten;
	}
	if (training)
		write_row<logit, staged>(row, stage, h.n_vocab, h.n_columns, lse, target, weight);
}

/* ---- sums over all tokens ------------------------------------------------------------------- */

/* Sum over the block's threads, in thread 0. */
template <typename number>
__device__ __forceinline__ number block_total(number x)
{
	number *all = shared_memory<number>();

	all[threadIdx.x] = x;
	for (int step = ONE_BLOCK / 2; step; step /= 2) {
		__syncthreads();
		if ((int)threadIdx.x < step)
			all[threadIdx.x] += all[threadIdx.x + step];
	}
	return all[0];
}

static __global__ void count_valid(rows<int> target, long t_width, long n, int *n_valid)
{
	int valid = 0;

	#pragma unroll 4
	for (long t = threadIdx.x; t < n; t += ONE_BLOCK)
		valid += target[t / t_width][t % t_width] >= 0;
	valid = block_total(valid);
	if (threadIdx.x == 0)
		*n_valid = valid;
}

/* Weighted, where weight.at is not NULL. */
static __global__ void mean_nll(rows<float> nll, rows<float> weight, long t_width, long n,
	const int *n_valid, float *loss)
{
	double sum = 0;

	#pragma unroll 4
	for (long t = threadIdx.x; t < n; t += ONE_BLOCK)
		sum += (double)weight_at(weight, t / t_width, t % t_width) * nll[t / t_width][t % t_width];
	sum = block_total(sum);
	if (threadIdx.x == 0)
		*loss = *n_valid ? (float)(sum / *n_valid) : 0;
}

/* ---- chunks --------------------------------------------------------------------------------- */

struct chunk {
	long from, rows;
	struct gpu_gemm_plan *plan;	/* [N_PRODUCTS] */
	void *logits, *workspace;
	long ld;			/* of logits */
};

static void logits_product(const struct op_run *r, const struct chunk *c, size_t element,
	bool c_float)
{
	const struct tensor *x = r->in[CROSS_ENTROPY_X_BTD], *w = r->in[CROSS_ENTROPY_W_VD];
	struct gpu_gemm g = {};

	g.tb = GPU_GEMM_T;
	g.m = c->rows;
	g.n = w->dims[0];
	g.k = tensor_width(x);
	g.lda = x->ld;
	g.ldb = w->ld;
	g.ldc = c->ld;
	g.c_float = c_float;
	gpu_gemm(r, &c->plan[LOGITS], &g, (const char *)x->at + (size_t)(c->from * x->ld) * element,
		w->at, NULL, false, c->logits, c->workspace);
}

/* dx = dlogit W;  dW = dlogit^T x, in float32, summed over chunks */
static void gradient_products(const struct op_run *r, const struct chunk *c, size_t element)
{
	const struct tensor *x = r->in[CROSS_ENTROPY_X_BTD], *w = r->in[CROSS_ENTROPY_W_VD];
	const struct tensor *dx = r->saved[CROSS_ENTROPY_DX_BTD],
		*dw = r->saved[CROSS_ENTROPY_DW_VD];
	struct gpu_gemm g = {};

	g.m = c->rows;
	g.n = tensor_width(x);
	g.k = w->dims[0];
	g.lda = c->ld;
	g.ldb = w->ld;
	g.ldc = dx->ld;
	gpu_gemm(r, &c->plan[INPUT], &g, c->logits, w->at, NULL, false,
		(char *)dx->at + (size_t)(c->from * dx->ld) * element, c->workspace);
	g.ta = GPU_GEMM_T;
	g.m = w->dims[0];
	g.k = c->rows;
	g.ldb = x->ld;
	g.ldc = dw->ld;
	g.c_float = true;
	gpu_gemm(r, &c->plan[WEIGHT], &g, c->logits,
		(const char *)x->at + (size_t)(c->from * x->ld) * element, NULL, c->from > 0,
		dw->at, c->workspace);
}

static rows<float> weights(const struct op_run *r)
{
	const struct tensor *weight = r->in[CROSS_ENTROPY_WEIGHT_BT];

	return weight ? rows_of<float>(weight) : rows<float>{};
}

template <typename real, typename logit, bool training>
static void launch_rows(const struct op_run *r, const struct chunk *c, const int *n_valid)
{
	const struct tensor *target = r->in[CROSS_ENTROPY_TARGET_BT],
		*w = r->in[CROSS_ENTROPY_W_VD];
	const struct tensor *x = r->in[CROSS_ENTROPY_X_BTD], *mass = r->in[CROSS_ENTROPY_MASS_BTS];
	long n_vocab = ((const struct cross_entropy_attr *)r->attr)->n_vocab;
	head<real, logit> h = {{(logit *)c->logits, c->ld}, rows_of<real>(x), rows_of<real>(w),
		rows_of<int>(target), rows_of<int>(r->out[CROSS_ENTROPY_CORRECT_BT]),
		rows_of<float>(r->out[CROSS_ENTROPY_NLL_BT]), weights(r),
		rows_of<real>(r->in[CROSS_ENTROPY_GATE_BT]), rows_of<float>(r->in[CROSS_ENTROPY_LOGC_BT]),
		rows_of<float>(mass), rows_of<float>(r->saved[CROSS_ENTROPY_DGATE_BT]),
		rows_of<float>(r->saved[CROSS_ENTROPY_DLOGC_BT]), rows_of<int>(r->in[CROSS_ENTROPY_TOKEN_BS]),
		n_valid, c->from,
		tensor_width(target), tensor_width(x), mass ? tensor_width(mass) - tensor_width(target) : 0, (int)n_vocab,
		(int)w->dims[0]};
	long warps = ceil_div(n_vocab, 32 * EACH);
	unsigned threads = 32 * (unsigned)(warps < MOST_WARPS ? warps : (long)MOST_WARPS);
	size_t shared = MOST_WARPS * sizeof(softmax), row = (size_t)n_vocab * sizeof(logit);
	bool staged = training && shared + row <= r->queue->shared_bytes;

	launch(r, staged ? token_rows<real, logit, training, training> :
		token_rows<real, logit, training, false>, dim3((unsigned)c->rows), threads,
		shared + (staged ? row : 0), h);
}

template <typename real>
static void forward(const struct op_run *r)
{
	const struct tensor *x = r->in[CROSS_ENTROPY_X_BTD], *w = r->in[CROSS_ENTROPY_W_VD];
	const struct tensor *target = r->in[CROSS_ENTROPY_TARGET_BT],
		*nll = r->out[CROSS_ENTROPY_NLL_BT];
	bool training = r->saved[CROSS_ENTROPY_DX_BTD] != NULL;
	long n = tensor_rows(x), each = cross_entropy_chunk_cuda(n, w->dims[0], tensor_width(x),
		training ? sizeof(real) : sizeof(float));
	int *n_valid = (int *)r->workspace;
	char *workspace = (char *)r->workspace + CROSS_ENTROPY_ALIGN;
	struct gpu_gemm_plan *plan = (struct gpu_gemm_plan *)r->plan;

	launch(r, count_valid, dim3(1), ONE_BLOCK, ONE_BLOCK * sizeof(int), rows_of<int>(target),
		tensor_width(target), n, n_valid);
	for (long from = 0; from < n; from += each) {
		bool last = from + each > n;	/* shorter, so with plans of its own */
		struct chunk c = {from, last ? n - from : each, plan + (last ? N_PRODUCTS : 0),
			workspace + GPU_GEMM_WORKSPACE, workspace,
			cross_entropy_ld_cuda(w->dims[0])};

		logits_product(r, &c, sizeof(real), !training);
		if (!training) {
			launch_rows<real, float, false>(r, &c, n_valid);
			continue;
		}
		launch_rows<real, real, true>(r, &c, n_valid);
		gradient_products(r, &c, sizeof(real));
	}
	launch(r, mean_nll, dim3(1), ONE_BLOCK, ONE_BLOCK * sizeof(double), rows_of<float>(nll),
		weights(r), tensor_width(nll), n, (const int *)n_valid,
		(float *)r->out[CROSS_ENTROPY_LOSS]->at);
	launch(r, mean_nll, dim3(1), ONE_BLOCK, ONE_BLOCK * sizeof(double), rows_of<float>(nll),
		rows<float>{}, tensor_width(nll), n, (const int *)n_valid,
		(float *)r->out[CROSS_ENTROPY_MEAN]->at);
}

extern "C" void cross_entropy_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) { forward<decltype(zero)>(r); });
}

/* ---- backward ------------------------------------------------------------------------------- */

/* to = factor from, written or added; `width` columns a thread. */
template <typename element, int width>
__global__ void scale_rows(rows<element> to, rows<element> from, const float *factor, long n_rows,
	long columns, bool add)
{
	long per_row = columns / width, k = (long)blockIdx.x * blockDim.x + threadIdx.x;
	long t = k / per_row, i = k % per_row * width;

	if (t >= n_rows)
		return;
	few<width> x = load_few<width>(from[t] + i), old = {};
	if (add)
		old = load_few<width>(to[t] + i);
	#pragma unroll
	for (int c = 0; c < width; c++)
		x.v[c] = (factor ? *factor : 0) * x.v[c] + old.v[c];
	store_few<width>(to[t] + i, x);
}

template <typename element>
static void scale(const struct op_run *r, int input, const struct tensor *from)
{
	const struct tensor *to = r->d_in[input], *d_loss = r->d_out[CROSS_ENTROPY_LOSS];
	bool wide = aligned8(to, sizeof(element)) && aligned8(from, sizeof(element));
	long n = tensor_size(to) / (wide ? 8 : 1);

	launch(r, wide ? scale_rows<element, 8> : scale_rows<element, 1>,
		dim3((unsigned)ceil_div(n, MOST_THREADS)), MOST_THREADS, 0, rows_of<element>(to),
		rows_of<element>(from), d_loss ? (const float *)d_loss->at : (const float *)NULL,
		tensor_rows(to), tensor_width(to), op_adds(r, input));
}

/* The same for inputs of one number a token, whose gradients are kept as float32: rows of T there. */
template <typename element>
__global__ void scale_tokens(rows<element> to, rows<float> from, const float *factor, long n, long per_row,
	long T, bool add)
{
	long t = (long)blockIdx.x * blockDim.x + threadIdx.x;

	if (t >= n)
		return;
	put(to, t / per_row, t % per_row, add, (factor ? *factor : 0) * from[t / T][t % T]);
}

template <typename element>
static void scale_kept(const struct op_run *r, int input, const struct tensor *from)
{
	const struct tensor *to = r->d_in[input], *d_loss = r->d_out[CROSS_ENTROPY_LOSS];

	if (to)
		launch(r, scale_tokens<element>, dim3((unsigned)ceil_div(tensor_size(to), MOST_THREADS)), MOST_THREADS, 0,
			rows_of<element>(to), rows_of<float>(from),
			d_loss ? (const float *)d_loss->at : (const float *)NULL, tensor_size(to), tensor_width(to),
			tensor_width(from), op_adds(r, input));
}

extern "C" void cross_entropy_backward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) {
		if (r->d_in[CROSS_ENTROPY_X_BTD])
			scale<decltype(zero)>(r, CROSS_ENTROPY_X_BTD,
				r->saved[CROSS_ENTROPY_DX_BTD]);
		scale_kept<decltype(zero)>(r, CROSS_ENTROPY_GATE_BT, r->saved[CROSS_ENTROPY_DGATE_BT]);
	});
	scale_kept<float>(r, CROSS_ENTROPY_LOGC_BT, r->saved[CROSS_ENTROPY_DLOGC_BT]);
	if (r->d_in[CROSS_ENTROPY_W_VD])
		scale<float>(r, CROSS_ENTROPY_W_VD, r->saved[CROSS_ENTROPY_DW_VD]);
}
