/*
 * A dataset: a folder of token files with dataset.json, written once by data_import() or data_make() and
 * only read afterwards (data/frequency.h and bigram.h add what they counted). Each split is one long
 * sequence of tokens, each document ended by the end-of-text id (tokens that came from another program: as
 * it left them), cut into files of llm.c's form (data/token_file.h) and mapped into memory.
 *
 * Held-out splits: `val` is what every evaluation reports; `tune` is for choosing learning rates
 * and the like, and is never reported.
 *
 * Or a dataset of a task (data/task.h): examples in rows. A row of T tokens is stored as its T inputs
 * and then its T targets, which need not be the inputs that follow; where nothing is asked, and in what
 * fills a row up, the target is the end-of-text id, which is never an answer. Besides the three splits
 * such a dataset has test sets, each of a shape and a row length of its own.
 */
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "data/token_file.h"

enum split { SPLIT_TRAIN, SPLIT_VAL, SPLIT_TUNE, N_SPLITS };
enum { DATASET_UNWRITTEN = -2 };	/* what makers of datasets return where the disk does not take one */
enum { MAX_TESTS = 64, MAX_SPLITS = N_SPLITS + MAX_TESTS };	/* test set i is split N_SPLITS + i */

const char *split_name(enum split s);	/* "train", "val", "tune" */

struct dataset_split {
	char *name;		/* as split_name(); of a test set its shape, "64x4" */
	long row;		/* tokens of a row of examples; 0: text */
	long length, items;	/* of a test set's examples, as its task counts them; 0: it does not */
	long n_tokens;		/* as stored: end-of-text ids, and targets of rows, included */
	long n_documents;	/* or rows */
	long n_bytes;		/* of text: what the tokens decode to */
	char hash[HASH_HEX];	/* of the tokens in their order, however cut into files */
	struct token_file *files;
	int n_files;
};

struct dataset {
	char *folder;			/* as given to dataset_open */
	char *tokenizer;		/* a name for tokenizer_open() */
	int vocab, eot;			/* eot: end of text, vocab - 1 */
	/* The data's part of a run's identity: tokenizer and tokens of all splits, nothing else
	   (not the folder, not how the files are cut, not the names of the sources). */
	char hash[HASH_HEX];
	long file_tokens;		/* in each token file but a split's last */
	long season;			/* of a series: steps after which it is likely to repeat; 0: not said */
	struct dataset_split splits[MAX_SPLITS];
	int n_splits;			/* N_SPLITS and the test sets */
};

/* The tokenizer of rows whose tokens are values (base/half.h), not ids. */
#define SERIES "series"
bool dataset_is_series(const struct dataset *d);

/* Inputs that a split has: what a run may see without seeing anything again. */
static inline long split_inputs(const struct dataset_split *s)
{
	return s->row ? s->n_tokens / 2 : s->n_tokens;
}
/* By name, also a test set. 0, or -1 after a message that lists the names. */
int dataset_find_split(const struct dataset *d, const char *name, enum split *split);

/*
 * Map a dataset. Checked: dataset.json and its version, each file's magic number, version and
 * length, counts against dataset.json, and the first tokens of each file against the vocabulary;
 * all further tokens are checked when they are read. 0, or -1 after one message (and nothing to
 * close).
 */
int dataset_open(struct dataset *d, const char *folder);
void dataset_close(struct dataset *d);
bool dataset_exists(const char *folder);	/* is there a dataset.json? */

/* Copy tokens at .. at + n - 1 of a split, widened. -1 after a message if one is not below the
   vocabulary (the file was damaged after the import); the range must lie inside the split. */
int dataset_read(const struct dataset *d, enum split s, long at, long n, int32_t *out);

/* Read everything and compare with the hashes of dataset.json. 0, or -1 after a message. */
int dataset_verify(const struct dataset *d);

/* Bits per byte = nats per token x this. 0 if the split is empty. */
double dataset_bits_per_nat(const struct dataset *d, enum split s);

#endif
