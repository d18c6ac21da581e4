/*
 * A database written by hand, whose every number is chosen so that what tables derive from it can
 * be worked out on paper. Two configurations of three seeds, base and moe-n_experts=4, one of two,
 * moe-n_experts=2, whose second seed reaches nothing; 40 steps of 100 tokens, evaluated each 10.
 * What stands at an earlier step than the last is there to be passed over.
 */
#ifndef TESTS_REPORT_HAND_H
#define TESTS_REPORT_HAND_H

#include "base/path.h"
#include "base/str.h"
#include "store/db.h"

#include <stdio.h>
#include <stdlib.h>

struct hand_run {
	int id;
	const char *label, *variant;
	long seed;
	double loss[5];			/* after 0, 10, 20, 30, 40 steps */
	double seconds, flops;		/* of a step */
	int experts;			/* 0: dense */
	double lr;
	double bpb, accuracy, bigram, share, dropless, drop;	/* at the end */
	double position[3];		/* losses of the classes 1, 2, 3-4, at the end; 0: none */
	double load[2][4];		/* of two routers, at the end; of 4 experts, which differ in width */
	double entropy, dead;		/* of both; the second router has 0.1 and 1 more */
	const char *state;		/* NULL: done */
};

static const struct hand_run hand_runs[] = {
	{1, "base", "base", 1, {5, 4, 3, 2.4, 2.0}, 0.5, 1e6, 0, 1e-3,
		3.0, 0.4, 1.5, 0.2, 0, 0, {4.0, 3.0, 2.0}, {{0}}, 0, 0, NULL},
	{2, "base", "base", 2, {5, 4, 3, 2.4, 2.02}, 0.625, 1e6, 0, 1e-3,
		3.1, 0.5, 1.7, 0.3, 0, 0, {4.2, 3.0, 2.0}, {{0}}, 0, 0, NULL},
	{3, "base", "base", 3, {5, 4, 3, 2.4, 1.98}, 0.4, 1e6, 0, 1e-3,
		2.9, 0.6, 1.9, 0.4, 0, 0, {3.8, 3.0, 2.0}, {{0}}, 0, 0, NULL},
	{4, "moe-n_experts=4", "moe", 1, {5, 3, 2.2, 1.8, 1.6}, 0.8, 4.5e5, 4, 2e-3,
		2.4, 0.6, 1.1, 0.2, 1.5, 0.1, {3.9, 2.0, 1.5},
		{{0.1, 0.2, 0.3, 0.4}, {0.25, 0.25, 0.05, 0.45}}, 1.0, 1, NULL},
	{5, "moe-n_experts=4", "moe", 2, {5, 3, 2.22, 1.72, 1.64}, 0.8, 4.5e5, 4, 2e-3,
		2.5, 0.7, 1.3, 0.3, 1.6, 0.2, {4.0, 2.1, 1.5},
		{{0.25, 0.25, 0.25, 0.25}, {0.25, 0.25, 0.25, 0.25}}, 1.2, 0, NULL},
	{6, "moe-n_experts=4", "moe", 3, {5, 3, 2.38, 1.88, 1.56}, 0.8, 4.5e5, 4, 2e-3,
		2.3, 0.8, 1.2, 0.7, 1.4, 0.6, {3.8, 1.9, 1.5},
		{{0.2, 0.3, 0.3, 0.2}, {0.15, 0.25, 0.25, 0.35}}, 1.1, 0, NULL},
	{7, "moe-n_experts=2", "moe", 1, {5, 4, 3, 2.2, 1.8}, 0.8, 9e5, 2, 3e-3,
		2.6, 0.5, 1.4, 0.2, 1.7, 0.0, {0}, {{0.3, 0.7}, {0.5, 0.5}}, 0.6, 0, NULL},
	{8, "moe-n_experts=2", "moe", 2, {5, 4.5, 4, 3.5, 3}, 0.8, 9e5, 2, 3e-3,
		4.6, 0.3, 2.4, 0.2, 2.7, 0.0, {0}, {{0.4, 0.6}, {0.5, 0.5}}, 0.4, 0, NULL},
	/* trials of moe: the last value has the lowest loss, and a seed that diverged */
	{11, "moe-lr=0.001", "moe", 8, {5, 4, 3, 2.4, 2.0}, 1, 1e6, 4, 1e-3, .state = NULL},
	{12, "moe-lr=0.001", "moe", 9, {5, 4, 3, 2.4, 2.2}, 1, 1e6, 4, 1e-3, .state = NULL},
	{13, "moe-lr=0.002", "moe", 8, {5, 4, 3, 2.4, 1.9}, 1, 1e6, 4, 2e-3, .state = NULL},
	{14, "moe-lr=0.002", "moe", 9, {5, 4, 3, 2.4, 1.94}, 1, 1e6, 4, 2e-3, .state = NULL},
	{15, "moe-lr=0.004", "moe", 8, {5, 4, 3, 2.4, 1.8}, 1, 1e6, 4, 4e-3, .state = NULL},
	{16, "moe-lr=0.004", "moe", 9, {5, 4, 3, 2.4, 1.7}, 1, 1e6, 4, 4e-3, .state = "diverged"},
};

