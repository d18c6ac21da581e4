#include "measure/op_times.h"

#include <math.h>
#include <omp.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "measure/median.h"
#include "op/kit/lanes.h"
#include "op/scan.h"
#include "op/kit/vec.h"
#include "tensor/queue.h"

enum { MIN_RUNS = 3, MAX_RUNS = 51 };
#define MIN_SECONDS 0.1		/* of each timed kernel */

/* One call: by the clock, or by marks in the device's queue. */
static double time_call(void (*call)(struct op_trial *t), struct op_trial *t)
{
	struct queue *q = t->run.queue;
	struct queue_mark *from, *to;
	double start = clock_s(), seconds;

	if (!q) {
		call(t);
		return clock_s() - start;
	}
	from = queue_mark_new();
	to = queue_mark_new();
	queue_mark(q, from);
	call(t);
	queue_mark(q, to);
	seconds = queue_seconds(from, to);
	queue_mark_free(from);
	queue_mark_free(to);
	return seconds;
}

/* Median time of a call, after one that warms caches, brings the pages and makes plans. */
static double time_calls(void (*call)(struct op_trial *t), struct op_trial *t)
{
	double seconds[MAX_RUNS], total = 0;
	int n = 0;

	call(t);
	while (n < MAX_RUNS && (n < MIN_RUNS || total < MIN_SECONDS)) {
		seconds[n] = time_call(call, t);
		total += seconds[n++];
	}
	return median_of(seconds, n);
}

static void time_case(const struct bench *b, const struct op_case *c, double *forward_s,
	double *backward_s)
{
	struct op_trial_case what = op_case_trial(c, c->timed);
	struct op_trial t;

	op_trial_open(&t, &what, b->device);
	*forward_s = time_calls(op_trial_forward, &t);
	*backward_s = NAN;
	if (c->op->backward[REF]) {
		op_trial_fill_d_out(&t);
		*backward_s = time_calls(op_trial_backward, &t);
	}
	op_trial_close(&t);
}

/* Largest difference by the largest value, the worse of this and most; NaN where either holds one. */
static double worse(double most, const struct op_trial *t, const struct tensor *a,
	const struct op_trial *ref, const struct tensor *b)
{
	double difference = 0, size = 0, e;
	bool broken = false;

	#pragma omp parallel for schedule(static) reduction(max: difference, size) reduction(||: broken)
	for (long i = 0; i < (a ? tensor_size(a) : 0); i++) {
		double x = op_trial_get(t, a, i), y = op_trial_get(ref, b, i);
		broken = broken || isnan(x - y);
		difference = fmax(difference, fabs(x - y));
		size = fmax(size, fabs(y));
	}
	e = broken ? NAN : difference == 0 ? 0 : difference / size;
	return e <= most ? most : e;
}

static void check_case(const struct bench *b, struct op_case *c)
{
	struct op_trial_case what = op_case_trial(c, c->checked);
	struct op_trial t, ref;

	op_trial_open(&t, &what, b->device);
	op_trial_open(&ref, &what, &device_list[REF]);
	op_trial_forward(&t);
	op_trial_forward(&ref);
	for (int i = 0; i < c->op->n_out; i++)
		c->forward_error = worse(c->forward_error, &t, t.out[i], &ref, ref.out[i]);
	for (int i = 0; i < c->op->n_in; i++)
		if (c->op->in[i].flags & IN_UPDATED)
			c->forward_error = worse(c->forward_error, &t, t.in[i], &ref, ref.in[i]);
	c->backward_error = c->op->backward[REF] ? 0 : NAN;
	if (c->op->backward[REF]) {
		op_trial_fill_d_out(&t);
		op_trial_fill_d_out(&ref);
		op_trial_backward(&t);
		op_trial_backward(&ref);
		for (int i = 0; i < c->op->n_in; i++)
			c->backward_error = worse(c->backward_error, &t, t.d_in[i], &ref, ref.d_in[i]);
	}
	op_trial_close(&t);
	op_trial_close(&ref);
}

static void report(struct bench *b, const struct op_case *c)
{
	const char *shape = op_case_shape(c, true, &b->report.arena);
	const struct {
		const char *metric;
		double value;
	} list[] = {{"forward_ms", 1e3 * c->forward_s}, {"backward_ms", 1e3 * c->backward_s},
		{"forward_error", c->forward_error}, {"backward_error", c->backward_error}};

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (!isnan(list[i].value))
			bench_report_add(&b->report, "op", c->op->name, shape, list[i].metric, list[i].value);
}

void op_times_measure(struct bench *b, struct op_case *c)
{
	time_case(b, c, &c->forward_s, &c->backward_s);
	/* A GPU may lay buffers out in its own way; tests/op/test_ops.c knows how to compare them. */
	if (device_is_host(b->device))
		check_case(b, c);
	else
		c->forward_error = c->backward_error = NAN;
	report(b, c);
}

/* ---- single numbers that the scan stands on, on one core ---------------------------------------- */

typedef void values_fn(float *y, const float *x, int n);

static void exp_values(float *y, const float *x, int n)
{
	#pragma omp simd
	for (int i = 0; i < n; i++)
		y[i] = vec_exp(x[i]);
}

static void exp2_values(float *y, const float *x, int n)
{
	for (int i = 0; i < n; i += LANES)
		lanes_store(y + i, lanes_exp2(lanes_load(x + i)));
}

/* The best time of a value, arguments from `from` to `to`. */
static double value_ns(values_fn *values, float from, float to)
{
	enum { N = 2048, ROUNDS = 20000 };
	float x[N], y[N];
	double best = INFINITY;

	for (int i = 0; i < N; i++)
		x[i] = from + (to - from) * (float)i / N;
	for (int k = 0; k < MIN_RUNS; k++) {
		double start = clock_s();
		for (int r = 0; r < ROUNDS; r++) {
			values(y, x, N);
			__asm__ volatile("" : : "r"(x), "r"(y) : "memory");	/* every round counts */
		}
		best = fmin(best, clock_s() - start);
	}
	return 1e9 * best / ((double)N * ROUNDS);
}

struct scan_pace op_times_scan(struct bench *b, const struct op_case *c, const char *what)
{
	const struct tensor *u = c->timed->in[SCAN_U_BTI], *a = c->timed->in[SCAN_ALOG_IN];
	double n = (double)tensor_size(u) * (double)tensor_size(a) / (double)tensor_width(u);
	int threads = omp_get_max_threads();
	struct scan_pace p;

	cpu_threads(1);
	time_case(b, c, &p.forward_ns, &p.backward_ns);
	p.forward_ns *= 1e9 / n;
	p.backward_ns *= 1e9 / n;
	p.exp2_ns = value_ns(exp2_values, -80, 0);
	p.exp_ns = value_ns(exp_values, -80, 80);
	cpu_threads(threads);
	bench_report_add(&b->report, "op", "scan, one core", what, "forward_ns", p.forward_ns);
	bench_report_add(&b->report, "op", "scan, one core", what, "backward_ns", p.backward_ns);
	bench_report_add(&b->report, "op", "2^x of the scan, one core", what, "ns", p.exp2_ns);
	bench_report_add(&b->report, "op", "exp, one core", what, "ns", p.exp_ns);
	return p;
}
