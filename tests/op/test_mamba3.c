/*
 * Mamba-3's recurrence as its operators make it: trapezoid and ssd give what the recurrence says, and Mamba-2's
 * where lambda is 1; phases that turn by pi count a parity, which no decay can. On the CPU, and in a program with
 * CUDA on cuda_f32 where a GPU is.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/error.h"
#include "op/phase.h"
#include "op/ssd.h"
#include "op/trapezoid.h"
#include "op/trial.h"
#include "op/turn.h"
#include "trials.h"
#include "near.h"

enum { B = 2, T = 70, H = 2, P = 3, N = 4, I = H * P, M = H * N };

/* Documents begin at these tokens: behind the first, in front of a chunk of 16, on one. */
static bool is_first(int t)
{
	return t == 0 || t == 1 || t == 31 || t == 48;
}

static void documents(const struct op_trial *t, int input)
{
	for (int b = 0; t->in[input] && b < B; b++)
		for (int i = 0, at = 0; i < T; i++) {
			at = is_first(i) ? i : at;
			op_trial_set(t, t->in[input], (long)b * T + i, at);
		}
}

static struct tensor tokens_of(enum kind kind, long width)
{
	return tensor_of(kind, 3, (long)B, (long)T, width);
}

static void open_trapezoid(struct op_trial *t, enum device_id device, bool with_documents)
{
	struct tensor raw = tokens_of(REAL, H), bias = tensor_of(MASTER, 1, (long)H);
	struct tensor start = tensor_of(INDEX, 2, (long)B, (long)T);
	static const struct trapezoid_attr whole = {false};	/* the trial keeps a pointer */
	struct op_trial_case c = {.op = &op_trapezoid, .attr = &whole,
		.in = {&raw, &raw, &raw, &bias, with_documents ? &start : NULL}};

	op_trial_open(t, &c, &device_list[device]);
	documents(t, TRAPEZOID_START_BT);
}

/* given: decays and weights are inputs. */
static void open_ssd(struct op_trial *t, enum device_id device, bool given, bool with_documents)
{
	static const struct ssd_attr attr = {H, 16};
	struct tensor x = tokens_of(REAL, I), b = tokens_of(REAL, M), raw = tokens_of(REAL, H);
	struct tensor step = tokens_of(MASTER, H), h = tensor_of(MASTER, 1, (long)H);
	struct tensor start = tensor_of(INDEX, 2, (long)B, (long)T);
	struct op_trial_case c = {.op = &op_ssd, .attr = &attr, .in = {[SSD_X_BTI] = &x, [SSD_B_BTN] = &b,
		[SSD_C_BTN] = &b, [SSD_D_H] = &h, [SSD_START_BT] = with_documents ? &start : NULL}};

	c.in[SSD_DTRAW_BTH] = given ? NULL : &raw;
	c.in[SSD_ALOG_H] = c.in[SSD_DTBIAS_H] = given ? NULL : &h;
	c.in[SSD_DECAY_BTH] = c.in[SSD_WEIGHT_BTH] = c.in[SSD_OWN_BTH] = given ? &step : NULL;
	op_trial_open(t, &c, &device_list[device]);
	documents(t, SSD_START_BT);
}

static void copy(const struct op_trial *from, const struct tensor *a, const struct op_trial *to,
	const struct tensor *b)
{
	for (long i = 0; i < tensor_size(a); i++)
		op_trial_set(to, b, i, op_trial_get(from, a, i));
}

static void give(const struct op_trial *steps, const struct op_trial *t)
{
	copy(steps, steps->out[TRAPEZOID_DECAY_BTH], t, t->in[SSD_DECAY_BTH]);
	copy(steps, steps->out[TRAPEZOID_WEIGHT_BTH], t, t->in[SSD_WEIGHT_BTH]);
	copy(steps, steps->out[TRAPEZOID_OWN_BTH], t, t->in[SSD_OWN_BTH]);
}

static double softplus(double v)
{
	return v > 0 ? v + log1p(exp(-v)) : log1p(exp(v));
}

