/*
 * remember: leaves keys and tokens of a call in rings, for op/copied.h of later ones: position s of the document of
 * the last token in row s mod L, the last L of them. Behind that operator, which reads what earlier calls have left.
 */
#ifndef OP_REMEMBER_H
#define OP_REMEMBER_H

#include "op/op.h"

enum {
	REMEMBER_K_BTC,
	REMEMBER_TOKEN_BT,	/* int */
	REMEMBER_START_BT,	/* int: documents, which may have begun in earlier calls */
	REMEMBER_KEYS_BLC,	/* updated */
	REMEMBER_TOKENS_BL,	/* int, updated */
	REMEMBER_N_IN
};

enum { REMEMBER_N_OUT };

extern const struct op op_remember;

op_kernel remember_forward_cuda;

#endif
