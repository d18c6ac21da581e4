/* A group is three small matrices with rows far apart: shares [members, E], tokens [members, D] and the rows of
   experts [E, D]. */
#include "op/cpu/mixing.h"

#include "op/kit/gemm.h"

struct matrix {
	float *at;
	long ld;
};

/* Tokens of group g. */
static struct matrix tokens_of(const struct tensor *x_BTD, long members, long g)
{
	long T = x_BTD->dims[1];

	return (struct matrix){row_f32(x_BTD, share_first(members, T, g)), T * x_BTD->ld};
}

/* Rows of group g. */
static struct matrix rows_of(const struct tensor *rows_EGD, long g)
{
	return (struct matrix){row_f32(rows_EGD, g), rows_EGD->dims[1] * rows_EGD->ld};
}

static long groups_of(const struct tensor *s_BTE, long members)
{
	return tensor_rows(s_BTE) / members;
}

void mixing_merge(const struct tensor *x_BTD, const struct tensor *s_BTE, const struct tensor *rows_EGD,
	long members, bool add)
{
	long E = tensor_width(s_BTE), D = tensor_width(x_BTD);

	#pragma omp parallel for schedule(static)
	for (long g = 0; g < groups_of(s_BTE, members); g++) {
		struct matrix x = tokens_of(x_BTD, members, g), s = tokens_of(s_BTE, members, g),
			rows = rows_of(rows_EGD, g);
		gemm(GEMM_T, GEMM_N, E, D, members, 1, s.at, s.ld, x.at, x.ld, add, rows.at, rows.ld);
	}
}

void mixing_emit(const struct tensor *rows_EGD, const struct tensor *s_BTE, const struct tensor *y_BTD,
	long members, bool add)
{
	long E = tensor_width(s_BTE), D = tensor_width(y_BTD);

	#pragma omp parallel for schedule(static)
	for (long g = 0; g < groups_of(s_BTE, members); g++) {
		struct matrix y = tokens_of(y_BTD, members, g), s = tokens_of(s_BTE, members, g),
			rows = rows_of(rows_EGD, g);
		gemm(GEMM_N, GEMM_N, members, D, E, 1, s.at, s.ld, rows.at, rows.ld, add, y.at, y.ld);
	}
}

void mixing_dots(const struct tensor *x_BTD, const struct tensor *rows_EGD, const struct tensor *ds_BTE,
	long members, bool add)
{
	long E = tensor_width(ds_BTE), D = tensor_width(x_BTD);

	#pragma omp parallel for schedule(static)
	for (long g = 0; g < groups_of(ds_BTE, members); g++) {
		struct matrix x = tokens_of(x_BTD, members, g), ds = tokens_of(ds_BTE, members, g),
			rows = rows_of(rows_EGD, g);
		gemm(GEMM_N, GEMM_T, members, E, D, 1, x.at, x.ld, rows.at, rows.ld, add, ds.at, ds.ld);
	}
}
