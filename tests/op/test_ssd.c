/*
 * What test_ops does not see of ssd: that the chunks' size changes nothing, that it is `scan` where
 * the two are the same, that nothing looks ahead or across documents, a forward run that keeps no
 * states. On the CPU, and in a program with CUDA on cuda_f32 where a GPU is.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "op/scan.h"
#include "op/ssd.h"
#include "op/trial.h"
#include "trials.h"

enum { B = 2, T = 100, H = 4, P = 6, G = 2, N = 8 };

/* Documents of sequence 0 begin at these tokens: on a border of chunks of 16, in front of one and
   behind, on one of 64, at the last token. Those of sequence 1 begin one token earlier. */
static const int begins[] = {15, 32, 49, 64, T - 1};

static void documents(const struct op_trial *t)
{
	const struct tensor *start = t->in[SSD_START_BT];

	for (int b = 0; start && b < B; b++)
		for (int i = 0, at = 0; i < T; i++) {
			for (size_t k = 0; k < ARRAY_SIZE(begins); k++)
				at = i == begins[k] - b ? i : at;
			op_trial_set(t, start, (long)b * T + i, at);
		}
}

/* States that live for many tokens: -A is about 0.02. */
static void prepare(const struct op_trial *t)
{
	for (long h = 0; h < tensor_size(t->in[SSD_ALOG_H]); h++)
		op_trial_set(t, t->in[SSD_ALOG_H], h, -4 + 0.3 * (double)h);
	documents(t);
}

static void open_trial(struct op_trial *t, enum device_id device, int chunk, bool with_documents)
{
	static struct ssd_attr attrs[SSD_MAX_CHUNK + 1];	/* a trial keeps the address */
	struct tensor x = tensor_of(REAL, 3, (long)B, (long)T, (long)(H * P)), h = tensor_of(MASTER, 1, (long)H);
	struct tensor dt = tensor_of(REAL, 3, (long)B, (long)T, (long)H);
	struct tensor bc = tensor_of(REAL, 3, (long)B, (long)T, (long)(G * N));
	struct tensor start = tensor_of(INDEX, 2, (long)B, (long)T);
	struct op_trial_case c = {.op = &op_ssd, .attr = &attrs[chunk], .prepare = prepare, .pad = 3, .in = {
		[SSD_X_BTI] = &x, [SSD_DTRAW_BTH] = &dt, [SSD_ALOG_H] = &h, [SSD_B_BTN] = &bc,
		[SSD_C_BTN] = &bc, [SSD_D_H] = &h, [SSD_DTBIAS_H] = &h,
		[SSD_START_BT] = with_documents ? &start : NULL}};

	attrs[chunk] = (struct ssd_attr){.n_groups = G, .chunk = chunk};
	op_trial_open(t, &c, &device_list[device]);
}

static void check_chunks(enum device_id device, int chunk, bool with_documents)
{
	struct op_trial t, ref;

	open_trial(&t, device, chunk, with_documents);
	open_trial(&ref, REF, 1, with_documents);
	run(&t);
	run(&ref);
	if (!(distance(&t, t.out[SSD_Y_BTI], &ref, ref.out[SSD_Y_BTI]) < 2e-6))
		fail_msg("chunks of %d on %s: other output", chunk, device_list[device].name);
	for (int i = 0; i < SSD_START_BT; i++) {
		double error = distance(&t, t.d_in[i], &ref, ref.d_in[i]);
		if (!(error < 1e-5))
			fail_msg("chunks of %d on %s: gradient of %s: error %.2g", chunk,
				device_list[device].name, op_ssd.in[i].name, error);
	}
	op_trial_close(&t);
	op_trial_close(&ref);
}

static void test_chunks(void **state)
{
	const int chunks[] = {1, 2, 16, 63, 64, T, SSD_MAX_CHUNK};

	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++)
		for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
			if (!device_is_host(&device_list[*d]) && chunks[i] != 16 && chunks[i] != 64)
				continue;	/* the emulator takes its time */
			check_chunks(*d, chunks[i], false);
			check_chunks(*d, chunks[i], true);
		}
}

