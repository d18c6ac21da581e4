/* Composition, checking, presets, binding, and the texts a config becomes. */
#include "fixture.h"

static int load_with(struct config *c, const char *path, const char *override)
{
	clear_message();
	return spec_load(&arena, path, &override, override ? 1 : 0, &schema, c);
}

static struct config load(const char *path)
{
	struct config c;

	if (load_with(&c, path, NULL))
		fail_msg("%s", message);
	assert_string_equal(message, "");
	return c;
}

static struct config load_text(const char *text)
{
	write_file("x.yaml", text);
	return load("x.yaml");
}

static void refuses(const char *text, const char *line)
{
	struct config c;

	write_file("x.yaml", text);
	assert_int_equal(load_with(&c, "x.yaml", NULL), -1);
	assert_message(line);
}

static void refuses_override(const char *override, const char *line)
{
	struct config c;

	write_file("x.yaml", "model.arch: moe_mamba\n");
	assert_int_equal(load_with(&c, "x.yaml", override), -1);
	assert_message(line);
}

static void test_types_and_defaults(void **state)
{
	struct config c =
		load_text("model: {arch: moe_mamba, d_model: 64, final_norm: true,\n"
			  "  moe: {capacity_factor: 2}}\ntrain.tokens: 1e9\nquestion: no\n");
	struct common common;
	struct moe moe;

	(void)state;
	config_bind(&c, &common_table, &common);
	config_bind(&c, &moe_table, &moe);
	assert_string_equal(common.arch, "moe_mamba");
	assert_string_equal(common.question, "no");
	assert_int_equal(common.d_model, 64);
	assert_int_equal(common.tokens, 1000000000);
	assert_true(common.final_norm);
	assert_true(common.lr == 1e-3);
	assert_true(moe.capacity == 2.0);
	assert_int_equal(moe.n_experts, 8);
	assert_string_equal(config_find(&c, "train.lr")->origin, "default");
	assert_string_equal(config_find(&c, "model.moe.capacity_factor")->origin, "x.yaml:2");
	assert_null(config_find(&c, "model.pattern"));
	for (int i = 1; i < c.n; i++)
		assert_true(strcmp(c.values[i - 1].field->key, c.values[i].field->key) < 0);
}

static void test_later_wins(void **state)
{
	struct config c;

	(void)state;
	write_file(
		"base/a.yaml", "model.arch: mamba\ntrain: {lr: 1e-4, beta2: 0.9, tokens: 100}\n");
	write_file("base/b.yaml", "base: a.yaml\ntrain.lr: 2e-4\n");
	write_file("base/c.yaml", "train.beta2: 0.8\n");
	write_file("top.yaml", "train.tokens: 300\nbase: [base/b.yaml, base/c.yaml]\n");
	c = load("top.yaml");
	assert_string_equal(value_text(&c, "train.lr"), "0.0002");
	assert_string_equal(value_text(&c, "train.beta2"), "0.8");
	assert_string_equal(value_text(&c, "train.tokens"), "300");
	assert_string_equal(config_find(&c, "train.lr")->origin, "base/b.yaml:2");
	assert_int_equal(load_with(&c, "top.yaml", "train.lr=3e-4"), 0);
	assert_string_equal(value_text(&c, "train.lr"), "0.0003");
	assert_string_equal(config_find(&c, "train.lr")->origin, "command line");
	write_file("top.yaml", "base: base/b.yaml\nmodel.arch: moe_mamba\n");
	c = load("top.yaml");
	assert_string_equal(c.choice, "moe_mamba");	/* by which the keys are chosen */
	assert_int_equal(load_with(&c, "top.yaml", "model.arch=stack"), 0);
	assert_string_equal(c.choice, "stack");
}

static void test_bases_refused(void **state)
{
	struct config c;

	(void)state;
	write_file("p.yaml", "base: q.yaml\n");
	write_file("q.yaml", "model.arch: mamba\nbase: [p.yaml]\n");
	clear_message();
	assert_int_equal(load_with(&c, "p.yaml", NULL), -1);
	assert_message(
		"q.yaml:2:8: base: p.yaml is read already: the files name each other in a circle");
	refuses("base: x.yaml\n",
		"x.yaml:1:7: base: x.yaml is read already: the files name each other in a circle");
	refuses("base:\n  - absent.yaml\n", "x.yaml:2:5: base: there is no file absent.yaml");
	refuses("base: {a: b}\n",
		"x.yaml:1:7: base: the name of a file must stand here, not a map");
	write_file("list.yaml", "[1]\n");
	refuses("base: list.yaml\n", "list.yaml:1:1: a spec is a map of keys, not a list");
}

