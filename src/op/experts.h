/*
 * experts: a network for each expert, on its own rows of the dispatch buffer, first[e] <= s < first[e + 1];
 * f relu, silu or gelu, no biases:
 *   two layers   y_s = W2[e] f(W1[e] x_s)
 *                with a = f'(pre) (W2^T dy):  dx = W1^T a;  dW1 = a x^T;  dW2 = dy f(pre)^T
 *   gated        y_s = W2[e] (f(g) u), [g; u] = W1[e] x_s  (Shazeer 2020, arXiv:2002.05202, eq. 6, without
 *                biases: SwiGLU for silu)
 *                with d = W2^T dy, a = [f'(g) u d; f(g) d]:  dx, dW1 as above;  dW2 = dy (f(g) u)^T
 *   one matrix   y_s = W2[e] x_s, where W1 is absent;  dx = W2^T dy;  dW2 = dy x^T
 * Experts may differ in width (op/kit/units.h): expert e then has units u to v of all U, which are rows u to v of
 * W1 [U, D] (gated 2 u to 2 v of [2 U, D], its g before its u), and columns u to v of W2 [O, U].
 * Experts without rows get zero gradients (written, or nothing added). Rows behind first[E] are
 * neither read nor written. Rows without a token below it hold 0 in x and dy, so they add nothing.
 * [E, C, D] buffers: first[e] = e C.
 */
#ifndef OP_EXPERTS_H
#define OP_EXPERTS_H

#include "op/kit/act_fn.h"
#include "op/kit/units.h"
#include "op/op.h"

enum {
	EXPERTS_XE_SD,		/* [S, D] or [E, C, D] */
	EXPERTS_FIRST_E1,	/* int, from route */
	EXPERTS_W1_EHD,	/* optional; D of XE; H = F, gated 2 F; [U, D] or [2 U, D] where widths differ */
	EXPERTS_W2_EOF,	/* O: width of the output; F = D without W1; [O, U] where widths differ */
	EXPERTS_N_IN
};

enum {
	EXPERTS_YE_SO,		/* [S, O] or [E, C, O] */
	EXPERTS_N_OUT
};

enum {
	EXPERTS_H_SH,	/* W1 x, H of the widest; where the kernel prefers, relu(W1 x) of two layers */
	EXPERTS_N_SAVED
};

struct experts_attr {
	enum act_fn fn;
	long tokens;	/* that the buffer is for, counted as its cost; 0: as many as it has rows */
	bool gated;
	struct units units;	/* needs W1 */
};

/* Is what is saved the activation, and all that backward needs? */
static inline bool experts_saves_activation(const struct experts_attr *attr)
{
	return attr->fn == ACT_RELU && !attr->gated;
}

/* Channels in and out, of what W1 gives (0 without it) and of what W2 takes; where experts differ, of the widest. */
struct experts_widths {
	long D, O, H, F;
};

static inline struct experts_widths experts_widths(const void *experts_attr, const struct tensor *const *in)
{
	const struct experts_attr *attr = (const struct experts_attr *)experts_attr;
	const struct tensor *w1 = in[EXPERTS_W1_EHD], *w2 = in[EXPERTS_W2_EOF];
	long D = tensor_width(in[EXPERTS_XE_SD]), most = units_most(&attr->units);
	struct experts_widths unequal = {D, w2->dims[0], attr->gated ? 2 * most : most, most},
		equal = {D, w2->dims[1], w1 ? w1->dims[1] : 0, w2->dims[2]};

	return attr->units.n ? unequal : equal;
}

/* An expert's own: H and F, and where its weights lie: from these rows on, in W2 from this column on. */
struct experts_part {
	long H, F, row1, row2, column2;
};

static inline struct experts_part experts_part(const void *experts_attr, const struct tensor *const *in, long e)
{
	const struct experts_attr *attr = (const struct experts_attr *)experts_attr;
	struct experts_widths w = experts_widths(attr, in);
	struct experts_part p = {w.H, w.F, e * w.H, e * w.O, 0};
	long per = attr->gated ? 2 : 1;

	if (!attr->units.n)
		return p;
	p.F = units_of(&attr->units, e);
	p.H = per * p.F;
	p.column2 = units_first(&attr->units, e);
	p.row1 = per * p.column2;
	p.row2 = 0;
	return p;
}

void experts_room_cuda(struct op_shapes *s);
op_kernel experts_forward_cuda, experts_backward_cuda;

extern const struct op op_experts;

#endif
