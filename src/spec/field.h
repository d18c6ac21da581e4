/*
 * A field table says once what a key of a spec is: name, type, default, range, unit, help, and
 * where its value lies in the struct of the code that uses it. Checking, `moelab help spec`, the
 * resolved config and the identity of a run all come from these rows.
 */
#ifndef SPEC_FIELD_H
#define SPEC_FIELD_H

#include <stdbool.h>
#include <stddef.h>

enum field_type {
	FIELD_INT,	/* long */
	FIELD_REAL,	/* double */
	FIELD_BOOL,	/* bool */
	FIELD_CHOICE,	/* const char *: one of the words in .choices */
	FIELD_TEXT,	/* const char * */
	FIELD_PATH,	/* const char *: relative to the file that names it */
	FIELD_TREE,	/* const struct node *: a list or map that its owner reads (spec/node.h) */
};

struct field {
	const char *key;		/* full, dotted: "model.moe.n_experts" */
	enum field_type type;
	size_t offset;			/* of the member, in the struct that the table binds */
	const char *initial;		/* default, as in YAML; NULL: the key must be given */
	double min, max;		/* FIELD_INT, FIELD_REAL: both ends allowed */
	const char *choices;		/* FIELD_CHOICE: "mean|sum"; NULL for a schema's selector */
	const char *unit, *help;	/* unit may be NULL; help is one line */
	bool provenance;		/* cannot change the numbers: stays out of the identity,
					   as FIELD_PATH does anyway */
	const char *legacy;		/* of a key younger than stored runs: the value that means
					   what was before it, and stays out of the identity */
};

struct field_table {
	const struct field *rows;
	int n;
};

/* Rows: FIELD(struct moe, n_experts, "model.moe.n_experts", INT, "8", 1, 4096, .help = "...") */
#define FIELD(type_, member_, key_, kind_, initial_, min_, max_, ...)                              \
	{.key = (key_), .type = FIELD_##kind_, .offset = offsetof(type_, member_),                 \
		.initial = (initial_), .min = (min_), .max = (max_), __VA_ARGS__}
#define FIELD_TABLE(rows_) {.rows = (rows_), .n = (int)(sizeof(rows_) / sizeof((rows_)[0]))}

/* Another default for a key while `when_key` has the value `when_value` (recipes). */
struct preset {
	const char *when_key, *when_value;
	const char *key, *value;
};

/* What a spec may hold: the common tables, and those of the chosen architecture. */
struct schema_choice {
	const char *name;			/* value of the selector: "moe_mamba" */
	const char *help;
	const struct field_table *const *tables;	/* ended by NULL */
};

struct schema {
	const struct field_table *const *common;	/* ended by NULL */
	const char *selector;			/* "model.arch" */
	const struct schema_choice *choices;
	int n_choices;
	const struct preset *presets;
	int n_presets;
};

#endif
