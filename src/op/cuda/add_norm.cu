/*
 * A warp takes a row. Rows of eights up to WIDEST columns stay in registers; others are read again,
 * each lane its own columns. Bytes in bf16, D columns, k branches: 2 D (k + 3) forward,
 * 2 D (4 + branches with storage of their own) backward.
 */
extern "C" {
#include "op/add_norm.h"
}
#include "op/cuda/reduce.cuh"

enum {
	THREADS = 256,
	WARPS = THREADS / 32,
	CHUNK = 256,		/* columns: eight a lane */
	WIDEST = 1024,
	WIDEST_BYTES = 2048,	/* backward, where a row in float needs twice the registers */
	N_TARGETS = 3,
};

template <typename real>
struct forward_operands {
	rows<real> x, branch1, branch2, r, n;
	const float *weight, *bias;
	float *stats;
	long n_rows;
	int width;
	float eps;
	bool rms;
};

template <typename real>
struct backward_operands {
	rows<real> r, dn, dr, target[N_TARGETS];
	const float *weight, *stats;
	float *parts;		/* [parts, 2, D] */
	long n_rows;
	int width, n_targets;
	unsigned add;		/* bit k: to target[k] */
	bool rms;
};

/* What is saved is what backward reads: r as it was stored. */
template <typename real>
__device__ __forceinline__ float stored(float x)
{
	return to_float(from_float<real>(x));
}

/* ---- forward -------------------------------------------------------------------------------- */

/* chunk[c] holds columns (c * 32 + lane) * 8 and on. */
template <typename real, int chunks>
__device__ __forceinline__ void sum_row(const forward_operands<real> &o, long t,
	eight (&row)[chunks])
{
	#pragma unroll
	for (int c = 0; c < chunks; c++) {
		long at = (c * 32 + threadIdx.x % 32) * 8;
		if (at >= o.width)
			continue;
		row[c] = load8(o.x[t] + at);
		eight b1 = {}, b2 = {};
		if (o.branch1.at)
			b1 = load8(o.branch1[t] + at);
		if (o.branch2.at)
			b2 = load8(o.branch2[t] + at);
		#pragma unroll
		for (int i = 0; i < 8; i++)
			row[c].v[i] = stored<real>(row[c].v[i] + b1.v[i] + b2.v[i]);
		store8(o.r[t] + at, row[c]);
	}
}

template <typename real, int chunks>
__device__ __forceinline__ void norm_row(const forward_operands<real> &o, long t,
	const eight (&row)[chunks])
{
	int lane_at = threadIdx.x % 32 * 8;
	float mean = 0, variance = 0, scale;

	#pragma unroll
	for (int c = 0; c < chunks; c++)
		for (int i = 0; i < 8 && c * CHUNK + lane_at < o.width; i++)
			mean += row[c].v[i];
	mean = o.rms ? 0 : warp_sum(mean) / (float)o.width;
	#pragma unroll
	for (int c = 0; c < chunks; c++)
		for (int i = 0; i < 8 && c * CHUNK + lane_at < o.width; i++)
			variance += (row[c].v[i] - mean) * (row[c].v[i] - mean);
	scale = 1 / sqrtf(warp_sum(variance) / (float)o.width + o.eps);
	#pragma unroll
	for (int c = 0; c < chunks; c++) {
		int at = c * CHUNK + lane_at;
		if (at >= o.width)
			continue;
		eight n, weight = load8(o.weight + at), bias = {};
		if (o.bias)
			bias = load8(o.bias + at);
		#pragma unroll
		for (int i = 0; i < 8; i++)
			n.v[i] = (row[c].v[i] - mean) * scale * weight.v[i] + bias.v[i];
		store8(o.n[t] + at, n);
	}
	if (lane_at == 0) {
		o.stats[2 * t] = mean;
		o.stats[2 * t + 1] = scale;
	}
}

