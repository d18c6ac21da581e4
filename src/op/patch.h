/*
 * patch: values in place of tokens. Each P tokens of a row are one position, a token is a value:
 *   bytes    v = id / 127.5 - 1, or 0 where id is above 255
 *   halves   v = the number whose bits id is (base/half.h), or missing
 * Halves are normalised for each row by the mean m and the standard deviation s of its values (RevIN, Kim et al.
 * 2022, ICLR, without learned weights):
 *   x = (v - m) / s, or 0 where missing;   s = sqrt(variance + 1e-5);   m = 0, s = 1 if all are missing
 * and P flags stand behind the P values of a position, 1 where one is missing. So a position sees, by m and s, all
 * values of its row: what is asked for must not be among them.
 * The id of a position, and what is asked of it, are those of its last token.
 */
#ifndef OP_PATCH_H
#define OP_PATCH_H

#include "op/op.h"

enum {
	PATCH_TOKEN_BT,			/* int; T a multiple of P */
	PATCH_TARGET_BT,		/* optional, int */
	PATCH_N_IN
};

enum {
	PATCH_X_BNF,			/* N = T / P; F = P of bytes, 2 P of halves */
	PATCH_SCALE_B2,			/* master: m, s; of bytes 0, 1 */
	PATCH_TOKEN_BN,			/* int */
	PATCH_TARGET_BN,		/* int; -1 without targets */
	PATCH_N_OUT
};

struct patch_attr {
	long size;			/* P */
	bool halves;
};

#define PATCH_EPS 1e-5

op_kernel patch_forward_cuda;
extern const struct op op_patch;

#endif
