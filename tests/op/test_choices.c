/*
 * Routing made of pieces (router, score, choose, place, gate) in cases small enough to know
 * the answer, on all devices that are there; with one choice a token, against op_route.
 */
#include "base/cpu.h"
#include "op/assign.h"
#include "op/choose.h"
#include "op/gate.h"
#include "op/overflow.h"
#include "op/place.h"
#include "op/router.h"
#include "op/router_loss.h"
#include "op/score.h"
#include "op/take.h"
#include "pieces.h"
#include "places.h"

/* ---- choose --------------------------------------------------------------------------------- */

static void best_first(struct arena *a, const struct device *d)
{
	static const struct choose_attr three = {.k = 3};
	const double s[] = {0.125, 0.5, 0.5, 0.25,  0.25, 0.25, 0.25, 0.25,  0, 1, 2, 3};
	const double bias[] = {0.5, 0, 0, 0};
	struct tensor *s_BTE = masters(a, d, 3, 4, s);
	struct call plain = call(a, &op_choose, d, &three, (struct tensor *[CHOOSE_N_IN]){s_BTE});
	struct call biased = call(a, &op_choose, d, &three, (struct tensor *[CHOOSE_N_IN]){s_BTE,
		filled(a, d, tensor_of(MASTER, 1, 4L), bias),
		filled(a, d, tensor_of(INDEX, 2, 1L, 3L), (double[]){0, -1, 7})});

	expect_ints(&plain, 0, (int[]){1, 2, 3,  0, 1, 2,  3, 2, 1});
	expect_ints(&biased, 0, (int[]){0, 1, 2,  -1, -1, -1,  3, 2, 1});
}

static void test_best_come_first_and_ties_go_to_the_lowest(void **state)
{
	(void)state;
	on_devices(best_first);
}

static void no_numbers(struct arena *a, const struct device *d)
{
	static const struct choose_attr two = {.k = 2};
	const double s[] = {NAN, NAN, NAN,  NAN, 1, NAN};
	struct call c = call(a, &op_choose, d, &two,
		(struct tensor *[CHOOSE_N_IN]){masters(a, d, 2, 3, s)});

	expect_ints(&c, 0, (int[]){-1, -1,  1, -1});
}

static void test_what_is_no_number_is_not_chosen(void **state)
{
	(void)state;
	on_devices(no_numbers);
}

/* As many as it takes until the sum exceeds 0.5, which 0.5 does not; three at most. */
static void up_to_a_sum(struct arena *a, const struct device *d)
{
	static const struct choose_attr attr = {.k = 3, .top_p = 0.5};
	const double s[] = {0.125, 0.5, 0.25, 0.125,  0.75, 0.25, 0, 0,  0.25, 0.25, 0.25, 0.25,
		0.125, 0.125, 0.125, 0.125};
	struct call c = call(a, &op_choose, d, &attr, (struct tensor *[CHOOSE_N_IN]){masters(a, d, 4, 4, s)});

	expect_ints(&c, 0, (int[]){1, 2, -1,  0, -1, -1,  0, 1, 2,  0, 1, 2});
}

static void test_choices_up_to_a_sum(void **state)
{
	(void)state;
	on_devices(up_to_a_sum);
}

/* ---- take ----------------------------------------------------------------------------------- */

/* Two sequences of two tokens: of equals the earlier is taken, in time and over the batch; -0 equals 0. */
static void take_best(struct arena *a, const struct device *d)
{
	static const struct take_attr time = {4, 1, false}, batch = {2, 1, true}, each = {2, 1, false};
	const double s[] = {0.5, 0.1,  0.5, 0.4,   0.5, 0.3,  0.2, 0.3}, signs[] = {-0.0, -0.1,  0, 0.2};
	struct tensor *s_BTE = filled(a, d, tensor_of(MASTER, 3, 2L, 2L, 2L), s);
	struct call in_time = call(a, &op_take, d, &time, (struct tensor *[TAKE_N_IN]){s_BTE}),
		over_batch = call(a, &op_take, d, &batch, (struct tensor *[TAKE_N_IN]){s_BTE}),
		of_zeros = call(a, &op_take, d, &each, (struct tensor *[TAKE_N_IN]){masters(a, d, 2, 2, signs)});

	expect_ints(&in_time, TAKE_EXPERT_BTE, (int[]){0, -1,  0, 1,   -1, 1,  -1, -1});
	expect_values(&in_time, in_time.out[TAKE_CUTOFF_E], "cutoff", (double[]){0.5, 0.3}, 1e-6);
	expect_values(&in_time, in_time.out[TAKE_LEFT], "left", (double[]){1, 4}, 0);
	expect_ints(&over_batch, TAKE_EXPERT_BTE, (int[]){0, -1,  0, 1,   -1, 1,  -1, -1});
	expect_ints(&of_zeros, TAKE_EXPERT_BTE, (int[]){0, -1,  -1, 1});
	expect_values(&over_batch, over_batch.out[TAKE_CUTOFF_E], "cutoff", (double[]){0.5, 0.35}, 1e-6);
}

