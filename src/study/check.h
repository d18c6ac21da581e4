/*
 * What keeps tables honest: comparisons that are refused, suspicions that are printed, and the
 * facts every table states about itself. All of it goes to the study's notes.
 */
#ifndef STUDY_CHECK_H
#define STUDY_CHECK_H

#include "study/study.h"

/*
 * Refuses rows that differ in data, tokenizer, vocabulary, context, token budget, evaluation split or
 * windows, precision or semantics, unless the sweep has that key as an axis; runs too short for the
 * rule; and rules on the training loss beyond one epoch. -1 after one message; under --force each
 * reason becomes a stamp instead. Rows that were not trained alike (data.sampling, data.reset_at_eot,
 * data.seed, train.batch, initial weights) get a warning.
 */
int check_study(struct study *s);

/* Of runs whose table `run` says depends 'F'. */
#define SEES_FUTURE "in training a token's future can change its output, so the training loss is not that of a " \
	"language model, nor the validation loss unless by a cutoff"

#endif