/* What the recurrence gives of channel i of sequence b, from one token to the next. */
static void recur(const struct op_trial *s, const struct op_trial *t, long b, long i, double *y)
{
	double h[N] = {0};

	for (long k = 0, row = b * T; k < T; k++, row++) {
		long head = i / P, at = row * H + head;
		double a = op_trial_get(s, s->in[TRAPEZOID_ARAW_BTH], at);
		double x = op_trial_get(t, t->in[SSD_X_BTI], row * I + i);
		double dt = softplus(op_trial_get(s, s->in[TRAPEZOID_DTRAW_BTH], at) +
			op_trial_get(s, s->in[TRAPEZOID_DTBIAS_H], head));
		double left = exp(-dt * fmax(a >= 0 ? 1 + a : 1 / (1 - a), 1e-4));
		double lambda = 1 / (1 + exp(-op_trial_get(s, s->in[TRAPEZOID_LRAW_BTH], at)));
		bool first = t->in[SSD_START_BT] ? is_first((int)k) : k == 0;
		y[k] = op_trial_get(t, t->in[SSD_D_H], head) * x;
		for (long n = 0; n < N; n++) {
			long column = row * M + head * N + n;
			double before = first ? 0 : op_trial_get(t, t->in[SSD_X_BTI], (row - 1) * I + i) *
				op_trial_get(t, t->in[SSD_B_BTN], column - M);
			h[n] = (first ? 0 : left * h[n] + (1 - lambda) * dt * left * before) +
				lambda * dt * x * op_trial_get(t, t->in[SSD_B_BTN], column);
			y[k] += h[n] * op_trial_get(t, t->in[SSD_C_BTN], column);
		}
	}
}

static void check_recurrence(enum device_id device, bool with_documents)
{
	struct op_trial steps, t;

	open_trapezoid(&steps, device, with_documents);
	open_ssd(&t, device, true, with_documents);
	op_trial_forward(&steps);
	give(&steps, &t);
	op_trial_forward(&t);
	for (long k = 0; k < B * I; k++) {
		double y[T];
		recur(&steps, &t, k / I, k % I, y);
		for (long i = 0; i < T; i++) {
			double got = op_trial_get(&t, t.out[SSD_Y_BTI], (k / I * T + i) * I + k % I);
			if (!(fabs(got - y[i]) < 2e-5))
				fail_msg("token %ld on %s: %g in place of %g", i, device_list[device].name, got,
					y[i]);
		}
	}
	op_trial_close(&steps);
	op_trial_close(&t);
}

static void test_recurrence(void **state)
{
	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++) {
		check_recurrence(*d, false);
		check_recurrence(*d, true);
	}
}

/* lambda 1, and one rate for all tokens of a head: 1 + 0.5 head. */
static void check_mamba2(enum device_id device)
{
	struct op_trial steps, t, ssd;

	open_trapezoid(&steps, device, true);
	open_ssd(&t, device, true, true);
	open_ssd(&ssd, device, false, true);
	for (long i = 0; i < B * T * H; i++) {
		op_trial_set(&steps, steps.in[TRAPEZOID_LRAW_BTH], i, 200);
		op_trial_set(&steps, steps.in[TRAPEZOID_ARAW_BTH], i, 0.5 * (double)(i % H));
	}
	for (long h = 0; h < H; h++)
		op_trial_set(&ssd, ssd.in[SSD_ALOG_H], h, log(1 + 0.5 * (double)h));
	copy(&steps, steps.in[TRAPEZOID_DTRAW_BTH], &ssd, ssd.in[SSD_DTRAW_BTH]);
	copy(&steps, steps.in[TRAPEZOID_DTBIAS_H], &ssd, ssd.in[SSD_DTBIAS_H]);
	for (int i = 0; i < SSD_DTBIAS_H; i++)
		if (t.in[i])
			copy(&ssd, ssd.in[i], &t, t.in[i]);
	op_trial_forward(&steps);
	give(&steps, &t);
	run(&t);
	run(&ssd);
	assert_true(distance(&t, t.out[SSD_Y_BTI], &ssd, ssd.out[SSD_Y_BTI]) < 1e-6);
	assert_true(distance(&t, t.d_in[SSD_X_BTI], &ssd, ssd.d_in[SSD_X_BTI]) < 1e-6);
	assert_true(distance(&t, t.d_in[SSD_B_BTN], &ssd, ssd.d_in[SSD_B_BTN]) < 1e-6);
	op_trial_close(&steps);
	op_trial_close(&t);
	op_trial_close(&ssd);
}