/* ---- scan ----------------------------------------------------------------------------------- */

enum { CHANNELS = 5 };

/* Heads of one channel, one group: scan with the same A for all states of a channel. */
static void open_pair(struct op_trial *t, struct op_trial *scan, enum device_id device)
{
	static const struct ssd_attr attr = {.n_groups = 1, .chunk = 16};
	struct tensor x = tensor_of(REAL, 3, (long)B, (long)T, (long)CHANNELS);
	struct tensor bc = tensor_of(REAL, 3, (long)B, (long)T, (long)N);
	struct tensor h = tensor_of(MASTER, 1, (long)CHANNELS), a = tensor_of(MASTER, 2, (long)CHANNELS, (long)N);
	struct tensor start = tensor_of(INDEX, 2, (long)B, (long)T);
	struct op_trial_case c = {.op = &op_ssd, .attr = &attr, .prepare = prepare, .in = {&x, &x, &h, &bc, &bc,
		&h, &h, &start}};
	struct op_trial_case d = {.op = &op_scan, .in = {[SCAN_U_BTI] = &x, [SCAN_DTRAW_BTI] = &x,
		[SCAN_ALOG_IN] = &a, [SCAN_B_BTN] = &bc, [SCAN_C_BTN] = &bc, [SCAN_D_I] = &h,
		[SCAN_DTBIAS_I] = &h, [SCAN_START_BT] = &start}};

	op_trial_open(t, &c, &device_list[device]);
	op_trial_open(scan, &d, &device_list[device]);
}

/* Inputs of scan, in the order of those of ssd. */
static const int same[] = {SCAN_U_BTI, SCAN_DTRAW_BTI, SCAN_ALOG_IN, SCAN_B_BTN, SCAN_C_BTN, SCAN_D_I,
	SCAN_DTBIAS_I, SCAN_START_BT};

static void check_scan(enum device_id device)
{
	struct op_trial t, scan;

	open_pair(&t, &scan, device);
	for (int i = 0; i < (int)ARRAY_SIZE(same); i++) {
		long repeat = tensor_size(scan.in[same[i]]) / tensor_size(t.in[i]);
		for (long k = 0; k < tensor_size(scan.in[same[i]]); k++)
			op_trial_set(&scan, scan.in[same[i]], k, op_trial_get(&t, t.in[i], k / repeat));
	}
	run(&t);
	run(&scan);
	assert_true(distance(&t, t.out[SSD_Y_BTI], &scan, scan.out[SCAN_Y_BTI]) < 2e-6);
	for (long h = 0; h < CHANNELS; h++) {	/* dA_log of a head: all its states' */
		double sum = 0;
		for (long n = 0; n < N; n++)
			sum += op_trial_get(&scan, scan.d_in[SCAN_ALOG_IN], h * N + n);
		assert_true(fabs(op_trial_get(&t, t.d_in[SSD_ALOG_H], h) - sum) < 1e-4 * fabs(sum));
	}
	for (int i = 0; i < SSD_START_BT; i++)
		if (i != SSD_ALOG_H && !(distance(&t, t.d_in[i], &scan, scan.d_in[same[i]]) < 1e-5))
			fail_msg("gradient of %s is not scan's", op_ssd.in[i].name);
	op_trial_close(&t);
	op_trial_close(&scan);
}

static void test_scan(void **state)
{
	(void)state;
	check_scan(REF);
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++)
		check_scan(*d);
}

/* ---- what a token sees ---------------------------------------------------------------------- */

/* Other values for tokens [from, to) of sequence 0: all inputs, and the gradient of the output. */
static void change(const struct op_trial *t, int from, int to)
{
	const struct tensor *all[] = {t->in[SSD_X_BTI], t->in[SSD_DTRAW_BTH], t->in[SSD_B_BTN],
		t->in[SSD_C_BTN], t->d_out[SSD_Y_BTI]};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		for (long k = from * tensor_width(all[i]); k < to * tensor_width(all[i]); k++)
			op_trial_set(t, all[i], k, op_trial_get(t, all[i], k) * 1.25 + 0.5);
}