/* Little is kept in registers, that many warps wait for memory at once. */
template <typename real, int chunks>
__global__ void forward_wide(forward_operands<real> o)
{
	long t = (long)blockIdx.x * WARPS + threadIdx.x / 32;
	eight row[chunks];

	if (t >= o.n_rows)
		return;
	sum_row<real, chunks>(o, t, row);
	if (o.weight)
		norm_row<real, chunks>(o, t, row);
}

template <typename real>
__global__ void forward_plain(forward_operands<real> o)
{
	long t = (long)blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
	float mean = 0, variance = 0, scale;

	if (t >= o.n_rows)
		return;
	for (long i = lane; i < o.width; i += 32) {
		float x = to_float(o.x[t][i]);
		x += o.branch1.at ? to_float(o.branch1[t][i]) : 0;
		x += o.branch2.at ? to_float(o.branch2[t][i]) : 0;
		o.r[t][i] = from_float<real>(x);
		mean += stored<real>(x);
	}
	if (!o.weight)
		return;
	mean = o.rms ? 0 : warp_sum(mean) / (float)o.width;
	for (long i = lane; i < o.width; i += 32) {
		float x = to_float(o.r[t][i]) - mean;
		variance += x * x;
	}
	scale = 1 / sqrtf(warp_sum(variance) / (float)o.width + o.eps);
	for (long i = lane; i < o.width; i += 32)
		o.n[t][i] = from_float<real>((to_float(o.r[t][i]) - mean) * scale * o.weight[i] +
			(o.bias ? o.bias[i] : 0));
	if (lane == 0) {
		o.stats[2 * t] = mean;
		o.stats[2 * t + 1] = scale;
	}
}

/* Without a norm N is one element. */
template <typename real>
__global__ void clear_placeholder(real *n)
{
	*n = from_float<real>(0);
}

template <typename real>
static void forward(const struct op_run *r, const forward_operands<real> &o, bool wide)
{
	dim3 grid((unsigned)ceil_div(o.n_rows, WARPS));

	if (wide && o.width <= 256)
		launch(r, forward_wide<real, 1>, grid, THREADS, 0, o);
	else if (wide && o.width <= 512)
		launch(r, forward_wide<real, 2>, grid, THREADS, 0, o);
	else if (wide)
		launch(r, forward_wide<real, 4>, grid, THREADS, 0, o);
	else
		launch(r, forward_plain<real>, grid, THREADS, 0, o);
	if (!o.weight)
		launch(r, clear_placeholder<real>, dim3(1), 1, 0, o.n.at);
}

static bool master_aligned(const struct tensor *t)
{
	return !t || (size_t)t->at % (8 * sizeof(float)) == 0;
}

extern "C" void add_norm_forward_cuda(const struct op_run *r)
{
	const struct add_norm_attr *attr = (const struct add_norm_attr *)r->attr;
	const struct tensor *x = r->in[ADD_NORM_X_BTD], *b1 = r->in[ADD_NORM_BRANCH1_BTD];
	const struct tensor *b2 = r->in[ADD_NORM_BRANCH2_BTD], *weight = r->in[ADD_NORM_WEIGHT_D];
	const struct tensor *bias = r->in[ADD_NORM_BIAS_D];
	const struct tensor *sum = r->out[ADD_NORM_R_BTD], *n = r->out[ADD_NORM_N_BTD];
	const struct tensor *stats = r->saved[ADD_NORM_STATS_BT2];

	with_real(r, [&](auto zero) {
		typedef decltype(zero) real;
		size_t size = sizeof(real);
		bool wide = tensor_width(x) <= WIDEST && aligned8(x, size) && aligned8(b1, size) &&
			aligned8(b2, size) && aligned8(sum, size) &&
			aligned8(weight ? n : NULL, size) && master_aligned(weight) &&
			master_aligned(bias);
		forward_operands<real> o = {rows_of<real>(x), rows_of<real>(b1), rows_of<real>(b2),
			rows_of<real>(sum), rows_of<real>(n), floats_of(weight), floats_of(bias),
			weight ? (float *)stats->at : NULL, tensor_rows(x), (int)tensor_width(x),
			(float)attr->eps, attr->rms};

		forward<real>(r, o, wide);
	});
}

