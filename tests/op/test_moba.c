/*
 * What test_ops does not see of moba: that with all segments it is attention, and that it chooses the segments
 * whose mean key suits a query, among those in front of it; and of summary: that with segments of one token, and of
 * all, it is attention, and what a summary counts. On the CPU, and in a program with CUDA on cuda_f32 where a GPU is.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "op/attention.h"
#include "op/document_start.h"
#include "op/moba.h"
#include "op/summary.h"
#include "op/trial.h"
#include "trials.h"
#include "near.h"

enum { B = 2, T = 60, H = 4, KV = 2, DH = 6 };

/* The operators have the same inputs in the same order. */
static void open_trial(struct op_trial *t, const struct op *op, const void *attr, enum device_id device,
	bool with_documents)
{
	struct tensor q = tensor_of(REAL, 3, (long)B, (long)T, (long)(H * DH));
	struct tensor k = tensor_of(REAL, 3, (long)B, (long)T, (long)(KV * DH));
	struct tensor start = tensor_of(INDEX, 2, (long)B, (long)T);
	struct op_trial_case c = {.op = op, .attr = attr, .prepare = prepare_documents,
		.in = {&q, &k, &k, with_documents ? &start : NULL}};

	op_trial_open(t, &c, &device_list[device]);
}

static void check_attention(const struct op *op, enum device_id device, const struct moba_attr *attr,
	bool with_documents)
{
	static const struct attention_attr all = {.n_heads = H, .n_kv_heads = KV};
	struct op_trial t, attention;

	open_trial(&t, op, attr, device, with_documents);
	open_trial(&attention, &op_attention, &all, device, with_documents);
	for (int i = 0; i < MOBA_START_BT; i++)
		for (long k = 0; k < tensor_size(t.in[i]); k++)
			op_trial_set(&attention, attention.in[i], k, op_trial_get(&t, t.in[i], k));
	run(&t);
	run(&attention);
	assert_true(distance(&t, t.out[MOBA_Y_BTD], &attention, attention.out[ATTENTION_Y_BTD]) < 1e-6);
	for (int i = 0; i < MOBA_START_BT; i++)
		assert_true(distance(&t, t.d_in[i], &attention, attention.d_in[i]) < 2e-6);
	op_trial_close(&t);
	op_trial_close(&attention);
}

static void test_all_segments_are_attention(void **state)
{
	static const struct moba_attr attrs[] = {{H, KV, 5, 12, 0}, {H, KV, T, 1, 0}, {H, KV, 4, MOBA_MAX_CHOSEN, 0}};

	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++)
		for (size_t i = 0; i < ARRAY_SIZE(attrs); i++) {
			check_attention(&op_moba, *d, &attrs[i], false);
			check_attention(&op_moba, *d, &attrs[i], true);
		}
}

static void test_summaries_of_one_and_of_none_are_attention(void **state)
{
	static const struct moba_attr attrs[] = {{H, KV, 1, 1, 0}, {H, KV, T, 1, 0}, {H, KV, T + 7, 1, 0}};

	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++)
		for (size_t i = 0; i < ARRAY_SIZE(attrs); i++) {
			check_attention(&op_summary, *d, &attrs[i], false);
			check_attention(&op_summary, *d, &attrs[i], true);
		}
}

/* Keys are 0, but of the segment that stands at `loud`, whose mean key is worth log(9) to all queries; values are their
   token's number. */
static void speak(const struct op_trial *t, int segment, int loud)
{
	for (long k = 0; k < tensor_size(t->in[MOBA_K_BTC]); k++) {
		long s = k / (KV * DH) % T;
		bool odd = s == loud + 1;	/* one token has all of it: means say so, sums would not */
		op_trial_set(t, t->in[MOBA_K_BTC], k, k % DH == 0 && odd ? segment * log(9) * sqrt(DH) : 0);
		op_trial_set(t, t->in[MOBA_V_BTC], k, (double)s);
	}
	for (long k = 0; k < tensor_size(t->in[MOBA_Q_BTD]); k++)
		op_trial_set(t, t->in[MOBA_Q_BTD], k, k % DH == 0);
}