static bool same_gradients(const struct op_trial *t, const struct op_trial *u, int from, int to)
{
	static const int inputs[] = {SSD_X_BTI, SSD_DTRAW_BTH, SSD_B_BTN, SSD_C_BTN};

	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++)
		if (!same_tokens(t, t->d_in[inputs[i]], u, u->d_in[inputs[i]], from, to))
			return false;
	return true;
}

static void check_causal(enum device_id device, int chunk, int at)
{
	struct op_trial t, u;

	open_trial(&t, device, chunk, false);
	open_trial(&u, device, chunk, false);
	run(&t);
	op_trial_fill_d_out(&u);
	change(&u, at, T);
	op_trial_forward(&u);
	op_trial_backward(&u);
	assert_true(same_tokens(&t, t.out[SSD_Y_BTI], &u, u.out[SSD_Y_BTI], 0, at));
	assert_false(same_tokens(&t, t.out[SSD_Y_BTI], &u, u.out[SSD_Y_BTI], at, at + 1));
	assert_false(same_gradients(&t, &u, at - 1, at));
	op_trial_close(&t);
	op_trial_close(&u);
}

static void test_causal(void **state)
{
	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++) {
		check_causal(*d, 16, 31);
		check_causal(*d, 16, 32);
		check_causal(*d, 64, 33);
		check_causal(*d, 64, 65);
	}
}

/* The document from `from` to `to` changes; the others do not, forward or back. */
static void check_apart(enum device_id device, int chunk, int from, int to)
{
	struct op_trial t, u;

	open_trial(&t, device, chunk, true);
	open_trial(&u, device, chunk, true);
	run(&t);
	op_trial_fill_d_out(&u);
	change(&u, from, to);
	op_trial_forward(&u);
	op_trial_backward(&u);
	assert_true(same_tokens(&t, t.out[SSD_Y_BTI], &u, u.out[SSD_Y_BTI], 0, from));
	assert_true(same_tokens(&t, t.out[SSD_Y_BTI], &u, u.out[SSD_Y_BTI], to, T));
	assert_true(same_gradients(&t, &u, 0, from));
	assert_true(same_gradients(&t, &u, to, T));
	assert_false(same_gradients(&t, &u, from, to));
	op_trial_close(&t);
	op_trial_close(&u);
}

static void test_documents(void **state)
{
	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++)
		for (size_t k = 0; k + 1 < ARRAY_SIZE(begins); k++) {
			check_apart(*d, 16, begins[k], begins[k + 1]);
			check_apart(*d, 64, begins[k], begins[k + 1]);
		}
}

/* ---- without backward ----------------------------------------------------------------------- */

static void test_evaluation(void **state)
{
	struct op_trial t;

	(void)state;
	open_trial(&t, CPU, 16, true);
	op_trial_forward(&t);
	struct op_shapes shapes = t.shapes;
	struct op_run bare = t.run;
	struct tensor y = tensor_of(REAL, 3, (long)B, (long)T, (long)(H * P));
	shapes.training = false;
	memset(shapes.saved, 0, sizeof shapes.saved);
	op_infer(&op_ssd, &shapes);
	assert_int_equal(shapes.saved[SSD_STATES].n_dims, 0);
	y.at = xcalloc((size_t)tensor_size(&y), sizeof(float));
	bare.out[SSD_Y_BTI] = &y;
	bare.saved[SSD_STATES] = NULL;
	bare.workspace = xcalloc(1, shapes.forward_workspace);
	memset(bare.workspace, 0xff, shapes.forward_workspace);
	op_ssd.forward[CPU](&bare);
	for (long k = 0; k < tensor_size(&y); k++)
		assert_true(op_trial_get(&t, t.out[SSD_Y_BTI], k) == (double)((float *)y.at)[k]);
	free(bare.workspace);
	free(y.at);
	op_trial_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chunks), cmocka_unit_test(test_scan), cmocka_unit_test(test_causal),
		cmocka_unit_test(test_documents), cmocka_unit_test(test_evaluation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
