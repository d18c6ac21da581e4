/*
 * The resolved config of one run: every key that applies to its architecture, with a typed value
 * and where that came from.
 *
 * A spec is a YAML map of keys, nested or dotted (`model: {moe: {n_experts: 8}}` is
 * `model.moe.n_experts: 8`), and `base: [files]`, each relative to the file that names it. Later
 * wins: bases in order, then the file's own keys, then key=value from the command line. Keys nobody
 * gave have the preset of the recipe, else the table's default. Every value is checked, also one
 * that is replaced later.
 *
 * Memory: configs live in the arena they were loaded into; nothing is released by itself. Functions
 * returning int give 0, or -1 after exactly one message.
 */
#ifndef SPEC_CONFIG_H
#define SPEC_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/hash.h"
#include "base/str.h"
#include "spec/field.h"
#include "spec/node.h"

struct config_value {
	const struct field *field;
	const char *origin;	/* "a/b.yaml:6", "default", "recipe: modern", "command line" */
	const char *text;	/* canonical, as YAML and JSON; equal texts are equal values */
	union {
		long integer;			/* FIELD_INT */
		double real;			/* FIELD_REAL */
		bool boolean;			/* FIELD_BOOL */
		const char *word;		/* FIELD_CHOICE, FIELD_TEXT, FIELD_PATH: absolute */
		const struct node *tree;	/* FIELD_TREE */
	};
};

struct config {
	const char *file;		/* the spec it was loaded from */
	const char *choice;		/* value of the schema's selector: the architecture */
	struct config_value *values;	/* sorted by key */
	int n;
	bool stored;			/* read back: what was right when it was written is right */
};

/* The spec of one run, with overrides "key=value"; a sweep is refused. */
int spec_load(struct arena *a, const char *path, const char *const *overrides, int n_overrides,
	const struct schema *schema, struct config *config);
/*
 * What config_write() wrote: equal to the written config but for the origins. Keys younger than the
 * file have their legacy value, so the identity stays.
 */
int config_read(struct arena *a, const char *path, const struct schema *schema,
	struct config *config);
/* The same from its text, or from that of config_json(), with overrides "key=value"; name stands for
   the file in messages. */
int config_parse(struct arena *a, const char *name, const char *text, const char *const *overrides,
	int n_overrides, const struct schema *schema, struct config *config);

/* NULL: the key does not apply. */
const struct config_value *config_find(const struct config *c, const char *key);
/* Sets a value that the program itself finds out; the key must apply and allow it. */
void config_set(struct config *c, struct arena *a, const char *key, const char *text,
	const char *origin);
/* Fill the struct that the table describes. Texts and trees point into the config's arena. */
void config_bind(const struct config *c, const struct field_table *table, void *into);

/* Nested YAML of all keys, each with its origin as a comment if asked. */
void config_yaml(const struct config *c, bool origins, struct str *out);
int config_write(const struct config *c, const char *path);	/* with origins, atomically */
json_t *config_json(const struct config *c);	/* {"model.arch": "mamba", ...}; caller owns it */

/* A version of meaning, raised when results of an operator or architecture change. */
struct semantics {
	const char *name;
	int number;
};
/*
 * The identity of a run: hash of all keys (seed included) but provenance and those at their legacy
 * value, the data's hash, the precision, and the semantics in use (in any order; repeats count
 * once). The text that is hashed has one line for each of them.
 */
void config_identity_text(const struct config *c, const char *data_hash, const char *precision,
	const struct semantics *semantics, int n_semantics, struct str *out);
void config_identity(const struct config *c, const char *data_hash, const char *precision,
	const struct semantics *semantics, int n_semantics, char hex[HASH_HEX]);

/* Every key with type, default, range, unit, help, and the architectures that have it. */
void spec_help(const struct schema *schema, FILE *out);

#endif
