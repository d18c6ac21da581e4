#include "op/place.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "op/kit/host.h"
#include "op/kit/token.h"
#include "op/place_rule.h"
#include "op/trial.h"

static long rounded(long rows)
{
	return ceil_div(rows, PLACE_ROUND) * PLACE_ROUND;
}

/* Segments of equal length make the experts' products one batch; they cost rows without choices: half
   of all at most, beside those of rounding. */
struct tensor place_buffer(const struct device *d, long n, long groups, long taken, long n_experts)
{
	long each = rounded(groups * taken);

	n = n < n_experts * groups * taken ? n : n_experts * groups * taken;
	if (device_is_host(d))
		return tensor_of(INDEX, 1, n);
	if (n_experts * each <= rounded(n) * 3 / 2 + PLACE_ROUND * n_experts)
		return tensor_of(INDEX, 2, n_experts, each);
	return tensor_of(INDEX, 1, rounded(n) + PLACE_ROUND * n_experts);
}

static void place_shape(struct op_shapes *s)
{
	const struct place_attr *attr = s->attr;
	const struct tensor *expert = s->in[PLACE_EXPERT_BTK];
	long E = attr->n_experts, n = tensor_size(expert), tokens = tensor_rows(expert);

	CHECK(expert->n_dims == 3 && attr->group_tokens > 0 && tokens % attr->group_tokens == 0);
	CHECK(E > 0 && attr->capacity >= 0);
	CHECK(!s->in[PLACE_SHARE] || (attr->capacity && tensor_size(s->in[PLACE_SHARE]) == 1));
	CHECK(!s->in[PLACE_S_BTE] == (attr->order != PLACE_BY_SCORE));
	CHECK(!s->in[PLACE_S_BTE] || tensor_rows(s->in[PLACE_S_BTE]) == tokens);
	long group = attr->group_tokens * tensor_width(expert),
		taken = attr->capacity && attr->capacity < group ? attr->capacity : group;
	s->out[PLACE_SLOT_BTK] = tensor_of(INDEX, 3, expert->dims[0], expert->dims[1],
		expert->dims[2]);
	s->out[PLACE_FIRST_E1] = tensor_of(INDEX, 1, E + 1);
	s->out[PLACE_TOKEN_S] = place_buffer(s->device, n, n / group, taken, E);
	s->out[PLACE_COUNT_E] = tensor_of(INDEX, 1, E);
	s->out[PLACE_WANTED_E] = tensor_of(INDEX, 1, E);
	s->out[PLACE_LOAD_E] = tensor_of(MASTER, 1, E);
	s->out[PLACE_DROPPED] = tensor_of(MASTER, 1, 2L);
	s->out[PLACE_SERVED] = tensor_of(INDEX, 1, 1L);
}

static void room_host(struct op_shapes *s)
{
	const struct place_attr *attr = s->attr;
	long sorted = attr->order == PLACE_BY_SCORE ? 2 * tensor_rows(s->in[PLACE_EXPERT_BTK]) : 0;

	s->forward_workspace = (size_t)(2 * attr->n_experts + sorted) * sizeof(int);
}

static void place_cost(const struct op_shapes *s, struct op_cost *c)
{
	c->forward_bytes = op_io_bytes(&op_place, s);
}

/* ---- whose turn it is ----------------------------------------------------------------------- */

/* In the workspace, behind two numbers for each expert. */
static int *sorted_tokens(const struct op_run *r)
{
	return (int *)r->workspace + 2 * ((const struct place_attr *)r->attr)->n_experts;
}

/* The score of its first choice. */
static double priority(const struct op_run *r, int t)
{
	const struct tensor *expert = r->in[PLACE_EXPERT_BTK];
	int e = *int_at(expert, t * tensor_width(expert));
	double s = e < 0 ? NAN : host_get(r, r->in[PLACE_S_BTE], t, e);

	return s == s ? s : -INFINITY;
}

/* Two runs of tokens that are in order, up to middle and from there on, become one; of equals the left is first. */
static void merge_runs(const struct op_run *r, int *at, int *room, long begin, long middle, long end)
{
	long i = begin, j = middle;

	for (long to = begin; to < end; to++)
		room[to] = j >= end || (i < middle && priority(r, at[i]) >= priority(r, at[j])) ? at[i++] : at[j++];
	memcpy(at + begin, room + begin, (size_t)(end - begin) * sizeof *at);
}

/* The tokens of each group, by falling priority. */
static void sort_tokens(const struct op_run *r)
{
	const struct place_attr *attr = r->attr;
	long N = tensor_rows(r->in[PLACE_EXPERT_BTK]), n = attr->group_tokens;
	int *sorted = sorted_tokens(r);

	for (long t = 0; t < N; t++)
		sorted[t] = (int)t;
	#pragma omp parallel for schedule(static)
	for (long g = 0; g < N; g += n)
		for (long run = 1; run < n; run *= 2)
			for (long t = 0; t + run < n; t += 2 * run)
				merge_runs(r, sorted, sorted + N, g + t, g + t + run, g + min_long(t + 2 * run, n));
}

