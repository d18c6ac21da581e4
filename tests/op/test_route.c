/*
 * Routing in cases small enough to know the answer, on all devices that are there. Logits are what
 * a case says: the router's matrix is the identity.
 */
#include "base/cpu.h"
#include "calls.h"
#include "places.h"
#include "near.h"

enum { OUT = -1 };	/* no slot, or no expert */

/* Routes n tokens with these logits [n, E]. mask may be NULL. */
static struct call route(struct arena *a, const struct device *d, long n, long E, long group,
	long capacity, const double *logits, const double *mask)
{
	struct route_attr *attr = ARENA_NEW(a, struct route_attr);
	struct tensor *in[ROUTE_N_IN] = {0};

	*attr = (struct route_attr){group, capacity};
	in[ROUTE_X_BTD] = filled(a, d, tensor_of(REAL, 3, 1L, n, E), logits);
	in[ROUTE_W_ED] = filled(a, d, tensor_of(MASTER, 2, E, E), NULL);
	for (long e = 0; e < E; e++)
		put(d, in[ROUTE_W_ED], e * E + e, 1);
	if (mask)
		in[ROUTE_MASK_BT] = filled(a, d, tensor_of(INDEX, 2, 1L, n), mask);
	return call(a, &op_route, d, attr, in);
}

/* Logits of tokens that want these experts, by a margin of 2. */
static const double *wants(struct arena *a, long n, long E, const int *expert)
{
	double *logits = ARENA_ARRAY(a, double, n * E);

	for (long t = 0; t < n; t++)
		logits[t * E + expert[t]] = 2;
	return logits;
}

static void expect_ints(const struct call *c, int out, const int *expected)
{
	const struct tensor *t = c->out[out];

	for (long i = 0; i < tensor_size(t); i++)
		if ((int)get(c->run.device, t, i) != expected[i])
			fail_msg("%s on %s: %s[%ld] is %d, expected %d", c->run.op->name,
				c->run.device->name, c->run.op->out[out].name, i,
				(int)get(c->run.device, t, i), expected[i]);
}

static int *numbers(struct arena *a, const struct call *c, int out)
{
	int *list = ARENA_ARRAY(a, int, tensor_size(c->out[out]));

	for (long i = 0; i < tensor_size(c->out[out]); i++)
		list[i] = (int)get(c->run.device, c->out[out], i);
	return list;
}

/* SLOT and FIRST as they are where segments lie without gaps: on host devices they are these. */
static void expect_places(struct arena *a, const struct call *c, const int *slot, const int *first)
{
	bool host = device_is_host(c->run.device);
	struct places p = {tensor_size(c->out[ROUTE_SLOT_BT]), tensor_size(c->out[ROUTE_COUNT_E]),
		tensor_size(c->out[ROUTE_TOKEN_S]), numbers(a, c, ROUTE_SLOT_BT),
		numbers(a, c, ROUTE_FIRST_E1), numbers(a, c, ROUTE_TOKEN_S),
		numbers(a, c, ROUTE_COUNT_E)};
	const struct places packed = {p.tokens, p.experts, p.tokens, slot, first, NULL, NULL};
	const char *fault = places_fault(&p, &packed, host ? 1 : PLACE_ROUND);

	if (fault)
		fail_msg("route on %s: %s", c->run.device->name, fault);
	if (host) {
		expect_ints(c, ROUTE_SLOT_BT, slot);
		expect_ints(c, ROUTE_FIRST_E1, first);
	}
}

static void expect_reals(const struct call *c, int out, const double *expected)
{
	const struct tensor *t = c->out[out];

	for (long i = 0; i < tensor_size(t); i++)
		if (!(fabs(get(c->run.device, t, i) - expected[i]) < 1e-6))
			fail_msg("%s on %s: %s[%ld] is %.9g, expected %.9g", c->run.op->name,
				c->run.device->name, c->run.op->out[out].name, i,
				get(c->run.device, t, i), expected[i]);
}

