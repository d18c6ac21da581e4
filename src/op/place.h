/*
 * place: rows of a buffer sorted by expert for the choices of tokens. Choice i = t K + k is the k-th
 * of token t; tokens, in order, form routing groups of group_tokens. In each group an expert takes the
 * first `capacity` choices that name it (0: all), token by token and within a token the better one
 * first; the rest is dropped. So a choice can lose its place to choices of earlier tokens alone. In other
 * orders a token's future can be the reason that it lost its place:
 *   by choice  the first choices of all tokens of a group come before any second one (Lepikhin et al. 2020,
 *              arXiv:2006.16668, algorithm 1)
 *   by score   the same, but among the firsts, seconds, ... tokens come by falling score of their first choice,
 *              of equals the earlier (batch prioritised routing: Riquelme et al. 2021, arXiv:2106.05974,
 *              algorithm 2)
 *   SLOT[i]   its row, -1 where it is dropped or names no expert
 *   FIRST     the segment of expert e is rows FIRST[e] to FIRST[e + 1], of which the first COUNT[e]
 *             have a choice, in that order over all groups
 *   TOKEN[s]  the choice of row s, -1: none. Its shape is the buffer's, the device's own affair:
 *             host   [S], S = B T K, or what all experts take if that is less: segments without gaps
 *             GPU    [E, C], S = E C: segments of C rows, where that is not much more than there are
 *                    choices; [S] else: segments as long as they need be. Both in multiples of
 *                    PLACE_ROUND rows.
 *   WANTED    choices that name each expert, before dropping; LOAD their share of all
 *   DROPPED   choices dropped, and choices
 *   SERVED    tokens with a row
 */
#ifndef OP_PLACE_H
#define OP_PLACE_H

#include "op/op.h"

enum {
	PLACE_EXPERT_BTK,	/* int, from choose or overflow; -1: none */
	PLACE_SHARE,		/* optional [1], master, 0 to 1: of the capacity that is in force; at least one choice */
	PLACE_S_BTE,		/* scores, master; there where the order is by score */
	PLACE_N_IN
};

enum {
	PLACE_SLOT_BTK,		/* int */
	PLACE_FIRST_E1,		/* int [E + 1] */
	PLACE_TOKEN_S,		/* int [S] or [E, C] */
	PLACE_COUNT_E,		/* int */
	PLACE_WANTED_E,		/* int */
	PLACE_LOAD_E,		/* metric */
	PLACE_DROPPED,		/* metric [2]: dropped, all */
	PLACE_SERVED,		/* int [1] */
	PLACE_N_OUT
};

enum place_order { PLACE_BY_TOKEN, PLACE_BY_CHOICE, PLACE_BY_SCORE };

struct place_attr {
	long n_experts;
	long group_tokens;	/* divides B T */
	long capacity;		/* choices an expert takes of a group; 0: all */
	enum place_order order;
};

enum { PLACE_ROUND = 128 };	/* rows: tiles of matrix products on a GPU cross no segment */

/* Shape of TOKEN for n choices in `groups` groups of which an expert takes `taken` at most. */
struct tensor place_buffer(const struct device *d, long n, long groups, long taken, long n_experts);

void place_room_cuda(struct op_shapes *s);
op_kernel place_forward_cuda;

extern const struct op op_place;

#endif