/* The choice whose turn is the j-th. */
static long turn(const struct op_run *r, long j)
{
	const struct place_attr *attr = r->attr;
	long n = attr->group_tokens, K = tensor_width(r->in[PLACE_EXPERT_BTK]), in_group = j % (n * K);
	long t = (j - in_group) / K + in_group % n;

	if (attr->order == PLACE_BY_TOKEN)
		return j;
	return (attr->order == PLACE_BY_SCORE ? sorted_tokens(r)[t] : t) * K + in_group / n;
}

/* ---- who gets a place ----------------------------------------------------------------------- */

/* Choices an expert takes of a group; 0: all. */
static long capacity(const struct op_run *r)
{
	const struct place_attr *attr = r->attr;
	const struct tensor *share = r->in[PLACE_SHARE];

	return share ? place_capacity(host_get(r, share, 0, 0), attr->capacity) : attr->capacity;
}

/* The expert of choice i, whose turn is the j-th; -1: none. taken[e]: how many of its group have taken
   a place. */
static int claim(const struct op_run *r, long i, long j, int *taken, bool *kept)
{
	const struct place_attr *attr = r->attr;
	long most = capacity(r);
	const struct tensor *expert = r->in[PLACE_EXPERT_BTK];
	int e = *int_at(expert, i);

	if (j % (attr->group_tokens * tensor_width(expert)) == 0)
		for (long k = 0; k < attr->n_experts; k++)
			taken[k] = 0;
	*kept = e >= 0 && (!most || taken[e] < most);
	if (*kept)
		taken[e]++;
	return e;
}

static void count_choices(const struct op_run *r, int *taken)
{
	long E = tensor_size(r->out[PLACE_COUNT_E]);
	int *count = row_int(r->out[PLACE_COUNT_E], 0), *first = row_int(r->out[PLACE_FIRST_E1], 0),
		*wanted = row_int(r->out[PLACE_WANTED_E], 0);

	for (long e = 0; e < E; e++)
		count[e] = wanted[e] = 0;
	for (long j = 0; j < tensor_size(r->in[PLACE_EXPERT_BTK]); j++) {
		bool kept;
		int e = claim(r, turn(r, j), j, taken, &kept);
		if (e >= 0)
			wanted[e]++;
		if (kept)
			count[e]++;
	}
	first[0] = 0;
	for (long e = 0; e < E; e++)
		first[e + 1] = first[e] + count[e];
}

/* Loads and drops are ratios of the counts. */
static void summarise(const struct op_run *r)
{
	const int *count = row_int(r->out[PLACE_COUNT_E], 0),
		*wanted = row_int(r->out[PLACE_WANTED_E], 0);
	double all = 0, kept = 0;
	long E = tensor_size(r->out[PLACE_COUNT_E]);

	for (long e = 0; e < E; e++) {
		all += wanted[e];
		kept += count[e];
	}
	for (long e = 0; e < E; e++)
		host_put(r, r->out[PLACE_LOAD_E], 0, e, wanted[e] / (all > 0 ? all : 1));
	host_put(r, r->out[PLACE_DROPPED], 0, 0, all - kept);
	host_put(r, r->out[PLACE_DROPPED], 0, 1, all);
}

static int count_served(const struct tensor *slot_BTK)
{
	int served = 0;

	for (long t = 0, K = tensor_width(slot_BTK); t < tensor_rows(slot_BTK); t++) {
		bool any = false;
		for (long k = 0; k < K; k++)
			any |= *int_at(slot_BTK, t * K + k) >= 0;
		served += any;
	}
	return served;
}

/* For all devices of the host: integers are the same on each. */
static void place_forward(const struct op_run *r)
{
	const struct tensor *slot = r->out[PLACE_SLOT_BTK], *first = r->out[PLACE_FIRST_E1];
	int *taken = r->workspace, *next = taken + tensor_width(first) - 1,
		*token = row_int(r->out[PLACE_TOKEN_S], 0);
	long n = tensor_size(slot), S = tensor_size(r->out[PLACE_TOKEN_S]);

	if (r->in[PLACE_S_BTE])
		sort_tokens(r);
	count_choices(r, taken);
	for (long e = 0; e + 1 < tensor_width(first); e++)
		next[e] = row_int(first, 0)[e];
	for (long s = row_int(first, 0)[tensor_width(first) - 1]; s < S; s++)
		token[s] = -1;
	for (long j = 0; j < n; j++) {
		bool kept;
		long i = turn(r, j);
		int e = claim(r, i, j, taken, &kept);
		*int_at(slot, i) = kept ? next[e] : -1;
		if (kept)
			token[next[e]++] = (int)i;
	}
	row_int(r->out[PLACE_SERVED], 0)[0] = count_served(slot);
	summarise(r);
}

