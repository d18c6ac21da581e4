/*
 * What spec files, sweeps and the command line say, before it is a config: ordered assignments of
 * nodes to keys. A config is resolved from a stack of such lists, later ones winning.
 */
#ifndef SPEC_SETTINGS_H
#define SPEC_SETTINGS_H

#include "spec/schema.h"

struct setting {
	const char *key;		/* full, dotted */
	const struct node *value;
	bool optional;			/* dropped where the key does not apply, else an error */
	bool used;			/* it decided the value in at least one config */
};

struct settings {
	struct setting *at;		/* in the arena */
	int n, size;
};

/* Where files and keys are looked up. */
struct spec_reader {
	struct arena *arena;
	const struct schema *schema;
	struct field_rows rows;		/* of every choice */
};

void spec_reader_init(struct spec_reader *r, struct arena *a, const struct schema *schema);

void settings_add(struct spec_reader *r, struct settings *s, const char *key,
	const struct node *value, bool optional);
/*
 * The keys of a map, nested or dotted, but for its entry `skip` (or NULL). Known keys take their
 * values as they are (also maps and lists); unknown keys and keys given twice are errors.
 */
int settings_add_map(struct spec_reader *r, struct settings *s, const struct node *map,
	const struct node *skip, bool optional);
int settings_add_override(struct spec_reader *r, struct settings *s, const char *key_value);
/* A spec file, its bases first. */
int settings_add_spec(struct spec_reader *r, struct settings *s, const char *path);
/* The same for a file's node that has been read already. */
int settings_add_spec_node(struct spec_reader *r, struct settings *s, const struct node *root);
/* base: FILE or [FILES], named in n. */
int settings_add_base(struct spec_reader *r, struct settings *s, const struct node *n);
/* The last one of the key; NULL: none. */
const struct setting *settings_find(const struct settings *s, const char *key);

/* Is this a key of sweep files only? Such keys make a file a sweep. */
bool is_sweep_key(const char *key);

/* keep_legacy: keys that nobody set have their legacy value if they have one. */
int settings_resolve(struct spec_reader *r, struct settings *const *stack, int n, const char *file,
	bool keep_legacy, struct config *config);

#endif