/* ---- backward ------------------------------------------------------------------------------- */

/* Eight columns of the gradient of row t, to all that want it. */
template <typename real>
__device__ __forceinline__ void give8(const backward_operands<real> &o, long t, long at,
	const eight &g)
{
	#pragma unroll
	for (int k = 0; k < N_TARGETS; k++) {
		if (k >= o.n_targets)
			break;
		eight sum = g;
		if (o.add >> k & 1) {
			eight old = load8(o.target[k][t] + at);
			#pragma unroll
			for (int i = 0; i < 8; i++)
				sum.v[i] += old.v[i];
		}
		store8(o.target[k][t] + at, sum);
	}
}

/* What a lane reads of a row. */
template <typename real, int chunks>
struct row_read {
	raw8<real> r[chunks], dn[chunks], dr[chunks];
	float mean, scale;
};

template <typename real, int chunks>
__device__ __forceinline__ void read_row(const backward_operands<real> &o, long t, long end,
	row_read<real, chunks> *x)
{
	if (t >= end)
		return;
	x->mean = o.stats[2 * t];
	x->scale = o.stats[2 * t + 1];
	#pragma unroll
	for (int c = 0; c < chunks; c++) {
		int at = (c * 32 + threadIdx.x % 32) * 8;
		if (at >= o.width)
			continue;
		x->r[c] = load_raw8(o.r[t] + at);
		x->dn[c] = load_raw8(o.dn[t] + at);
		if (o.dr.at)
			x->dr[c] = load_raw8(o.dr[t] + at);
	}
}

/* Row t: m and a as the header has them, their share of dweight and dbias, the row's gradient. */
template <typename real, int chunks>
__device__ __forceinline__ void backward_row(const backward_operands<real> &o, long t,
	const row_read<real, chunks> &x, eight (&dw)[chunks], eight (&db)[chunks])
{
	float mean_a = 0, mean_am = 0;
	eight m[chunks] = {}, a[chunks] = {};
	int lane_at = threadIdx.x % 32 * 8;

	#pragma unroll
	for (int c = 0; c < chunks; c++) {
		if (c * CHUNK + lane_at >= o.width)
			continue;
		eight weight = load8(o.weight + c * CHUNK + lane_at);
		m[c] = eight_of(x.r[c]);
		a[c] = eight_of(x.dn[c]);
		#pragma unroll
		for (int i = 0; i < 8; i++) {
			m[c].v[i] = (m[c].v[i] - x.mean) * x.scale;
			dw[c].v[i] += a[c].v[i] * m[c].v[i];
			db[c].v[i] += a[c].v[i];
			a[c].v[i] *= weight.v[i];
			mean_a += a[c].v[i];
			mean_am += a[c].v[i] * m[c].v[i];
		}
	}
	mean_a = o.rms ? 0 : warp_sum(mean_a) / (float)o.width;
	mean_am = warp_sum(mean_am) / (float)o.width;
	#pragma unroll
	for (int c = 0; c < chunks; c++) {
		if (c * CHUNK + lane_at >= o.width)
			continue;
		eight g = {};
		if (o.dr.at)
			g = eight_of(x.dr[c]);
		#pragma unroll
		for (int i = 0; i < 8; i++)
			g.v[i] += (a[c].v[i] - mean_a - m[c].v[i] * mean_am) * x.scale;
		give8<real>(o, t, c * CHUNK + lane_at, g);
	}
}

