/*
 * Tokens are cut into tiles of at most 64 that cross no group border; a tile's tokens are the lanes
 * of all vector loops, whatever the number of experts. Places come from two passes: tiles count
 * their tokens by expert, one thread turns the counts into the first rank of each tile (by group)
 * and the first slot of each group (by expert), then tiles hand out slots in token order.
 */
#include "op/cpu/route.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "op/kit/gemm.h"
#include "op/kit/reduce.h"
#include "op/kit/token.h"
#include "op/route.h"
#include "op/kit/vec.h"

enum {
	TILE = 64,		/* tokens */
	TILES_PER_PART = 8,	/* of the sum over tokens in the gradient of W */
};

struct sizes {
	long n, D, E;			/* tokens, width, experts */
	long group, groups;		/* tokens of a group; number */
	long group_tiles, tiles;	/* of one group; of all */
};

struct tile {
	long group, at, n;		/* tokens at to at + n - 1, all of one group */
};

/* A tile's sums over its valid tokens. */
struct tile_sums {
	float z, entropy;
	int dropped;
};

struct room {
	int *rank;			/* [tiles, E]: tokens by argmax; then rank of the first */
	int *start;			/* [groups, E]: slot of rank 0 */
	float *p_sum;			/* [tiles, E] */
	struct tile_sums *sums;		/* [tiles] */
};

static struct sizes sizes_of(const struct tensor *x_BTD, const struct tensor *w_ED,
	const struct route_attr *attr)
{
	struct sizes s = {.n = tensor_rows(x_BTD), .D = tensor_width(x_BTD), .E = w_ED->dims[0],
		.group = attr->group_tokens};

	s.groups = s.n / s.group;
	s.group_tiles = ceil_div(s.group, TILE);
	s.tiles = s.groups * s.group_tiles;
	return s;
}

static struct tile tile_of(const struct sizes *s, long i)
{
	long from = i % s->group_tiles * TILE, left = s->group - from;

	return (struct tile){i / s->group_tiles, i / s->group_tiles * s->group + from,
		left < TILE ? left : TILE};
}

static long parts_of(const struct sizes *s)
{
	return ceil_div(s->tiles, TILES_PER_PART);
}

void route_room_cpu(struct op_shapes *shapes)
{
	struct sizes s = sizes_of(shapes->in[ROUTE_X_BTD], shapes->in[ROUTE_W_ED], shapes->attr);

	shapes->forward_workspace = (size_t)(s.tiles * s.E) * (sizeof(int) + sizeof(float)) +
		(size_t)(s.groups * s.E) * sizeof(int) + (size_t)s.tiles * sizeof(struct tile_sums);
	shapes->backward_workspace =
		(size_t)(s.E * s.n + parts_of(&s) * s.E * s.D + s.groups) * sizeof(float);
}

static struct room room_of(const struct sizes *s, void *workspace)
{
	struct room room = {.rank = workspace};

	room.start = room.rank + s->tiles * s->E;
	room.p_sum = (float *)(room.start + s->groups * s->E);
	room.sums = (struct tile_sums *)(room.p_sum + s->tiles * s->E);
	return room;
}

/* Logits of a tile become p in place; argmax, log-sum-exp and entropy of each token. */
static void softmax(float *p_EN, const struct sizes *s, long n, int *choice, float *lse,
	float *entropy)
{
	float most[TILE], sum[TILE] = {0}, mean[TILE] = {0};

	for (long i = 0; i < n; i++) {
		most[i] = p_EN[i];
		choice[i] = 0;
	}
	for (long e = 1; e < s->E; e++) {
		const float *logit = p_EN + e * s->n;
		#pragma omp simd
		for (long i = 0; i < n; i++) {
			choice[i] = logit[i] > most[i] ? (int)e : choice[i];
			most[i] = logit[i] > most[i] ? logit[i] : most[i];
		}
	}
	for (long e = 0; e < s->E; e++) {
		float *p = p_EN + e * s->n;
		#pragma omp simd
		for (long i = 0; i < n; i++) {
			float logit = p[i] - most[i];
			p[i] = vec_exp(logit);
			sum[i] += p[i];
			mean[i] += p[i] * logit;
		}
	}
	for (long i = 0; i < n; i++) {
		float log_sum = logf(sum[i]);
		lse[i] = most[i] + log_sum;
		sum[i] = 1 / sum[i];
		entropy[i] = log_sum - mean[i] * sum[i];
	}
	for (long e = 0; e < s->E; e++) {
		float *p = p_EN + e * s->n;
		#pragma omp simd
		for (long i = 0; i < n; i++)
			p[i] *= sum[i];
	}
}

