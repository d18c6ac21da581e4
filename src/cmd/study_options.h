/* Options that table, plot and report share. */
#ifndef CMD_STUDY_OPTIONS_H
#define CMD_STUDY_OPTIONS_H

#include "cmd/options.h"
#include "study/study.h"

/* Rows of an option table that fill a struct study_query. */
#define STUDY_ROWS(query)                                                                          \
	{"sweep", 0, "S", "name or file, or several: A,B; not needed if there is only one",       \
		.texts = &(query).sweeps},                                                          \
	{"db", 0, "FILE", "default results/lab.db", .text = &(query).db},                          \
	{"rule", 0, "RULE", "default (validation loss, raw), paper, paper-scaled",                 \
		.text = &(query).options.rule},                                                    \
	{"target", 0, "LOSS", "nats per token, or baseline; default: the sweep's targets",         \
		.text = &(query).options.target},                                                  \
	{"label", 0, "OLD=NEW", "call a label or variant NEW; may be repeated",                    \
		.texts = &(query).options.labels},                                                 \
	{"order", 0, "A,B", "these rows and curves first, the others as they come",                \
		.text = &(query).options.order},                                                   \
	{"no-head-flops", 0, NULL, "leave the output head out of FLOPs",                           \
		.flag = &(query).options.no_head_flops},                                           \
	{"force", 0, NULL, "show what would be refused, stamped", .flag = &(query).options.force}

/* Rows that fill a struct look_words: what all figures of a report can share. */
#define LOOK_ROWS(words)                                                                           \
	{"size", 0, "WxH", "of the page, as 8.5x6cm or 3.3x2.5in (PNG: 300 dots per inch)",        \
		.text = &(words).size},                                                            \
	{"font", 0, "NAME,PT", "as Times,9 or Times or ,9", .text = &(words).font}

#endif
