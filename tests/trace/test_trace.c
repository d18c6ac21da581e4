/*
 * Traces: moelab against golden traces that an independent implementation made (tests/oracle), a step
 * laid open against the step as it is trained, what compare tells, and runs that begin with the weights
 * of a file.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "data/import.h"
#include "store/run_dir.h"
#include "tensor/safetensors.h"
#include "trace/trace.h"
#include "train/setup.h"
#include "train/worker.h"
#include "folder.h"
#include "synthetic.h"

enum { N_GOLDEN = 22 };
static const char golden_folder[] = "tests/oracle/golden";
static const char golden_moe[] = "tests/oracle/golden/moe_mamba.safetensors";
static const char golden_documents[] = "tests/oracle/golden/documents.safetensors";

#define KEYS(...)                                                                                  \
	.overrides = (const char *const[]){__VA_ARGS__},                                           \
	.n_overrides = (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* ---- a folder with a dataset and a spec ----------------------------------------------------- */

static const char *in_folder(const char *name)
{
	static char paths[8][384];
	static int next;
	char *path = paths[next++ % 8];

	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static int open_folder(void **state)
{
	static const char spec[] = "model: {arch: moe_mamba, d_model: 16, n_blocks: 2, moe: {n_experts: 3, "
		"d_expert: 8, capacity_factor: 0.8, group_tokens: 32}}\n"
		"train: {batch: 4, context: 16, tokens: 640, lr: 0.01}\n"
		"data: {path: data}\neval: {tokens: 100, every: 100}\n";
	struct import_options o = {.tokenizer = "byte", .n_inputs = 1, .val = 0.1, .tune = 0.05};
	const char *inputs[1];
	struct str text;
	int ret;

	(void)state;
	if (path_tmp_folder(folder, sizeof folder, "trace"))
		return -1;
	str_init(&text);
	synthetic_text(&text, 1, 100000);
	inputs[0] = in_folder("text.txt");
	ret = path_write(inputs[0], text.text, text.length);
	o.inputs = inputs;
	o.output = in_folder("data");
	ret |= data_import(&o);
	str_release(&text);
	return ret | path_write(in_folder("spec.yaml"), spec, strlen(spec));
}

/* ---- helpers -------------------------------------------------------------------------------- */

/* Traces what into the named file of the folder, which is given back. */
static const char *trace(const char *what, const char *name, struct trace_options o)
{
	const char *path = in_folder(name);

	assert_int_equal(trace_write(what, &o, path), 0);
	return path;
}

/* The printed comparison; caller frees. */
static char *compare(const char *a, const char *b, double tolerance, int *ret)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	*ret = trace_compare(a, b, tolerance, f);
	fclose(f);
	return text;
}

static void expect_same(const char *a, const char *b, double tolerance)
{
	int ret;
	char *text = compare(a, b, tolerance, &ret);

	if (ret != TRACE_SAME) {
		fputs(text, stderr);
		fail_msg("%s and %s part", a, b);
	}
	free(text);
}

/* The first that parts is the one named. */
static void expect_parts(const char *a, const char *b, const char *first)
{
	int ret;
	char *text = compare(a, b, 1e-5, &ret), *verdict = xasprintf("parts first at %s:", first);

	if (ret != TRACE_PARTS || !strstr(text, verdict)) {
		fputs(text, stderr);
		fail_msg("expected \"%s\"", verdict);
	}
	free(verdict);
	free(text);
}

/* Bit for bit: tensors of a whose names begin with one prefix are those of b with another. */
static void expect_equal_tensors(const char *a, const char *prefix_a, const char *b,
	const char *prefix_b)
{
	struct safetensors x, y;
	int n = 0;

	assert_int_equal(safetensors_open(&x, a), 0);
	assert_int_equal(safetensors_open(&y, b), 0);
	for (int i = 0; i < x.n; i++) {
		const struct safetensor *other;
		char *name;
		if (!str_starts(x.list[i].name, prefix_a))
			continue;
		name = xasprintf("%s%s", prefix_b, x.list[i].name + strlen(prefix_a));
		other = safetensors_find(&y, name);
		free(name);
		assert_non_null(other);
		assert_int_equal(x.list[i].bytes, other->bytes);
		assert_memory_equal(x.list[i].data, other->data, other->bytes);
		n++;
	}
	assert_true(n > 0);
	safetensors_close(&x);
	safetensors_close(&y);
}