static void ties(struct arena *a, const struct device *d)
{
	const double logits[] = {0, 0, 0, 0,  -1, 3, 3, 3,  1, 0, 1, 0,  -2, -2, -2, -1};
	struct call c = route(a, d, 4, 4, 4, 0, logits, NULL);

	expect_ints(&c, ROUTE_EXPERT_BT, (int[]){0, 1, 0, 3});
	expect_places(a, &c, (int[]){0, 2, 1, 3}, (int[]){0, 2, 3, 3, 4});
	assert_near(get(d, c.out[ROUTE_GATE_BT], 0), 0.25, 1e-6);
}

static void test_ties_go_to_the_lowest_expert(void **state)
{
	(void)state;
	on_devices(ties);
}

static void token_order(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 7, 3, (int[]){2, 0, 2, 2, 0, 2, 0});
	struct call c = route(a, d, 7, 3, 7, 2, logits, NULL);
	double p = exp(2) / (exp(2) + 2);

	expect_places(a, &c, (int[]){2, 0, 3, OUT, 1, OUT, OUT}, (int[]){0, 2, 2, 4});
	expect_ints(&c, ROUTE_EXPERT_BT, (int[]){2, 0, 2, 2, 0, 2, 0});
	expect_reals(&c, ROUTE_GATE_BT, (double[]){p, p, p, 0, p, 0, 0});
	expect_reals(&c, ROUTE_DROPPED, (double[]){3, 7});
	expect_reals(&c, ROUTE_LOAD_E, (double[]){3. / 7, 0, 4. / 7});
}

static void test_later_tokens_are_dropped(void **state)
{
	(void)state;
	on_devices(token_order);
}

static void masks(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 6, 2, (int[]){1, 1, 1, 0, 1, 1});
	struct call c = route(a, d, 6, 2, 6, 2, logits, (double[]){-1, 0, -1, 5, 0, 0});
	double p = 1 / (1 + exp(-2));

	expect_places(a, &c, (int[]){OUT, 1, OUT, 0, 2, OUT}, (int[]){0, 1, 3});
	expect_ints(&c, ROUTE_EXPERT_BT, (int[]){OUT, 1, OUT, 0, 1, 1});
	expect_reals(&c, ROUTE_GATE_BT, (double[]){0, p, 0, p, p, 0});
	expect_reals(&c, ROUTE_LOAD_E, (double[]){0.25, 0.75});
	expect_reals(&c, ROUTE_DROPPED, (double[]){1, 4});
	expect_reals(&c, ROUTE_BALANCE, (double[]){
		2 * (0.25 * (p + 3 * (1 - p)) / 4 + 0.75 * (3 * p + 1 - p) / 4)});
}

static void test_masked_tokens_take_no_capacity(void **state)
{
	(void)state;
	on_devices(masks);
}

static void all_masked(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 4, 2, (int[]){1, 0, 1, 0});
	struct call c = route(a, d, 4, 2, 2, 1, logits, (double[]){-1, -1, -1, -1});

	expect_places(a, &c, (int[]){OUT, OUT, OUT, OUT}, (int[]){0, 0, 0});
	expect_reals(&c, ROUTE_BALANCE, (double[]){0});
	expect_reals(&c, ROUTE_Z, (double[]){0});
	expect_reals(&c, ROUTE_ENTROPY, (double[]){0});
	expect_reals(&c, ROUTE_LOAD_E, (double[]){0, 0});
	expect_reals(&c, ROUTE_DROPPED, (double[]){0, 0});
}

static void test_no_token_at_all(void **state)
{
	(void)state;
	on_devices(all_masked);
}

static void groups(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 8, 2, (int[]){1, 1, 1, 0,  0, 0, 1, 0});
	struct call c = route(a, d, 8, 2, 4, 2, logits, NULL);

	/* Sorted by expert, in an expert by token over both groups. */
	expect_places(a, &c, (int[]){3, 4, OUT, 0, 1, 2, 5, OUT}, (int[]){0, 3, 6});
	expect_reals(&c, ROUTE_DROPPED, (double[]){2, 8});
}

