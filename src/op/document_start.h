/*
 * document_start: for each token the place in its sequence where its document begins:
 *   start[b, 0] = 0;   start[b, t] = t  if token[b, t - 1] is end of text,  else start[b, t - 1]
 * End of text belongs to the document that it ends. Operators that mix tokens (scan, conv_silu,
 * attention) take start_BT as an optional input, and then the token at t sees those from start to t.
 *
 * For decoding (op/scan_step.h and others) a sequence comes in several calls. carried_B says where the
 * document began that the first token belongs to, start[b, 0] = carried[b] <= 0, seen from that token, and
 * is left saying so for the next call: 0 behind end of text, else start[b, T - 1] - T. With 0 a sequence
 * begins, whatever the operators hold of another: nothing in front of its start is seen.
 */
#ifndef OP_DOCUMENT_START_H
#define OP_DOCUMENT_START_H

#include <limits.h>

#include "op/op.h"

enum {
	DOCUMENT_START_TOKEN_BT,	/* int */
	DOCUMENT_START_CARRIED_B,	/* optional, int, updated: [B, 1] */
	DOCUMENT_START_N_IN
};

enum {
	DOCUMENT_START_BT,		/* int, 0 (or carried[b]) <= start[b, t] <= t */
	DOCUMENT_START_N_OUT
};

struct document_start_attr {
	int end_of_text;	/* -1: no token is */
};

/* start[b, t] of a row that is not there, behind the last one that is (op/pick.h): for operators that carry. */
enum { NOT_THERE = INT_MAX };

extern const struct op op_document_start;

op_kernel document_start_forward_cuda;

/* The first token that token t of sequence b sees: 0 without documents, where start_BT is NULL. */
static inline long first_seen(const struct tensor *start_BT, long b, long t)
{
	return start_BT ? row_int(start_BT, b)[t] : 0;
}

static inline bool begins_document(const struct tensor *start_BT, long b, long t)
{
	return start_BT && row_int(start_BT, b)[t] == t;
}

/* To prepare examples of operators: sets the input whose name begins with "start", if it is there. Documents of
   1, 1, 2, 4, 8, ... tokens, 3 tokens later in each further sequence, so that borders lie on tiles, in tiles, and
   have whole tiles between them. */
void prepare_documents(const struct op_trial *t);
/* The same for calls that go on with a sequence: a document of 2 + 37 b tokens so far, and borders. */
void prepare_carried(const struct op_trial *t);
/* And the last 9 b rows of a sequence are not there. */
void prepare_absent(const struct op_trial *t);

#endif