static void expect_refused(const char *what, struct trace_options o)
{
	assert_int_equal(trace_write(what, &o, in_folder("refused.safetensors")), -1);
	assert_false(path_exists(in_folder("refused.safetensors")));
}

/* ---- golden traces -------------------------------------------------------------------------- */

/* Golden files hold float32, so float64 agrees with them to its rounding. */
static void check_golden(const char *path)
{
	expect_same(path, trace(path, "golden_cpu.safetensors", (struct trace_options){
		.logits = TRACE_LOGITS_ALL}), 1e-5);
	expect_same(path, trace(path, "golden_ref.safetensors", (struct trace_options){
		.logits = TRACE_LOGITS_ALL, .device = "ref"}), 1e-7);
	expect_same(path, trace(path, "golden_again.safetensors", (struct trace_options){
		.logits = TRACE_LOGITS_ALL, KEYS("train.recompute=block")}), 1e-5);
}

static void test_golden(void **state)
{
	DIR *dir = opendir(golden_folder);
	struct dirent *e;
	int n = 0;

	(void)state;
	assert_non_null(dir);
	while ((e = readdir(dir)))
		if (str_ends(e->d_name, ".safetensors")) {
			char *path = path_join(golden_folder, e->d_name);
			check_golden(path);
			free(path);
			n++;
		}
	closedir(dir);
	assert_int_equal(n, N_GOLDEN);
}