/* First pass over tile i: everything about its tokens but their places. */
static void tile_choose(const struct op_run *r, const struct sizes *s, const struct room *room,
	long i)
{
	const struct tensor *x = r->in[ROUTE_X_BTD], *w = r->in[ROUTE_W_ED],
		*mask = r->in[ROUTE_MASK_BT];
	struct tile tile = tile_of(s, i);
	float *p_EN = row_f32(r->saved[ROUTE_P_EBT], 0) + tile.at,
		*lse = row_f32(r->saved[ROUTE_LSE_BT], 0) + tile.at, entropy[TILE];
	int choice[TILE], *count = room->rank + i * s->E;
	struct tile_sums sums = {0};

	gemm(GEMM_N, GEMM_T, s->E, tile.n, s->D, 1, row_f32(w, 0), w->ld, row_f32(x, tile.at),
		x->ld, 0, p_EN, s->n);
	softmax(p_EN, s, tile.n, choice, lse, entropy);
	memset(count, 0, (size_t)s->E * sizeof *count);
	for (long k = 0; k < tile.n; k++) {
		if (mask && *int_at(mask, tile.at + k) < 0)
			choice[k] = -1;
		*int_at(r->out[ROUTE_EXPERT_BT], tile.at + k) = choice[k];
		if (choice[k] < 0)
			continue;
		count[choice[k]]++;
		sums.z += lse[k] * lse[k];
		sums.entropy += entropy[k];
	}
	for (long e = 0; e < s->E; e++) {
		float sum = 0;
		#pragma omp simd reduction(+:sum)
		for (long k = 0; k < tile.n; k++)
			sum += choice[k] < 0 ? 0 : p_EN[e * s->n + k];
		room->p_sum[i * s->E + e] = sum;
	}
	room->sums[i] = sums;
}

/* Between the passes: counts of tiles become ranks, and each group's share of each expert's rows
   gets its place. */
static void place_groups(const struct op_run *r, const struct sizes *s, const struct room *room)
{
	const struct route_attr *attr = r->attr;
	int slot = 0, *first = row_int(r->out[ROUTE_FIRST_E1], 0);

	for (long e = 0; e < s->E; e++) {
		first[e] = slot;
		for (long g = 0; g < s->groups; g++) {
			int *rank = room->rank + g * s->group_tiles * s->E + e, total = 0;
			for (long i = 0; i < s->group_tiles; i++) {
				int count = rank[i * s->E];
				rank[i * s->E] = total;
				total += count;
			}
			row_int(r->saved[ROUTE_COUNT_GE], g)[e] = total;
			room->start[g * s->E + e] = slot;
			bool full = attr->capacity && total > attr->capacity;
			slot += full ? (int)attr->capacity : total;
		}
		row_int(r->out[ROUTE_COUNT_E], 0)[e] = slot - first[e];
	}
	first[s->E] = slot;
	for (long row = slot; row < tensor_size(r->out[ROUTE_TOKEN_S]); row++)
		row_int(r->out[ROUTE_TOKEN_S], 0)[row] = -1;
}

