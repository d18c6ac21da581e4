#include "measure/generate_times.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "measure/median.h"
#include "store/db.h"
#include "train/decode.h"

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

/* Points of a spec behind each other. */
static void report_points(const struct generate_times *t, struct bench_report *r, const char *name)
{
	char shape[64];

	for (int i = 0; i < 2 * t->n; i++) {
		snprintf(shape, sizeof shape, "context %ld", t->context[i % t->n]);
		bench_report_add(r, "generate", name, shape, i < t->n ? "tokens_per_s" : "bytes",
			i < t->n ? t->tokens_per_s[i] : t->bytes[i - t->n]);
	}
}

static void measure(struct generate_times *t, struct bench *b, struct setup *s, const char *name)
{
	double *logits_V = xcalloc((size_t)s->n_vocab, sizeof *logits_V);
	double *seconds = xcalloc((size_t)b->steps, sizeof *seconds);

	decode_begin(s);	/* all that is carried is touched */
	time_tokens(s, 1, logits_V);
	for (int i = 0; i < t->n; i++) {
		for (long k = 0; k < b->steps; k++)
			seconds[k] = time_tokens(s, t->context[i], logits_V);
		t->tokens_per_s[i] = 1 / median_of(seconds, (int)b->steps);
		t->bytes[i] = weight_bytes(s) + state_bytes(s, t->context[i]);
	}
	report_points(t, &b->report, name);
	free(seconds);
	free(logits_V);
}

/* ---- what was measured before ---------------------------------------------------------------- */

/* Makes the report one of the same circumstances; they must be those of what it has. */
static int take_circumstances(struct bench_report *r, const char *name, const struct db_statement *row)
{
	const char *cpu = db_text(row, 1);
	long long threads = db_int(row, 2);

	cpu = cpu ? cpu : "";
	if (r->n_measures && (strcmp(r->cpu, cpu) || r->threads != threads))
		return error("bench generate --kept: %s was measured on %s with %lld threads, what stands before it "
			"on %s with %lld: measure them anew", name, cpu, threads, r->cpu, r->threads);
	r->cpu = arena_strdup(&r->arena, cpu);
	r->threads = threads;
	return 0;
}

static void take_points(struct generate_times *t, struct bench *b, const char *name, struct db *db, long long bench_id)
{
	struct db_statement s;

	db_prepare(&s, db, "SELECT shape, max(CASE metric WHEN 'tokens_per_s' THEN value END),"
		" max(CASE metric WHEN 'bytes' THEN value END) FROM measure"
		" WHERE bench_id = :bench AND kind = 'generate' AND name = :name"
		" GROUP BY shape ORDER BY CAST(substr(shape, 9) AS INTEGER)");
	db_bind_int(&s, ":bench", bench_id);
	db_bind_text(&s, ":name", name);
	for (; db_step(&s) && t->n < GENERATE_POINTS; t->n++) {
		t->context[t->n] = strtol(db_text(&s, 0) + strlen("context "), NULL, 10);
		t->tokens_per_s[t->n] = db_real(&s, 1);
		t->bytes[t->n] = db_real(&s, 2);
	}
	db_finish(&s);
	report_points(t, &b->report, name);
}

int generate_times_kept(struct generate_times *t, struct bench *b, const char *spec, const char *path)
{
	const char *name = bench_name(b, spec);
	struct db_statement s;
	struct db db;
	int ret = EXIT_ENVIRONMENT;

	*t = (struct generate_times){0};
	if (db_open(&db, path, DB_READ))
		return ret;
	db_prepare(&s, &db, "SELECT bench_id, cpu, threads FROM benches WHERE kind = 'generate' AND name = :name"
		" AND device = :device ORDER BY wall DESC LIMIT 1");
	db_bind_text(&s, ":name", name);
	db_bind_text(&s, ":device", b->device->name);
	if (!db_step(&s))
		error("bench generate --kept: nothing is kept of %s on %s: measure it without --kept", name,
			b->device->name);
	else if (!take_circumstances(&b->report, name, &s))
		take_points(t, b, name, &db, db_int(&s, 0));
	ret = t->n ? EXIT_DONE : EXIT_USAGE;
	db_finish(&s);
	db_close(&db);
	return ret;
}

/* ---- measurement ------------------------------------------------------------------------------ */

static void set_points(struct generate_times *t, long longest)
{
	long context = 16;

	*t = (struct generate_times){0};
	for (; context < longest; context *= 4)
		t->context[t->n++] = context;
	t->context[t->n++] = longest;
}

static struct generate_times *refused;

static void keep_reason(const char *line)
{
	snprintf(refused->reason, sizeof refused->reason, "%.*s", (int)strcspn(line, "\n"), line);
}

/* With as many of the points as the model can carry. */
static int open_longest(struct setup *s, const struct config *c, const struct device *d, struct generate_times *t)
{
	int asked = t->n, ret = -1;

	refused = t;
	for (; t->n > 0 && ret; t->n -= ret != 0) {
		error_sink = t->n > 1 ? keep_reason : NULL;	/* one token at least, or it is an error */
		ret = setup_open_decoding(s, c, d, 0, t->context[t->n - 1] + GENERATE_TOKENS + 1);
		error_sink = NULL;
	}
	if (t->n == asked)
		t->reason[0] = '\0';
	return ret;
}

int generate_times_measure(struct generate_times *t, struct bench *b, const char *spec)
{
	const char *keys[BENCH_MAX_OVERRIDES];
	int n = bench_keys(b, keys, NULL, 0), ret = EXIT_USAGE;
	struct arena arena = {0};
	struct config config;
	struct setup setup;

	set_points(t, b->longest);
	if (!spec_load(&arena, spec, keys, n, spec_schema(), &config) &&
			!open_longest(&setup, &config, b->device, t)) {
		ret = setup_allocate(&setup) ? EXIT_ENVIRONMENT : EXIT_DONE;
		if (!ret)
			measure(t, b, &setup, bench_name(b, spec));
		setup_close(&setup);
	}
	arena_release(&arena);
	return ret;
}
