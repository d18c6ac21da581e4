/*
 * The planner's decisions, each on the smallest graph that needs it: what is written and what added,
 * slices that tile their root or do not, shared parameters, storage in place, packing. Gradients are
 * compared with central differences of the float64 reference, with the arena full of NaN before, and
 * on the devices that are there with those of the reference.
 */
#include "cases.h"

/* ---- running them --------------------------------------------------------------------------- */

static double loss(struct rig *rig)
{
	graph_forward(rig->g);
	graph_fetch_metrics(rig->g);
	return graph_loss_total(rig->g);
}

static void expect_gradients(struct rig *rig, const char *name)
{
	double *w = rig->memory.blob[BLOB_WEIGHTS], *d = rig->memory.blob[BLOB_GRADIENTS], h = 1e-5;

	loss(rig);
	graph_backward(rig->g, true);
	for (int i = 0; i < rig->params.n; i++)
		for (long k = 0; k < param_elements(&rig->params.list[i]); k++) {
			long at = rig->params.list[i].offset + k;
			double x = w[at], above, below;
			w[at] = x + h;
			above = loss(rig);
			w[at] = x - h;
			below = loss(rig);
			w[at] = x;
			if (!(fabs((above - below) / (2 * h) - d[at]) < 1e-8))
				fail_msg("%s: gradient of %s[%ld] is %g, should be %g", name,
					rig->params.list[i].name, k, d[at], (above - below) / (2 * h));
		}
}

static void test_gradients(void **state)
{
	const struct graph_case *c = *state;
	struct rig rig;

	for (int recompute = 0; recompute <= 1; recompute++) {
		rig_open(&rig, c, REF, recompute, 1);
		expect_gradients(&rig, c->name);
		rig_close(&rig);
	}
}

/* Two equal micro-batches of weight 1/2 give the gradient of one: written first, then added. */
static void test_second_micro_batch_adds(void **state)
{
	struct rig one, two;
	double *x, *y;

	rig_open(&one, *state, REF, false, 1);
	rig_open(&two, *state, REF, false, 2);
	loss(&one);
	graph_backward(one.g, true);
	loss(&two);
	graph_backward(two.g, true);
	loss(&two);
	graph_backward(two.g, false);
	x = one.memory.blob[BLOB_GRADIENTS];
	y = two.memory.blob[BLOB_GRADIENTS];
	for (long i = 0; i < one.params.blob_size; i++)
		if (!(fabs(x[i] - y[i]) < 1e-12))
			fail_msg("element %ld: %g, then %g", i, x[i], y[i]);
	rig_close(&one);
	rig_close(&two);
}

/* ---- devices -------------------------------------------------------------------------------- */

/* Gradients of all parameters one after the other; the caller frees. */
static double *gradients_of(const struct rig *rig, long *n)
{
	size_t bytes = rig->memory.device->bytes[MASTER];
	char *blob = xmalloc(rig->memory.blob_bytes[BLOB_GRADIENTS]);
	double *d = xcalloc((size_t)rig->params.blob_size, sizeof *d);

	device_to_host(rig->memory.device, blob, rig->memory.blob[BLOB_GRADIENTS],
		rig->memory.blob_bytes[BLOB_GRADIENTS]);
	*n = 0;
	for (int i = 0; i < rig->params.n; i++)
		for (long k = 0; k < param_elements(&rig->params.list[i]); k++) {
			long at = rig->params.list[i].offset + k;
			d[(*n)++] = bytes == 8 ? ((double *)(void *)blob)[at] : ((float *)(void *)blob)[at];
		}
	free(blob);
	return d;
}

/* Two micro-batches: the gradients of a step. */
static double *step(struct rig *rig, long *n)
{
	loss(rig);
	graph_backward(rig->g, true);
	loss(rig);
	graph_backward(rig->g, false);
	return gradients_of(rig, n);
}

static double distance(const double *x, const double *y, long n)
{
	double diff = 0, norm = 0;

	for (long i = 0; i < n; i++) {
		diff += (x[i] - y[i]) * (x[i] - y[i]);
		norm += y[i] * y[i];
	}
	return sqrt(diff / norm);
}

/* A GPU's second step is recorded, the third replayed. */
static void check_device(const struct graph_case *c, enum device_id id, bool recompute, bool recorded)
{
	double limit = device_list[id].bytes[REAL] == 2 ? 3e-2 : 1e-5;
	double *expected, *first = NULL;
	struct rig ref, rig;
	long n, m;

	rig_open(&ref, c, REF, recompute, 2);
	rig_open(&rig, c, id, recompute, 2);
	if (!recorded)
		graph_unrecorded(rig.g);
	expected = step(&ref, &n);
	for (int k = 0; k < 3; k++) {
		double *d = step(&rig, &m);
		assert_int_equal(m, n);
		if (!(distance(d, expected, n) <= limit))
			fail_msg("%s on %s, step %d: gradients are off by %.2g", c->name,
				device_list[id].name, k, distance(d, expected, n));
		if (first)
			assert_memory_equal(d, first, (size_t)n * sizeof *d);
		if (first)
			free(d);
		else
			first = d;
	}
	free(first);
	free(expected);
	rig_close(&ref);
	rig_close(&rig);
}

