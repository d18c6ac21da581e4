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
	long depth;		/* GROUP_URL: parts of the path; -1: all of the url */
	char *pattern;		/* of the urls it is for; NULL: any document */
};

enum { GROUP_RULES = 32, GROUP_CHOICES = 3 };

struct group_rules {		/* what an option says: the first rule that fits a document holds */
	struct group_rule rule[GROUP_RULES];
	int n;
};

/* Read rules, "PATTERN=url:2,url"; the last is for any document. 0, or -1 after a message. */
int group_rules_parse(struct group_rules *rules, const char *text);
void group_rules_release(struct group_rules *rules);

/*
 * How the documents of one input are grouped: by the rules given, or else in several ways at the
 * same time, from coarse to fine, of which the import takes the first that leaves no split empty.
 */
struct grouping {
	const struct group_rules *rules;	/* kept; NULL: the choices below */
	struct group_rule choices[GROUP_CHOICES];
	uint64_t input;		/* hash of the input's name */
	size_t block_bytes;	/* for a rule that does not say them */
	uint64_t n_blocks;	/* begun */
	size_t used_bytes;	/* in the current one */
	long n_without_url;	/* documents that a rule by url had to take by themselves */
};

/* The rule of a choice, by form: "url-host", "url", "document" for JSON lines. */
const char *group_choice_name(enum form form, int choice);
/* input_bytes: its size as text, 0 if unknown. rules: NULL for what suits the form. */
void grouping_init(struct grouping *g, const struct group_rules *rules, enum form form,
	const char *input, long input_bytes);
/* Positions of the next document, the first alone if there are rules; to be called for every
   document, in order. */
void group_positions(struct grouping *g, const struct document *d,
	double position[GROUP_CHOICES]);
enum split group_split(double position, double val, double tune);

#endif