/* What is masked or no number is taken by nobody, whatever room there is. */
static void take_what_is_there(struct arena *a, const struct device *d)
{
	static const struct take_attr all = {4, 2, false};
	const double s[] = {0.5, NAN,  0.5, 0.4,   NAN, NAN,  0.2, 0.3};
	struct call c = call(a, &op_take, d, &all, (struct tensor *[TAKE_N_IN]){
		filled(a, d, tensor_of(MASTER, 3, 2L, 2L, 2L), s),
		filled(a, d, tensor_of(INDEX, 2, 2L, 2L), (double[]){0, -1, 3, 9})});

	expect_ints(&c, TAKE_EXPERT_BTE, (int[]){0, -1,  -1, -1,   -1, -1,  0, 1});
	expect_values(&c, c.out[TAKE_CUTOFF_E], "cutoff", (double[]){0.2, 0.3}, 1e-6);
	expect_values(&c, c.out[TAKE_LEFT], "left", (double[]){1, 3}, 0);
}

/* Four tokens at a position, three, one and none: each of two experts takes half of them, at least one. */
static void take_of_as_many_as_are_there(struct arena *a, const struct device *d)
{
	static const struct take_attr half = {4, 1, true};
	const double s[] = {0.1, 0.8,  0.1, 0.8,  0.1, 0.8,  0.1, 0.8,   0.2, 0.7,  0.2, 0.7,  0.2, 0.7,  0.2, 0.7,
		0.3, 0.6,  0.3, 0.6,  0.3, 0.6,  0.3, 0.6,   0.4, 0.5,  0.4, 0.5,  0.4, 0.5,  0.4, 0.5};
	struct call c = call(a, &op_take, d, &half, (struct tensor *[TAKE_N_IN]){
		filled(a, d, tensor_of(MASTER, 3, 4L, 4L, 2L), s),
		filled(a, d, tensor_of(INDEX, 2, 4L, 4L), (double[]){0, 0, 0, -1,  0, 0, -1, -1,  0, 0, -1, -1,
			0, -1, -1, -1})});

	expect_ints(&c, TAKE_EXPERT_BTE, (int[]){-1, 1,  -1, 1,  0, 1,  -1, -1,   -1, 1,  -1, -1,  -1, -1,  -1, -1,
		0, -1,  0, -1,  -1, -1,  -1, -1,   0, -1,  -1, -1,  -1, -1,  -1, -1});
	expect_values(&c, c.out[TAKE_LEFT], "left", (double[]){1, 8}, 0);
}

static void test_experts_take_the_best(void **state)
{
	(void)state;
	on_devices(take_best);
	on_devices(take_what_is_there);
	on_devices(take_of_as_many_as_are_there);
}

/* ---- assign --------------------------------------------------------------------------------- */

/* Two of four experts, told apart: each has half of the token, the others nothing. */
static void halves(struct arena *a, const struct device *d)
{
	static const struct assign_attr attr = {2, 4, false, 42};
	struct call c = call(a, &op_assign, d, &attr, (struct tensor *[ASSIGN_N_IN]){
		[ASSIGN_TOKEN_BT] = filled(a, d, tensor_of(INDEX, 2, 1L, 3L), (double[]){5, 6, 7})});

	for (long t = 0; t < 3; t++) {
		double s[4] = {0};
		for (long k = 0; k < 2; k++)
			s[(int)get(d, c.out[ASSIGN_EXPERT_BTK], 2 * t + k)] += 0.5;
		for (long e = 0; e < 4; e++)
			assert_true(get(d, c.out[ASSIGN_S_BTE], 4 * t + e) == s[e] && s[e] < 1);
	}
}

static void test_assigned_experts_share_a_token(void **state)
{
	(void)state;
	on_devices(halves);
}

/* ---- place ---------------------------------------------------------------------------------- */

static struct places places_of(struct arena *a, const struct call *c)
{
	int *list[4];