static char hand_folder[256];
static struct db hand_db;

static inline void hand_sql(const char *format, ...) PRINTF_LIKE(1, 2);

static inline void hand_sql(const char *format, ...)
{
	char text[2048];
	va_list args;

	va_start(args, format);
	CHECK(vsnprintf(text, sizeof text, format, args) < (int)sizeof text);
	va_end(args);
	CHECK(!db_exec(&hand_db, text));
}

static inline void hand_curve(const struct hand_run *r)
{
	for (int i = 0; i < 5; i++) {
		int step = 10 * i;
		double far = i < 4 ? 7 : 0;	/* added to what counts at the end alone */
		hand_sql("INSERT INTO eval(run_id, kind, step, tokens, seconds, flops, loss, bpb, accuracy,"
			" loss_bigram, share_bigram, \"drop\", n_tokens, windows, capacity, choices, unserved) VALUES"
			"(%d, 'val', %d, %d, %.17g, %.17g, %.17g, %.17g, %.17g, %.17g, %.17g, %.17g, 64, 'w',"
			" '%s', %.17g, %.17g)",
			r->id, step, 100 * step, step * r->seconds, step * r->flops, r->loss[i],
			r->bpb + far, r->accuracy + far, r->bigram + far, r->share + far, r->drop + far,
			i < 4 ? "none" : r->experts == 2 ? "cutoff" : "1.5", r->drop + 1 + far, r->drop / 4 + far);
		if (i)
			hand_sql("INSERT INTO step(run_id, step, tokens, seconds, flops, ce, clipped) VALUES"
				"(%d, %d, %d, %.17g, %.17g, 9, 0)", r->id, step, 100 * step,
				step * r->seconds, step * r->flops);
	}
	if (r->dropless > 0)
		hand_sql("INSERT INTO eval(run_id, kind, step, tokens, loss, windows) VALUES"
			"(%d, 'val_dropless', 40, 4000, %.17g, 'w')", r->id, r->dropless);
}

static inline void hand_slices(const struct hand_run *r)
{
	static const int low[] = {1, 2, 3}, high[] = {1, 2, 4}, often[] = {0, 1, 10}, top[] = {0, 9, 99};

	for (int i = 0; i < 3 && r->position[0] > 0; i++)
		for (int step = 30; step <= 40; step += 10) {
			double loss = r->position[i] + (step < 40 ? 1 : 0);
			hand_sql("INSERT INTO slice VALUES(%d, 'val', %d, 'position', %d, %d, %.17g, %d)",
				r->id, step, low[i], high[i], loss, 16 * (high[i] - low[i] + 1));
			hand_sql("INSERT INTO slice VALUES(%d, 'val', %d, 'frequency', %d, %d, %.17g, %d)",
				r->id, step, often[i], top[i], loss + 1, i == 1 ? 48 : 8);
		}
}

/* A quarter of the tokens is recalled: base 1.0 less its seed's tenth, 4 experts half of it; the others' loss
   is 3 and 2.9. */
static inline void hand_repeats(const struct hand_run *r)
{
	for (int step = 30; step <= 40 && r->id <= 6; step += 10) {
		double early = step < 40 ? 1 : 0, recalled = 1 - 0.1 * (double)r->seed;
		hand_sql("INSERT INTO slice VALUES(%d, 'val', %d, 'recall', 0, 0, %.17g, 48),"
			" (%d, 'val', %d, 'recall', 1, 26, %.17g, 16)", r->id, step,
			(r->experts ? 2.9 : 3) + early, r->id, step,
			(r->experts ? recalled / 2 : recalled) + early);
	}
}

/* Of base and of 4 experts: on val the share of `accuracy`; on test set 8, of three tokens an answer, half as
   many tokens and a quarter as many answers; on 16 half of that again. */