/* Second pass over tile i: slots and gates in token order. */
static void tile_place(const struct op_run *r, const struct sizes *s, const struct room *room,
	long i)
{
	const struct route_attr *attr = r->attr;
	struct tile tile = tile_of(s, i);
	const float *p_EN = row_f32(r->saved[ROUTE_P_EBT], 0);
	int *rank = room->rank + i * s->E, *start = room->start + tile.group * s->E, dropped = 0,
		*token = row_int(r->out[ROUTE_TOKEN_S], 0);

	for (long t = tile.at; t < tile.at + tile.n; t++) {
		int e = *int_at(r->out[ROUTE_EXPERT_BT], t), slot = -1;
		if (e >= 0) {
			bool kept = !attr->capacity || rank[e] < attr->capacity;
			slot = kept ? start[e] + rank[e] : -1;
			dropped += !kept;
			rank[e]++;
		}
		if (slot >= 0)
			token[slot] = (int)t;
		*int_at(r->out[ROUTE_SLOT_BT], t) = slot;
		*f32_at(r->out[ROUTE_GATE_BT], t) = slot < 0 ? 0 : p_EN[e * s->n + t];
	}
	room->sums[i].dropped = dropped;
}

static long valid_tokens(const struct op_run *r, const struct sizes *s, long g)
{
	long n = 0;

	for (long e = 0; e < s->E; e++)
		n += row_int(r->saved[ROUTE_COUNT_GE], g)[e];
	return n;
}

/* E sum_i f_i P_i of group g with n valid tokens. */
static double balance(const struct op_run *r, const struct sizes *s, const struct room *room,
	long g, double n)
{
	double sum = 0;

	for (long e = 0; e < s->E; e++) {
		double p = 0;
		for (long i = g * s->group_tiles; i < (g + 1) * s->group_tiles; i++)
			p += room->p_sum[i * s->E + e];
		sum += row_int(r->saved[ROUTE_COUNT_GE], g)[e] / n * p / n;
	}
	return (double)s->E * sum;
}

/* Losses and metrics from the sums of tiles. */
static void summarise(const struct op_run *r, const struct sizes *s, const struct room *room)
{
	double loss = 0, z = 0, entropy = 0, dropped = 0, valid = 0, groups = 0;
	float *load = row_f32(r->out[ROUTE_LOAD_E], 0), *drops = row_f32(r->out[ROUTE_DROPPED], 0);

	for (long g = 0; g < s->groups; g++) {
		double n = (double)valid_tokens(r, s, g), z_group = 0;
		for (long i = g * s->group_tiles; i < (g + 1) * s->group_tiles; i++) {
			z_group += room->sums[i].z;
			entropy += room->sums[i].entropy;
			dropped += room->sums[i].dropped;
		}
		if (n == 0)
			continue;
		loss += balance(r, s, room, g, n);
		z += z_group / n;
		valid += n;
		groups++;
	}
	for (long e = 0; e < s->E; e++) {
		double n = 0;
		for (long g = 0; g < s->groups; g++)
			n += row_int(r->saved[ROUTE_COUNT_GE], g)[e];
		load[e] = (float)(n / fmax(valid, 1));
	}
	*row_f32(r->out[ROUTE_BALANCE], 0) = (float)(loss / fmax(groups, 1));
	*row_f32(r->out[ROUTE_Z], 0) = (float)(z / fmax(groups, 1));
	*row_f32(r->out[ROUTE_ENTROPY], 0) = (float)(entropy / fmax(valid, 1));
	drops[0] = (float)dropped;
	drops[1] = (float)valid;
}

void route_forward_cpu(const struct op_run *r)
{
	struct sizes s = sizes_of(r->in[ROUTE_X_BTD], r->in[ROUTE_W_ED], r->attr);
	struct room room = room_of(&s, r->workspace);

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < s.tiles; i++)
		tile_choose(r, &s, &room, i);
	place_groups(r, &s, &room);
	#pragma omp parallel for schedule(static)
	for (long i = 0; i < s.tiles; i++)
		tile_place(r, &s, &room, i);
	summarise(r, &s, &room);
}

/* share[g] = 1 / (N M): what one token of group g weighs in a mean over groups. */
static void token_shares(const struct op_run *r, const struct sizes *s, float *share)
{
	long groups = 0;

	for (long g = 0; g < s->groups; g++)
		groups += valid_tokens(r, s, g) > 0;
	for (long g = 0; g < s->groups; g++) {
		double n = (double)valid_tokens(r, s, g);
		share[g] = n > 0 ? (float)(1 / (n * (double)groups)) : 0;
	}
}

