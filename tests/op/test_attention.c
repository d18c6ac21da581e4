/*
 * What the walk over all operators does not see of windows and grouped queries: what a window hides and
 * what it does not, and what the band costs; on every device that is there.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/cpu.h"
#include "base/error.h"
#include "op/attention.h"
#include "op/document_start.h"
#include "op/trial.h"
#include "trials.h"

enum { B = 2, T = 150, H = 4, DH = 8 };

static enum device_id tested;

/* Inputs are the same for all attributes with as many heads of keys. */
static void open_trial(struct op_trial *t, const struct attention_attr *attr, bool in_documents)
{
	long kv = H / attention_group(attr) * DH;
	struct tensor q = tensor_of(REAL, 3, (long)B, (long)T, (long)H * DH);
	struct tensor k = tensor_of(REAL, 3, (long)B, (long)T, kv), start = tensor_of(INDEX, 2, (long)B, (long)T);
	struct op_trial_case c = {.op = &op_attention, .attr = attr,
		.in = {&q, &k, &k, in_documents ? &start : NULL},
		.prepare = prepare_documents};

	op_trial_open(t, &c, &device_list[tested]);
}

static void expect_same(const struct op_trial *a, const struct op_trial *b, const char *when)
{
	if (!op_trial_same(a, a->out[0], b, b->out[0]))
		fail_msg("%s: other bits in y", when);
	for (int i = ATTENTION_Q_BTD; i <= ATTENTION_V_BTC; i++)
		if (!op_trial_same(a, a->d_in[i], b, b->d_in[i]))
			fail_msg("%s: other bits in the gradient of %s", when, op_attention.in[i].name);
}

/* A window of the context and beyond is full attention, bit for bit; one token less is not. */
static void test_window_of_all(void **state)
{
	static const struct attention_attr full = {.n_heads = H}, wide[] = {{.n_heads = H, .window = T},
		{.n_heads = H, .window = T + 1}, {.n_heads = H, .n_kv_heads = H, .window = 1 << 30}},
		narrow = {.n_heads = H, .window = T - 1};
	struct op_trial a, b;
	int differ = 0;

	(void)state;
	for (int in_documents = 0; in_documents < 2; in_documents++) {
		open_trial(&a, &full, in_documents);
		run(&a);
		for (size_t i = 0; i < ARRAY_SIZE(wide); i++) {
			open_trial(&b, &wide[i], in_documents);
			run(&b);
			expect_same(&b, &a, in_documents ? "documents" : "one document");
			op_trial_close(&b);
		}
		op_trial_close(&a);
	}
	open_trial(&a, &full, false);
	open_trial(&b, &narrow, false);
	op_trial_forward(&a);
	op_trial_forward(&b);
	for (long i = 0; i < T * H * DH; i++) {
		double x = op_trial_get(&a, a.out[0], i), y = op_trial_get(&b, b.out[0], i);
		differ += i / (H * DH) == T - 1 && x != y;
		assert_true(fabs(x - y) < (i / (H * DH) == T - 1 ? 1 : 0.02));
	}
	assert_true(differ > H * DH / 2);
	op_trial_close(&a);
	op_trial_close(&b);
}

/* A window of one token: y = v, so dv is the sum of dy over the heads that share it, dq = dk = 0. */
static void check_own_token(const struct attention_attr *attr)
{
	struct op_trial t;
	long group = attention_group(attr), kv = H / group * DH;
	double limit = device_list[tested].bytes[REAL] == 2 ? 2e-2 : 1e-5;

	open_trial(&t, attr, false);
	run(&t);
	for (long row = 0; row < B * T; row++)
		for (long c = 0; c < kv; c++) {
			double sum = 0, v = op_trial_get(&t, t.in[ATTENTION_V_BTC], row * kv + c);
			for (long i = 0; i < group; i++) {
				long at = row * H * DH + (c / DH * group + i) * DH + c % DH;
				assert_true(fabs(op_trial_get(&t, t.out[0], at) - v) < limit);
				assert_true(fabs(op_trial_get(&t, t.d_in[ATTENTION_Q_BTD], at)) < limit);
				sum += op_trial_get(&t, t.d_out[0], at);
			}
			assert_true(fabs(op_trial_get(&t, t.d_in[ATTENTION_V_BTC], row * kv + c) - sum) <
				limit * 4);
			assert_true(fabs(op_trial_get(&t, t.d_in[ATTENTION_K_BTC], row * kv + c)) < limit);
		}
	op_trial_close(&t);
}

