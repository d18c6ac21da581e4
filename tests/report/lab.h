/*
 * A small laboratory: a database of made-up runs whose curves are known formulas, written by the
 * same calls as the supervisor's. A run's loss at a share x of its budget is
 * floor + 0.4 (fast x)^-0.3 + noise, so `fast` is its true speed-up over fast = 1.
 */
#ifndef TESTS_REPORT_LAB_H
#define TESTS_REPORT_LAB_H

#include "base/error.h"
#include "base/hash.h"
#include "base/path.h"
#include "base/rng.h"
#include "store/catalog.h"
#include "store/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lab_run {
	const char *label, *variant;
	long seed;
	double fast, noise, floor;		/* 0: 1, none, 1.7 */
	int experts;				/* 0: dense */
	double capacity, drop;
	int jobs;				/* 0: 1 */
	bool diverged, unfinished, starved;
	bool cut;				/* done, but its last evaluation is lost */
	double active;				/* 0: 1e6 */
	const char *data_hash, *precision, *semantics, *windows, *tokens, *host;	/* NULL: the usual */
	double lr;				/* 0: 1e-3 */
	double clipped, still;
	long data_tokens;			/* 0: plenty */
	double expand;				/* of Mamba layers; 0: not in the config */
	int d_expert, d_hidden;			/* likewise */
	const char *inner;			/* projections that are mixtures: "conv gate"; NULL: no such key */
	int every;				/* of `inner` */
	bool foreign;
	const char *key, *value;		/* one more of the config */
	const char *excluded;			/* the reason */
	const char *run;			/* runs of one name and seed are one run; NULL: the label */
};

enum { LAB_STEPS = 1000, LAB_EVERY = 10, LAB_TOKENS = 4096, LAB_LAYERS = 2 };

struct lab {
	char folder[256];
	struct db db;
	json_t *sweep;
};

static inline void lab_open(struct lab *lab, const char *baseline)
{
	CHECK(!path_tmp_folder(lab->folder, sizeof lab->folder, "lab"));
	char *path = path_join(lab->folder, "lab.db");
	CHECK(!db_open(&lab->db, path, DB_WRITE));
	free(path);
	lab->sweep = json_pack("{s:s, s:s, s:s, s:s?, s:[], s:[], s:[]}", "name", "lab/one",
		"file", "sweeps/lab/one.yaml", "question", "does it tell a factor from nothing?",
		"baseline", baseline, "targets", "published", "runs");
}

static inline void lab_close(struct lab *lab)
{
	json_decref(lab->sweep);
	db_close(&lab->db);
	path_remove_tree(lab->folder);
}

static inline const char *lab_identity(const struct lab_run *r, char *buffer)
{
	char text[128];

	snprintf(text, sizeof text, "%s/%ld", r->run ? r->run : r->label, r->seed);
	hash_bytes(text, strlen(text), buffer);
	return buffer;
}

static inline void lab_add_axis(json_t *axes, const char *key, const char *short_key, const char *value)
{
	json_array_append_new(axes, json_pack("{s:s,s:s,s:s}", "key", key, "short_key", short_key, "value", value));
}

static inline void lab_add(struct lab *lab, const struct lab_run *r)
{
	char id[HASH_HEX];
	char *dir = xasprintf("%s/runs/%s%s", lab->folder, r->label, lab_identity(r, id));
	json_t *axes = json_array();

	CHECK(!path_mkdirs(dir));
	free(dir);
	if (strcmp(r->label, r->variant) && r->key)
		lab_add_axis(axes, r->key, "k", r->value);
	else if (strcmp(r->label, r->variant) && r->lr > 0)
		lab_add_axis(axes, "train.lr", "lr", "x");
	else if (strcmp(r->label, r->variant) && r->capacity > 0)
		lab_add_axis(axes, "model.moe.capacity_factor", "capacity_factor", "x");
	if (json_array_size(axes) == 0 ? strcmp(r->label, r->variant) : r->lr > 0 && r->experts > 0)
		lab_add_axis(axes, "model.moe.n_experts", "n_experts", "x");
	json_array_append_new(json_object_get(lab->sweep, "runs"), json_pack(
		"{s:s, s:s+, s:s, s:s, s:i, s:i, s:o}", "run", lab_identity(r, id), "dir", r->label, id,
		"label", r->label, "variant", r->variant, "seed", (int)r->seed, "steps", LAB_STEPS, "axes", axes));
}

static inline double lab_noise(const struct lab_run *r, int i)
{
	struct rng_key key = {.seed = (uint64_t)r->seed, .stream = hash_u64(r->label)};
	struct rng_block b = rng_block(key, (uint64_t)i);

	return r->noise * sqrt(-2 * log(rng_uniform(b, 0))) * cos(2 * M_PI * rng_uniform(b, 1));
}

