/*
 * What test_ops does not see of pick: that rows of a document are counted from call to call, those alone for which
 * there was room. On all devices but the GPU's, which test_ops holds against these.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "op/document_start.h"
#include "op/pick.h"
#include "op/trial.h"

enum { T = 9, ROWS = 3, CALLS = 40 };

/* One sequence that goes on: where its document began, seen from the call's first token; rows of it so far. */
struct sequence {
	struct op_trial trial;
	long start, rows;
};

static void open_sequence(struct sequence *s, enum device_id device)
{
	static const struct pick_attr attr = {ROWS};
	struct tensor logit = tensor_of(MASTER, 3, 1L, (long)T, 1L), threshold = tensor_of(MASTER, 1, 1L);
	struct tensor start = tensor_of(INDEX, 2, 1L, (long)T), carried = tensor_of(INDEX, 2, 1L, 1L);
	struct op_trial_case c = {.op = &op_pick, .attr = &attr,
		.in = {[PICK_LOGIT_BT1] = &logit, [PICK_THRESHOLD] = &threshold, [PICK_START_BT] = &start,
			[PICK_CARRIED_B] = &carried}};

	*s = (struct sequence){0};
	op_trial_open(&s->trial, &c, &device_list[device]);
	op_trial_set(&s->trial, s->trial.in[PICK_THRESHOLD], 0, 0);
	op_trial_set(&s->trial, s->trial.in[PICK_CARRIED_B], 0, 0);
}

static long number(const struct op_trial *t, const struct tensor *x, long i)
{
	return (long)op_trial_get(t, x, i);
}

/* Half of the tokens are picked, every sixth begins a document, by chance. */
static void check_call(struct sequence *s, uint64_t call)
{
	const struct op_trial *t = &s->trial;
	bool picked[T], begins[T];
	long row = 0;

	for (long i = 0; i < T; i++) {
		struct rng_block b = rng_block((struct rng_key){7, 8, 9}, call * T + (uint64_t)i);
		picked[i] = b.word[0] & 1;
		begins[i] = b.word[1] % 6 == 0;
		s->start = begins[i] ? i : s->start;
		op_trial_set(t, t->in[PICK_LOGIT_BT1], i, picked[i] ? 1 : -1);
		op_trial_set(t, t->in[PICK_START_BT], i, (double)s->start);
	}
	op_trial_forward(&s->trial);
	for (long i = 0; i < T; i++) {
		s->rows = begins[i] ? 0 : s->rows;
		if (!picked[i] || row == ROWS)
			continue;
		assert_int_equal(number(t, t->out[PICK_TOKEN_BM], row), i);
		assert_int_equal(number(t, t->out[PICK_START_BM], row), row - s->rows);
		s->rows++;
		row++;
	}
	for (; row < ROWS; row++)
		assert_int_equal(number(t, t->out[PICK_START_BM], row), NOT_THERE);
	assert_int_equal(number(t, t->in[PICK_CARRIED_B], 0), s->rows);
	s->start -= T;
}

static void test_rows_are_counted(void **state)
{
	static const enum device_id devices[] = {REF, CPU};
	struct sequence s;

	(void)state;
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		open_sequence(&s, devices[i]);
		for (uint64_t call = 0; call < CALLS; call++)
			check_call(&s, call);
		op_trial_close(&s.trial);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_are_counted)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