	for (int k = 0; k < 4; k++) {
		const struct tensor *t = c->out[places_of_place[k]];
		list[k] = ARENA_ARRAY(a, int, tensor_size(t));
		for (long i = 0; i < tensor_size(t); i++)
			list[k][i] = (int)get(c->run.device, t, i);
	}
	return (struct places){tensor_size(c->out[PLACE_SLOT_BTK]), tensor_size(c->out[PLACE_COUNT_E]),
		tensor_size(c->out[PLACE_TOKEN_S]), list[0], list[1], list[2], list[3]};
}

/* SLOT and FIRST as they are in a buffer without gaps. */
static void expect_places(struct arena *a, const struct call *c, const int *slot, const int *first)
{
	struct places p = places_of(a, c);
	const struct places packed = {p.tokens, p.experts, p.tokens, slot, first, NULL, NULL};
	const char *fault = places_fault(&p, &packed,
		device_is_host(c->run.device) ? 1 : PLACE_ROUND);

	if (fault)
		fail_msg("place on %s: %s", c->run.device->name, fault);
}

/* The second token's second choice comes before the third token's first one; both want expert 1, which
   has a place left. In the second group all begins anew. */
static void token_major(struct arena *a, const struct device *d)
{
	static const struct place_attr attr = {3, 3, 2, PLACE_BY_TOKEN};
	const double expert[] = {1, 0,  2, 1,  1, 0,   1, 2,  -1, -1,  2, 1};
	struct call c = call(a, &op_place, d, &attr, (struct tensor *[PLACE_N_IN]){ints(a, d, 6, 2, expert)});

	expect_places(a, &c, (int[]){2, 0,  6, 3,  -1, 1,   4, 7,  -1, -1,  8, 5}, (int[]){0, 2, 6, 9});
	expect_ints(&c, PLACE_WANTED_E, (int[]){2, 5, 3});
	expect_values(&c, c.out[PLACE_LOAD_E], "load", (double[]){0.2, 0.5, 0.3}, 1e-6);
	expect_values(&c, c.out[PLACE_DROPPED], "dropped", (double[]){1, 10}, 0);
	expect_ints(&c, PLACE_SERVED, (int[]){5});
}

/* Three quarters of a capacity for eight are more than the four choices of the group. */
static void share_of_plenty(struct arena *a, const struct device *d)
{
	static const struct place_attr attr = {2, 4, 8, PLACE_BY_TOKEN};
	const double expert[] = {1, 1, 1, 1}, share = 0.75;
	struct call c = call(a, &op_place, d, &attr, (struct tensor *[PLACE_N_IN]){ints(a, d, 4, 1, expert),
		filled(a, d, tensor_of(MASTER, 1, 1L), &share)});

	expect_values(&c, c.out[PLACE_DROPPED], "dropped", (double[]){0, 4}, 0);
}

/* Of the tokens that want one place the first has it; one more has a place elsewhere. */
static void unserved(struct arena *a, const struct device *d)
{
	static const struct place_attr attr = {3, 4, 1, PLACE_BY_TOKEN};
	const double expert[] = {1, -1,  1, -1,  2, 1,  1, -1};
	struct call c = call(a, &op_place, d, &attr, (struct tensor *[PLACE_N_IN]){ints(a, d, 4, 2, expert)});

	expect_ints(&c, PLACE_SERVED, (int[]){2});
}

/* The same choices where firsts come first: now the second token's second choice comes too late. */
static void choice_major(struct arena *a, const struct device *d)
{
	static const struct place_attr attr = {3, 3, 2, PLACE_BY_CHOICE};
	const double expert[] = {1, 0,  2, 1,  1, 0,   1, 2,  -1, -1,  2, 1};
	struct call c = call(a, &op_place, d, &attr, (struct tensor *[PLACE_N_IN]){ints(a, d, 6, 2, expert)});

	expect_places(a, &c, (int[]){2, 0,  6, -1,  3, 1,   4, 8,  -1, -1,  7, 5}, (int[]){0, 2, 6, 9});
	expect_values(&c, c.out[PLACE_DROPPED], "dropped", (double[]){1, 10}, 0);
}

/* In the first group the fourth token's score is the greatest and the second's equals the first's: expert 1 takes the
   fourth and the first. Seconds come behind all firsts, in that order too: expert 0 takes those of the same. The
   fifth's great score is not its first choice's. In the second group the last one's first choice comes before all
   seconds. */