static inline double lab_loss(const struct lab_run *r, int step)
{
	double fast = r->fast > 0 ? r->fast : 1;

	if (step == 0)
		return 5.55;

	return (r->floor > 0 ? r->floor : 1.7) + 0.4 * pow(fast * step / LAB_STEPS, -0.3) + lab_noise(r, step);
}

/* Foreign curves need not tell. */
static inline double lab_seconds(const struct lab_run *r, int step)
{
	return r->foreign ? NAN : step * 0.1;
}

static inline void lab_step(struct recorder *rec, long long id, const struct lab_run *r, int step)
{
	struct record s = record_new(RECORD_IS_STEP);

	s.step = (struct step_record){.step = step, .tokens = (long long)step * LAB_TOKENS,
		.seconds = lab_seconds(r, step), .flops = step * 2e10,
		.ce = lab_loss(r, step) + 5 * lab_noise(r, step + 100000), .aux = NAN, .balance = NAN,
		.z = NAN, .lr = 1e-3, .grad_norm = step % 100 >= 100 * r->still,
		.clipped = step % 100 < 100 * r->clipped, .tokens_per_s = 40960, .drop = r->experts ? r->drop : NAN};
	recorder_add(rec, id, &s);
}

static inline void lab_eval(struct recorder *rec, long long id, const struct lab_run *r, int step, const char *kind)
{
	struct record e = record_new(RECORD_IS_EVAL);
	double loss = lab_loss(r, step);

	e.eval = (struct eval_record){.kind = kind, .step = step, .tokens = (long long)step * LAB_TOKENS,
		.seconds = lab_seconds(r, step), .flops = step * 2e10, .loss = loss, .bpb = loss / M_LN2,
		.accuracy = 0.4,
		.loss_bigram = loss - 0.5, .share_bigram = 0.3, .drop = r->experts ? r->drop : NAN, .n_tokens = 65536,
		.windows = r->windows ? r->windows : "w0", .capacity = "1.0"};
	recorder_add(rec, id, &e);
}

static inline void lab_experts(struct recorder *rec, long long id, const struct lab_run *r, int step)
{
	float load[64];

	for (int layer = 0; layer < LAB_LAYERS && r->experts; layer++) {
		struct record e = record_new(RECORD_IS_EXPERT);
		double sum = 0;
		for (int i = 0; i < r->experts; i++)
			sum += load[i] = (float)(exp(sin(i * 2.1 + layer) * 300 / (step + 200.0)));
		for (int i = 0; i < r->experts; i++)
			load[i] = (float)(load[i] / sum);
		if (r->starved)
			load[0] = 0.09f / (float)r->experts;
		e.expert = (struct expert_record){.step = step, .router = layer, .load = {load, r->experts},
			.dead = 0, .entropy = 0.9 * log(r->experts), .drop = r->drop};
		recorder_add(rec, id, &e);
	}
}

/* Of models with Mamba layers: the routers of all layers with the expert that a token visits, the dense
   mixers of 4 blocks, and Mamba, which has the rest. */
static inline const char *lab_parts(const struct lab_run *r, double active, char text[400])
{
	long moe = r->experts ? LAB_LAYERS * 128L * (2 * r->d_expert + r->experts) : 0;
	long ffn = 4 * 2 * 128L * r->d_hidden, mixer = (long)active - moe - ffn;

	snprintf(text, 400, "{\"mixer\":{\"params\":%ld,\"active\":%ld,\"flops\":3e6},"
		"\"moe\":{\"params\":%ld,\"active\":%ld,\"flops\":1e6},\"ffn\":{\"params\":%ld,\"active\":%ld,"
		"\"flops\":0},\"lm_head\":{\"params\":32896,\"active\":32896,\"flops\":2e5}}", mixer, mixer,
		8 * moe, moe, ffn, ffn);
	return r->expand > 0 ? text : NULL;
}

static inline void lab_attempt(struct recorder *rec, long long id, const struct lab_run *r)
{
	struct record a = record_new(RECORD_IS_ATTEMPT);
	double active = r->active > 0 ? r->active : 1e6;
	char parts[400];

	a.attempt.run = "x";
	a.attempt.parts = lab_parts(r, active, parts);
	a.attempt.started = "2026-01-01T00:00:00Z";
	a.attempt.arch = r->variant;
	a.attempt.data_hash = r->data_hash ? r->data_hash : "0123456789abcdef";
	a.attempt.data_tokens = r->data_tokens ? r->data_tokens : 100 * 1000 * 1000;
	a.attempt.tokenizer = "byte";
	a.attempt.vocab = 257;
	a.attempt.precision = r->precision ? r->precision : "float32";
	a.attempt.semantics = r->semantics ? r->semantics : "{\"scan\":1}";
	a.attempt.params_total = (long long)(active * (r->experts ? 1 + r->experts : 1));
	a.attempt.params_active = (long long)active;
	a.attempt.params_embedding = 65792;
	a.attempt.flops_per_token = 2e10 / LAB_TOKENS;
	a.attempt.host = r->host ? r->host : "here";
	a.attempt.device = "cpu";
	a.attempt.threads = 1;
	a.attempt.jobs = r->jobs ? r->jobs : 1;
	a.attempt.memory_planned_bytes = 64 << 20;
	recorder_add(rec, id, &a);
}

