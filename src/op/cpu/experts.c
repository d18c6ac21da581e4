#include "op/cpu/experts.h"

#include <string.h>

#include "base/num.h"
#include "op/kit/gemm.h"

enum {
	ROWS = 256,		/* of the buffer, in one work item */
	WEIGHT_ITEMS = 32,	/* at least so many pieces of each weight gradient, if F allows */
	MIN_PIECE = 64,		/* columns of F in a piece */
};

/* Some rows of one expert, whose own begin at `first`. */
struct rows {
	long expert, at, n, first;
};

void experts_room_cpu(struct op_shapes *s)
{
	struct experts_widths w = experts_widths(s->attr, s->in);
	size_t rows = (size_t)tensor_rows(s->in[EXPERTS_XE_SD]) * sizeof(float), H = (size_t)w.H,
		act = experts_saves_activation(s->attr) ? 0 : (size_t)w.F;

	if (!w.H)
		return;
	s->forward_workspace = rows * act;
	s->backward_workspace = rows * (H + act);
}

/* Work item i of max_items(): up to ROWS rows of one expert; none (n = 0) behind the last item.
   Counts vary, so do the items; each owns its rows, so threads do not matter to the bits. */
static struct rows rows_of(const struct tensor *first_E1, long i)
{
	const int *first = row_int(first_E1, 0);

	for (long e = 0; e < tensor_width(first_E1) - 1; e++) {
		long n = first[e + 1] - first[e], items = ceil_div(n, ROWS);
		if (i < items) {
			long each = ceil_div(n, items), at = i * each;
			return (struct rows){e, first[e] + at, min_long(n - at, each), first[e]};
		}
		i -= items;
	}
	return (struct rows){0};
}

static long max_items(const struct tensor *xe_SD, const struct tensor *first_E1)
{
	return tensor_rows(xe_SD) / ROWS + tensor_width(first_E1) - 1;
}

/* What W2 multiplies, of all rows: saved, or in the workspace. */
static float *activation(const struct op_run *r)
{
	return experts_saves_activation(r->attr) ? r->saved[EXPERTS_H_SH]->at : r->workspace;
}

/* An expert's rows of a buffer `most` wide begin where they would if it were so wide, and lie closer. */
static float *place_of(float *buffer, struct rows rows, long most, long own)
{
	return buffer + rows.first * most + (rows.at - rows.first) * own;
}

/* to = f(g) u of n rows [g; u] of h. */
static void gate_rows(enum act_fn fn, float *to, const float *h, long n, long F)
{
	for (long i = 0; i < n; i++) {
		float *a = to + i * F;
		const float *u = h + i * 2 * F + F;
		act_row_f32(fn, a, h + i * 2 * F, F);
		#pragma omp simd
		for (long f = 0; f < F; f++)
			a[f] *= u[f];
	}
}

/* y = W2[e] a of some rows; a and ld: those of the rows. */
static void down(const struct op_run *r, const struct experts_part *p, struct rows rows, const float *a, long ld)
{
	const struct tensor *w2 = r->in[EXPERTS_W2_EOF], *y = r->out[EXPERTS_YE_SO];

	gemm(GEMM_N, GEMM_T, rows.n, tensor_width(y), p->F, 1, a, ld, row_f32(w2, p->row2) + p->column2, w2->ld, 0,
		row_f32(y, rows.at), y->ld);
}

static void forward_rows(const struct op_run *r, struct rows rows)
{
	const struct experts_attr *attr = r->attr;
	const struct tensor *x = r->in[EXPERTS_XE_SD], *w1 = r->in[EXPERTS_W1_EHD];
	struct experts_widths w = experts_widths(attr, r->in);
	struct experts_part p = experts_part(attr, r->in, rows.expert);

	if (!w1) {
		down(r, &p, rows, row_f32(x, rows.at), x->ld);
		return;
	}
	float *h = place_of(r->saved[EXPERTS_H_SH]->at, rows, w.H, p.H), *a = place_of(activation(r), rows, w.F, p.F);
	gemm(GEMM_N, GEMM_T, rows.n, p.H, w.D, 1, row_f32(x, rows.at), x->ld, row_f32(w1, p.row1), w1->ld, 0, h, p.H);
	if (attr->gated)
		gate_rows(attr->fn, a, h, rows.n, p.F);
	else
		act_row_f32(attr->fn, a, h, rows.n * p.F);
	down(r, &p, rows, a, p.F);
}