static void score_major(struct arena *a, const struct device *d)
{
	static const struct place_attr attr = {3, 5, 2, PLACE_BY_SCORE};
	const double expert[] = {1, 0,  1, 0,  -1, -1,  1, 0,  1, 2,   1, 0,  1, 0,  1, 0,  2, 0,  0, 1};
	const double s[] = {0.25, 0.5, 0.25,  0.25, 0.5, 0.25,  1, 1, 1,  0.125, 0.75, 0.125,  0.875, 0.0625, 0.0625,
		0, 0.5, 0,  0, 0.75, 0,  0, 0.625, 0,  0, 0, 0.125,  0.25, 0, 0};
	struct call c = call(a, &op_place, d, &attr,
		(struct tensor *[PLACE_N_IN]){ints(a, d, 10, 2, expert), NULL, masters(a, d, 10, 3, s)});

	expect_places(a, &c, (int[]){5, 1,  -1, -1,  -1, -1,  4, 0,  -1, 8,   -1, -1,  6, 3,  7, -1,  9, -1,  2, -1},
		(int[]){0, 4, 8, 10});
	expect_ints(&c, PLACE_WANTED_E, (int[]){8, 8, 2});
	expect_values(&c, c.out[PLACE_DROPPED], "dropped", (double[]){8, 18}, 0);
	expect_ints(&c, PLACE_SERVED, (int[]){7});
}

/* Experts take two each. The third token's second choice finds expert 0 full, and may not be its first once more: it
   goes to 1. The fourth finds 2 better than 1. The fifth has the last place of 1, and all are full for its second
   choice: that stays. In the second group a bias makes 2 the next of equals. What was wanted is counted as named. */
static void next_best(struct arena *a, const struct device *d)
{
	static const struct overflow_attr attr = {5, 2};
	const double expert[] = {0, -1,  0, -1,  2, 0,  0, -1,  1, 0,   0, -1,  0, -1,  0, -1,  0, -1,  0, -1};
	const double s[] = {1, 0, 0,  1, 0, 0,  0.25, 0.125, 0.5,  0.5, 0.125, 0.25,  0.25, 0.5, 0.125,
		1, 0, 0,  1, 0, 0,  0.5, 0.25, 0.25,  0.5, 0.125, 0.25,  0.5, 0.125, 0.25};
	const double bias[] = {0, 0, 0.0625};
	struct call c = call(a, &op_overflow, d, &attr, (struct tensor *[OVERFLOW_N_IN]){ints(a, d, 10, 2, expert),
		masters(a, d, 10, 3, s), filled(a, d, tensor_of(MASTER, 1, 3L), bias)});

	expect_ints(&c, OVERFLOW_TAKEN_BTK, (int[]){0, -1,  0, -1,  2, 1,  2, -1,  1, 0,
		0, -1,  0, -1,  2, -1,  2, -1,  1, -1});
	expect_ints(&c, OVERFLOW_WANTED_E, (int[]){10, 1, 1});
	expect_values(&c, c.out[OVERFLOW_LOAD_E], "load", (double[]){10 / 12.0, 1 / 12.0, 1 / 12.0}, 1e-6);
}

/* Both choices of the third token move on, and not to the same expert, though it has room for two; of equals the lowest
   is first. */
static void next_of_both(struct arena *a, const struct device *d)
{
	static const struct overflow_attr attr = {3, 2};
	const double expert[] = {0, 1,  0, 1,  0, 1}, s[] = {1, 0, 0, 0,  1, 0, 0, 0,  0.25, 0.25, 0.25, 0.25};
	struct call c = call(a, &op_overflow, d, &attr, (struct tensor *[OVERFLOW_N_IN]){ints(a, d, 3, 2, expert),
		masters(a, d, 3, 4, s)});

	expect_ints(&c, OVERFLOW_TAKEN_BTK, (int[]){0, 1,  0, 1,  2, 3});
}

static void test_full_experts_pass_choices_on(void **state)
{
	(void)state;
	on_devices(next_best);
	on_devices(next_of_both);
}

static void test_greater_scores_have_their_places_first(void **state)
{
	(void)state;
	on_devices(score_major);
}

static void test_first_choices_have_their_places_first(void **state)
{
	(void)state;
	on_devices(choice_major);
}

static void test_earlier_tokens_have_their_places_first(void **state)
{
	(void)state;
	on_devices(unserved);
	on_devices(share_of_plenty);
	on_devices(token_major);
}

/* ---- gate ----------------------------------------------------------------------------------- */

