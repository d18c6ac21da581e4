/* What a worker leaves of a run: when it is stopped before it begins, when the run keeps nothing, and at its end. */
#include "worker_process.h"

#include "tensor/safetensors.h"
#include "train/trained.h"

/* The largest |x| of the tensors whose names begin so, in file a; less those of the same name in b, if there is one. */
static double largest(const struct safetensors *a, const char *prefix, const struct safetensors *b)
{
	double most = -1;

	for (int i = 0; i < a->n; i++) {
		const struct safetensor *t = &a->list[i], *u = b ? safetensors_find(b, t->name) : NULL;
		long n = 1;
		if (!str_starts(t->name, prefix))
			continue;
		assert_true(!b || u);
		for (int k = 0; k < t->n_dims; k++)
			n *= t->dims[k];
		for (long k = 0; k < n; k++)
			most = fmax(most, fabs(safetensor_at(t, k) - (u ? safetensor_at(u, k) : 0)));
	}
	return most;
}

static void open_step(struct safetensors *f, const char *dir, int step)
{
	char *path = xasprintf("%s/ckpt/step_%d.safetensors", dir, step);

	assert_int_equal(safetensors_open(f, path), 0);
	free(path);
}

/* Also where nothing is kept in the end: it is not over. */
static void test_stopped_runs_keep_what_they_have(void **state)
{
	char *dir = run_dir("stopped", KEYS("checkpoint.keep=0", "checkpoint.every=1e9"));
	struct safetensors f;

	(void)state;
	assert_int_equal(finish(start_left_alone(dir)), WORKER_STOPPED);
	open_step(&f, dir, 0);
	assert_true(largest(&f, "embedding.", NULL) > 0);
	safetensors_close(&f);
	free(dir);
}

/* A run that begins with weights of another has its own moments: none. */
static void test_first_weights_bring_no_moments(void **state)
{
	char *first = run_dir("first", KEYS("train.tokens=1024")), *dir, *key;
	struct safetensors from, f;

	(void)state;
	assert_int_equal(finish(start(first)), WORKER_DONE);
	key = xasprintf("train.init_from=%s/ckpt/step_4.safetensors", first);
	dir = run_dir("second", KEYS(key));
	assert_int_equal(finish(start_left_alone(dir)), WORKER_STOPPED);
	open_step(&from, first, 4);
	open_step(&f, dir, 0);
	assert_true(largest(&from, "moment1.", NULL) > 0);
	assert_true(largest(&f, "embedding.", &from) == 0 && largest(&f, "layers.", &from) == 0);
	assert_true(largest(&f, "moment1.", NULL) == 0 && largest(&f, "moment2.", NULL) == 0);
	safetensors_close(&from);
	safetensors_close(&f);
	free(key);
	free(dir);
	free(first);
}

static void test_diverged_runs_keep_nothing_more(void **state)
{
	char *dir = run_dir("diverged", KEYS("train.lr=100", "train.weight_decay=10", "checkpoint.keep=0")),
		*ckpt = path_join(dir, "ckpt");

	(void)state;
	assert_int_equal(finish(start(dir)), WORKER_DIVERGED);
	assert_false(path_exists(ckpt));
	free(ckpt);
	free(dir);
}

/* What is logged now and then is logged at the end, too, for tables take the last; so do those who read its model. */
static void test_last_step_is_logged(void **state)
{
	static const int at[] = {7, 14, 21, 28, 30};
	char *dir = run_dir("logged", KEYS("log.every=7", "checkpoint.keep=3", "checkpoint.every=1e-9")), *text;
	struct trained t;

	(void)state;
	assert_int_equal(finish(start(dir)), WORKER_DONE);
	text = metrics(dir);
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		char *expert = xasprintf("{\"t\":\"expert\",\"step\":%d,", at[i]), *group = xasprintf(
			"{\"t\":\"group\",\"step\":%d,", at[i]);
		assert_int_equal(count(text, expert), 2);	/* routers */
		assert_true(count(text, group) > 0);
		free(expert);
		free(group);
	}
	assert_int_equal(count(text, "\"t\":\"expert\""), 2 * ARRAY_SIZE(at));
	free(text);
	assert_int_equal(trained_open(&t, dir, -1), 0);
	assert_int_equal(t.step, 30);	/* the newest of three */
	trained_close(&t);
	assert_int_equal(trained_open(&t, dir, 28), 0);
	assert_int_equal(t.step, 28);
	trained_close(&t);
	assert_int_equal(trained_open(&t, dir, 27), -1);
	free(dir);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(test_stopped_runs_keep_what_they_have),
	cmocka_unit_test(test_first_weights_bring_no_moments),
	cmocka_unit_test(test_diverged_runs_keep_nothing_more), cmocka_unit_test(test_last_step_is_logged),
};

WORKER_TESTS_MAIN(tests)
