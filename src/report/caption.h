/*
 * What a caption must say: how many seeds, what a line or bar is, the rule, budget, data, split,
 * and who chose the learning rates. Plain text, sentences of one paragraph.
 */
#ifndef REPORT_CAPTION_H
#define REPORT_CAPTION_H

#include "base/str.h"
#include "show/chart.h"
#include "study/study.h"

/* "3 seeds", "1 to 3 seeds"; buffer of 32 bytes. most: NULL, or set to the largest number. */
const char *caption_seeds(const struct study *s, char *buffer, int *most);
/* Seeds, context, split and learning rates; the rest stands in the study's notes. */
void caption_facts(struct study *s, struct str *out);
/* A figure's: stamps, headline, marks, facts, plain notes; then a paragraph for each warning. */
void caption_of_figure(struct study *s, const struct chart *c, struct str *out);

#endif