/* A pipe has no real path, and gives what it holds once. */
static void test_pipes_are_specs(void **state)
{
	static const char spec[] = "model.arch: mamba\ntrain.lr: 3e-4\n";
	char *name, *base;
	struct config c;
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	name = xasprintf("/proc/self/fd/%d", ends[0]);
	base = xasprintf("base: %s/a.yaml\nmodel.arch: mamba\ntrain.lr: 2e-4\n", folder);
	write_file("a.yaml", "train.tokens: 100\n");
	assert_int_equal(write(ends[1], base, strlen(base)), strlen(base));
	close(ends[1]);
	clear_message();
	assert_int_equal(load_with(&c, name, NULL), 0);
	assert_string_equal(value_text(&c, "train.tokens"), "100");
	assert_int_equal(load_with(&c, name, NULL), -1);
	assert_non_null(strstr(message, "a pipe can be read once"));
	close(ends[0]);
	assert_int_equal(pipe(ends), 0);
	free(base);
	base = xasprintf("base: [/proc/self/fd/%d]\n", ends[0]);
	assert_int_equal(write(ends[1], spec, strlen(spec)), strlen(spec));
	close(ends[1]);
	write_file("x.yaml", base);
	c = load("x.yaml");
	assert_string_equal(value_text(&c, "train.lr"), "0.0003");
	close(ends[0]);
	free(base);
	free(name);
	refuses("base: [/dev/zero]\n", "moelab: cannot read /dev/zero: it has more than 4194304 bytes");
}

static void test_presets(void **state)
{
	struct config c = load_text("recipe: modern\nmodel.arch: moe_mamba\ntrain.beta2: 0.99\n");

	(void)state;
	assert_string_equal(value_text(&c, "model.norm"), "rmsnorm");
	assert_string_equal(config_find(&c, "model.norm")->origin, "recipe: modern");
	assert_string_equal(value_text(&c, "model.moe.capacity_factor"), "1.25");
	assert_string_equal(value_text(&c, "train.beta2"), "0.99");
	c = load_text("recipe: modern\nmodel.arch: mamba\n");
	assert_null(config_find(&c, "model.moe.capacity_factor"));
	c = load_text("model.arch: mamba\n");
	assert_string_equal(value_text(&c, "model.norm"), "layernorm");
}

static void test_keys_refused(void **state)
{
	(void)state;
	refuses("model:\n  arch: moe_mamba\n  moe: {n_expert: 8}\n",
		"x.yaml:3:9: unknown key \"model.moe.n_expert\" (did you mean \"n_experts\"?)");
	refuses("modle: {arch: mamba}\n",
		"x.yaml:1:9: unknown key \"modle.arch\" (did you mean \"model.arch\"?)");
	refuses("zzzzzzzzzzzzzzz: 1\n",
		"x.yaml:1:1: unknown key \"zzzzzzzzzzzzzzz\" (moelab help spec lists all)");
	refuses("model.arch: mamba\nmodel.moe.n_experts: 8\n",
		"x.yaml:2:1: key \"model.moe.n_experts\" "
		"does not apply to model.arch \"mamba\" (it belongs to moe_mamba, "
		"transformer_moe)");
	refuses("model.arch: mamba\nmodel: {arch: stack}\n",
		"x.yaml:2:9: duplicate key \"model.arch\" (first in line 1)");
	refuses("model: mamba\n",
		"x.yaml:1:8: \"model\" is a group of keys: a map must stand here, not a text");
	refuses("train.lr: 1e-3\n", "moelab: x.yaml: key \"model.arch\" is missing (architecture)");
	refuses("model.arch: mamab\n",
		"x.yaml:1:13: unknown model.arch \"mamab\" (did you mean \"mamba\"?)");
	refuses("model.arch: [mamba]\n",
		"x.yaml:1:13: model.arch: a list, where a word must stand");
	refuses("model.arch: mamba\ngrid: {train.lr: [1]}\n",
		"x.yaml:2:1: \"grid\" belongs to a sweep, "
		"and this is the spec of one run (moelab run takes sweeps)");
	refuses("just text\n", "x.yaml:1:1: a spec is a map of keys, not a text");
}

