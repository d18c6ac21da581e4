/*
 * Where op_route and op_place have put their tokens (op_place: choices), compared with the packed buffer of
 * host devices. A device's layout is its own affair (op/route.h); what must be the same is every token's
 * expert and its rank there.
 */
#ifndef PLACES_H
#define PLACES_H

#include <stdlib.h>

#include "base/error.h"
#include "op/place.h"
#include "op/route.h"
#include "op/trial.h"

struct places {
	long tokens, experts, rows;
	const int *slot, *first, *token, *count;
};

static inline long places_expert(const struct places *p, int slot)
{
	long e = 0;

	while (e + 1 < p->experts && slot >= p->first[e + 1])
		e++;
	return e;
}

/* Do segments begin at multiples of `round`, with room for what they hold? */
static inline const char *places_segments(const struct places *p, const struct places *packed,
	int round)
{
	for (long e = 0; e < p->experts; e++) {
		if (p->count[e] != packed->first[e + 1] - packed->first[e])
			return "an expert's count is wrong";
		if (p->first[e] % round || p->first[e + 1] % round)
			return "a segment begins within a tile";
		if (p->first[e + 1] - p->first[e] < p->count[e])
			return "a segment is too short";
	}
	if (p->first[0] || p->first[p->experts] > p->rows)
		return "the segments are not in the buffer";
	return NULL;
}

/* What is wrong with p; NULL: nothing. packed: the same tokens, FIRST and SLOT without gaps, whose
   TOKEN and COUNT are not read. round: rows to which p's segments are rounded. */
static inline const char *places_fault(const struct places *p, const struct places *packed,
	int round)
{
	const char *fault = places_segments(p, packed, round);
	long kept = 0, filled = 0;

	for (long t = 0; !fault && t < p->tokens; t++) {
		if (packed->slot[t] < 0) {
			fault = p->slot[t] != -1 ? "a dropped token has a row" : NULL;
			continue;
		}
		long e = places_expert(packed, packed->slot[t]);
		kept++;
		if (p->slot[t] != p->first[e] + packed->slot[t] - packed->first[e])
			fault = "a token has the wrong row";
		else if (p->token[p->slot[t]] != t)
			fault = "a row has the wrong token";
	}
	for (long s = 0; !fault && s < p->rows; s++) {
		filled += p->token[s] >= 0;
		if (p->token[s] < -1)
			fault = "a row's token is not set";
	}
	return fault ? fault : filled != kept ? "a row without a token has one" : NULL;
}

/* SLOT, FIRST, TOKEN, COUNT of either operator. */
static const int places_of_route[] = {ROUTE_SLOT_BT, ROUTE_FIRST_E1, ROUTE_TOKEN_S, ROUTE_COUNT_E};
static const int places_of_place[] = {PLACE_SLOT_BTK, PLACE_FIRST_E1, PLACE_TOKEN_S, PLACE_COUNT_E};

/* All places of a trial of op_route or op_place, read into `room`, which the caller frees. */
static inline struct places places_of_trial(const struct op_trial *t, int **room)
{
	const int *outs = t->op == &op_place ? places_of_place : places_of_route;
	const int *list[4];
	long n = 0;
	int *to;

	for (int i = 0; i < 4; i++)
		n += tensor_size(t->out[outs[i]]);
	to = *room = xmalloc((size_t)n * sizeof *to);
	for (int i = 0; i < 4; i++) {
		list[i] = to;
		for (long k = 0; k < tensor_size(t->out[outs[i]]); k++)
			*to++ = (int)op_trial_get(t, t->out[outs[i]], k);
	}
	return (struct places){tensor_size(t->out[outs[0]]), tensor_size(t->out[outs[3]]),
		tensor_size(t->out[outs[2]]), list[0], list[1], list[2], list[3]};
}

/* places_fault() of a GPU's trial against one of the reference. */
static inline const char *places_of_trials_fault(const struct op_trial *b,
	const struct op_trial *ref)
{
	int *room[2];
	struct places p = places_of_trial(b, &room[0]), packed = places_of_trial(ref, &room[1]);
	const char *fault = places_fault(&p, &packed, PLACE_ROUND);

	free(room[0]);
	free(room[1]);
	return fault;
}

#endif