/* Experts in some order, no two of a token the same; every seventh token names none. Few scores, so that many are
   equal. */
static void prepare(const struct op_trial *t)
{
	const struct place_attr *attr = t->shapes.attr;
	const struct tensor *expert = t->in[PLACE_EXPERT_BTK];
	long K = tensor_width(expert);

	for (long i = 0; t->in[PLACE_S_BTE] && i < tensor_size(t->in[PLACE_S_BTE]); i++)
		op_trial_set(t, t->in[PLACE_S_BTE], i, (double)(i * i % 11) / 16);
	if (t->in[PLACE_SHARE])
		op_trial_set(t, t->in[PLACE_SHARE], 0, 0.625);
	for (long i = 0; i < tensor_size(expert); i++) {
		long token = i / K, e = (token * token % 13 + i % K) % attr->n_experts;
		op_trial_set(t, expert, i, token % 7 == 3 ? -1 : (double)e);
	}
}

static const struct place_attr all = {4, 20, 0, 0}, tight = {5, 7, 3, 0},
	one_expert = {1, 35, 5, 0}, tiled = {6, 150, 60, 0}, any_length = {7, 52, 0, 0},
	many = {75, 48, 3, 0}, pairs = {3, 2, 1, 0}, long_group = {3, 2800, 2500, 0},
	by_choice = {5, 50, 12, PLACE_BY_CHOICE}, by_score = {6, 150, 60, PLACE_BY_SCORE};

static const struct op_example examples[] = {
	{.name = "dropless", .attr = &all, .prepare = prepare, .in = {{2, 10, 2}}},
	{.name = "groups of 7, drops", .attr = &tight, .prepare = prepare, .in = {{3, 7, 2}}},
	{.name = "one expert, one choice", .attr = &one_expert, .prepare = prepare,
		.in = {{2, 35, 1}}},
	{.name = "several tiles in a group", .attr = &tiled, .prepare = prepare,
		.in = {{3, 100, 3}}},
	{.name = "segments of any length", .attr = &any_length, .prepare = prepare,
		.in = {{3, 104, 2}}},
	{.name = "many experts", .attr = &many, .prepare = prepare, .in = {{2, 48, 8}}},
	{.name = "many groups", .attr = &pairs, .prepare = prepare, .in = {{2, 40, 2}}},
	{.name = "long group", .attr = &long_group, .prepare = prepare, .in = {{1, 2800, 3}}},
	{.name = "a share of the capacity", .attr = &tiled, .prepare = prepare, .in = {{3, 100, 3}, {1}}},
	{.name = "firsts first", .attr = &by_choice, .prepare = prepare, .in = {{2, 50, 3}}},
	{.name = "by score", .attr = &by_score, .prepare = prepare, .in = {{3, 100, 3}, {0}, {3, 100, 6}}},
};

const struct op op_place = {
	.name = "place",
	.formula = "slot = first[expert] + rank among the choices of that expert; -1 beyond its capacity",
	.semantics = 1,
	.n_in = PLACE_N_IN,
	.n_out = PLACE_N_OUT,
	.in = {
		[PLACE_EXPERT_BTK] = {"expert", IN_INDEX},
		[PLACE_SHARE] = {"share", IN_MASTER | IN_NO_GRADIENT | IN_OPTIONAL},
		[PLACE_S_BTE] = {"s", IN_MASTER | IN_NO_GRADIENT | IN_OPTIONAL},
	},
	.out = {
		[PLACE_SLOT_BTK] = {"slot", INDEX, true},
		[PLACE_FIRST_E1] = {"first", INDEX, true},
		[PLACE_TOKEN_S] = {"token", INDEX, true},
		[PLACE_COUNT_E] = {"count", INDEX, true},
		[PLACE_WANTED_E] = {"wanted", INDEX, true},
		[PLACE_LOAD_E] = {"load", MASTER, true},
		[PLACE_DROPPED] = {"dropped", MASTER, true},
		[PLACE_SERVED] = {"served", INDEX, true},
	},
	.shape = place_shape,
	.room = {[REF] = room_host, [CPU] = room_host, [CUDA] = OP_CUDA(place_room_cuda)},
	.cost = place_cost,
	.forward = {[REF] = place_forward, [CPU] = place_forward,
		[CUDA] = OP_CUDA(place_forward_cuda)},
	.examples = examples,
	.n_examples = ARRAY_SIZE(examples),
};