static void test_values_refused(void **state)
{
	(void)state;
	refuses("model: {arch: mamba, d_model: 12.5}\n",
		"x.yaml:1:31: model.d_model: \"12.5\" is not a whole number");
	refuses("model: {arch: mamba, d_model: 1_024}\n",
		"x.yaml:1:31: model.d_model: \"1_024\" is not a whole number");
	refuses("model: {arch: mamba, d_model: \"64\"}\n",
		"x.yaml:1:31: model.d_model: \"64\" is not a whole number");
	refuses("model: {arch: mamba, d_model: 0}\n",
		"x.yaml:1:31: model.d_model: 0 is out of range (1 to 65536 channels)");
	refuses("model.arch: mamba\ntrain.tokens: 0\n",
		"x.yaml:2:15: train.tokens: 0 is out of range (at least 1 tokens)");
	refuses("model.arch: mamba\ntrain.tokens: 1e30\n",
		"x.yaml:2:15: train.tokens: 1e30 is too large for a whole number");
	refuses("model.arch: mamba\ntrain.lr: fast\n",
		"x.yaml:2:11: train.lr: \"fast\" is not a number");
	refuses("model.arch: mamba\ntrain.lr: .nan\n",
		"x.yaml:2:11: train.lr: \".nan\" is not a number");
	refuses("model.arch: mamba\ntrain.lr: 2\n",
		"x.yaml:2:11: train.lr: 2 is out of range (0 to 1)");
	refuses("model.arch: mamba\ntrain.lr:\n",
		"x.yaml:2:10: train.lr: nothing, where a number must stand");
	refuses("model: {arch: mamba, final_norm: yes}\n",
		"x.yaml:1:34: model.final_norm: \"yes\" is not true or false");
	refuses("model: {arch: mamba, norm: rmsnrom}\n",
		"x.yaml:1:28: unknown model.norm \"rmsnrom\" (did you mean \"rmsnorm\"?)");
	refuses("model: {arch: mamba, norm: batch_normalisation}\n",
		"x.yaml:1:28: unknown model.norm "
		"\"batch_normalisation\" (there are layernorm, rmsnorm)");
	refuses("model: {arch: stack, pattern: mamba}\n",
		"x.yaml:1:31: model.pattern: \"mamba\" is not a list or a map");
	/* also a value that a later file replaces */
	write_file("wrong.yaml", "train.lr: fast\n");
	refuses("base: wrong.yaml\nmodel.arch: mamba\ntrain.lr: 1e-3\n",
		"wrong.yaml:1:11: train.lr: \"fast\" is not a number");
}

static void test_overrides(void **state)
{
	struct config c;

	(void)state;
	write_file("x.yaml", "model.arch: moe_mamba\n");
	assert_int_equal(load_with(&c, "x.yaml", "question=why: this # or that?"), 0);
	assert_string_equal(config_find(&c, "question")->word, "why: this # or that?");
	assert_int_equal(load_with(&c, "x.yaml", "question="), 0);
	assert_string_equal(config_find(&c, "question")->word, "");
	assert_int_equal(load_with(&c, "x.yaml", "model={d_model: 32, norm: rmsnorm}"), 0);
	assert_string_equal(value_text(&c, "model.d_model"), "32");
	refuses_override("train.lr", "moelab: command line: \"train.lr\" is not key=value");
	refuses_override("=3", "moelab: command line: \"=3\" is not key=value");
	refuses_override("n_experts=4", "command line: unknown key \"n_experts\" "
					"(did you mean \"model.moe.n_experts\"?)");
	refuses_override("model.moe.n_experts=0",
		"command line: model.moe.n_experts: 0 is out of range "
		"(1 to 4096 experts)");
	refuses_override("model.pattern=[mamba]",
		"command line: key \"model.pattern\" does not apply to "
		"model.arch \"moe_mamba\" (it belongs to stack)");
	refuses_override("train.lr=[1, 2", "command line:2:1: did not find expected ',' or ']' "
					   "(while parsing a flow sequence that began in line 1)");
	refuses_override("question=\xff", "moelab: command line: \"\xff\" is no valid UTF-8");
}

static void test_paths(void **state)
{
	struct config c;
	char wanted[384];

	(void)state;
	write_file("deep/down/p.yaml", "model.arch: mamba\ndata.path: ../../corpus/./x\n");
	c = load("deep/down/p.yaml");
	snprintf(wanted, sizeof wanted, "%s/corpus/x", folder);
	assert_string_equal(config_find(&c, "data.path")->word, wanted);
	assert_int_equal(load_with(&c, "deep/down/p.yaml", "data.path=corpus"), 0);
	snprintf(wanted, sizeof wanted, "%s/corpus", folder);
	assert_string_equal(config_find(&c, "data.path")->word, wanted);
	assert_int_equal(load_with(&c, "deep/down/p.yaml", "data.path=/a/../b"), 0);
	assert_string_equal(config_find(&c, "data.path")->word, "/a/../b");
}

