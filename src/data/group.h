/*
 * Which split a document belongs to: groups of related documents go as a whole (rules and reasons:
 * data/import.h). A group has a position in [0, 1), a hash of what it is named by; positions below
 * `val` are the split val, those in the next `tune` the split tune, the rest train.
 */
#ifndef DATA_GROUP_H
#define DATA_GROUP_H

#include "data/dataset.h"
#include "data/document.h"

struct group_rule {
	enum group { GROUP_BLOCK, GROUP_FILE, GROUP_URL_HOST, GROUP_URL, GROUP_DOCUMENT } by;
	size_t block_bytes;	/* GROUP_BLOCK; 0: from the size of the input */
};

/* Read a rule, "block:65536". 0, or -1 after a message. */
int group_rule_parse(struct group_rule *rule, const char *text);

struct grouping {		/* of the documents of one input */
	struct group_rule rule;
	uint64_t input;		/* hash of the input's name */
	uint64_t n_blocks;	/* begun */
	size_t used_bytes;	/* in the current one */
};

/* input_bytes: its size as text, 0 if unknown. */
void grouping_init(struct grouping *g, const struct group_rule *rule, const char *input,
	long input_bytes);
/* Position of the next document; to be called for every document, in order. */
double group_position(struct grouping *g, const struct document *d);
enum split group_split(double position, double val, double tune);

#endif