void experts_forward_cpu(const struct op_run *r)
{
	const struct tensor *first = r->in[EXPERTS_FIRST_E1];
	long n = max_items(r->in[EXPERTS_XE_SD], first);

	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < n; i++) {
		struct rows rows = rows_of(first, i);
		if (rows.n)
			forward_rows(r, rows);
	}
}

/* The gradient d of f(g) u, in the second half of each row of d_SH, becomes that of [g; u]; act = f(g) u. */
static void gate_gradient(enum act_fn fn, float *d_SH, const float *h, float *act, long n, long F)
{
	for (long i = 0; i < n; i++) {
		const float *g = h + i * 2 * F, *u = g + F;
		float *dg = d_SH + i * 2 * F, *d = dg + F, *a = act + i * F;
		act_row_f32(fn, a, g, F);
		#pragma omp simd
		for (long f = 0; f < F; f++) {
			dg[f] = d[f] * u[f];
			d[f] *= a[f];
			a[f] *= u[f];
		}
		act_gradient_row_f32(fn, dg, g, dg, F);
	}
}

/* The workspace of backward: gradient of W1 x, and what W2 multiplies. */
struct room {
	float *d_SH, *act_SF;
};

/* Both of some rows. */
static void hidden_gradient(const struct op_run *r, const struct experts_part *p, struct rows rows, struct room room)
{
	const struct experts_attr *attr = r->attr;
	const struct tensor *w2 = r->in[EXPERTS_W2_EOF], *dy = r->d_out[EXPERTS_YE_SO];
	struct experts_widths w = experts_widths(attr, r->in);
	float *h = place_of(r->saved[EXPERTS_H_SH]->at, rows, w.H, p->H), *d = place_of(room.d_SH, rows, w.H, p->H),
		*act = place_of(room.act_SF, rows, w.F, p->F);

	gemm(GEMM_N, GEMM_N, rows.n, p->F, w.O, 1, row_f32(dy, rows.at), dy->ld,
		row_f32(w2, p->row2) + p->column2, w2->ld, 0, d + p->H - p->F, p->H);
	if (attr->gated) {
		gate_gradient(attr->fn, d, h, act, rows.n, p->F);
		return;
	}
	act_gradient_row_f32(attr->fn, d, h, d, rows.n * p->F);
	if (!experts_saves_activation(attr))
		act_row_f32(attr->fn, act, h, rows.n * p->F);
}

static void backward_rows(const struct op_run *r, struct rows rows, struct room room)
{
	const struct tensor *w1 = r->in[EXPERTS_W1_EHD], *w2 = r->in[EXPERTS_W2_EOF],
		*dy = r->d_out[EXPERTS_YE_SO], *dx = r->d_in[EXPERTS_XE_SD];
	struct experts_widths w = experts_widths(r->attr, r->in);
	struct experts_part p = experts_part(r->attr, r->in, rows.expert);
	bool add = op_adds(r, EXPERTS_XE_SD);

	if (w1)
		hidden_gradient(r, &p, rows, room);
	if (dx && w1)
		gemm(GEMM_N, GEMM_N, rows.n, w.D, p.H, 1, place_of(room.d_SH, rows, w.H, p.H), p.H,
			row_f32(w1, p.row1), w1->ld, add, row_f32(dx, rows.at), dx->ld);
	else if (dx)
		gemm(GEMM_N, GEMM_N, rows.n, w.D, w.O, 1, row_f32(dy, rows.at), dy->ld,
			row_f32(w2, p.row2), w2->ld, add, row_f32(dx, rows.at), dx->ld);
}

/* C = A^T B over the n rows of an expert; zeros, or nothing added, where it has none. */
static void weight_gradient(const float *a, long lda, const float *b, long ldb, long n, float *c,
	long ldc, long rows, long columns, bool add)
{
	if (n > 0) {
		gemm(GEMM_T, GEMM_N, rows, columns, n, 1, a, lda, b, ldb, add, c, ldc);
		return;
	}
	for (long i = 0; i < rows && !add; i++)
		memset(c + i * ldc, 0, (size_t)columns * sizeof *c);
}