static struct call gates(struct arena *a, const struct device *d, enum gate_rule rule, double scale)
{
	struct gate_attr *attr = ARENA_NEW(a, struct gate_attr);
	const double s[] = {0.5, 0.25, 0.125, 0.125,  0.25, 0.25, 0.25, 0.25};
	const double expert[] = {0, 1,  3, -1}, slot[] = {4, -1,  7, -1}, dgate[] = {2, 3, 5, 7};

	*attr = (struct gate_attr){rule, scale};
	struct call c = call(a, &op_gate, d, attr, (struct tensor *[]){masters(a, d, 2, 4, s),
		ints(a, d, 2, 2, expert), ints(a, d, 2, 2, slot)});
	backward(&c, 0, masters(a, d, 2, 2, dgate));
	return c;
}

static void expect_gates(const struct call *c, const double *gate, const double *ds)
{
	expect_values(c, c->out[0], "gate", gate, 1e-6);
	expect_values(c, c->d_in[GATE_S_BTE], "ds", ds, 1e-5);
}

/* The first token's second choice is dropped and keeps its share of the mass. */
static void weights(struct arena *a, const struct device *d)
{
	struct call raw = gates(a, d, GATE_RAW, 1), renorm = gates(a, d, GATE_RENORM, 3),
		fixed = gates(a, d, GATE_ONE, 0.5), straight = gates(a, d, GATE_STRAIGHT_THROUGH, 0.5);
	double mean = 2 * 2, z = 0.75;

	expect_gates(&raw, (double[]){0.5, 0, 0.25, 0}, (double[]){2, 0, 0, 0,  0, 0, 0, 5});
	expect_gates(&renorm, (double[]){2, 0, 3, 0},
		(double[]){(3 * 2 - mean) / z, -mean / z, 0, 0,  0, 0, 0, 0});
	expect_gates(&fixed, (double[]){0.5, 0, 0.5, 0}, (double[8]){0});
	expect_gates(&straight, (double[]){0.5, 0, 0.5, 0}, (double[]){1, 0, 0, 0,  0, 0, 0, 2.5});
}

static void test_rules_of_weights(void **state)
{
	(void)state;
	on_devices(weights);
}

/* ---- all of them ---------------------------------------------------------------------------- */

struct pieces {
	struct call router, score, choose, place, gate, loss;
};

static void pieces_forward(struct arena *a, const struct device *d, struct tensor *x, struct tensor *w,
	struct tensor *mask, const struct route_attr *r, struct pieces *p)
{
	static const struct score_attr softmax = {SCORE_SOFTMAX, 1};
	static const struct choose_attr choice = {.k = 1};
	static const struct gate_attr raw = {GATE_RAW, 1};
	struct place_attr *place = ARENA_NEW(a, struct place_attr);
	struct router_loss_attr *loss = ARENA_NEW(a, struct router_loss_attr);

	*place = (struct place_attr){w->dims[0], r->group_tokens, r->capacity, PLACE_BY_TOKEN};
	*loss = (struct router_loss_attr){.group_tokens = r->group_tokens};
	p->router = call(a, &op_router, d, NULL, (struct tensor *[]){x, w});
	p->score = call(a, &op_score, d, &softmax, (struct tensor *[SCORE_N_IN]){p->router.out[0]});
	p->choose = call(a, &op_choose, d, &choice, (struct tensor *[CHOOSE_N_IN]){p->score.out[0], NULL,
		mask});
	p->place = call(a, &op_place, d, place, (struct tensor *[PLACE_N_IN]){p->choose.out[0]});
	p->gate = call(a, &op_gate, d, &raw, (struct tensor *[]){p->score.out[0], p->choose.out[0],
		p->place.out[PLACE_SLOT_BTK]});
	p->loss = call(a, &op_router_loss, d, loss, (struct tensor *[]){p->router.out[0],
		p->score.out[0], p->choose.out[0], mask});
}

/* Of gates, balance and z together, down to x and W. */
static void pieces_backward(struct pieces *p, const struct tensor *dgate, const struct tensor *dloss)
{
	p->loss.run.d_out[ROUTER_LOSS_BALANCE] = dloss;
	backward(&p->loss, ROUTER_LOSS_Z, dloss);
	p->gate.run.d_in[GATE_S_BTE] = p->loss.d_in[ROUTER_LOSS_S_BTE];
	p->gate.run.add = ~0u;
	backward(&p->gate, 0, dgate);
	p->score.run.d_in[0] = p->loss.d_in[ROUTER_LOSS_LOGIT_BTE];
	p->score.run.add = ~0u;
	backward(&p->score, 0, p->loss.d_in[ROUTER_LOSS_S_BTE]);
	backward(&p->router, 0, p->loss.d_in[ROUTER_LOSS_LOGIT_BTE]);
}

