/*
 * conv_silu: a thread has a few neighbouring channels and walks through CHUNK tokens, with the K -
 * 1 rows before the present one in registers; rows in front of the chunk are read once more.
 * Backward also walks forward: at token t all of ds_{t-K+1..t} that dx_{t-K+1} needs is there; of
 * the K - 1 tokens behind the chunk ds is made once more. Sums for w and bias are partial, one a
 * chunk, added in order.
 *
 * Bytes for n elements of e bytes: 2 e n forward, 3 e n backward (4 where it adds), 67 / 64 of it.
 */
extern "C" {
#include "op/conv_silu.h"
}
#include "op/cuda/prim.cuh"
#include "op/cuda/reduce.cuh"

namespace {

enum {
	THREADS = 128,
	CHUNK = CONV_SILU_CHUNK,	/* tokens of a thread */
	AHEAD = 4,			/* rows loaded before the first of them is used */
	TAPS = 4,			/* of the fast kernels */
};

struct conv_sizes {
	int B, T, I, K, n_chunks;
};

/* wide neighbours, moved as one. */
template <typename real, int wide>
struct alignas(wide * sizeof(real)) some {
	real at[wide];
};

template <int wide>
struct floats {
	float at[wide];
};

template <int wide>
__device__ __forceinline__ floats<wide> float_of(const some<float, wide> &raw)
{
	floats<wide> x;

	#pragma unroll
	for (int j = 0; j < wide; j++)
		x.at[j] = raw.at[j];
	return x;
}

template <int wide>
__device__ __forceinline__ floats<wide> float_of(const some<bf16, wide> &raw)
{
	unsigned word[wide / 2];
	floats<wide> x;

	memcpy(word, &raw, sizeof word);
	#pragma unroll
	for (int j = 0; j < wide; j++)
		x.at[j] = __uint_as_float(j % 2 ? word[j / 2] & 0xffff0000u : word[j / 2] << 16);
	return x;
}

template <int wide, typename real>
__device__ __forceinline__ void store(real *to, const floats<wide> &x, bool add)
{
	some<real, wide> raw;
	floats<wide> old = {};

	if (add)
		old = float_of(*(const some<real, wide> *)to);
	#pragma unroll
	for (int j = 0; j < wide; j++)
		raw.at[j] = from_float<real>(x.at[j] + old.at[j]);
	*(some<real, wide> *)to = raw;
}

/* What a thread is about: channels from i, tokens from .. to of sequence b. */
struct place {
	int b, chunk, i, from, to;
	long row;		/* of token 0 */
};

__device__ __forceinline__ bool find_place(const conv_sizes &n, int wide, place &at)
{
	int per_row = (n.I + wide - 1) / wide;
	long k = (long)blockIdx.x * THREADS + threadIdx.x, tile = k / per_row;

	at.i = (int)(k % per_row) * wide;
	at.chunk = (int)(tile % n.n_chunks);
	at.b = (int)(tile / n.n_chunks);
	at.from = at.chunk * CHUNK;
	at.to = min(at.from + CHUNK, n.T);
	at.row = (long)at.b * n.T;
	return at.b < n.B;
}

/* The channels' weights and bias. */
template <int wide>
struct weights {
	float w[TAPS][wide], bias[wide];
};

template <int wide>
__device__ __forceinline__ weights<wide> load_weights(const rows<const float> &w,
	const rows<const float> &bias, int i)
{
	weights<wide> x;

	#pragma unroll
	for (int j = 0; j < wide; j++) {
		x.bias[j] = bias.at ? bias.at[i + j] : 0;
		#pragma unroll
		for (int k = 0; k < TAPS; k++)
			x.w[k][j] = w[i + j][k];
	}
	return x;
}

/* s from the rows of tokens t - TAPS + 1 to t, of which the first `unseen` do not count. */
template <int wide>
__device__ __forceinline__ floats<wide> before_silu(const weights<wide> &w,
	const floats<wide> x[TAPS], int unseen)
{
	floats<wide> s;

	#pragma unroll
	for (int j = 0; j < wide; j++)
		s.at[j] = w.bias[j] + w.w[TAPS - 1][j] * x[TAPS - 1].at[j];
	#pragma unroll
	for (int k = 0; k < TAPS - 1; k++)
		if (k >= unseen) {
			#pragma unroll
			for (int j = 0; j < wide; j++)
				s.at[j] += w.w[k][j] * x[k].at[j];
		}
	return s;
}

/* Of the rows of tokens t - TAPS + 1 to t those of another document; rows in front of the
   sequence are 0 and need no care. */
__device__ __forceinline__ int unseen_at(const rows<const int> &start, const place &at, int t)
{
	return start.at ? max(start[at.b][t] - (t - (TAPS - 1)), 0) : 0;
}

/* The thread's chunk of a tensor, in which offsets are of 32 bits. */
template <typename real>
__device__ __forceinline__ real *chunk_of(const rows<real> &x, const place &at)
{
	return x[at.row + at.from] + at.i;
}

/* Rows t to t + n of a chunk, of those below `end`. */
template <int n, int wide, typename real>
__device__ __forceinline__ void load_ahead(const real *x, int ld, int t, int end,
	some<real, wide> to[n])
{
	#pragma unroll
	for (int k = 0; k < n; k++)
		if (t + k < end)
			to[k] = *(const some<real, wide> *)(x + (t + k) * ld);
}

/* Rows of the TAPS - 1 tokens before the chunk. */
template <int wide, typename real>
__device__ __forceinline__ void load_past(const rows<const real> &x, const place &at,
	floats<wide> past[TAPS])
{
	some<real, wide> raw[TAPS - 1] = {};

	if (at.chunk > 0)
		load_ahead<TAPS - 1>(chunk_of(x, at), (int)x.ld, -(TAPS - 1), 0, raw);
	#pragma unroll
	for (int k = 0; k < TAPS - 1; k++)
		past[k] = float_of(raw[k]);
}

/* One token on. */
template <int wide>
__device__ __forceinline__ void shift(floats<wide> rows[TAPS])
{
	#pragma unroll
	for (int k = 0; k < TAPS - 1; k++)
		rows[k] = rows[k + 1];
}

/* K = TAPS, channels by four. One thread per sequence, chunk and four channels. */
template <typename real, int wide>
__global__ void __launch_bounds__(THREADS, 5)
	conv_silu_forward_kernel(rows<real> y, rows<const real> x, rows<const float> w,
		rows<const float> bias, rows<const int> start, conv_sizes n)
{
	place at;

	if (!find_place(n, wide, at))
		return;
	weights<wide> own = load_weights<wide>(w, bias, at.i);
	const real *from = chunk_of(x, at);
	real *to = chunk_of(y, at);
	some<real, wide> rows[AHEAD] = {}, next[AHEAD] = {};
	floats<wide> past[TAPS];	/* rows of tokens t - TAPS + 1 to t */
	int n_tokens = at.to - at.from;
	load_past(x, at, past);
	load_ahead<AHEAD>(from, (int)x.ld, 0, n_tokens, next);
	for (int t = 0; t < n_tokens; t += AHEAD) {
		#pragma unroll
		for (int k = 0; k < AHEAD; k++)
			rows[k] = next[k];
		load_ahead<AHEAD>(from, (int)x.ld, t + AHEAD, n_tokens, next);
		#pragma unroll
		for (int k = 0; k < AHEAD; k++) {
			if (t + k >= n_tokens)
				return;
			past[TAPS - 1] = float_of(rows[k]);
			floats<wide> s =
				before_silu(own, past, unseen_at(start, at, at.from + t + k));
			#pragma unroll
			for (int j = 0; j < wide; j++)
				s.at[j] *= sigmoid_fast(s.at[j]);
			store(to + (t + k) * (int)y.ld, s, false);
			shift(past);
		}
	}
}

/* Any K, one channel a thread, each row read K times. */
template <typename real>
__device__ __forceinline__ float before_silu_plain(const rows<const real> &x,
	const rows<const float> &w, const rows<const float> &bias, const rows<const int> &start,
	const conv_sizes &n, const place &at, int t)
{
	int first = start.at ? start[at.b][t] : 0;
	float s = bias.at ? bias.at[at.i] : 0;

	for (int k = 0; k < n.K; k++) {
		int from = t - (n.K - 1) + k;
		if (from >= first)
			s += w[at.i][k] * to_float(x[at.row + from][at.i]);
	}
	return s;
}

template <typename real>
__global__ void conv_silu_forward_plain(rows<real> y, rows<const real> x, rows<const float> w,
	rows<const float> bias, rows<const int> start, conv_sizes n)
{
	place at;

	if (!find_place(n, 1, at))
		return;
	for (int t = at.from; t < at.to; t++) {
		float s = before_silu_plain(x, w, bias, start, n, at, t);
		y[at.row + t][at.i] = from_float<real>(s * sigmoid_fast(s));
	}
}

/* Partial sums of a chunk: dw as [I, K], then dbias [I]. */
__device__ __forceinline__ float *parts_of(float *parts, const conv_sizes &n, const place &at)
{
	return parts + ((long)at.b * n.n_chunks + at.chunk) * (n.K + 1) * n.I;
}

__device__ __forceinline__ float silu_slope(float s)
{
	float g = sigmoid_fast(s);

	return g * (1.0f + s * (1.0f - g));
}

/* What backward needs of x and w: x [TAPS - 1 + AHEAD], and sums. */
template <int wide>
struct backward_sums {
	float w[TAPS][wide], bias[wide];
};

/* A token: its ds goes to dx[0 .. TAPS - 1], those of TAPS - 1 tokens before it and its own, and
   to the sums if the token is the chunk's own. The first `unseen` of them are of another
   document. */
template <int wide>
__device__ __forceinline__ void step_back(const weights<wide> &w, const floats<wide> x[TAPS],
	const floats<wide> &dy, int unseen, bool own, floats<wide> dx[TAPS],
	backward_sums<wide> &sum)
{
	floats<wide> s = before_silu(w, x, unseen);
	float counted[wide];

	#pragma unroll
	for (int j = 0; j < wide; j++) {
		s.at[j] = dy.at[j] * silu_slope(s.at[j]);
		counted[j] = own ? s.at[j] : 0;
		sum.bias[j] += counted[j];
	}
	#pragma unroll
	for (int k = 0; k < TAPS; k++)
		if (k >= unseen) {
			#pragma unroll
			for (int j = 0; j < wide; j++) {
				dx[k].at[j] += w.w[k][j] * s.at[j];
				sum.w[k][j] += counted[j] * x[k].at[j];
			}
		}
}

template <int wide>
__device__ __forceinline__ void put_sums(float *parts, const conv_sizes &n, const place &at,
	const backward_sums<wide> &sum)
{
	float *to = parts_of(parts, n, at);

	#pragma unroll
	for (int j = 0; j < wide; j++) {
		#pragma unroll
		for (int k = 0; k < TAPS; k++)
			to[(long)(at.i + j) * TAPS + k] = sum.w[k][j];
		to[(long)n.I * TAPS + at.i + j] = sum.bias[j];
	}
}

/* K = TAPS, channels by four. dx of token t - TAPS + 1 is whole behind token t. */
template <typename real, int wide>
__global__ void __launch_bounds__(THREADS, 4) conv_silu_backward_kernel(rows<real> dx, bool add,
	float *parts, rows<const real> dy, rows<const real> x, rows<const float> w,
	rows<const float> bias, rows<const int> start, conv_sizes n)
{
	place at;

	if (!find_place(n, wide, at))
		return;
	weights<wide> own = load_weights<wide>(w, bias, at.i);
	const real *x_from = chunk_of(x, at), *dy_from = chunk_of(dy, at);
	real *to = dx.at ? chunk_of(dx, at) : NULL;
	some<real, wide> x_rows[AHEAD] = {}, dy_rows[AHEAD] = {};
	floats<wide> past[TAPS], grown[TAPS] = {};
	backward_sums<wide> sum = {};
	int n_tokens = at.to - at.from, end = min(n_tokens + TAPS - 1, n.T - at.from);
	load_past(x, at, past);
	for (int t = 0; t < n_tokens + TAPS - 1; t += AHEAD) {
		load_ahead<AHEAD>(x_from, (int)x.ld, t, end, x_rows);
		load_ahead<AHEAD>(dy_from, (int)dy.ld, t, end, dy_rows);
		#pragma unroll
		for (int k = 0; k < AHEAD; k++) {
			int whole = t + k - (TAPS - 1);
			past[TAPS - 1] = float_of(x_rows[k]);
			if (t + k < end)	/* else nothing more comes from behind */
				step_back(own, past, float_of(dy_rows[k]),
					unseen_at(start, at, at.from + t + k), t + k < n_tokens,
					grown, sum);
			if (to && whole >= 0 && whole < n_tokens)
				store(to + whole * (int)dx.ld, grown[0], add);
			shift(past);
			shift(grown);
			grown[TAPS - 1] = {};
		}
	}
	put_sums(parts, n, at, sum);
}

/* Any K, one channel a thread: dx by the tokens that see t, then the sums tap by tap. */
template <typename real>
__global__ void conv_silu_backward_plain(rows<real> dx, bool add, float *parts, rows<const real> dy,
	rows<const real> x, rows<const float> w, rows<const float> bias, rows<const int> start,
	conv_sizes n)
{
	float sum[CONV_SILU_MAX_TAPS] = {}, dbias = 0;
	place at;

	if (!find_place(n, 1, at))
		return;
	for (int t = at.from; t < at.to; t++) {
		float grown = 0;
		for (int j = 0; j < n.K && t + j < n.T; j++) {
			int later = t + j, first = start.at ? start[at.b][later] : 0;
			float ds = to_float(dy[at.row + later][at.i]) *
				silu_slope(before_silu_plain(x, w, bias, start, n, at, later));
			grown += t >= first ? w[at.i][n.K - 1 - j] * ds : 0;
			if (j > 0)
				continue;
			dbias += ds;
			#pragma unroll
			for (int k = 0; k < CONV_SILU_MAX_TAPS; k++) {
				int from = t - (n.K - 1) + k;
				if (k < n.K && from >= first)
					sum[k] += ds * to_float(x[at.row + from][at.i]);
			}
		}
		put(dx, at.row + t, at.i, add, grown);
	}
	#pragma unroll
	for (int k = 0; k < CONV_SILU_MAX_TAPS; k++)
		if (k < n.K)
			parts_of(parts, n, at)[(long)at.i * n.K + k] = sum[k];
	parts_of(parts, n, at)[(long)n.I * n.K + at.i] = dbias;
}

conv_sizes sizes_of(const struct op_run *r)
{
	const struct tensor *x = r->in[CONV_SILU_X_BTI];

	return {(int)x->dims[0], (int)x->dims[1], (int)x->dims[2],
		(int)tensor_width(r->in[CONV_SILU_W_IK]), (int)ceil_div(x->dims[1], CHUNK)};
}

/* Can the fast kernels do it? */
bool is_fast(const struct op_run *r, const conv_sizes &n, const struct tensor *a,
	const struct tensor *b)
{
	size_t bytes = r->device->bytes[REAL];

	return n.K == TAPS && aligned8(r->in[CONV_SILU_X_BTI], bytes) && aligned8(a, bytes) &&
		aligned8(b, bytes);
}

/* Blocks of threads with so many channels each. */
dim3 grid_of(const conv_sizes &n, int wide)
{
	return dim3((unsigned)ceil_div((long)n.B * n.n_chunks * ceil_div(n.I, wide), THREADS));
}

template <typename real>
void forward(const struct op_run *r)
{
	conv_sizes n = sizes_of(r);
	const struct tensor *y = r->out[CONV_SILU_Y_BTI];
	bool fast = is_fast(r, n, y, NULL);

	launch(r, fast ? conv_silu_forward_kernel<real, 4> : conv_silu_forward_plain<real>,
		grid_of(n, fast ? 4 : 1), THREADS, 0, rows_of<real>(y),
		rows_of<const real>(r->in[CONV_SILU_X_BTI]),
		rows_of<const float>(r->in[CONV_SILU_W_IK]),
		rows_of<const float>(r->in[CONV_SILU_BIAS_I]),
		rows_of<const int>(r->in[CONV_SILU_START_BT]), n);
}

/* The chunks' shares of a parameter's gradient. */
void sum_parts(const struct op_run *r, const conv_sizes &n, int input, const float *parts,
	long many)
{
	const struct tensor *d = r->d_in[input];

	if (d)
		reduce_parts_cuda(r, (float *)d->at, parts, (long)n.B * n.n_chunks, many,
			(long)(n.K + 1) * n.I, op_adds(r, input));
}

template <typename real>
void backward(const struct op_run *r)
{
	conv_sizes n = sizes_of(r);
	const struct tensor *dx = r->d_in[CONV_SILU_X_BTI], *dy = r->d_out[CONV_SILU_Y_BTI];
	bool fast = is_fast(r, n, dx, dy);
	float *parts = (float *)r->workspace;

	launch(r, fast ? conv_silu_backward_kernel<real, 4> : conv_silu_backward_plain<real>,
		grid_of(n, fast ? 4 : 1), THREADS, 0, rows_of<real>(dx),
		op_adds(r, CONV_SILU_X_BTI), parts, rows_of<const real>(dy),
		rows_of<const real>(r->in[CONV_SILU_X_BTI]),
		rows_of<const float>(r->in[CONV_SILU_W_IK]),
		rows_of<const float>(r->in[CONV_SILU_BIAS_I]),
		rows_of<const int>(r->in[CONV_SILU_START_BT]), n);
	sum_parts(r, n, CONV_SILU_W_IK, parts, (long)n.I * n.K);
	sum_parts(r, n, CONV_SILU_BIAS_I, parts + (long)n.I * n.K, n.I);
}

}  // namespace

extern "C" void conv_silu_forward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) { forward<decltype(zero)>(r); });
}

extern "C" void conv_silu_backward_cuda(const struct op_run *r)
{
	with_real(r, [&](auto zero) { backward<decltype(zero)>(r); });
}