static void test_mamba2(void **state)
{
	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++)
		check_mamba2(*d);
}

/* ---- parity --------------------------------------------------------------------------------- */

static bool bit(long row)
{
	return row * row % 7 % 3 == 1;
}

/* Phases of tokens: pi more where the bit is set. */
static void open_phases(struct op_trial *t, enum device_id device)
{
	struct tensor angle = tokens_of(REAL, 1), dt = tokens_of(MASTER, H);
	struct op_trial_case c = {.op = &op_phase, .in = {[PHASE_ANGLE_BTS] = &angle, [PHASE_DT_BTH] = &dt}};

	op_trial_open(t, &c, &device_list[device]);
	for (long row = 0; row < B * T; row++) {
		op_trial_set(t, t->in[PHASE_ANGLE_BTS], row, bit(row) ? 40 : 0);
		for (long h = 0; h < H; h++)
			op_trial_set(t, t->in[PHASE_DT_BTH], row * H + h, 1);
	}
	op_trial_forward(t);
}

/* (1, 0, 0, 0) of every head and token, its first pair turned. */
static void open_turned(struct op_trial *t, enum device_id device, const struct op_trial *phases)
{
	static const struct turn_attr attr = {1, 1e-5};
	struct tensor x = tokens_of(REAL, N), w = tensor_of(MASTER, 1, (long)N), phi = tokens_of(MASTER, H);
	struct tensor bias = tensor_of(MASTER, 2, (long)H, (long)N);
	struct op_trial_case c = {.op = &op_turn, .attr = &attr, .in = {&x, &w, &bias, &phi}};

	op_trial_open(t, &c, &device_list[device]);
	for (long n = 0; n < N; n++)
		op_trial_set(t, t->in[TURN_WEIGHT_N], n, 0);
	for (long k = 0; k < M; k++)
		op_trial_set(t, t->in[TURN_BIAS_HN], k, k % N == 0);
	copy(phases, phases->out[PHASE_PHI_BTM], t, t->in[TURN_PHI_BTM]);
	op_trial_forward(t);
}

/* The first token alone writes a 1, which stays; a token reads it with the sign of the bits behind the first. */
static void check_parity(enum device_id device)
{
	struct op_trial phases, turned, t;

	open_phases(&phases, device);
	open_turned(&turned, device, &phases);
	open_ssd(&t, device, true, false);
	copy(&turned, turned.out[TURN_Y_BTM], &t, t.in[SSD_B_BTN]);
	copy(&turned, turned.out[TURN_Y_BTM], &t, t.in[SSD_C_BTN]);
	for (long k = 0; k < B * T * H; k++) {
		op_trial_set(&t, t.in[SSD_DECAY_BTH], k, 0);
		op_trial_set(&t, t.in[SSD_WEIGHT_BTH], k, 1);
		op_trial_set(&t, t.in[SSD_OWN_BTH], k, 1);
	}
	for (long k = 0; k < B * T * I; k++)
		op_trial_set(&t, t.in[SSD_X_BTI], k, k / I % T == 0);
	for (long h = 0; h < H; h++)
		op_trial_set(&t, t.in[SSD_D_H], h, 0);
	op_trial_forward(&t);
	for (long b = 0; b < B; b++)
		for (long i = 0, odd = 0; i < T; i++) {
			odd ^= i > 0 && bit(b * T + i);
			assert_near(op_trial_get(&t, t.out[SSD_Y_BTI], (b * T + i) * I), odd ? -1 : 1, 1e-4);
		}
	op_trial_close(&phases);
	op_trial_close(&turned);
	op_trial_close(&t);
}

static void test_parity(void **state)
{
	(void)state;
	for (const enum device_id *d = devices(); *d != N_DEVICES; d++)
		check_parity(*d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_recurrence), cmocka_unit_test(test_mamba2), cmocka_unit_test(test_parity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