static void test_written_config_reads_back(void **state)
{
	struct config c, again;
	struct str x, y;

	(void)state;
	write_file("deep/s.yaml",
		"model: {arch: stack, pattern: [mamba, {moe: {n_experts: 8.0}}, 'no']}\n"
		"train.lr: 0.1234567890123456789\ndata.path: here\n"
		"question: \"a: \\\"b\\\"\\n# \\u2028 \\u00e4 \\x07\"\n");
	c = load("deep/s.yaml");
	assert_int_equal(config_write(&c, "deep/er.yaml"), 0);
	assert_int_equal(config_read(&arena, "deep/er.yaml", &schema, &again), 0);
	str_init(&x);
	str_init(&y);
	config_yaml(&c, false, &x);
	config_yaml(&again, false, &y);
	assert_string_equal(x.text, y.text);
	assert_true(config_find(&c, "train.lr")->real == config_find(&again, "train.lr")->real);
	assert_string_equal(
		config_find(&c, "question")->word, config_find(&again, "question")->word);
	str_release(&x);
	str_release(&y);
}

static void test_yaml_text(void **state)
{
	struct config c = load_text("model.arch: mamba\ntrain.lr: 1e-3\n");
	struct str s;

	(void)state;
	str_init(&s);
	config_yaml(&c, true, &s);
	assert_string_equal(s.text, "data:\n"
				    "  path: \"\"  # default\n"
				    "eval:\n"
				    "  tokens: 64  # default\n"
				    "log:\n"
				    "  every: 1  # default\n"
				    "model:\n"
				    "  arch: mamba  # x.yaml:1\n"
				    "  d_model: 512  # default\n"
				    "  final_norm: false  # default\n"
				    "  norm: layernorm  # default\n"
				    "  ssm:\n"
				    "    d_state: 16  # default\n"
				    "question: \"\"  # default\n"
				    "recipe: paper  # default\n"
				    "seed: 1  # default\n"
				    "train:\n"
				    "  beta2: 0.999  # default\n"
				    "  lr: 0.001  # x.yaml:2\n"
				    "  tokens: 1000000  # default\n");
	str_release(&s);
}

static void test_json(void **state)
{
	struct config c =
		load_text("model: {arch: stack, pattern: [a, {b: 1}]}\nquestion: \"q\\\"\"\n");
	json_t *j = config_json(&c);

	(void)state;
	assert_string_equal(json_string_value(json_object_get(j, "model.arch")), "stack");
	assert_string_equal(json_string_value(json_object_get(j, "question")), "q\"");
	assert_true(json_real_value(json_object_get(j, "train.lr")) == 1e-3);
	assert_true(json_is_false(json_object_get(j, "model.final_norm")));
	assert_int_equal(json_array_size(json_object_get(j, "model.pattern")), 2);
	assert_int_equal(json_object_size(j), (size_t)c.n);
	json_decref(j);
}

static void test_help_lists_every_key(void **state)
{
	char *text;
	size_t n;
	FILE *f = open_memstream(&text, &n);

	(void)state;
	spec_help(&schema, f);
	fclose(f);
	for (int i = 0; i < common_table.n; i++)
		assert_non_null(strstr(text, common_rows[i].key));
	assert_non_null(strstr(text, "Keys of mamba, moe_mamba:\n  model.ssm.d_state "));
	assert_non_null(
		strstr(text, "Keys of moe_mamba, transformer_moe:\n  model.moe.n_experts "));
	assert_non_null(strstr(text, "1 to 4096 experts"));
	assert_non_null(strstr(text, "with recipe: modern"));
	assert_null(strstr(strstr(text, "model.ssm.d_state") + 1, "model.ssm.d_state"));
	free(text);
}

/* Every prefix of a spec is a config or one message, never a crash. */
static void test_truncated_files(void **state)
{
	const char *text = "base: [cut_base.yaml]\nrecipe: modern\nmodel:\n  arch: stack\n"
			   "  pattern: &p [mamba, {moe: {n_experts: 8}}]\n  norm: rmsnorm\n"
			   "train: {lr: 1e-3}\n";
	struct config c;

	(void)state;
	write_file("cut_base.yaml", "model.d_model: 8\n");
	for (size_t i = 0; i <= strlen(text); i++) {
		char *cut = strndup(text, i);
		write_file("x.yaml", cut);
		int ret = load_with(&c, "x.yaml", NULL);
		assert_int_equal(ret, *message ? -1 : 0);
		if (ret)
			assert_true(strchr(message, '\n')[1] == '\0');
		free(cut);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_types_and_defaults),
		cmocka_unit_test(test_later_wins),
		cmocka_unit_test(test_bases_refused),
		cmocka_unit_test(test_pipes_are_specs),
		cmocka_unit_test(test_presets),
		cmocka_unit_test(test_keys_refused),
		cmocka_unit_test(test_values_refused),
		cmocka_unit_test(test_overrides),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_written_config_reads_back),
		cmocka_unit_test(test_yaml_text),
		cmocka_unit_test(test_json),
		cmocka_unit_test(test_help_lists_every_key),
		cmocka_unit_test(test_truncated_files),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
