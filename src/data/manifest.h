/*
 * dataset.json: what dataset_open() needs to know of a dataset, and where it came from. Written and
 * read here alone.
 */
#ifndef DATA_MANIFEST_H
#define DATA_MANIFEST_H

#include <jansson.h>

#include "data/dataset.h"

/* Fill all of d but the token files from folder/dataset.json. 0, or -1 after a message with
   whatever was filled left for dataset_close(). */
int manifest_load(struct dataset *d, const char *folder);

/* Set d->hash and write d->folder/dataset.json. `provenance` (borrowed) is an object with members
   that no run reads: sources, options. 0, or -1 after a message. */
int manifest_save(struct dataset *d, json_t *provenance);

/* What came of one of the inputs of the import. */
struct manifest_source {
	char *name;
	long n_tokens[N_SPLITS], n_documents[N_SPLITS];
};

/* All of them, in the order of the import; caller frees each name, and the array. Their number, or
   -1 after a message: dataset.json is damaged, or of an import that did not count them. */
int manifest_sources(const char *folder, struct manifest_source **sources);

/* A name or a rule for the provenance: they may be any bytes, and JSON may not. */
json_t *manifest_text(const char *text);

/* Path of token file i of a split; caller frees. */
char *manifest_token_path(const char *folder, const struct dataset_split *s, int i);

#endif