static void test_capacity_is_per_group(void **state)
{
	(void)state;
	on_devices(groups);
}

static void dropless(struct arena *a, const struct device *d)
{
	enum { N = 200 };
	int expert[N] = {0}, slot[N];

	for (int t = 0; t < N; t++)
		slot[t] = t;
	struct call c = route(a, d, N, 3, N / 2, 0, wants(a, N, 3, expert), NULL);
	expect_places(a, &c, slot, (int[]){0, N, N, N});
	expect_reals(&c, ROUTE_DROPPED, (double[]){0, N});
}

static void test_without_capacity_none_is_dropped(void **state)
{
	(void)state;
	on_devices(dropless);
}

static void uniform(struct arena *a, const struct device *d)
{
	enum { N = 96, E = 4 };
	static const double flat[N * E];
	int expert[N];

	for (int t = 0; t < N; t++)
		expert[t] = t * 7 % E;
	struct call even = route(a, d, N, E, N, 0, wants(a, N, E, expert), NULL);
	struct call tied = route(a, d, N, E, N / 3, 0, flat, NULL);
	expect_reals(&even, ROUTE_BALANCE, (double[]){1});
	expect_reals(&tied, ROUTE_BALANCE, (double[]){1});
	expect_reals(&tied, ROUTE_Z, (double[]){log(E) * log(E)});
	expect_reals(&tied, ROUTE_ENTROPY, (double[]){log(E)});
	memset(expert, 0, sizeof expert);
	struct call one = route(a, d, N, E, N, 0, wants(a, N, E, expert), NULL);
	expect_reals(&one, ROUTE_BALANCE, (double[]){E * exp(2) / (exp(2) + 3)});
}

static void test_balance_is_1_at_uniform(void **state)
{
	(void)state;
	on_devices(uniform);
}

/* Two valid tokens in the first group, three in the second; both groups weigh the same. */
static void means_of_groups(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 6, 2, (int[]){0, 1, 0, 0, 0, 0});
	struct call c = route(a, d, 6, 2, 3, 0, logits, (double[]){0, 0, -1, 0, 0, 0});

	expect_reals(&c, ROUTE_BALANCE, (double[]){(1 + 2 / (1 + exp(-2))) / 2});
}

static void test_losses_are_means_over_groups(void **state)
{
	(void)state;
	on_devices(means_of_groups);
}

static void no_gradient(struct arena *a, const struct device *d)
{
	const double *logits = wants(a, 4, 2, (int[]){1, 1, 1, 1});
	struct call c = route(a, d, 4, 2, 4, 2, logits, (double[]){0, -1, 0, 0});

	backward(&c, ROUTE_GATE_BT, filled(a, d, tensor_of(MASTER, 2, 1L, 4L),
		(double[]){1, 1, 1, 1}));
	for (long i = 0; i < 8; i++) {
		bool kept = i / 2 == 0 || i / 2 == 2;
		assert_true((get(d, c.d_in[ROUTE_X_BTD], i) != 0) == kept);
	}
}

static void test_dropped_and_masked_tokens_pass_no_gradient(void **state)
{
	(void)state;
	on_devices(no_gradient);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ties_go_to_the_lowest_expert),
		cmocka_unit_test(test_later_tokens_are_dropped),
		cmocka_unit_test(test_masked_tokens_take_no_capacity),
		cmocka_unit_test(test_no_token_at_all),
		cmocka_unit_test(test_capacity_is_per_group),
		cmocka_unit_test(test_without_capacity_none_is_dropped),
		cmocka_unit_test(test_balance_is_1_at_uniform),
		cmocka_unit_test(test_losses_are_means_over_groups),
		cmocka_unit_test(test_dropped_and_masked_tokens_pass_no_gradient),
	};

	(void)argc;
	blas_start(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