/* Rows h to h + n of dW1 of an expert; d_SH: of its rows. */
static void backward_w1(const struct op_run *r, const struct experts_part *p, struct rows rows, long h, long n,
	const float *d_SH)
{
	const struct tensor *x = r->in[EXPERTS_XE_SD], *dw1 = r->d_in[EXPERTS_W1_EHD];

	weight_gradient(d_SH + h, p->H, row_f32(x, rows.at), x->ld, rows.n, row_f32(dw1, p->row1 + h), dw1->ld, n,
		tensor_width(x), op_adds(r, EXPERTS_W1_EHD));
}

/* Columns f to f + n of an expert's F in dW1 and dW2. rows: all of it. */
static void backward_weights(const struct op_run *r, struct rows rows, long f, long n, struct room room)
{
	const struct experts_attr *attr = r->attr;
	const struct tensor *dy = r->d_out[EXPERTS_YE_SO], *dw2 = r->d_in[EXPERTS_W2_EOF];
	struct experts_widths w = experts_widths(attr, r->in);
	struct experts_part p = experts_part(attr, r->in, rows.expert);
	const float *d = place_of(room.d_SH, rows, w.H, p.H);
	long ld = w.H ? p.F : r->in[EXPERTS_XE_SD]->ld;
	const float *act = place_of(room.act_SF, rows, w.H ? w.F : ld, ld);

	if (r->d_in[EXPERTS_W1_EHD])
		backward_w1(r, &p, rows, f, n, d);
	if (r->d_in[EXPERTS_W1_EHD] && attr->gated)
		backward_w1(r, &p, rows, p.F + f, n, d);
	if (dw2)
		weight_gradient(row_f32(dy, rows.at), dy->ld, act + f, ld, rows.n,
			row_f32(dw2, p.row2) + p.column2 + f, dw2->ld, w.O, n, op_adds(r, EXPERTS_W2_EOF));
}

/* Work items of dW1 and dW2: `piece` columns of F of one expert, the last of it fewer. */
static long pieces_of(const struct op_run *r, long e, long piece)
{
	const struct experts_attr *attr = r->attr;
	long F = attr->units.n ? units_of(&attr->units, e) : r->in[EXPERTS_W2_EOF]->dims[2];

	return ceil_div(F, piece);
}

static void backward_piece(const struct op_run *r, long i, long piece, struct room room)
{
	const int *first = row_int(r->in[EXPERTS_FIRST_E1], 0);
	long e = 0;

	for (; i >= pieces_of(r, e, piece); e++)
		i -= pieces_of(r, e, piece);
	long left = experts_part(r->attr, r->in, e).F - i * piece;
	struct rows rows = {e, first[e], first[e + 1] - first[e], first[e]};
	backward_weights(r, rows, i * piece, min_long(left, piece), room);
}

void experts_backward_cpu(const struct op_run *r)
{
	const struct experts_attr *attr = r->attr;
	const struct tensor *first = r->in[EXPERTS_FIRST_E1], *x = r->in[EXPERTS_XE_SD];
	long n = max_items(x, first), E = tensor_width(first) - 1;
	struct experts_widths w = experts_widths(attr, r->in);
	struct room room = {r->workspace, !w.H ? x->at : experts_saves_activation(attr) ? r->saved[EXPERTS_H_SH]->at
		: (float *)r->workspace + tensor_rows(x) * w.H};
	long units = attr->units.n ? units_first(&attr->units, E) : w.F * E, piece = units / WEIGHT_ITEMS / 16 * 16,
		n_pieces = 0;

	piece = piece > w.F ? w.F : piece < MIN_PIECE ? MIN_PIECE : piece;
	for (long e = 0; e < E; e++)
		n_pieces += pieces_of(r, e, piece);
	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < n; i++) {
		struct rows rows = rows_of(first, i);
		if (rows.n)
			backward_rows(r, rows, room);
	}
	#pragma omp parallel for schedule(dynamic)
	for (long i = 0; i < n_pieces; i++)
		backward_piece(r, i, piece, room);
}