static void expect_same(const struct call *ours, const struct tensor *x, const struct tensor *y,
	double limit)
{
	const struct device *d = ours->run.device;
	double error = 0, size = 1e-30;

	assert_int_equal(tensor_size(x), tensor_size(y));
	for (long i = 0; i < tensor_size(x); i++) {
		error += pow(get(d, x, i) - get(d, y, i), 2);
		size += pow(get(d, y, i), 2);
	}
	if (!(sqrt(error / size) <= limit))
		fail_msg("%s on %s: %g from route's", ours->run.op->name, d->name, sqrt(error / size));
}

/* Softmax, one choice, raw weights: op_route is the same in one. */
static void like_route(struct arena *a, const struct device *d)
{
	enum { N = 60, D = 8, E = 5 };
	struct route_attr *attr = ARENA_NEW(a, struct route_attr);
	struct tensor *x = noisy(a, d, tensor_of(REAL, 3, 2L, (long)N / 2, (long)D), 0),
		*w = noisy(a, d, tensor_of(MASTER, 2, (long)E, (long)D), 999),
		*mask = filled(a, d, tensor_of(INDEX, 2, 2L, (long)N / 2), NULL);
	double grad = d->bytes[REAL] == 2 ? 2e-2 : 1e-5;
	struct pieces p;

	for (long i = 0; i < N; i += 7)
		put(d, mask, i, -1);
	*attr = (struct route_attr){20, 3};
	struct call route = call(a, &op_route, d, attr, (struct tensor *[]){x, w, mask});
	pieces_forward(a, d, x, w, mask, attr, &p);
	expect_same(&p.choose, p.choose.out[0], route.out[ROUTE_EXPERT_BT], 0);
	expect_same(&p.place, p.place.out[PLACE_SLOT_BTK], route.out[ROUTE_SLOT_BT], 0);
	expect_same(&p.place, p.place.out[PLACE_TOKEN_S], route.out[ROUTE_TOKEN_S], 0);
	expect_same(&p.place, p.place.out[PLACE_LOAD_E], route.out[ROUTE_LOAD_E], 1e-6);
	expect_same(&p.place, p.place.out[PLACE_DROPPED], route.out[ROUTE_DROPPED], 0);
	expect_same(&p.gate, p.gate.out[0], route.out[ROUTE_GATE_BT], 1e-5);
	expect_same(&p.loss, p.loss.out[ROUTER_LOSS_BALANCE], route.out[ROUTE_BALANCE], 1e-5);
	expect_same(&p.loss, p.loss.out[ROUTER_LOSS_Z], route.out[ROUTE_Z], 1e-5);
	struct tensor *dgate = noisy(a, d, tensor_of(MASTER, 2, 2L, (long)N / 2), 77), *dloss = one(a, d, 3);
	route.run.d_out[ROUTE_BALANCE] = route.run.d_out[ROUTE_Z] = dloss;
	backward(&route, ROUTE_GATE_BT, dgate);
	struct tensor dgate_BTK = tensor_of(MASTER, 3, 2L, (long)N / 2, 1L);
	dgate_BTK.at = dgate->at;
	pieces_backward(&p, &dgate_BTK, dloss);
	expect_same(&p.router, p.router.d_in[ROUTER_X_BTD], route.d_in[ROUTE_X_BTD], grad);
	expect_same(&p.router, p.router.d_in[ROUTER_W_ED], route.d_in[ROUTE_W_ED], grad);
}

static void test_one_choice_is_what_route_does(void **state)
{
	(void)state;
	on_devices(like_route);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_best_come_first_and_ties_go_to_the_lowest),
		cmocka_unit_test(test_what_is_no_number_is_not_chosen),
		cmocka_unit_test(test_choices_up_to_a_sum),
		cmocka_unit_test(test_experts_take_the_best),
		cmocka_unit_test(test_earlier_tokens_have_their_places_first),
		cmocka_unit_test(test_first_choices_have_their_places_first),
		cmocka_unit_test(test_greater_scores_have_their_places_first),
		cmocka_unit_test(test_assigned_experts_share_a_token),
		cmocka_unit_test(test_full_experts_pass_choices_on),
		cmocka_unit_test(test_rules_of_weights),
		cmocka_unit_test(test_one_choice_is_what_route_does),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
