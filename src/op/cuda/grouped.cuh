/*
 * Products over the segments of the experts' buffer (op/route.h), all experts in one launch.
 * Segment borders are read on the device; a launch has tiles for any of them, and those without
 * rows end at once. Segments may begin anywhere; nothing is read or written behind first[E].
 */
#ifndef OP_CUDA_GROUPED_CUH
#define OP_CUDA_GROUPED_CUH

#include "op/cuda/act_fn.cuh"

enum grouped_form {
	ROWS_NT,	/* C[s, n] = A[s, k] W[e][n, k]^T	for the rows s of expert e */
	ROWS_NN,	/* C[s, n] = A[s, k] W[e][k, n] */
	BY_EXPERT,	/* C[e][m, n] (+)= A[s, m]^T B[s, n] over its rows, float32; 0 without */
};

/* What is done with v, an element of C. h, act: [S, n], contiguous; for relu act is h. */
enum grouped_end {
	END_STORE,	/* C = v, or C + v */
	END_ACTIVATE,	/* of ROWS_NT: h = v, act = f(v); relu: h = f(v) alone */
	END_SLOPE,	/* of ROWS_NN: C = v f'(h), act = f(h); relu: C alone */
};

struct grouped {
	enum grouped_form form;
	enum grouped_end end;		/* of ROWS_ */
	enum act_fn fn;
	const int *first;		/* [E + 1] */
	int E;
	long S;				/* rows of the buffer */
	int m, n, k;			/* m: BY_EXPERT's; k: that of ROWS_ */
	const void *a, *b;
	void *c, *h, *act;
	long lda, ldb, ldc;
	long step;			/* elements from expert to expert: W, or BY_EXPERT's C */
	bool add;
};

/* By tensor cores where shapes and addresses allow (bf16; widths, rows and addresses in multiples
   of eight elements), else by tiles in float. */
void grouped_product(const struct op_run *r, const struct grouped *g);

/* Both kernels; real is the device's. */
void grouped_product_mma(const struct op_run *r, const struct grouped *g);
template <typename real>
void grouped_product_plain(const struct op_run *r, const struct grouped *g);

/* Rows at to at + n - 1 of expert e; n may be 0 or less. */
struct grouped_rows {
	int e;
	long at, n;
};

/* Tiles of `side` rows that a launch has: enough for any segments. */
inline long grouped_tiles(const struct grouped *g, int side)
{
	return g->S / side + g->E;
}

/* Tile i of those: expert e has the tiles from first[e] / side + e on. */
__device__ __forceinline__ grouped_rows grouped_tile(const grouped &g, long i, int side)
{
	int e = 0, above = g.E;

	while (above - e > 1) {
		int middle = (e + above) / 2;
		if (g.first[middle] / side + middle <= i)
			e = middle;
		else
			above = middle;
	}
	long at = g.first[e] + (i - g.first[e] / side - e) * side;

	return {e, at, g.first[e + 1] - at};
}

__device__ __forceinline__ float grouped_act(enum act_fn fn, float x)
{
	return fn == ACT_RELU ? act_value<ACT_RELU>(x) : fn == ACT_SILU ? act_value<ACT_SILU>(x)
		: act_value<ACT_GELU>(x);
}

__device__ __forceinline__ float grouped_slope(enum act_fn fn, float x)
{
	return fn == ACT_RELU ? act_slope<ACT_RELU>(x) : fn == ACT_SILU ? act_slope<ACT_SILU>(x)
		: act_slope<ACT_GELU>(x);
}

#endif