/* Behind the loud segment: its mean counts 9, that of another and a token of the own one 1. */
static void check_count(enum device_id device)
{
	static const struct moba_attr attr = {H, KV, 5, 1, 0};
	struct op_trial t;

	open_trial(&t, &op_summary, &attr, device, false);
	speak(&t, 5, 10);
	op_trial_forward(&t);
	for (long i = 0; i < B * T * H * DH; i++) {
		long at = i / (H * DH) % T, own = at - at % 5;
		double sum = 0, n = 0;
		if (own == 10)
			continue;
		for (long first = 0; first < own; first += 5) {
			double weight = first == 10 ? 9 : 1;
			sum += weight * ((double)first + 2);
			n += weight;
		}
		for (long s = own; s <= at; s++, n++)
			sum += (double)s;
		assert_near(op_trial_get(&t, t.out[MOBA_Y_BTD], i), sum / n, 1e-4);
	}
	op_trial_close(&t);
}

static double forward_flops(const struct op *op, const void *attr)
{
	struct op_trial t;
	struct op_shapes s = {.device = &device_list[REF], .attr = attr};
	struct op_cost cost;

	open_trial(&t, op, attr, REF, false);
	memcpy(s.in, t.in, sizeof s.in);
	op_infer(op, &s);
	op->cost(&s, &cost);
	op_trial_close(&t);
	return cost.forward_flops;
}

/* As much as attention where it is attention, beside the means, an addition for each number of keys and of values. With
   segments of 5 query t has t / 5 summaries and t mod 5 + 1 tokens. */
static void test_work_of_summaries(void **state)
{
	static const struct attention_attr all = {.n_heads = H, .n_kv_heads = KV};
	static const struct moba_attr one = {H, KV, 1, 1, 0}, none = {H, KV, T, 1, 0}, five = {H, KV, 5, 1, 0};
	double attention = forward_flops(&op_attention, &all), means = 2.0 * B * T * KV * DH, rows = 0;

	(void)state;
	for (int t = 0; t < T; t++)
		rows += t / 5 + t % 5 + 1;
	assert_near(forward_flops(&op_summary, &one), attention + means, 1e-6);
	assert_near(forward_flops(&op_summary, &none), attention + means, 1e-6);
	assert_near(forward_flops(&op_summary, &five), B * H * rows * (4 * DH + 1) + means, 1e-6);
}

static void test_a_summary_counts_as_one_row(void **state)
{
	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++)
		check_count(*d);
}

/* Keys of segment i are (1, -i, 0, ...), all queries (1, 0, ...), which all keys suit alike, but that of one token,
   (0, -1/2, ...), which later segments suit better. Values are their token's number. */
static void point(const struct op_trial *t, int segment, int asking)
{
	for (long k = 0; k < tensor_size(t->in[MOBA_K_BTC]); k++) {
		long s = k / (KV * DH) % T, c = k % DH;
		op_trial_set(t, t->in[MOBA_K_BTC], k, c == 0 ? 1 : c == 1 ? -(double)(s / segment) : 0);
		op_trial_set(t, t->in[MOBA_V_BTC], k, (double)s);
	}
	for (long k = 0; k < tensor_size(t->in[MOBA_Q_BTD]); k++) {
		bool asks = k / (H * DH) % T == asking;
		op_trial_set(t, t->in[MOBA_Q_BTD], k, k % DH == asks ? (asks ? -0.5 : 1) : 0);
	}
}

/* Means of the tokens seen; ties go to segment 0, and the asking token sees the one right in front. */
static void check_choice(enum device_id device)
{
	static const struct moba_attr attr = {H, KV, 5, 2, 0};
	const int asking = 33;
	struct op_trial t;

	open_trial(&t, &op_moba, &attr, device, false);
	point(&t, 5, asking);
	op_trial_forward(&t);
	for (long i = 0; i < B * T * H * DH; i++) {
		long at = i / (H * DH) % T, own = at - at % 5;
		long other = at == asking ? own - 5 : 0;
		double weight = own == 0 ? 0 : at == asking ? exp(-0.5 / sqrt(DH)) : 1, sum = 0, n = 0;
		for (long s = own; s <= at; s++, n++)
			sum += (double)s;
		for (long s = other; s < other + 5; s++, n += weight)
			sum += weight * (double)s;
		assert_near(op_trial_get(&t, t.out[MOBA_Y_BTD], i), sum / n, 1e-4);
	}
	op_trial_close(&t);
}

static void test_choice(void **state)
{
	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++)
		check_choice(*d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_segments_are_attention), cmocka_unit_test(test_choice),
		cmocka_unit_test(test_summaries_of_one_and_of_none_are_attention),
		cmocka_unit_test(test_a_summary_counts_as_one_row), cmocka_unit_test(test_work_of_summaries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
