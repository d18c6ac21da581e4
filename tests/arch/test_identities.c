/*
 * Identities of specs as they are read today. Who changes a default, takes a key in or out of the identity, or forgets
 * the legacy value of a new one makes other runs of all that were trained: where these tests fail, that is what happened.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arch/arch.h"
#include "base/path.h"

static char folder[256];
static struct arena arena;

static int open_folder(void **state)
{
	(void)state;
	return path_tmp_folder(folder, sizeof folder, "identities");
}

static int close_folder(void **state)
{
	(void)state;
	arena_release(&arena);
	return path_remove_tree(folder);
}

/* What is hashed of the least spec of an architecture, but for the versions of operators: these are raised on purpose. */
static char *text_of(const char *arch)
{
	char *path = path_join(folder, "spec.yaml"), *spec = xasprintf("{train.tokens: 1000, data.path: x, "
		"model: {d_model: 64, n_blocks: 2}, model.arch: %s}", arch);
	struct config config;
	struct str text;

	assert_int_equal(path_write(path, spec, strlen(spec)), 0);
	assert_int_equal(spec_load(&arena, path, NULL, 0, spec_schema(), &config), 0);
	str_init(&text);
	config_identity_text(&config, "data", "f32", NULL, 0, &text);
	free(spec);
	free(path);
	return text.text;
}

/* Keys that all architectures have. */
static void test_common_keys(void **state)
{
	char *text = text_of("mamba"), *rest = text;
	struct str common;

	(void)state;
	str_init(&common);
	for (char *line; (line = strsep(&rest, "\n"));)
		if (*line && !str_starts(line, "model.") && !str_starts(line, "init."))
			str_printf(&common, "%s\n", line);
	assert_string_equal(common.text, "data.seed: -1\ndata.vocab: 257\neval.tokens: 65536\nrecipe: paper\nseed: 1\n"
		"train.batch: 16\ntrain.beta1: 0.9\ntrain.beta2: 0.999\ntrain.clip: 0.5\ntrain.context: 256\n"
		"train.decay: all\ntrain.eps: 1e-08\ntrain.lr: 0.001\ntrain.lr_final: 0.1\ntrain.tokens: 1000\n"
		"train.warmup: 0.01\ntrain.weight_decay: 0.1\ndata: data\nprecision: f32\n");
	str_release(&common);
	free(text);
}

/* Hashes of all keys: those of an architecture, the defaults of recipes and routers. */
static void test_all_keys(void **state)
{
	static const char *const cases[][2] = {
		{"inner_moe_mamba", "c8e9a846"},
		{"mamba", "05627f07"},
		{"mamba2", "96963ea6"},
		{"mamba_mlp", "9b98ba00"},
		{"moe_mamba", "6cbc2767"},
		{"parallel_moe_mamba", "a19b4f7a"},
		{"stack, model.pattern: [mamba, moe]", "791223d8"},
		{"transformer", "e1571967"},
		{"transformer_moe", "ae11c6d0"},
		{"mamba, recipe: modern", "7ed524a5"},
		{"moe_mamba, recipe: modern", "d445b7b3"},
		{"moe_mamba, model.moe.router: topk", "87af5bff"},
		{"moe_mamba, model.moe.router: hmoe", "4808c5c6"},
		{"moe_mamba, model.moe.router: gshard", "61270953"},
		{"moe_mamba, model.moe.router: sigmoid_bias", "5fdf283a"},
		{"moe_mamba, model.moe.router: noisy", "aedf6b5a"},
		{"moe_mamba, model.moe.router: gumbel", "a8b54b25"},
		{"moe_mamba, model.moe.router: topp", "08e0d635"},
		{"moe_mamba, model.moe.router: threshold", "077ed96f"},
		{"moe_mamba, model.moe.router: expert_choice", "b484689b"},
		{"moe_mamba, model.moe.router: expert_choice_batch", "4bfd19fd"},
		{"moe_mamba, model.moe.router: tokens", "75bdee1b"},
		{"moe_mamba, model.moe.router: reinforce", "093fedd9"},
		{"moe_mamba, model.moe.router: hash", "5ca43dd0"},
		{"moe_mamba, model.moe.router: fixed", "12a7b9ca"},
		{"moe_mamba, model.moe.router: random", "0713a2bd"},
	};
	char hex[HASH_HEX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *text = text_of(cases[i][0]);
		hash_bytes(text, strlen(text), hex);
		if (strncmp(hex, cases[i][1], 8))
			fail_msg("%s: %.8s, not %s:\n%s", cases[i][0], hex, cases[i][1], text);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_common_keys), cmocka_unit_test(test_all_keys)};

	return cmocka_run_group_tests(tests, open_folder, close_folder);
}
