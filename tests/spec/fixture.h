/* What the tests of this layer share: a small schema, a temporary folder, captured messages. */
#ifndef TESTS_SPEC_FIXTURE_H
#define TESTS_SPEC_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/error.h"
#include "base/path.h"
#include "spec/sweep.h"

struct common {
	const char *recipe, *question, *arch, *norm, *data;
	long seed, d_model, tokens, log_every, eval_tokens;
	double lr, beta2;
	bool final_norm;
};
static const struct field common_rows[] = {
	FIELD(struct common, recipe, "recipe", CHOICE, "paper", 0, 0, .choices = "paper|modern"),
	FIELD(struct common, question, "question", TEXT, "", 0, 0, .provenance = true),
	FIELD(struct common, seed, "seed", INT, "1", 0, 1e9, .help = "random numbers"),
	FIELD(struct common, arch, "model.arch", CHOICE, NULL, 0, 0, .help = "architecture"),
	FIELD(struct common, d_model, "model.d_model", INT, "512", 1, 65536, .unit = "channels"),
	FIELD(struct common, norm, "model.norm", CHOICE, "layernorm", 0, 0,
		.choices = "layernorm|rmsnorm"),
	FIELD(struct common, final_norm, "model.final_norm", BOOL, "false", 0, 0),
	FIELD(struct common, tokens, "train.tokens", INT, "1e6", 1, 1e15, .unit = "tokens"),
	FIELD(struct common, lr, "train.lr", REAL, "1e-3", 0, 1, .help = "peak learning rate"),
	FIELD(struct common, beta2, "train.beta2", REAL, "0.999", 0, 1),
	FIELD(struct common, data, "data.path", PATH, "", 0, 0),
	FIELD(struct common, eval_tokens, "eval.tokens", INT, "64", 1, 1e9, .provenance = true),
	FIELD(struct common, log_every, "log.every", INT, "1", 1, 1e6, .provenance = true),
};

struct ssm {
	long d_state;
};
static const struct field ssm_rows[] = {
	FIELD(struct ssm, d_state, "model.ssm.d_state", INT, "16", 1, 1024, .help = "state size"),
};

struct moe {
	long n_experts;
	double capacity;
	const char *balance;
};
static const struct field moe_rows[] = {
	FIELD(struct moe, n_experts, "model.moe.n_experts", INT, "8", 1, 4096, .unit = "experts"),
	FIELD(struct moe, capacity, "model.moe.capacity_factor", REAL, "1", 0.1, 100),
	FIELD(struct moe, balance, "model.moe.balance", CHOICE, "switch", 0, 0,
		.choices = "switch|none", .legacy = "switch"),
};

struct stack {
	const struct node *pattern;
};
static const struct field stack_rows[] = {
	FIELD(struct stack, pattern, "model.pattern", TREE, "[mamba]", 0, 0),
};

static const struct field_table common_table = FIELD_TABLE(common_rows);
static const struct field_table ssm_table = FIELD_TABLE(ssm_rows);
static const struct field_table moe_table = FIELD_TABLE(moe_rows);
static const struct field_table stack_table = FIELD_TABLE(stack_rows);
static const struct field_table *const common_tables[] = {&common_table, NULL};
static const struct field_table *const mamba_tables[] = {&ssm_table, NULL};
static const struct field_table *const moe_mamba_tables[] = {&ssm_table, &moe_table, NULL};
static const struct field_table *const transformer_moe_tables[] = {&moe_table, NULL};
static const struct field_table *const stack_tables[] = {&stack_table, NULL};
static const struct schema_choice choices[] = {
	{"mamba", "selective state spaces", mamba_tables},
	{"moe_mamba", "with experts", moe_mamba_tables},
	{"transformer_moe", "attention with experts", transformer_moe_tables},
	{"stack", "any pattern", stack_tables},
};
static const struct preset presets[] = {
	{"recipe", "modern", "model.norm", "rmsnorm"},
	{"recipe", "modern", "train.beta2", "0.95"},
	{"recipe", "modern", "model.moe.capacity_factor", "1.25"},
};
static const struct schema schema = {
	.common = common_tables, .selector = "model.arch", .choices = choices,
	.n_choices = (int)ARRAY_SIZE(choices), .presets = presets,
	.n_presets = (int)ARRAY_SIZE(presets),
};

static char folder[256];
static char message[8192];	/* all lines since the last call of clear_message() */
static struct arena arena;

static void keep_message(const char *line)
{
	size_t n = strlen(message);

	snprintf(message + n, sizeof message - n, "%s", line);
}

static inline void clear_message(void)
{
	message[0] = '\0';
}

/* Tests run inside the folder, so that messages show plain names. */
static inline int open_folder(void **state)
{
	(void)state;
	error_sink = keep_message;
	return path_tmp_folder(folder, sizeof folder, "spec") || chdir(folder) ? -1 : 0;
}

static inline int remove_folder(void **state)
{
	(void)state;
	arena_release(&arena);
	return chdir("/") || path_remove_tree(folder);
}

static inline void write_file(const char *name, const char *text)
{
	char *in = path_folder(name);

	assert_int_equal(path_mkdirs(in), 0);
	assert_int_equal(path_write(name, text, strlen(text)), 0);
	free(in);
}

/* Exactly this line, and no other. */
static inline void assert_message(const char *line)
{
	char wanted[2048];

	snprintf(wanted, sizeof wanted, "%s\n", line);
	assert_string_equal(message, wanted);
	clear_message();
}

static inline const char *value_text(const struct config *c, const char *key)
{
	const struct config_value *v = config_find(c, key);

	return v ? v->text : "(none)";
}

#endif