static inline void lab_layers(json_t *config, const struct lab_run *r)
{
	static const char *const projections[] = {"conv", "gate", "out"};
	char key[64];

	if (r->expand > 0)
		json_object_set_new(config, "model.ssm.expand", json_real(r->expand));
	if (r->d_expert)
		json_object_set_new(config, "model.moe.d_expert", json_integer(r->d_expert));
	if (r->d_hidden)
		json_object_set_new(config, "model.ffn.d_hidden", json_integer(r->d_hidden));
	if (r->foreign)
		json_object_set_new(config, "foreign", json_string("their.csv"));
	for (size_t i = 0; i < ARRAY_SIZE(projections) && r->inner; i++) {
		snprintf(key, sizeof key, "model.inner.%s", projections[i]);
		json_object_set_new(config, key, json_boolean(strstr(r->inner, projections[i])));
	}
	if (r->inner)
		json_object_set_new(config, "model.inner.every", json_integer(r->every));
}

static inline void lab_exclude(struct lab *lab, long long id, const char *reason)
{
	struct db_statement s;

	db_prepare(&s, &lab->db, "INSERT INTO exclusion(run_id, reason) VALUES (:run, :reason)");
	db_bind_int(&s, ":run", id);
	db_bind_text(&s, ":reason", reason);
	db_run(&s);
	CHECK(!db_finish(&s));
}

static inline void lab_config(struct lab *lab, long long id, const struct lab_run *r)
{
	json_t *config = json_pack("{s:i, s:i, s:s, s:i, s:i, s:f, s:s, s:f}", "model.d_model", 128,
		"model.n_blocks", 4, "recipe", "paper", "train.batch", 16,
		"train.context", 256, "train.warmup", 0.2, "train.tokens", r->tokens ? r->tokens : "4096000",
		"train.lr", r->lr > 0 ? r->lr : 1e-3);

	if (!r->tokens)
		json_object_set_new(config, "train.tokens", json_integer(LAB_STEPS * LAB_TOKENS));
	json_t *value = r->key ? json_loads(r->value, JSON_DECODE_ANY, NULL) : NULL;
	if (r->key)
		json_object_set_new(config, r->key, value ? value : json_string(r->value));
	lab_layers(config, r);
	if (r->experts) {
		json_object_set_new(config, "model.moe.n_experts", json_integer(r->experts));
		json_object_set_new(config, "model.moe.capacity_factor", json_real(r->capacity > 0 ? r->capacity : 1));
	}
	char *text = json_dumps(config, 0);
	CHECK(!catalog_set_config(&lab->db, id, "", text));
	free(text);
	json_decref(config);
}

/* Another sweep for lab_fill(), in the same database. */
static inline void lab_next(struct lab *lab, const char *name, const char *baseline)
{
	json_object_set_new(lab->sweep, "name", json_string(name));
	json_object_set_new(lab->sweep, "baseline", baseline ? json_string(baseline) : json_null());
	json_array_clear(json_object_get(lab->sweep, "runs"));
	json_array_clear(json_object_get(lab->sweep, "published"));
}

/* The sweep and all that its runs told. Runs are those that were added, in the same order. */
static inline void lab_fill(struct lab *lab, const struct lab_run *runs, int n)
{
	struct recorder rec;
	char id_hex[HASH_HEX];

	for (int i = 0; i < n; i++)
		lab_add(lab, &runs[i]);
	CHECK(!catalog_add_sweep(&lab->db, lab->folder, lab->sweep));
	CHECK(!db_begin(&lab->db));
	recorder_open(&rec, &lab->db);
	for (int i = 0; i < n; i++) {
		const struct lab_run *r = &runs[i];
		long long id = catalog_run_id(&lab->db, lab_identity(r, id_hex));
		int last = r->diverged || r->unfinished ? LAB_STEPS / 2 : LAB_STEPS;
		lab_config(lab, id, r);
		if (r->excluded)
			lab_exclude(lab, id, r->excluded);
		lab_attempt(&rec, id, r);
		lab_eval(&rec, id, r, 0, "val");
		for (int step = 1; step <= last; step++) {
			lab_step(&rec, id, r, step);
			if (step % LAB_EVERY == 0 && !(r->cut && step == last))
				lab_eval(&rec, id, r, step, "val");
			if (step % 50 == 0)
				lab_experts(&rec, id, r, step);
		}
		if (last == LAB_STEPS && r->experts)
			lab_eval(&rec, id, r, LAB_STEPS, "val_dropless");
		catalog_set_state(&lab->db, id,
			r->diverged ? RUN_DIVERGED : r->unfinished ? RUN_STOPPED : RUN_DONE, NULL);
	}
	CHECK(!recorder_close(&rec));
	CHECK(!db_commit(&lab->db));
}

#endif
