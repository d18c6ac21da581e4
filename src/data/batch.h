/*
 * Some documents of one input on their way from text to tokens: read one after the other, encoded
 * together by some thread, written at once.
 */
#ifndef DATA_BATCH_H
#define DATA_BATCH_H

#include "base/str.h"
#include "data/dataset_writer.h"
#include "data/document.h"
#include "data/group.h"
#include "data/pipeline.h"
#include "data/tokenizer.h"

enum { BATCH_BYTES = 1 << 20 };		/* a batch is full when its text has as many */

struct batch {
	struct portion portion;
	struct str text;		/* of all its documents, until they are tokens */
	struct batch_document *documents;
	size_t n_documents, documents_size;
	int n_choices;			/* groupings that are still open, the coarsest first */
	struct dataset_part parts[GROUP_CHOICES][N_SPLITS];
	long n_stored;			/* bytes of the input, as stored, read for it */
};

struct batch *batch_new(int n_choices);
void batch_free(struct batch *b);
/* Copies the text. split: under each of the batch's groupings. */
void batch_add(struct batch *b, const struct document *d, const enum split split[GROUP_CHOICES]);

/* Make the parts by encoding the text, an end-of-text id behind each document. */
void batch_encode(struct batch *b, const struct tokenizer *t);
/* Make the parts of text that is tokens already, as uint16. id_bytes[id]: bytes of text of each id
   below the vocabulary. If one is not, -1 after a message, which names the input. */
int batch_adopt(struct batch *b, const char *input, const struct tokenizer_type *type,
	const uint8_t *id_bytes);

#endif