static float scalar(const struct tensor *d)
{
	return d ? *row_f32(d, 0) : 0;
}

/* dlogit of the tokens of tile i, by the formula in op/route.c. `share` is that of its group. */
static void tile_dlogit(const struct op_run *r, const struct sizes *s, float *dlogit_EN, long i,
	float share)
{
	struct tile tile = tile_of(s, i);
	const struct tensor *d_gate = r->d_out[ROUTE_GATE_BT];
	const int *count = row_int(r->saved[ROUTE_COUNT_GE], tile.group);
	const float *p_EN = row_f32(r->saved[ROUTE_P_EBT], 0) + tile.at,
		*lse = row_f32(r->saved[ROUTE_LSE_BT], 0) + tile.at;
	float d_z = scalar(r->d_out[ROUTE_Z]) * 2 * share;
	float d_balance = scalar(r->d_out[ROUTE_BALANCE]) * share * (float)s->E;
	float per_count = share > 0 ? d_balance / (float)valid_tokens(r, s, tile.group) : 0;
	float gate[TILE], mean[TILE];
	int choice[TILE];

	for (long k = 0; k < tile.n; k++) {
		long t = tile.at + k;
		bool kept = d_gate && *int_at(r->out[ROUTE_SLOT_BT], t) >= 0;
		choice[k] = *int_at(r->out[ROUTE_EXPERT_BT], t);
		gate[k] = kept ? *f32_at(d_gate, t) : 0;
		mean[k] = kept ? gate[k] * p_EN[choice[k] * s->n + k] : 0;
	}
	for (long e = 0; e < s->E; e++) {
		float a = per_count * (float)count[e];
		#pragma omp simd
		for (long k = 0; k < tile.n; k++)
			mean[k] += p_EN[e * s->n + k] * a;
	}
	for (long e = 0; e < s->E; e++) {
		float *d = dlogit_EN + e * s->n + tile.at, a = per_count * (float)count[e];
		#pragma omp simd
		for (long k = 0; k < tile.n; k++) {
			float g = (choice[k] == e ? a + gate[k] : a) - mean[k] + d_z * lse[k];
			d[k] = choice[k] < 0 ? 0 : p_EN[e * s->n + k] * g;
		}
	}
}

void route_backward_cpu(const struct op_run *r)
{
	const struct tensor *x = r->in[ROUTE_X_BTD], *w = r->in[ROUTE_W_ED],
		*dx = r->d_in[ROUTE_X_BTD], *dw = r->d_in[ROUTE_W_ED];
	struct sizes s = sizes_of(x, w, r->attr);
	float *dlogit_EN = r->workspace, *parts = dlogit_EN + s.E * s.n,
		*share = parts + parts_of(&s) * s.E * s.D;

	token_shares(r, &s, share);
	#pragma omp parallel for schedule(static)
	for (long part = 0; part < parts_of(&s); part++) {
		long from = part * TILES_PER_PART, to = from + TILES_PER_PART;
		to = min_long(to, s.tiles);
		for (long i = from; i < to; i++)
			tile_dlogit(r, &s, dlogit_EN, i, share[i / s.group_tiles]);
		long at = tile_of(&s, from).at, end = to < s.tiles ? tile_of(&s, to).at : s.n;
		if (dx)
			gemm(GEMM_T, GEMM_N, end - at, s.D, s.E, 1, dlogit_EN + at, s.n,
				row_f32(w, 0), w->ld, op_adds(r, ROUTE_X_BTD), row_f32(dx, at),
				dx->ld);
		if (dw)
			gemm(GEMM_N, GEMM_N, s.E, s.D, end - at, 1, dlogit_EN + at, s.n,
				row_f32(x, at), x->ld, 0, parts + part * s.E * s.D, s.D);
	}
	if (dw)
		reduce_parts(dw->at, parts, parts_of(&s), s.E * s.D, op_adds(r, ROUTE_W_ED));
}
