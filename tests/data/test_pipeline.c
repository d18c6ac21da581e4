/* The pipeline: whatever the threads do, portions are written in the order of one; failures end it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/rng.h"
#include "data/pipeline.h"

enum { INPUTS = 9, FAILURE = -7 };

struct number {
	struct portion portion;
	int input, i;
	bool worked;
};

struct test {
	int n_jobs[INPUTS], n_read[INPUTS];
	atomic_bool reading[INPUTS], writing;
	atomic_int n_alive, n_reading, most_reading, n_working, most_working;
	atomic_long held, most_held;
	int input, i;			/* to be written next */
	int fail_read, fail_work, fail_write;	/* at the portion of input 3 with this number */
	int slow;			/* portion of input 0 that takes long */
	struct pipeline p;
};

static void raise_to(atomic_int *most, int n)
{
	int seen = atomic_load(most);

	while (n > seen && !atomic_compare_exchange_weak(most, &seen, n))
		;
}

/* Some microseconds, another number for each portion. */
static void dawdle(int input, int i, uint32_t purpose)
{
	struct rng_key key = {.seed = (uint64_t)input, .step = purpose};

	usleep(rng_block(key, (uint64_t)i).word[0] % 300);
}

static int read_portion(void *context, int input, struct portion **portion)
{
	struct test *t = context;
	struct number *n;
	int i = t->n_read[input];

	assert_false(atomic_exchange(&t->reading[input], true));	/* one thread an input */
	raise_to(&t->most_reading, ++t->n_reading);
	dawdle(input, i, 1);
	t->n_reading--;
	if (input == 3 && i == t->fail_read) {
		atomic_store(&t->reading[input], false);
		return FAILURE;
	}
	if (i == t->n_jobs[input]) {
		atomic_store(&t->reading[input], false);
		return 0;
	}
	n = xcalloc(1, sizeof *n);
	n->input = input;
	n->i = t->n_read[input]++;
	t->n_alive++;
	*portion = &n->portion;
	atomic_store(&t->reading[input], false);
	return 1;
}

static int work(void *context, int thread, struct portion *portion)
{
	struct number *n = (struct number *)portion;
	struct test *t = context;
	long held;

	assert_in_range(thread, 0, t->p.n_threads - 1);
	raise_to(&t->most_working, ++t->n_working);
	dawdle(n->input, n->i, 2);
	if (!n->input && n->i == t->slow)
		usleep(100000);
	t->n_working--;
	n->worked = true;
	portion->held_bytes = 100;
	held = t->held += 100;
	if (held > t->most_held)
		t->most_held = held;
	return n->input == 3 && n->i == t->fail_work ? FAILURE : 0;
}

static int write_portion(void *context, const struct portion *portion)
{
	const struct number *n = (const struct number *)portion;
	struct test *t = context;

	assert_false(atomic_exchange(&t->writing, true));
	dawdle(n->input, n->i, 3);
	while (t->i == t->n_jobs[t->input]) {
		t->input++;
		t->i = 0;
	}
	assert_int_equal(n->input, t->input);
	assert_int_equal(n->i, t->i++);
	assert_true(n->worked);
	t->held -= 100;
	atomic_store(&t->writing, false);
	return n->input == 3 && n->i == t->fail_write ? FAILURE : 0;
}

static struct test *current;

static void free_portion(struct portion *portion)
{
	current->n_alive--;
	free(portion);
}

static int run(struct test *t, int n_threads, size_t held_max)
{
	int ret;

	current = t;
	t->p = (struct pipeline){.context = t, .n_inputs = INPUTS, .n_threads = n_threads,
		.held_max = held_max, .stop = t->p.stop, .read = read_portion, .work = work,
		.write = write_portion, .free_portion = free_portion};
	ret = pipeline_run(&t->p);
	assert_int_equal(t->n_alive, 0);
	return ret;
}

static struct test new_test(void)
{
	static const int n_jobs[INPUTS] = {40, 0, 1, 100, 3, 0, 25, 60, 0};
	struct test t = {.fail_read = -1, .fail_work = -1, .fail_write = -1, .slow = -1};

	memcpy(t.n_jobs, n_jobs, sizeof n_jobs);
	return t;
}

static void test_order(void **state)
{
	(void)state;
	for (int threads = 1; threads <= 16; threads *= 2)
		for (size_t held_max = 0; held_max <= 10000; held_max = held_max * 10 + 100) {
			struct test t = new_test();
			assert_int_equal(run(&t, threads, held_max), 0);
			assert_int_equal(t.input, 7);	/* 8 has no portions */
			assert_int_equal(t.i, 60);
			/* beyond the limit: what the threads had taken before it was reached */
			assert_true(t.most_held <= (long)held_max + 100 * threads);
		}
}

static void test_all_take_part(void **state)
{
	struct test t = new_test();

	(void)state;
	t.slow = 0;			/* the others go on meanwhile, and read other inputs */
	assert_int_equal(run(&t, 4, 1000000), 0);
	assert_true(t.most_working > 1);
	assert_true(t.most_reading > 1);
	assert_true(t.most_held > 100 * 10);
}

/* While one slow portion holds up all others, what waits stays below the limit. */
static void test_limit(void **state)
{
	struct test t = new_test();

	(void)state;
	t.slow = 5;
	assert_int_equal(run(&t, 4, 500), 0);
	assert_in_range(t.most_held, 500, 500 + 4 * 100);
}

static void test_failures(void **state)
{
	(void)state;
	for (int kind = 0; kind < 3; kind++)
		for (int threads = 1; threads <= 8; threads *= 2) {
			struct test t = new_test();
			*(kind == 0 ? &t.fail_read : kind == 1 ? &t.fail_work : &t.fail_write) = 50;
			assert_int_equal(run(&t, threads, 1000), FAILURE);
			assert_true(t.input < 3 || (t.input == 3 && t.i <= 51));
		}
}

static void test_stop(void **state)
{
	volatile sig_atomic_t stop = 1;
	struct test t = new_test();

	(void)state;
	t.p.stop = &stop;
	assert_int_equal(run(&t, 4, 1000), -1);
	assert_int_equal(t.i, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order), cmocka_unit_test(test_all_take_part),
		cmocka_unit_test(test_limit), cmocka_unit_test(test_failures),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
