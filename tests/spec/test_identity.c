/* The identity of a run: what is in it, what is not, and hashes that must never change. */
#include "fixture.h"

static const struct semantics semantics[] = {{"scan", 1}, {"linear", 2}, {"moe_mamba", 1}};

static struct config load(const char *text)
{
	struct config c;

	write_file("x.yaml", text);
	clear_message();
	if (spec_load(&arena, "x.yaml", NULL, 0, &schema, &c))
		fail_msg("%s", message);
	return c;
}

static const char *identity_of(const struct config *c)
{
	char *hex = arena_get(&arena, HASH_HEX);

	config_identity(c, "0123abcd", "float32", semantics, 3, hex);
	return hex;
}

static const char *identity(const char *text)
{
	struct config c = load(text);

	return identity_of(&c);
}

static void test_golden(void **state)
{
	(void)state;
	assert_string_equal(identity("model.arch: mamba\n"), "6c30c1e7c012a975b15d532e7d424536");
	assert_string_equal(
		identity("model: {arch: moe_mamba, moe: {n_experts: 4, balance: none}}\n"
			 "recipe: modern\nseed: 7\ntrain.lr: 5e-4\n"),
		"b1afd32f9a61415a1f749b5cbbf9f765");
	assert_string_equal(identity("model: {arch: stack, pattern: [mamba, {moe: {n: 8}}]}\n"),
		"ae6ff00bc4e2b2177fed583070998557");
}

static void test_text(void **state)
{
	struct config c = load("model.arch: moe_mamba\n");
	struct str s;

	(void)state;
	str_init(&s);
	config_identity_text(&c, "0123abcd", "float32", semantics, 3, &s);
	assert_string_equal(s.text,
		"model.arch: moe_mamba\nmodel.d_model: 512\nmodel.final_norm: false\n"
		"model.moe.capacity_factor: 1\nmodel.moe.n_experts: 8\nmodel.norm: layernorm\n"
		"model.ssm.d_state: 16\nrecipe: paper\nseed: 1\ntrain.beta2: 0.999\n"
		"train.lr: 0.001\ntrain.tokens: 1000000\ndata: 0123abcd\nprecision: float32\n"
		"semantics linear: 2\nsemantics moe_mamba: 1\nsemantics scan: 1\n");
	str_release(&s);
}

static void test_same(void **state)
{
	const char *plain = identity("model.arch: moe_mamba\n");

	(void)state;
	assert_string_equal(identity("model: {arch: moe_mamba}\ntrain.lr: 1e-3\n"), plain);
	assert_string_equal(identity("model: {arch: moe_mamba}\ntrain.lr: 0.00100\n"), plain);
	assert_string_equal(identity("model.arch: moe_mamba\ntrain.tokens: 1.0e+6\n"), plain);
	assert_string_equal(identity("model.arch: moe_mamba\nmodel.moe.balance: switch\n"), plain);
	assert_string_equal(identity("model.arch: moe_mamba\nquestion: why\nlog.every: 9\n"
				     "data.path: elsewhere\n"),
		plain);
}

static void test_different(void **state)
{
	static const char *const texts[] = {
		"model.arch: moe_mamba\n",
		"model.arch: transformer_moe\n",
		"model.arch: moe_mamba\nseed: 2\n",
		"model.arch: moe_mamba\ntrain.lr: 0.0010000001\n",
		"model.arch: moe_mamba\nmodel.moe.balance: none\n",
		"model.arch: moe_mamba\nmodel.final_norm: true\n",
		"model: {arch: stack, pattern: [a, b]}\n",
		"model: {arch: stack, pattern: [b, a]}\n",
		"model: {arch: stack, pattern: ['1']}\n",
		"model: {arch: stack, pattern: [1]}\n",
	};
	const char *seen[ARRAY_SIZE(texts)];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		seen[i] = identity(texts[i]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(seen[i], seen[j]);
	}
}

static void test_surroundings_count(void **state)
{
	struct config c = load("model.arch: mamba\n");
	static const struct semantics reversed[] = {
		{"moe_mamba", 1}, {"linear", 2}, {"scan", 1}, {"linear", 2}};
	static const struct semantics raised[] = {{"scan", 2}, {"linear", 2}, {"moe_mamba", 1}};
	char hex[HASH_HEX];

	(void)state;
	config_identity(&c, "0123abcd", "float32", reversed, 4, hex);
	assert_string_equal(hex, identity_of(&c));
	config_identity(&c, "0123abcd", "float32", raised, 3, hex);
	assert_string_not_equal(hex, identity_of(&c));
	config_identity(&c, "0123abce", "float32", semantics, 3, hex);
	assert_string_not_equal(hex, identity_of(&c));
	config_identity(&c, "0123abcd", "bfloat16", semantics, 3, hex);
	assert_string_not_equal(hex, identity_of(&c));
}

/* A stored config keeps its identity when a key is added later, whatever default that key has, also of its choice. */
static void test_younger_key(void **state)
{
	static const struct field young_rows[] = {
		FIELD(struct moe, balance, "model.young", CHOICE, "b", 0, 0, .choices = "a|b|c",
			.legacy = "a"),
	};
	static const struct preset young_presets[] = {{"model.arch", "mamba", "model.young", "c"}};
	static const struct field_table young_table = FIELD_TABLE(young_rows);
	static const struct field_table *const tables[] = {&common_table, &young_table, NULL};
	struct schema younger = schema;
	struct config c = load("model.arch: mamba\n"), again, fresh;

	(void)state;
	younger.common = tables;
	younger.presets = young_presets;
	younger.n_presets = (int)ARRAY_SIZE(young_presets);
	assert_int_equal(config_write(&c, "old.yaml"), 0);
	assert_int_equal(config_read(&arena, "old.yaml", &younger, &again), 0);
	assert_string_equal(value_text(&again, "model.young"), "a");
	assert_string_equal(identity_of(&again), identity_of(&c));
	assert_int_equal(spec_load(&arena, "x.yaml", NULL, 0, &younger, &fresh), 0);
	assert_string_equal(value_text(&fresh, "model.young"), "c");
	assert_string_not_equal(identity_of(&fresh), identity_of(&c));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_different),
		cmocka_unit_test(test_surroundings_count),
		cmocka_unit_test(test_younger_key),
	};

	return cmocka_run_group_tests(tests, open_folder, remove_folder);
}
