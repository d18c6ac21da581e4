/*
 * The dataset under each grouping that an import may take, from coarse to fine, until the first of
 * them that leaves no split empty is known: then those that are finer are dropped. So one pass over
 * the inputs is enough, be they a pipe. A corpus of many groups drops them at its start; one of a
 * single site takes its room on the disk twice until the end.
 */
#ifndef DATA_CHOICES_H
#define DATA_CHOICES_H

#include <stdatomic.h>

#include "data/batch.h"
#include "data/dataset_writer.h"

struct split_count {
	long n_tokens, n_documents, n_bytes;
};

struct choices {
	struct dataset_writer writer[GROUP_CHOICES];
	struct split_count (*counts[GROUP_CHOICES])[N_SPLITS];	/* by input */
	bool wanted[N_SPLITS];		/* must not be empty */
	atomic_int n;			/* open; of these the last is the first to leave none empty,
					   or none does so yet */
};

/* n: 1 or GROUP_CHOICES. The rest, and what is returned, as for dataset_writer_open(). */
int choices_open(struct choices *c, int n, int n_inputs, const char *target, bool replace,
	const struct tokenizer_type *tokenizer, long file_tokens);
/* 0, or -1 after a message. */
int choices_add(struct choices *c, const struct batch *b);
/* The grouping to take, or -1: each leaves a split empty. */
int choices_taken(const struct choices *c);
/* A split that is empty under grouping i and must not be; N_SPLITS: none. */
enum split choices_empty(const struct choices *c, int i);
void choices_release(struct choices *c);

#endif
