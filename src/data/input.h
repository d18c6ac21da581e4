/*
 * One input of an import while it is read: its documents, each with its split, in batches.
 */
#ifndef DATA_INPUT_H
#define DATA_INPUT_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>

#include "base/source.h"
#include "data/batch.h"
#include "data/document.h"
#include "data/group.h"

struct input_rule {			/* the same for all inputs */
	struct document_rule documents;
	bool form_by_content;		/* text or JSON lines, whatever documents.form is */
	const struct group_rules *group;	/* NULL: what suits the form */
	double val, tune;		/* shares held out */
	const volatile sig_atomic_t *stop;	/* as in base/source.h */
};

struct input {
	struct source source;
	struct document_reader reader;
	struct grouping grouping;
	const struct input_rule *rule;	/* kept, as the name is */
	bool whole_val;			/* all of it goes to the split val */
	long n_stored;			/* bytes read, as stored, that batches have been told of */
};

/* text_bytes: as source_measure() says. NULL after a message. */
struct input *input_open(const char *name, const struct input_rule *rule, long text_bytes,
	bool whole_val);
void input_close(struct input *in);
/* Fill a new batch. 1: it has documents; 0: the input has ended; -1: a message was printed, or it
   was stopped. */
int input_read(struct input *in, struct batch *b);
/* What was read, for dataset.json: name, bytes, hash. To be called once, at the end. */
json_t *input_origin(struct input *in);

#endif