/* The warps' sums become one part, added in the order of the warps. */
template <int chunks>
__device__ __forceinline__ void store_part(float *part, long width, const eight (&sum)[chunks])
{
	float *all = shared_memory<float>();
	int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

	__syncthreads();
	#pragma unroll
	for (int c = 0; c < chunks; c++)
		store8(all + (warp * chunks + c) * CHUNK + lane * 8, sum[c]);
	__syncthreads();
	for (long i = threadIdx.x; i < width; i += THREADS) {
		float total = 0;
		for (int k = 0; k < WARPS; k++)
			total += all[k * chunks * CHUNK + i];
		part[i] = total;
	}
}

/* A block takes ADD_NORM_PART_ROWS rows, a warp every eighth of them. The next row is on its
   way while one is worked on. */
template <typename real, int chunks>
__global__ void __launch_bounds__(THREADS, chunks * sizeof(real) <= 4 ? 2 : 1)
backward_wide(backward_operands<real> o)
{
	long from = (long)blockIdx.x * ADD_NORM_PART_ROWS, to = from + ADD_NORM_PART_ROWS;
	eight dw[chunks] = {}, db[chunks] = {};
	float *part = o.parts + blockIdx.x * 2 * o.width;
	row_read<real, chunks> row, next;

	to = to < o.n_rows ? to : o.n_rows;
	from += threadIdx.x / 32;
	read_row(o, from, to, &row);
	for (long t = from; t < to; t += WARPS) {
		read_row(o, t + WARPS, to, &next);
		backward_row<real, chunks>(o, t, row, dw, db);
		row = next;
	}
	store_part<chunks>(part, o.width, dw);
	store_part<chunks>(part + o.width, o.width, db);
}

/* Row gradients for any width; dn absent: dr alone. A warp a row. */
template <typename real>
__global__ void backward_rows(backward_operands<real> o)
{
	long t = (long)blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
	float mean = 0, scale = 0, mean_a = 0, mean_am = 0;

	if (t >= o.n_rows)
		return;
	if (o.dn.at) {
		mean = o.stats[2 * t];
		scale = o.stats[2 * t + 1];
		for (long i = lane; i < o.width; i += 32) {
			float a = to_float(o.dn[t][i]) * o.weight[i];
			mean_a += a;
			mean_am += a * (to_float(o.r[t][i]) - mean) * scale;
		}
		mean_a = o.rms ? 0 : warp_sum(mean_a) / (float)o.width;
		mean_am = warp_sum(mean_am) / (float)o.width;
	}
	for (long i = lane; i < o.width; i += 32) {
		float g = o.dr.at ? to_float(o.dr[t][i]) : 0;
		if (o.dn.at)
			g += (to_float(o.dn[t][i]) * o.weight[i] - mean_a -
				(to_float(o.r[t][i]) - mean) * scale * mean_am) * scale;
		for (int k = 0; k < o.n_targets; k++)
			put(o.target[k][t] + i, o.add >> k & 1, g);
	}
}

/* Parts of dweight and dbias for any width: 32 columns a block, every eighth row a warp. */
template <typename real>
__global__ void backward_columns(backward_operands<real> o)
{
	float2 *all = shared_memory<float2>();
	long from = (long)blockIdx.x * ADD_NORM_PART_ROWS, to = from + ADD_NORM_PART_ROWS;
	long i = (long)blockIdx.y * 32 + threadIdx.x % 32;
	float2 sum = make_float2(0, 0);

	for (long t = from + threadIdx.x / 32; i < o.width && t < to && t < o.n_rows; t += WARPS) {
		float dn = to_float(o.dn[t][i]);
		sum.x += dn * (to_float(o.r[t][i]) - o.stats[2 * t]) * o.stats[2 * t + 1];
		sum.y += dn;
	}
	all[threadIdx.x] = sum;
	__syncthreads();
	if (threadIdx.x >= 32 || i >= o.width)
		return;
	for (int k = 1; k < WARPS; k++) {
		sum.x += all[k * 32 + threadIdx.x].x;
		sum.y += all[k * 32 + threadIdx.x].y;
	}
	o.parts[blockIdx.x * 2 * o.width + i] = sum.x;
	o.parts[(blockIdx.x * 2 + 1) * o.width + i] = sum.y;
}

