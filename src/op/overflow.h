/*
 * overflow: choices of full experts go to the next best expert that has room, in front of place (op/place.h), which
 * then gives them rows. Tokens, in order, form routing groups of group_tokens, in each of which an expert takes
 * `capacity` choices. Choice by choice, token after token and within a token the better one first:
 *   expert'[i] = expert[i] where it has room; else, of the experts that have room and that the token has not named and
 *     does not have yet, the greatest in s + bias, ties to the lowest; where there is none it stays, to be dropped
 * So a choice moves by choices of earlier tokens alone. (Fedus, Zoph, Shazeer 2022, arXiv:2101.03961, appendix B, go
 * round by round over all tokens, by which a token's future can take its place.) Choices of no expert, -1, stay. No
 * gradient flows.
 *   WANTED  choices that name each expert, before any moves; LOAD their share of all
 */
#ifndef OP_OVERFLOW_H
#define OP_OVERFLOW_H

#include "op/op.h"

enum {
	OVERFLOW_EXPERT_BTK,	/* int, from choose; -1: none */
	OVERFLOW_S_BTE,		/* master, what they were chosen by */
	OVERFLOW_BIAS_E,	/* optional, master */
	OVERFLOW_SHARE,		/* optional [1], master: of the capacity that is in force, as in place */
	OVERFLOW_N_IN
};

enum {
	OVERFLOW_TAKEN_BTK,	/* int: expert' */
	OVERFLOW_WANTED_E,	/* int */
	OVERFLOW_LOAD_E,	/* metric */
	OVERFLOW_N_OUT
};

struct overflow_attr {
	long group_tokens;	/* divides B T */
	long capacity;		/* choices an expert takes of a group, above 0 */
};

void overflow_room_cuda(struct op_shapes *s);
op_kernel overflow_forward_cuda;

extern const struct op op_overflow;

#endif
