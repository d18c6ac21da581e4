/*
 * assign: experts by the token's id, without any score, for comparison with routers that learn (Roller et
 * al. 2021, arXiv:2106.04426, random hash): the k-th of K choices is expert (h + k d) mod E, h and d
 * drawn from (seed, id), d coprime to E, so that no two of a token are the same. Or by its place in the
 * document: h the place, d 1, so that all experts have as much to do (uniform assignment of MegaBlocks, Gale
 * et al. 2022, arXiv:2211.15841). Masked tokens (mask < 0) have none: -1. S stands where a router's scores
 * would: 1 / K for each of the K, else 0.
 */
#ifndef OP_ASSIGN_H
#define OP_ASSIGN_H

#include "op/op.h"

enum {
	ASSIGN_TOKEN_BT,	/* int */
	ASSIGN_MASK_BT,		/* optional int; < 0: the token is not there */
	ASSIGN_START_BT,	/* optional int, op/document_start.h: for places */
	ASSIGN_N_IN
};

enum {
	ASSIGN_EXPERT_BTK,	/* int; -1: none */
	ASSIGN_S_BTE,		/* master */
	ASSIGN_N_OUT
};

struct assign_attr {
	long k, n_experts;	/* k at most n_experts */
	bool by_place;
	uint64_t seed;		/* of the hash, no run's: what a token's experts are never changes */
};

op_kernel assign_forward_cuda;

extern const struct op op_assign;

#endif