template <typename real>
static void backward(const struct op_run *r, const backward_operands<real> &o, bool wide,
	long n_parts)
{
	dim3 parts((unsigned)n_parts), columns((unsigned)n_parts, (unsigned)ceil_div(o.width, 32));

	if (wide && o.width <= 256) {
		launch(r, backward_wide<real, 1>, parts, THREADS, WARPS * 256 * sizeof(float), o);
	} else if (wide && o.width <= 512) {
		launch(r, backward_wide<real, 2>, parts, THREADS, WARPS * 512 * sizeof(float), o);
	} else if (wide) {
		constexpr int chunks = sizeof(real) == sizeof(float) ? 2 : 4;
		launch(r, backward_wide<real, chunks>, parts, THREADS, WARPS * 1024 * sizeof(float),
			o);
	} else {
		if (o.dn.at)
			launch(r, backward_columns<real>, columns, THREADS,
				THREADS * sizeof(float2), o);
		launch(r, backward_rows<real>, dim3((unsigned)ceil_div(o.n_rows, WARPS)), THREADS,
			0, o);
	}
}

template <typename real>
static void backward_all(const struct op_run *r)
{
	const struct tensor *sum = r->out[ADD_NORM_R_BTD], *weight = r->in[ADD_NORM_WEIGHT_D];
	const struct tensor *dn = weight ? r->d_out[ADD_NORM_N_BTD] : NULL;
	const struct tensor *dr = r->d_out[ADD_NORM_R_BTD], *stats = r->saved[ADD_NORM_STATS_BT2];
	bool wide = dn && tensor_width(sum) * (long)sizeof(real) <= WIDEST_BYTES &&
		aligned8(sum, sizeof(real)) && aligned8(dn, sizeof(real)) &&
		aligned8(dr, sizeof(real)) && master_aligned(weight);
	backward_operands<real> o = {rows_of<real>(sum), rows_of<real>(dn), rows_of<real>(dr), {},
		floats_of(weight), weight ? (const float *)stats->at : NULL, (float *)r->workspace,
		tensor_rows(sum), (int)tensor_width(sum), 0, 0,
		((const struct add_norm_attr *)r->attr)->rms};
	int input[N_TARGETS];

	o.n_targets = add_norm_gradients(r, input);
	for (int k = 0; k < o.n_targets; k++) {
		o.target[k] = rows_of<real>(r->d_in[input[k]]);
		o.add |= (unsigned)op_adds(r, input[k]) << k;
		wide = wide && aligned8(r->d_in[input[k]], sizeof(real));
	}
	backward<real>(r, o, wide, ceil_div(o.n_rows, ADD_NORM_PART_ROWS));
}

extern "C" void add_norm_backward_cuda(const struct op_run *r)
{
	const struct tensor *sum = r->out[ADD_NORM_R_BTD];
	bool norm = r->in[ADD_NORM_WEIGHT_D] && r->d_out[ADD_NORM_N_BTD];
	long width = tensor_width(sum);
	long n_parts = norm ? ceil_div(tensor_rows(sum), ADD_NORM_PART_ROWS) : 0;
	const float *parts = (const float *)r->workspace;
	const int input[] = {ADD_NORM_WEIGHT_D, ADD_NORM_BIAS_D};

	with_real(r, [&](auto zero) { backward_all<decltype(zero)>(r); });
	for (int k = 0; k < 2; k++)
		if (r->d_in[input[k]])
			reduce_parts_cuda(r, (float *)r->d_in[input[k]]->at, parts + k * width,
				n_parts, width, 2 * width, op_adds(r, input[k]));
}