static inline void hand_recall(const struct hand_run *r)
{
	for (int step = 30; step <= 40 && r->id <= 6; step += 10) {
		double early = step < 40 ? 0.1 : 0;
		hand_sql("INSERT INTO recall(run_id, test, step, tokens, loss, accuracy, answer_accuracy, n_tokens,"
			" n_answers) VALUES(%d, 'val', %d, 0, 1, %.17g, 0, 7, 7)", r->id, step, r->accuracy + early);
		for (int length = 8; length <= 16; length += 8)
			hand_sql("INSERT INTO recall(run_id, test, step, tokens, length, loss, accuracy, answer_accuracy,"
				" n_tokens, n_answers, majority) VALUES(%d, '%d', %d, 0, %d, 1, %.17g, %.17g, 30, 10, %.17g)",
				r->id, length, step, length, r->accuracy * 4 / length + early,
				r->accuracy * 2 / length + early, 1.0 / length);
	}
}

/* Of base and of 4 experts: squared errors of 0.1 times the seed, the experts' half of that, absolute ones double. */
static inline void hand_forecast(const struct hand_run *r)
{
	for (int step = 30; step <= 40 && r->id <= 6; step += 10) {
		double error = (r->experts ? 0.05 : 0.1) * (double)r->seed + (step < 40);
		hand_sql("INSERT INTO recall(run_id, test, step, tokens, length, items, loss, n_tokens, n_answers, mae,"
			" last_mse, last_mae, season_mse) VALUES(%d, '4x2', %d, 0, 4, 2, %.17g, 20, 10, %.17g, 1.5, 1.25, 0.75)",
			r->id, step, error, 2 * error);
	}
}

static inline void hand_routers(const struct hand_run *r)
{
	for (int k = 0; k < 2 && r->load[0][0] > 0; k++)
		for (int step = 30; step <= 40; step += 10) {
			bool last = step == 40;
			hand_sql("INSERT INTO router VALUES(%d, %d, %d, %.17g, %.17g, %.17g, %.17g, %.17g, %s, "
				"NULL, NULL, NULL)", r->id,
				step, k, last ? r->dead + k : 3, last ? r->entropy + 0.1 * k : 0.2,
				last ? r->drop : 0.9, last ? 4.0 / r->experts + 0.1 * k : 9,
				last ? 0.5 * r->drop + 0.1 * k : 1,
				r->experts == 2 ? "NULL" : !last ? "9" : k ? "0.9" : "0.75");
			for (int e = 0; e < r->experts; e++)
				hand_sql("INSERT INTO expert VALUES(%d, %d, %d, %d, %.17g)", r->id, step, k, e,
					last ? r->load[k][e] : e ? 0.01 : 0.99);
		}
}

/* Capacity of two routers with the mean 0.3 in run 4, 0.7 in run 5; an earlier step, another state. */
static inline void hand_states(const struct hand_run *r)
{
	double mean = r->id == 4 ? 0.3 : 0.7;

	for (int step = 30; step <= 40 && (r->id == 4 || r->id == 5); step += 10)
		for (int k = -1; k <= 1; k += 2)
			hand_sql("INSERT INTO state VALUES(%d, %d, 'layers.%d.moe.router.capacity', 0, %.17g, 1),"
				" (%d, %d, 'layers.%d.moe.router.balance', 9, 9, 9)", r->id, step, k + 2,
				step < 40 ? 5 : mean + 0.1 * k, r->id, step, k + 2);
}

/* Active parameters: 1000, of which Mamba has all, six tenths beside 4 experts, three beside 2. */
static inline void hand_parts(const struct hand_run *r)
{
	int mixer = r->experts == 4 ? 600 : r->experts ? 300 : 1000, moe = 1000 - mixer;

	hand_sql("INSERT INTO part VALUES(%d, 'mixer', %d, %d, 100)", r->id, mixer, mixer);
	hand_sql("INSERT INTO part VALUES(%d, 'lm_head', 50, 50, 2000)", r->id);
	if (moe)
		hand_sql("INSERT INTO part VALUES(%d, 'moe', %d, %d, 100)", r->id, moe * r->experts, moe);
}

static inline void hand_param(const struct hand_run *r, const char *key, const char *value)
{
	hand_sql("INSERT INTO param VALUES(%d, '%s', %s)", r->id, key, value);
}