/* A model that differs in one thing parts from the golden one where that thing is computed. */
static void test_first_that_parts(void **state)
{
	static const struct {
		const char *key, *first;
	} each[] = {
		{"train.lr=0.011", "lr"},
		{"model.moe.z_loss=0.021", "aux"},
		{"train.clip=0.4", "new.embedding.weight"},
		{"train.weight_decay=0.2", "new.embedding.weight"},
		{"model.moe.capacity_factor=0.3", "layers.1.moe.keep"},
		{"model.norm_eps=0.01", "layers.1.moe.gate"},
		{"model.moe.activation=silu", "layers.3.moe.route"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(each); i++)
		expect_parts(golden_moe, trace(golden_moe, "other.safetensors", (struct trace_options){
			.logits = TRACE_LOGITS_ALL, KEYS(each[i].key)}), each[i].first);
	expect_parts(golden_documents, trace(golden_documents, "other.safetensors",
		(struct trace_options){.logits = TRACE_LOGITS_ALL, KEYS("data.reset_at_eot=false")}),
		"logits");
}

/* ---- the step that is laid open is the one that is trained ---------------------------------- */

static void test_steps_follow(void **state)
{
	const char *spec = in_folder("spec.yaml");
	const char *third = trace(spec, "third.safetensors", (struct trace_options){.step = 2,
		.outputs = true, .logits = 3});
	const char *fourth = trace(spec, "fourth.safetensors", (struct trace_options){.step = 3});

	(void)state;
	expect_equal_tensors(third, "new.", fourth, "param.");
	expect_equal_tensors(third, "", trace(third, "again.safetensors", (struct trace_options){
		.outputs = true, .logits = 3}), "");
}

/* Fewer logits are the last ones; a trace in micro-batches or recomputed is that of the whole batch. */
static void test_ways_to_compute(void **state)
{
	const char *spec = in_folder("spec.yaml");
	const char *whole = trace(spec, "whole.safetensors", (struct trace_options){.outputs = true,
		.logits = TRACE_LOGITS_ALL});
	struct safetensors all, last;
	const struct safetensor *a, *b;

	(void)state;
	expect_same(whole, trace(spec, "micro.safetensors", (struct trace_options){.outputs = true,
		.logits = TRACE_LOGITS_ALL, KEYS("train.micro_batch=2")}), 1e-5);
	expect_same(whole, trace(spec, "recompute.safetensors", (struct trace_options){.outputs = true,
		.logits = TRACE_LOGITS_ALL, KEYS("train.recompute=block")}), 1e-5);
	trace(spec, "last.safetensors", (struct trace_options){.logits = 2});
	assert_int_equal(safetensors_open(&all, whole), 0);
	assert_int_equal(safetensors_open(&last, in_folder("last.safetensors")), 0);
	a = safetensors_find(&all, "logits");
	b = safetensors_find(&last, "logits");
	assert_int_equal(b->dims[0] * 100 + b->dims[1], 402);
	for (long s = 0; s < 4; s++)
		assert_memory_equal((const char *)a->data + (s + 1) * a->bytes / 4 - b->bytes / 4,
			(const char *)b->data + s * b->bytes / 4, b->bytes / 4);
	safetensors_close(&all);
	safetensors_close(&last);
}

/* A baseline of rewards is about 5.5 and moves by 1e-6: as float32 has it that is mostly rounding, whichever of the
   two files is in float32. */
static void test_rounding_of_either(void **state)
{
	const char *spec = in_folder("spec.yaml"), *ref, *cpu;
	struct trace_options o = {KEYS("model.moe.router=reinforce", "model.moe.capacity_factor=0")};

	(void)state;
	cpu = trace(spec, "cpu.safetensors", o);
	o.device = "ref";
	ref = trace(spec, "ref.safetensors", o);
	expect_same(cpu, ref, 1e-4);
	expect_same(ref, cpu, 1e-4);
}

/* ---- runs ----------------------------------------------------------------------------------- */

/* Trains the spec with these keys in a run directory of this name, to its end. */
static const char *train(const char *name, const char *const *keys, int n_keys)
{
	struct arena a = {0};
	struct config config;
	const char *dir = in_folder(name);
	struct run_info info = {.identity = "0123456789abcdef0123456789abcdef", .label = name,
		.sweep = "test", .seed = 1, .steps = 10, .jobs = 1, .config = "{}"};
	char *file = path_join(dir, "config.yaml");

	assert_int_equal(path_mkdirs(dir), 0);
	assert_int_equal(spec_load(&a, in_folder("spec.yaml"), keys, n_keys, spec_schema(), &config), 0);
	assert_int_equal(config_write(&config, file), 0);
	assert_int_equal(run_info_write(&info, dir), 0);
	assert_int_equal(worker_main(dir, &(struct worker_options){.pipe = -1, .threads = 1}),
		WORKER_DONE);
	free(file);
	arena_release(&a);
	return dir;
}

static void test_checkpoint_of_run(void **state)
{
	char *what = xasprintf("%s@10", train("run", NULL, 0));
	char *missing = xasprintf("%s@9", in_folder("run"));
	const char *of_run = trace(what, "run.safetensors", (struct trace_options){.logits = 0});

	(void)state;
	expect_equal_tensors(of_run, "", trace(in_folder("spec.yaml"), "ten.safetensors",
		(struct trace_options){.step = 10}), "");
	expect_same(trace(what, "run_ref.safetensors", (struct trace_options){.device = "ref"}), of_run, 1e-4);
	expect_refused(missing, (struct trace_options){.logits = 0});
	expect_refused(what, (struct trace_options){.step = 1});
	free(missing);
	free(what);
}

/* Of a spec that begins with the named file, as it would be planned. */
static void identity(const char *path, char *hex)
{
	struct arena a = {0};
	char *key = xasprintf("train.init_from=%s", path);
	struct config config;
	struct setup setup;

	assert_int_equal(spec_load(&a, in_folder("spec.yaml"), (const char *const[]){key}, 1,
		spec_schema(), &config), 0);
	assert_int_equal(run_spec_pin(&a, &config), 0);
	assert_int_equal(setup_open(&setup, &config, &device_list[CPU], 257), 0);
	setup_identity(&setup, "data", hex);
	setup_close(&setup);
	free(key);
	arena_release(&a);
}

/* Content counts, not the name; no file is as before there was the key. */
static void test_init_from_in_identity(void **state)
{
	const char *one = trace(in_folder("spec.yaml"), "one.safetensors", (struct trace_options){0});
	const char *two = trace(in_folder("spec.yaml"), "two.safetensors", (struct trace_options){0});
	const char *three = trace(in_folder("spec.yaml"), "three.safetensors",
		(struct trace_options){KEYS("seed=2")});
	char none[HASH_HEX], a[HASH_HEX], b[HASH_HEX], c[HASH_HEX];

	(void)state;
	identity("", none);
	identity(one, a);
	identity(two, b);
	identity(three, c);
	assert_string_equal(a, b);
	assert_string_not_equal(a, none);
	assert_string_not_equal(a, c);
}

/* A run that begins with another's last weights, by its own trace and by its checkpoint. */
static void test_init_from(void **state)
{
	char *checkpoint = xasprintf("%s/ckpt/step_10.safetensors", train("before", NULL, 0));
	char *key = xasprintf("train.init_from=%s", checkpoint);
	const char *first, *second;

	(void)state;
	first = trace(in_folder("spec.yaml"), "first.safetensors", (struct trace_options){KEYS(key)});
	expect_equal_tensors(first, "param.", checkpoint, "");
	free(key);
	key = xasprintf("train.init_from=%s", first);
	second = trace(in_folder("spec.yaml"), "second.safetensors", (struct trace_options){KEYS(key)});
	expect_equal_tensors(first, "new.", second, "new.");
	train("after", (const char *const[]){key, "train.tokens=64"}, 2);
	free(checkpoint);
	checkpoint = path_join(in_folder("after"), "ckpt/step_1.safetensors");
	expect_equal_tensors(trace(in_folder("spec.yaml"), "after.safetensors", (struct trace_options){
		KEYS(key, "train.tokens=64")}), "new.", checkpoint, "");
	expect_refused(in_folder("spec.yaml"), (struct trace_options){KEYS(key, "model.d_model=24")});
	expect_refused(in_folder("spec.yaml"), (struct trace_options){KEYS(key, "train.init_hash=1")});
	free(checkpoint);
	free(key);
}

/* ---- what is no trace ----------------------------------------------------------------------- */

static void test_refused(void **state)
{
	static const float data[2] = {1, 2};
	const struct safetensor t = {.name = "x", .dtype = "F32", .n_dims = 1, .dims = {2}, .data = data,
		.bytes = sizeof data};
	const char *bare = in_folder("bare.safetensors");
	int ret;

	(void)state;
	assert_int_equal(safetensors_write(bare, &t, 1, NULL, 0), 0);
	expect_refused(bare, (struct trace_options){0});
	expect_refused(in_folder("nothing.safetensors"), (struct trace_options){0});
	expect_refused(golden_moe, (struct trace_options){KEYS("train.batch=1")});
	expect_refused(golden_moe, (struct trace_options){KEYS("data.vocab=12")});
	free(compare(golden_moe, bare, 1e-4, &ret));
	assert_int_equal(ret, -1);
}

static void swallow(const char *line)
{
	(void)line;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_first_that_parts),
		cmocka_unit_test(test_steps_follow),
		cmocka_unit_test(test_ways_to_compute),
		cmocka_unit_test(test_rounding_of_either),
		cmocka_unit_test(test_checkpoint_of_run),
		cmocka_unit_test(test_init_from_in_identity),
		cmocka_unit_test(test_init_from),
		cmocka_unit_test(test_refused),
	};

	(void)argc;
	blas_start(argv);
	error_sink = swallow;
	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
