#include "measure/generate_times.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "measure/median.h"
#include "train/decode.h"

const long generate_contexts[GENERATE_POINTS] = {16, 64, 256, 1024, 4096, 16384};

/* Seconds of one token behind `context` of them. */
static double time_tokens(struct setup *s, long context, double *logits_V)
{
	int token = 1;
	double start;

	decode_skip(s, context);
	decode_tokens(s, &token, 1, logits_V);
	start = clock_s();
	for (int i = 0; i < GENERATE_TOKENS; i++)
		decode_tokens(s, &token, 1, logits_V);
	return (clock_s() - start) / GENERATE_TOKENS;
}

/* Of what is carried on: rings are [B, L, C] with L the longest text. */
static double state_bytes(const struct setup *s, long context)
{
	double bytes = 0;

	for (int i = 0; i < s->carried.n; i++) {
		const struct tensor *x = &s->carried.list[i].shape;
		double n = (double)tensor_size(x);
		bool ring = strstr(s->carried.list[i].name, ".keys") ||
			strstr(s->carried.list[i].name, ".values");
		if (ring && context < x->dims[1])
			n *= (double)context / (double)x->dims[1];
		bytes += n * (double)s->device->bytes[x->kind];
	}
	return bytes;
}

static double weight_bytes(const struct setup *s)
{
	double n = 0;

	for (int i = 0; i < s->params.n; i++)
		n += param_active(&s->params.list[i]);
	return n * (double)s->device->bytes[REAL];
}

static void measure(struct generate_times *t, struct bench *b, struct setup *s, const char *name)
{
	double *logits_V = xcalloc((size_t)s->n_vocab, sizeof *logits_V);
	double *seconds = xcalloc((size_t)b->steps, sizeof *seconds);
	char shape[64];

	decode_begin(s);	/* all that is carried is touched */
	time_tokens(s, 1, logits_V);
	for (int i = 0; i < GENERATE_POINTS; i++) {
		for (long k = 0; k < b->steps; k++)
			seconds[k] = time_tokens(s, generate_contexts[i], logits_V);
		t->tokens_per_s[i] = 1 / median_of(seconds, (int)b->steps);
		t->bytes[i] = weight_bytes(s) + state_bytes(s, generate_contexts[i]);
		snprintf(shape, sizeof shape, "context %ld", generate_contexts[i]);
		bench_report_add(&b->report, "generate", name, shape, "tokens_per_s", t->tokens_per_s[i]);
	}
	free(seconds);
	free(logits_V);
}

int generate_times_measure(struct generate_times *t, struct bench *b, const char *spec)
{
	const char *keys[BENCH_MAX_OVERRIDES];
	int n = bench_keys(b, keys, NULL, 0), ret = EXIT_USAGE;
	long longest = generate_contexts[GENERATE_POINTS - 1] + GENERATE_TOKENS + 1;
	struct arena arena = {0};
	struct config config;
	struct setup setup;

	if (!spec_load(&arena, spec, keys, n, spec_schema(), &config) &&
			!setup_open_decoding(&setup, &config, b->device, 0, longest)) {
		ret = setup_allocate(&setup) ? EXIT_ENVIRONMENT : EXIT_DONE;
		if (!ret)
			measure(t, b, &setup, bench_name(b, spec));
		setup_close(&setup);
	}
	arena_release(&arena);
	return ret;
}