static void test_window_of_one(void **state)
{
	static const struct attention_attr own[] = {{.n_heads = H, .window = 1},
		{.n_heads = H, .n_kv_heads = 2, .window = 1}, {.n_heads = H, .n_kv_heads = 1, .window = 1}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(own); i++)
		check_own_token(&own[i]);
}

/* Tokens whose y is another than in a, which has run, when key and value of token s are. */
static void check_seen_by(const struct attention_attr *attr, const struct op_trial *a, long s)
{
	struct op_trial b;
	long kv = H / attention_group(attr) * DH, last = attr->window ? s + attr->window - 1 : T;

	open_trial(&b, attr, false);
	for (int in = ATTENTION_K_BTC; in <= ATTENTION_V_BTC; in++)
		for (long c = 0; c < kv; c++)
			op_trial_set(&b, b.in[in], s * kv + c, -3);
	op_trial_forward(&b);
	for (long t = 0; t < T; t++) {
		bool other = false;
		for (long c = 0; c < H * DH; c++)
			other |= op_trial_get(a, a->out[0], t * H * DH + c) !=
				op_trial_get(&b, b.out[0], t * H * DH + c);
		if (other != (t >= s && t <= last))
			fail_msg("window %d, %d heads of keys: token %ld %s token %ld", attr->window,
				attr->n_kv_heads, t, other ? "sees" : "does not see", s);
	}
	op_trial_close(&b);
}

static void test_causal_in_window(void **state)
{
	static const struct attention_attr list[] = {{.n_heads = H}, {.n_heads = H, .window = 2},
		{.n_heads = H, .window = 33, .n_kv_heads = 2}, {.n_heads = H, .window = 64, .n_kv_heads = 1}};
	static const long places[] = {0, 31, 32, 64, 85, T - 1};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		struct op_trial a;
		open_trial(&a, &list[i], false);
		op_trial_forward(&a);
		for (size_t k = 0; k < ARRAY_SIZE(places); k++)
			check_seen_by(&list[i], &a, places[k]);
		op_trial_close(&a);
	}
}

/* Model FLOPs are those of the pairs that see each other, counted here one by one. */
static void test_cost_of_band(void **state)
{
	static const struct attention_attr list[] = {{.n_heads = H}, {.n_heads = H, .window = 1},
		{.n_heads = H, .window = 40}, {.n_heads = H, .n_kv_heads = 1, .window = T},
		{.n_heads = H, .window = 5 * T}};
	double full = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(list); i++) {
		struct op_trial t;
		struct op_cost cost;
		double pairs = 0;
		for (long query = 0; query < T; query++)
			for (long key = 0; key <= query; key++)
				pairs += B * H * (!list[i].window || query - key < list[i].window);
		open_trial(&t, &list[i], false);
		op_attention.cost(&t.shapes, &cost);
		assert_true(cost.forward_flops == pairs * (4 * DH + 1));
		assert_true(cost.backward_flops == pairs * (8 * DH + 1));
		assert_true(cost.executed_flops >= cost.forward_flops + cost.backward_flops);
		full = i ? full : cost.executed_flops;
		assert_true(cost.executed_flops < full || list[i].window == 0 || list[i].window >= T);
		op_trial_close(&t);
	}
}

static int on_device(void **state)
{
	tested = ((const struct device *)*state)->id;
	return 0;
}

int main(int argc, char **argv)
{
	static const enum device_id devices[] = {CPU, CUDA_F32, CUDA};
	static const struct CMUnitTest each[] = {cmocka_unit_test(test_window_of_all),
		cmocka_unit_test(test_window_of_one), cmocka_unit_test(test_causal_in_window),
		cmocka_unit_test(test_cost_of_band)};
	struct CMUnitTest tests[ARRAY_SIZE(devices) * ARRAY_SIZE(each)];
	size_t n = 0;

	(void)argc;
	blas_start(argv);
	for (size_t d = 0; d < ARRAY_SIZE(devices); d++)
		for (size_t i = 0; i < ARRAY_SIZE(each) && !device_missing(&device_list[devices[d]]); i++) {
			tests[n] = each[i];
			tests[n].setup_func = on_device;
			tests[n++].initial_state = (void *)&device_list[devices[d]];
		}
	return _cmocka_run_group_tests("attention", tests, n, NULL, NULL);
}