static inline void hand_params(const struct hand_run *r)
{
	char text[32];

	snprintf(text, sizeof text, "%g", r->lr);
	hand_param(r, "train.lr", text);
	hand_param(r, "recipe", "'paper'");
	hand_param(r, "model.ssm.expand", r->experts ? "1.5" : "2.0");
	if (!r->experts)
		return;
	snprintf(text, sizeof text, "%d", r->experts);
	hand_param(r, "model.moe.n_experts", text);
	hand_param(r, "model.moe.d_expert", "48");
	if (r->experts == 2)
		hand_param(r, "model.moe.router", "'expert_choice'");
	hand_param(r, "model.moe.capacity_factor", "1.5");
	hand_param(r, "model.inner.conv", r->experts == 4 ? "'true'" : "'false'");
	hand_param(r, "model.inner.gate", "'false'");
	hand_param(r, "model.inner.out", "'true'");
	hand_param(r, "model.inner.every", r->experts == 4 ? "2" : "1");
}

static inline void hand_attempt(const struct hand_run *r, int n, int jobs)
{
	hand_sql("INSERT INTO attempt(run_id, n, started, host, device, threads, jobs,"
		" memory_planned_bytes) VALUES(%d, %d, '2026-01-01T00:00:00Z', 'here', 'cpu', 2, %d, %d)", r->id,
		n, jobs, r->experts ? 3 << 20 : 1 << 20);
}

static inline void hand_add(const struct hand_run *r)
{
	hand_sql("INSERT INTO run(run_id, identity, dir, label, seed, steps, state, arch, data_hash,"
		" data_tokens, tokenizer, vocab, \"precision\", semantics, params_total, params_active,"
		" params_embedding, flops_per_token, depends) VALUES(%d, 'i%d', 'd%d', '%s', %ld, 40, '%s', 'a', 'h',"
		" 1000000, 'byte', 257, 'f32', '{}', %d, 1000, 100, %.17g, %s)", r->id, r->id, r->id, r->label,
		r->seed, r->state ? r->state : "done", r->experts ? 1000 * r->experts : 1000,
		r->experts ? 5000.0 : 10000.0, r->experts == 2 ? "'F'" : "'A'");
	hand_curve(r);
	hand_slices(r);
	hand_repeats(r);
	hand_recall(r);
	hand_forecast(r);
	hand_routers(r);
	hand_states(r);
	hand_parts(r);
	hand_params(r);
	if (r->experts == 2)
		hand_attempt(r, 1, 3);	/* beside two others, then alone */
	hand_attempt(r, r->experts == 2 ? 2 : 1, 1);
}

static inline void hand_place(int sweep, const struct hand_run *r, const char *label,
	const char *key)
{
	hand_sql("INSERT INTO member VALUES(%d, %d, '%s', '%s', %d)", sweep, r->id, label,
		r->variant, r->id);
	if (key && r->experts)
		hand_sql("INSERT INTO axis VALUES(%d, %d, '%s', 'k', 'v')", sweep, r->id, key);
}

/* Sweeps hand (experts are its axis), capacity (of the same runs, but for 2 experts), hand.tune. */
static inline void hand_open(void)
{
	char *path;

	CHECK(!path_tmp_folder(hand_folder, sizeof hand_folder, "hand"));
	path = path_join(hand_folder, "lab.db");
	CHECK(!db_open(&hand_db, path, DB_WRITE));
	free(path);
	hand_sql("BEGIN; INSERT INTO sweep(sweep_id, name, baseline) VALUES(1, 'hand', 'base'),"
		" (2, 'capacity', 'base'), (3, 'hand.tune', NULL);"
		" INSERT INTO published VALUES"
		"(1, 1, 'moe-n_experts=4', 'loss', 1.55, '1.55'),"
		" (1, 2, 'moe-n_experts=4', 'speedup', 2.5, '2.5'),"
		" (1, 3, 'moe-n_experts=2', 'loss', 1.75, '1.75'), (2, 1, 'moe', 'loss', 1.45, '1.45')");
	for (size_t i = 0; i < ARRAY_SIZE(hand_runs); i++) {
		const struct hand_run *r = &hand_runs[i];
		hand_add(r);
		hand_place(r->id > 10 ? 3 : 1, r, r->label, r->id > 10 ? "train.lr" : "model.moe.n_experts");
		if (r->id <= 6)
			hand_place(2, r, r->experts ? "moe-capacity_factor=1.5" : "base",
				"model.moe.capacity_factor");
	}
	hand_sql("COMMIT");
}

static inline void hand_close(void)
{
	db_close(&hand_db);
	path_remove_tree(hand_folder);
}

#endif
