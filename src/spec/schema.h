/* Looking up keys in a schema's tables, and turning nodes into typed values. */
#ifndef SPEC_SCHEMA_H
#define SPEC_SCHEMA_H

#include "spec/config.h"

/* Rows sorted by key, each key once. */
struct field_rows {
	const struct field **at;
	int n;
};

/* Rows of the common tables and those of the choice; choice NULL: of every choice. In arena a. */
struct field_rows schema_rows(struct arena *a, const struct schema *s,
	const struct schema_choice *choice);
const struct field *rows_find(const struct field_rows *rows, const char *key);
int rows_index(const struct field_rows *rows, const char *key);			/* -1: none */
bool rows_have_group(const struct field_rows *rows, const char *group);		/* "model.moe" */
const struct schema_choice *schema_choice(const struct schema *s, const char *name);

/* Messages, -1: no table has the key; a table has it, but not this choice's. At n's key. */
int unknown_key(const struct field_rows *rows, const struct node *n, const char *key);
int inactive_key(const struct schema *s, const struct schema_choice *choice, const struct node *n,
	const char *key);
/* Message, -1: a word that is none of the allowed ones. what: "architecture". At n. */
int unknown_word(const struct node *n, const char *what, const char *const *allowed, int n_allowed);

/* Ends the program at a fault of the tables themselves: repeated keys, bad defaults, ... */
void schema_check(const struct schema *s);

bool field_is_provenance(const struct field *f);	/* paths always are */
/* "1 to 4096 tokens" */
const char *field_range(const struct field *f, char *buffer, size_t size);

/* n checked against the row and made the value; n must live as long. -1 after a message. */
int value_set(struct arena *a, const struct field *f, const struct node *n, struct config_value *v);
/* The same from one of the tables' own texts: a default, a preset, a legacy value. Cannot fail. */
void value_set_own(struct arena *a, const struct field *f, const char *origin, const char *text,
	struct config_value *v);
void value_store(const struct config_value *v, void *member);	/* of the C type in field.h */

#endif
