/*
 * What test_ops does not see of delta: that it writes and recalls, that it is linear attention where there
 * is nothing to erase, that the chunks' size changes nothing, that nothing looks ahead or across documents.
 * On the CPU, and in a program with CUDA on cuda_f32 where a GPU is.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "op/delta.h"
#include "op/trial.h"
#include "trials.h"

enum { B = 2, T = 100, H = 2, K = 8, V = 12, NO_QUERY = 12, NO_KEY = 98 };

/* Borders of documents on, in front of and behind those of chunks of 16 and 64. */
static const int begins[] = {15, 32, 49, 64, T - 1};

/* Memories that live for many tokens: -A is about 0.02. */
static void prepare(const struct op_trial *t)
{
	const struct tensor *start = t->in[DELTA_START_BT];

	for (long h = 0; h < H; h++)
		op_trial_set(t, t->in[DELTA_ALOG_H], h, -4 + 0.3 * (double)h);
	for (int b = 0; start && b < B; b++)
		for (int i = 0, at = 0; i < T; i++) {
			for (size_t k = 0; k < ARRAY_SIZE(begins); k++)
				at = i == begins[k] - b ? i : at;
			op_trial_set(t, start, (long)b * T + i, at);
		}
}

static void open_trial(struct op_trial *t, enum device_id device, int chunk, bool documents)
{
	static struct delta_attr attrs[DELTA_CHUNK + 1];	/* a trial keeps the address */
	struct tensor k = tensor_of(REAL, 3, (long)B, (long)T, (long)(H * K));
	struct tensor v = tensor_of(REAL, 3, (long)B, (long)T, (long)(H * V));
	struct tensor b = tensor_of(REAL, 3, (long)B, (long)T, (long)H), h = tensor_of(MASTER, 1, (long)H);
	struct tensor start = tensor_of(INDEX, 2, (long)B, (long)T);
	struct op_trial_case c = {.op = &op_delta, .attr = &attrs[chunk], .prepare = prepare, .pad = 3,
		.in = {&k, &k, &v, &b, &b, &h, &h, documents ? &start : NULL}};

	attrs[chunk] = (struct delta_attr){chunk};
	op_trial_open(t, &c, &device_list[device]);
}

static void check_chunks(enum device_id device, int chunk, bool documents)
{
	struct op_trial t, ref;

	open_trial(&t, device, chunk, documents);
	open_trial(&ref, REF, 1, documents);
	run(&t);
	run(&ref);
	if (!(distance(&t, t.out[DELTA_Y_BTV], &ref, ref.out[DELTA_Y_BTV]) < 5e-6))
		fail_msg("chunks of %d on %s: other output", chunk, device_list[device].name);
	for (int i = 0; i < DELTA_START_BT; i++) {
		double error = distance(&t, t.d_in[i], &ref, ref.d_in[i]);
		/* Those of parameters are sums over all tokens whose terms cancel. */
		if (!(error < (op_delta.in[i].flags & IN_MASTER ? 1e-4 : 2e-5)))
			fail_msg("chunks of %d on %s: gradient of %s: error %.2g", chunk,
				device_list[device].name, op_delta.in[i].name, error);
	}
	op_trial_close(&t);
	op_trial_close(&ref);
}

static void test_chunks(void **state)
{
	const int chunks[] = {16, 64, 1, 7, 63};

	(void)state;
	for (const enum device_id *d = devices() + 1; *d != N_DEVICES; d++)
		for (int i = 0; i < (device_is_host(&device_list[*d]) ? 5 : 2); i++) {	/* emulators take time */
			check_chunks(*d, chunks[i], false);
			check_chunks(*d, chunks[i], true);
		}
}

/* Token t's key is unit vector t % K, nothing is forgotten, beta is `written`; all queries ask for key 3. But one token
   asks for nothing, with zeros, and another writes so. */
static void remember(const struct op_trial *t, double written)
{
	for (long row = 0; row < B * T; row++)
		for (long h = 0; h < H; h++) {
			op_trial_set(t, t->in[DELTA_BRAW_BTH], row * H + h, written > 0 ? 80 : -80);
			op_trial_set(t, t->in[DELTA_DTRAW_BTH], row * H + h, -80);
			for (long i = 0; i < K; i++) {
				op_trial_set(t, t->in[DELTA_K_BTK], (row * H + h) * K + i, i == row % T % K && row % T != NO_KEY);
				op_trial_set(t, t->in[DELTA_Q_BTK], (row * H + h) * K + i, i == 3 && row % T != NO_QUERY);
			}
		}
}

/* With beta 1 and orthonormal keys a query gives the value last written at its key, over sqrt(K), and
   with beta 0 nothing. */
static void check_recall(enum device_id device, double written)
{
	struct op_trial t;

	open_trial(&t, device, 16, false);
	remember(&t, written);
	op_trial_forward(&t);
	for (long i = 0; i < B * T * H * V; i++) {
		long at = i / (H * V) % T, last = at - (at + K - 3) % K;
		double value = last < 0 || at == NO_QUERY ? 0 : op_trial_get(&t, t.in[DELTA_V_BTV], i - (at - last) * H * V);
		double got = op_trial_get(&t, t.out[DELTA_Y_BTV], i);
		if (!(fabs(got - written * value / sqrt(K)) < 2e-6))
			fail_msg("token %ld on %s: %g in place of %g", at, device_list[device].name, got,
				written * value / sqrt(K));
	}
	op_trial_close(&t);
}

