/*
 * Writing a dataset: all files go into a temporary folder beside the target, and a rename makes it
 * the dataset. So a reader sees the old one, none, or the whole new one. What a killed process leaves of its
 * folder is removed by the next one on its host that writes the same dataset.
 */
#ifndef DATA_DATASET_WRITER_H
#define DATA_DATASET_WRITER_H

#include <jansson.h>
#include <stdbool.h>

#include "data/dataset.h"
#include "data/tokenizer.h"

struct dataset_part {			/* to be appended to a split */
	struct token_list tokens;	/* of whole documents, their end-of-text ids included */
	long n_documents;
	long n_bytes;			/* of text */
};

struct dataset_writer {
	struct dataset d;		/* counts so far; d.folder is the temporary folder */
	char *target;
	bool replace;
	struct token_writer file[MAX_SPLITS];	/* the file being written of each split, if any */
	struct hash *hash[MAX_SPLITS];
};

/*
 * Refuses a target that exists, unless it is an empty folder, or a dataset and `replace` is given.
 * A symbolic link stands for what it points to. file_tokens: tokens of a full file. number: of this
 * one among the writers of one target. 0; or after a message and with nothing to release -1, and DATASET_UNWRITTEN
 * where no folder can be made.
 */
int dataset_writer_open(struct dataset_writer *w, const char *target, bool replace,
	const struct tokenizer_type *tokenizer, long file_tokens, int number);
/* From now on the dataset is one of rows of so many tokens; test sets may follow, each once, of examples
   of this length and so many items (0: not counted). Returns its number. */
void dataset_writer_rows(struct dataset_writer *w, long row);
enum split dataset_writer_test(struct dataset_writer *w, const char *name, long length, long items,
	long row);
int dataset_writer_add(struct dataset_writer *w, enum split s, const struct dataset_part *part);
/* Finish; the provenance goes into dataset.json (manifest_save). 0, or -1 after a message. */
int dataset_writer_commit(struct dataset_writer *w, json_t *provenance);
/* Free everything; what was not committed is removed from the disk. */
void dataset_writer_release(struct dataset_writer *w);

#endif
