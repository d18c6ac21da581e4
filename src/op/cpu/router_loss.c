/*
 * Tokens are cut into tiles of at most 64 that cross no group border; each makes its sums by itself, and
 * one thread adds those of a group in order, in float64.
 */
#include "op/cpu/router_loss.h"

#include <math.h>
#include <string.h>

#include "base/num.h"
#include "op/kit/vec.h"
#include "op/router_loss.h"

enum { TILE = 64 };	/* tokens */

static long tiles_of_group(const struct router_loss_attr *attr)
{
	return ceil_div(attr->group_tokens, TILE);
}

/* A tile's sums over its valid tokens. */
struct tile_sums {
	double z, h_token;
	long n;
};

struct room {
	struct tile_sums *sums;		/* [tiles] */
	float *p;			/* [tiles, E] */
	int *count;			/* [tiles, E] */
};

void router_loss_room_cpu(struct op_shapes *s)
{
	const struct router_loss_attr *attr = s->attr;
	const struct tensor *score = s->in[ROUTER_LOSS_S_BTE];
	size_t groups = (size_t)(tensor_rows(score) / attr->group_tokens),
		E = (size_t)tensor_width(score);

	s->forward_workspace = groups * (size_t)tiles_of_group(attr) *
		(sizeof(struct tile_sums) + E * (sizeof(float) + sizeof(int)));
	s->backward_workspace = groups * E * sizeof(float);
}

static struct room room_of(const struct op_run *r, long tiles)
{
	struct room room = {.sums = r->workspace};

	room.p = (float *)(room.sums + tiles);
	room.count = (int *)(room.p + tiles * tensor_width(r->in[ROUTER_LOSS_S_BTE]));
	return room;
}

/* 1, or 1 / sum s where scores are normalised. */
static float row_scale(const struct router_loss_attr *attr, const float *s, long E)
{
	float sum = 0;

	if (!attr->normalise)
		return 1;
	#pragma omp simd reduction(+:sum)
	for (long e = 0; e < E; e++)
		sum += s[e];
	return 1 / sum;
}

static float row_lse(const float *logit, long E)
{
	float most = -INFINITY, sum = 0;

	for (long e = 0; e < E; e++)
		most = fmaxf(most, logit[e]);
	#pragma omp simd reduction(+:sum)
	for (long e = 0; e < E; e++)
		sum += vec_exp(logit[e] - most);
	return most + logf(sum);
}

static void add_token(const struct op_run *r, long t, struct tile_sums *sums, float *p_sum, int *count)
{
	const struct tensor *expert = r->in[ROUTER_LOSS_EXPERT_BTK], *logit = r->in[ROUTER_LOSS_LOGIT_BTE];
	const float *s = row_f32(r->in[ROUTER_LOSS_S_BTE], t);
	long E = tensor_width(r->in[ROUTER_LOSS_S_BTE]);
	float scale = row_scale(r->attr, s, E), h = 0;
	double lse = logit ? row_lse(row_f32(logit, t), E) : 0;

	for (long e = 0; e < E; e++) {
		float p = s[e] * scale;
		p_sum[e] += p;
		h -= p * logf(fmaxf(p, ROUTER_LOSS_TINY));
	}
	for (long k = 0; k < tensor_width(expert); k++)
		if (row_int(expert, t)[k] >= 0)
			count[row_int(expert, t)[k]]++;
	sums->z += lse * lse;
	sums->h_token += h;
	sums->n++;
}

static void sum_tile(const struct op_run *r, const struct room *room, long i)
{
	const struct router_loss_attr *attr = r->attr;
	long of_group = tiles_of_group(attr), E = tensor_width(r->in[ROUTER_LOSS_S_BTE]);
	long begin = i / of_group * attr->group_tokens, t = begin + i % of_group * TILE,
		end = begin + attr->group_tokens;

	memset(room->p + i * E, 0, (size_t)E * sizeof(float));
	memset(room->count + i * E, 0, (size_t)E * sizeof(int));
	room->sums[i] = (struct tile_sums){0};
	for (end = min_long(t + TILE, end); t < end; t++)
		if (router_loss_valid(r, t))
			add_token(r, t, &room->sums[i], room->p + i * E, room->count + i * E);
}

/* A group's part of each output, not yet divided by the number of groups. */
static void add_group(const struct op_run *r, const struct room *room, long g, double *total)
{
	const struct router_loss_attr *attr = r->attr;
	long of_group = tiles_of_group(attr), E = tensor_width(r->in[ROUTER_LOSS_S_BTE]);
	float *f = row_f32(r->saved[ROUTER_LOSS_F_GE], g), *p = row_f32(r->saved[ROUTER_LOSS_P_GE], g);
	double n = 0, choices = 0, z = 0, h_token = 0;

	for (long i = g * of_group; i < (g + 1) * of_group; i++) {
		n += (double)room->sums[i].n;
		z += room->sums[i].z;
		h_token += room->sums[i].h_token;
		for (long e = 0; e < E; e++)
			choices += room->count[i * E + e];
	}
	for (long e = 0; e < E; e++) {
		double p_e = 0, f_e = 0;
		for (long i = g * of_group; i < (g + 1) * of_group; i++) {
			p_e += room->p[i * E + e];
			f_e += room->count[i * E + e];
		}
		p_e /= fmax(n, 1);
		f_e /= fmax(choices, 1);
		f_e *= units_share(&attr->units, e);
		f[e] = (float)f_e;
		p[e] = (float)p_e;
		total[ROUTER_LOSS_BALANCE] += (double)E * f_e * p_e;
		total[ROUTER_LOSS_IMPORTANCE] += n > 0 ? (double)E * pow(p_e - 1 / (double)E, 2) : 0;
		total[ROUTER_LOSS_H_MEAN] -= p_e * log(fmax(p_e, (double)ROUTER_LOSS_TINY));
	}
	row_f32(r->saved[ROUTER_LOSS_SHARE_G], 0)[g] = (float)n;
	total[ROUTER_LOSS_Z] += z / fmax(n, 1);
	total[ROUTER_LOSS_H_TOKEN] += h_token / fmax(n, 1);
}

