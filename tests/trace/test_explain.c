/*
 * `explain` prints numbers that belong together: computed once more from the printed page alone, what an
 * operator is said to do gives what it is said to have given.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "op/op.h"
#include "trace/explain.h"

static const char spec[] = "experiments/toy/moe_mamba.yaml";
static const double close = 2e-9;	/* of numbers printed with ten digits */

static char *page(bool backward)
{
	struct explain_options o = {.trace = {.device = "ref", .logits = TRACE_LOGITS_ALL},
		.backward = backward, .digits = 10};
	FILE *f = tmpfile();
	char *text;
	long size;

	assert_int_equal(explain(spec, &o, f), 0);
	size = ftell(f);
	text = xcalloc((size_t)size + 1, 1);
	rewind(f);
	assert_int_equal(fread(text, 1, (size_t)size, f), size);
	fclose(f);
	return text;
}

/* "      2          6 -> 5": token t and its target. */
static void token_of(const char *text, int t, int *token, int *target)
{
	const char *line = strstr(text, "tokens and their targets\n");

	for (int i = 0; i <= t; i++)
		line = strchr(line, '\n') + 1;
	assert_int_equal(sscanf(line, "%*d %d -> %d", token, target), 2);
}

/* The rows printed under `name`, behind the line of the operator `node`; how many there are. */
static int rows_of(const char *text, const char *node, const char *name, int width, double *out)
{
	const char *at = strstr(text, node);
	int n = 0;

	assert_non_null(at);
	at = strstr(at, name);
	assert_non_null(at);
	at = strchr(at, '\n') + 1;
	for (; !strncmp(at, "      ", 6); at = strchr(at, '\n') + 1, n++) {
		char *end = (char *)at + 16;	/* behind the label */
		for (int i = 0; i < width; i++)
			out[n * width + i] = strtod(end, &end);
		assert_int_equal(*end, '\n');
	}
	return n;
}

static void test_rows_follow_from_what_is_printed(void **state)
{
	double table[8 * 4], x[4 * 4], n[4 * 4], w[8 * 4], y[4 * 8];
	char *text = page(false);
	int token, target;

	(void)state;
	assert_int_equal(rows_of(text, " embedding.embedding", "    table_VD", 4, table), 8);
	assert_int_equal(rows_of(text, " embedding.embedding", "    x_BTD", 4, x), 4);
	for (int t = 0; t < 4; t++) {
		token_of(text, t, &token, &target);
		assert_memory_equal(&x[t * 4], &table[token * 4], 4 * sizeof(double));
	}
	assert_int_equal(rows_of(text, " layers.0.add_norm", "    n\n", 4, n), 4);
	assert_int_equal(rows_of(text, " layers.0.mixer.in_proj.linear", "    w_OI", 4, w), 8);
	assert_int_equal(rows_of(text, " layers.0.mixer.in_proj.linear", "    y_BTO", 8, y), 4);
	for (int t = 0; t < 4; t++)
		for (int o = 0; o < 8; o++) {
			double sum = 0;
			for (int i = 0; i < 4; i++)
				sum += n[t * 4 + i] * w[o * 4 + i];
			assert_true(fabs(y[t * 8 + o] - sum) <= close);
		}
	free(text);
}

static void test_head_agrees_with_its_logits(void **state)
{
	double logit[4 * 8], nll[4], loss[1], sum = 0;
	char *text = page(false);
	int token, target;

	(void)state;
	assert_int_equal(rows_of(text, "", "logits of the next token", 8, logit), 4);
	assert_int_equal(rows_of(text, " lm_head.cross_entropy", "    nll_BT", 1, nll), 4);
	assert_int_equal(rows_of(text, " lm_head.cross_entropy", "    loss", 1, loss), 1);
	for (int t = 0; t < 4; t++) {
		double z = 0;
		token_of(text, t, &token, &target);
		for (int v = 0; v < 8; v++)
			z += exp(logit[t * 8 + v]);
		assert_true(fabs(nll[t] - (log(z) - logit[t * 8 + target])) <= close);
		sum += nll[t] / 4;
	}
	assert_true(fabs(loss[0] - sum) <= close);
	free(text);
}

static void test_gradients_are_printed_when_asked_for(void **state)
{
	char *text = page(true), *plain = page(false);
	double dw[8 * 4], dy_sum = 0;

	(void)state;
	assert_null(strstr(plain, "backward"));
	assert_int_equal(rows_of(text, " layers.0.mixer.in_proj.linear, backward", "    d w_OI", 4, dw), 8);
	for (int i = 0; i < 32; i++)
		dy_sum += fabs(dw[i]);
	assert_true(dy_sum > 1e-6);
	free(text);
	free(plain);
}

static void test_large_batches_are_refused(void **state)
{
	struct explain_options o = {.trace = {.device = "ref", .logits = TRACE_LOGITS_ALL}, .digits = 4};

	(void)state;
	assert_int_equal(explain("experiments/micro/mamba.yaml", &o, stdout), -1);
}

static void test_a_word_that_no_operator_has_is_refused(void **state)
{
	struct explain_options o = {.trace = {.device = "ref", .logits = TRACE_LOGITS_ALL},
		.digits = 4,
		.only = "route"};
	FILE *f = tmpfile();

	(void)state;
	assert_int_equal(explain(spec, &o, f), 0);
	rewind(f);
	o.only = "attention";
	assert_int_equal(explain(spec, &o, f), -1);
	assert_int_equal(ftell(f), 0);
	fclose(f);
}

static void test_every_operator_says_what_it_does(void **state)
{
	(void)state;
	for (int i = 0; op_list[i]; i++)
		assert_non_null(op_list[i]->formula);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rows_follow_from_what_is_printed),
		cmocka_unit_test(test_head_agrees_with_its_logits),
		cmocka_unit_test(test_gradients_are_printed_when_asked_for),
		cmocka_unit_test(test_large_batches_are_refused),
		cmocka_unit_test(test_a_word_that_no_operator_has_is_refused),
		cmocka_unit_test(test_every_operator_says_what_it_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