static void test_devices(void **state)
{
	static const enum device_id ids[] = {CPU, CUDA_F32, CUDA};

	for (size_t k = 0; k < ARRAY_SIZE(ids); k++)
		for (int way = 0; way < 4 && !device_missing(&device_list[ids[k]]); way++)
			check_device(*state, ids[k], way & 1, way & 2);
}

/* ---- storage -------------------------------------------------------------------------------- */

static char *printed(struct rig *rig)
{
	char *text = xcalloc(1, 1 << 16);
	FILE *f = fmemopen(text, 1 << 16, "w");

	assert_non_null(f);
	graph_print(rig->g, f);
	fclose(f);
	return text;
}

/* What stands between `label` and the next blank in the line of `call`. */
static long offset_in(const char *text, const char *call, const char *label)
{
	const char *line = strstr(text, call), *at = line ? strstr(line, label) : NULL;

	assert_non_null(at);
	return atol(at + strlen(label));
}

static void test_in_place(void **state)
{
	struct rig rig;
	char *text;

	(void)state;
	rig_open(&rig, &cases[8], REF, false, 1);
	text = printed(&rig);
	assert_int_equal(offset_in(text, " rope", " out0@"), offset_in(text, " rope", " in0@"));
	free(text);
	rig_close(&rig);
	rig_open(&rig, &cases[9], REF, false, 1);
	text = printed(&rig);
	/* Residual adds: the gradient of the stream stays where it is, and is the branch's too. */
	assert_int_equal(offset_in(text, "layers.1.add_norm backward", " d_in0@"),
		offset_in(text, "layers.1.add_norm backward", " d_out0@"));
	assert_int_equal(offset_in(text, "layers.1.add_norm backward", " d_in1@"),
		offset_in(text, "layers.1.add_norm backward", " d_in0@"));
	free(text);
	rig_close(&rig);
}

static void test_memory(void **state)
{
	struct rig plain_rig, again;
	struct graph_memory a, b;

	(void)state;
	rig_open(&plain_rig, &cases[9], REF, false, 1);
	rig_open(&again, &cases[9], REF, true, 1);
	a = graph_memory(plain_rig.g);
	b = graph_memory(again.g);
	assert_true(a.arena_bytes < a.unshared_bytes && a.kept_bytes <= a.arena_bytes);
	assert_true(b.kept_bytes < a.kept_bytes);
	rig_close(&plain_rig);
	rig_close(&again);
}

static char said[4096];

static void keep_line(const char *line)
{
	snprintf(said, sizeof said, "%s", line);
}

static void test_missing_kernel_is_told(void **state)
{
	static struct op bare;
	struct act_attr attr = {ACT_GELU};
	struct arena a = {0};
	struct rig rig = {0};

	(void)state;
	bare = op_act;
	bare.forward[CPU] = NULL;
	params_init(&rig.params, &a, &device_list[CPU]);
	rig.g = graph_new(&a, &rig.params, &device_list[CPU], true);
	struct tensor *x = embed(&rig, "table", D);
	head(&rig, graph_apply(rig.g, &bare, &attr, sizeof attr, &x)[ACT_Y], "head", 1);
	error_sink = keep_line;
	assert_int_equal(graph_plan(rig.g, &(struct graph_options){.micro_batches = 1}), -1);
	error_sink = NULL;
	assert_non_null(strstr(said, "no kernel for device cpu"));
	graph_release(rig.g);
	params_release(&rig.params);
	arena_release(&rig.arena);
	arena_release(&a);
}

int main(void)
{
	struct CMUnitTest tests[3 * ARRAY_SIZE(cases) + 3];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		tests[n++] = (struct CMUnitTest){cases[i].name, test_gradients, NULL, NULL,
			(void *)&cases[i]};
		tests[n++] = (struct CMUnitTest){cases[i].name, test_second_micro_batch_adds, NULL, NULL,
			(void *)&cases[i]};
		tests[n++] = (struct CMUnitTest){cases[i].name, test_devices, NULL, NULL,
			(void *)&cases[i]};
	}
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_in_place);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_memory);
	tests[n++] = (struct CMUnitTest)cmocka_unit_test(test_missing_kernel_is_told);
	return _cmocka_run_group_tests("graph", tests, n, NULL, NULL);
}