void router_loss_forward_cpu(const struct op_run *r)
{
	long G = tensor_rows(r->saved[ROUTER_LOSS_F_GE]), tiles = G * tiles_of_group(r->attr), M = 0;
	struct room room = room_of(r, tiles);
	double total[ROUTER_LOSS_N_OUT] = {0};
	float *share = row_f32(r->saved[ROUTER_LOSS_SHARE_G], 0);

	#pragma omp parallel for schedule(static)
	for (long i = 0; i < tiles; i++)
		sum_tile(r, &room, i);
	for (long g = 0; g < G; g++) {
		add_group(r, &room, g, total);
		M += share[g] > 0;
	}
	for (long g = 0; g < G; g++)
		share[g] = share[g] > 0 ? (float)(1 / ((double)share[g] * (double)M)) : 0;
	for (int i = 0; i < ROUTER_LOSS_N_OUT; i++)
		*row_f32(r->out[i], 0) = (float)(total[i] / (double)(M ? M : 1));
}

static float d_of(const struct op_run *r, int out)
{
	return r->d_out[out] ? *row_f32(r->d_out[out], 0) : 0;
}

/* dp_tj / share but for the token's own entropy: the same for all tokens of group g. */
static void group_slopes(const struct op_run *r, long g, float *slope_E)
{
	const float *f = row_f32(r->saved[ROUTER_LOSS_F_GE], g), *p = row_f32(r->saved[ROUTER_LOSS_P_GE], g);
	long E = tensor_width(r->in[ROUTER_LOSS_S_BTE]);
	float balance = d_of(r, ROUTER_LOSS_BALANCE) * (float)E, mean = d_of(r, ROUTER_LOSS_H_MEAN),
		importance = d_of(r, ROUTER_LOSS_IMPORTANCE) * 2;

	for (long e = 0; e < E; e++)
		slope_E[e] = balance * f[e] + importance * ((float)E * p[e] - 1) -
			mean * (1 + logf(fmaxf(p[e], ROUTER_LOSS_TINY)));
}

static void token_ds(const struct op_run *r, long t, const float *slope_E, float share, float *ds)
{
	const struct router_loss_attr *attr = r->attr;
	const float *s = row_f32(r->in[ROUTER_LOSS_S_BTE], t);
	long E = tensor_width(r->in[ROUTER_LOSS_S_BTE]);
	float scale = row_scale(attr, s, E), sharp = d_of(r, ROUTER_LOSS_H_TOKEN), mean = 0;
	bool add = op_adds(r, ROUTER_LOSS_S_BTE);

	for (long e = 0; e < E && attr->normalise; e++) {
		float p = s[e] * scale;
		mean += p * (slope_E[e] - sharp * (1 + logf(fmaxf(p, ROUTER_LOSS_TINY))));
	}
	for (long e = 0; e < E; e++) {
		float own = sharp == 0 ? 0 : sharp * (1 + logf(fmaxf(s[e] * scale, ROUTER_LOSS_TINY)));
		ds[e] = share * scale * (slope_E[e] - own - mean) + (add ? ds[e] : 0);
	}
}

static void token_dlogit(const struct op_run *r, long t, float share, float *dlogit)
{
	const float *logit = row_f32(r->in[ROUTER_LOSS_LOGIT_BTE], t);
	long E = tensor_width(r->in[ROUTER_LOSS_LOGIT_BTE]);
	float lse = row_lse(logit, E), d = d_of(r, ROUTER_LOSS_Z) * share * 2 * lse;
	bool add = op_adds(r, ROUTER_LOSS_LOGIT_BTE);

	#pragma omp simd
	for (long e = 0; e < E; e++)
		dlogit[e] = d * vec_exp(logit[e] - lse) + (add ? dlogit[e] : 0);
}

void router_loss_backward_cpu(const struct op_run *r)
{
	const struct router_loss_attr *attr = r->attr;
	const struct tensor *ds = r->d_in[ROUTER_LOSS_S_BTE], *dlogit = r->d_in[ROUTER_LOSS_LOGIT_BTE];
	long n = tensor_rows(r->in[ROUTER_LOSS_S_BTE]), E = tensor_width(r->in[ROUTER_LOSS_S_BTE]);
	float *slope_GE = r->workspace;

	for (long g = 0; g < n / attr->group_tokens; g++)
		group_slopes(r, g, slope_GE + g * E);
	#pragma omp parallel for schedule(static)
	for (long t = 0; t < n; t++) {
		long g = t / attr->group_tokens;
		float share = router_loss_valid(r, t) ? row_f32(r->saved[ROUTER_LOSS_SHARE_G], 0)[g] : 0;
		if (ds)
			token_ds(r, t, slope_GE + g * E, share, row_f32(ds, t));
		if (dlogit)
			token_dlogit(r, t, share, row_f32(dlogit, t));
	}
}