static void test_recall(void **state)
{
	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++) {
		check_recall(*d, 1);
		check_recall(*d, 0);
	}
}

/* Documents of K tokens, in which token t's key is unit vector t. */
static void separate(const struct op_trial *t)
{
	for (long row = 0; row < B * T; row++) {
		op_trial_set(t, t->in[DELTA_START_BT], row, (double)(row % T - row % T % K));
		for (long i = 0; i < H * K; i++)
			op_trial_set(t, t->in[DELTA_K_BTK], row * H * K + i, i % K == row % T % K);
	}
}

/* sum_{s <= t} beta_s e^{a_t - a_s} (q_t . k_s) v_s of element i of y, by definition */
static double linear_attention(const struct op_trial *t, long i)
{
	long row = i / (H * V), h = i / V % H, first = row - row % T % K;
	double square = DELTA_EPS, sum = 0, left = 1, rate = exp(op_trial_get(t, t->in[DELTA_ALOG_H], h));

	for (long k = 0; k < K; k++)
		square += pow(op_trial_get(t, t->in[DELTA_Q_BTK], (row * H + h) * K + k), 2);
	for (long s = row; s >= first; s--) {
		double q = op_trial_get(t, t->in[DELTA_Q_BTK], (row * H + h) * K + s - first);
		double beta = 1 / (1 + exp(-op_trial_get(t, t->in[DELTA_BRAW_BTH], s * H + h)));
		double dt = op_trial_get(t, t->in[DELTA_DTRAW_BTH], s * H + h) +
			op_trial_get(t, t->in[DELTA_DTBIAS_H], h);
		sum += left * beta * q / sqrt(square * K) * op_trial_get(t, t->in[DELTA_V_BTV], i - (row - s) * H * V);
		left *= exp(-rate * log1p(exp(dt)));
	}
	return sum;
}

/* Where no key has been there before nothing is erased: what is left is linear attention with decay. */
static void test_linear_attention(void **state)
{
	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++) {
		struct op_trial t;
		open_trial(&t, *d, 16, true);
		separate(&t);
		op_trial_forward(&t);
		for (long i = 0; i < B * T * H * V; i++)
			if (!(fabs(op_trial_get(&t, t.out[DELTA_Y_BTV], i) - linear_attention(&t, i)) < 3e-6))
				fail_msg("element %ld on %s: %g in place of %g", i, device_list[*d].name,
					op_trial_get(&t, t.out[DELTA_Y_BTV], i), linear_attention(&t, i));
		op_trial_close(&t);
	}
}

/* Other values for tokens [from, to) of sequence 0: all inputs, and the gradient of the output. */
static void change(const struct op_trial *t, int from, int to)
{
	const struct tensor *all[] = {t->in[DELTA_Q_BTK], t->in[DELTA_K_BTK], t->in[DELTA_V_BTV],
		t->in[DELTA_BRAW_BTH], t->in[DELTA_DTRAW_BTH], t->d_out[DELTA_Y_BTV]};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		for (long k = from * tensor_width(all[i]); k < to * tensor_width(all[i]); k++)
			op_trial_set(t, all[i], k, op_trial_get(t, all[i], k) * 1.25 + 0.5);
}

static bool same_gradients(const struct op_trial *t, const struct op_trial *u, int from, int to)
{
	for (int i = 0; i < DELTA_ALOG_H; i++)
		if (!same_tokens(t, t->d_in[i], u, u->d_in[i], from, to))
			return false;
	return true;
}

/* Tokens [from, to) change: those in front give the same, and with documents those behind, too, and all
   their gradients. */
static void check_apart(enum device_id device, int chunk, int from, int to, bool documents)
{
	struct op_trial t, u;

	open_trial(&t, device, chunk, documents);
	open_trial(&u, device, chunk, documents);
	run(&t);
	op_trial_fill_d_out(&u);
	change(&u, from, to);
	op_trial_forward(&u);
	op_trial_backward(&u);
	assert_true(same_tokens(&t, t.out[DELTA_Y_BTV], &u, u.out[DELTA_Y_BTV], 0, from));
	assert_false(same_tokens(&t, t.out[DELTA_Y_BTV], &u, u.out[DELTA_Y_BTV], from, from + 1));
	assert_true(same_tokens(&t, t.out[DELTA_Y_BTV], &u, u.out[DELTA_Y_BTV], to, T) == documents);
	assert_true(same_gradients(&t, &u, 0, from) == documents);
	assert_true(same_gradients(&t, &u, to, T) == documents);
	op_trial_close(&t);
	op_trial_close(&u);
}

static void test_apart(void **state)
{
	(void)state;
	for (const enum device_id *d = devices() + 1; *d != N_DEVICES; d++)
		for (size_t k = 0; k + 1 < ARRAY_SIZE(begins); k++) {
			check_apart(*d, 16, begins[k], begins[k + 1], true);
			check_apart(*d, 64, begins[k], begins[k + 1], k % 2);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks), cmocka_unit_test(test_recall),
		cmocka_unit_test(test_linear_attention), cmocka_unit_test(test_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
