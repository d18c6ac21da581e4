/*
 * How many questions (data/questions.h) a trained model answers right, by the rules of
 * lm-evaluation-harness (Gao et al. 2021). Context and choice are encoded together; tokens behind those of the
 * context alone are the choice's, and blanks and line feeds at the context's end count as the choice's; an empty
 * context is an end of text. With log p a choice's sum over its tokens:
 *   acc       the greatest log p is the answer's; of k equally great ones a k-th counts
 *   acc_norm  the same of log p / characters of the choice, blanks in front of it not counted
 *   greedy    of one choice: all of its tokens are the model's best guess
 * A context that is longer than the training context is cut in front.
 */
#ifndef TRAIN_ANSWERS_H
#define TRAIN_ANSWERS_H

#include "data/questions.h"
#include "tensor/device.h"
#include "train/trained.h"

/* A mean with its standard error, deviation / sqrt(n); NaN for n < 2. */
struct share {
	double mean, error;
};

struct answer_score {
	const char *set;		/* the questions' */
	long n, n_cut;			/* questions; those whose context is cut for a choice at least */
	bool single;			/* of one choice each: acc is greedy, there is no acc_norm */
	struct share acc, acc_norm;
	double chance;			/* of acc by guessing; 0 of single ones */
	double ppl;			/* exp(-mean log p of the answer), whose tokens are one event */
};

/* A score for each set, in the order of their first questions; *n of them, the caller frees the list.
   NULL after a message: a set of both kinds, or a choice longer than the training context. */
struct answer_score *answers_run(const struct trained *t, const struct device *device,
	const struct questions *q, int *n);

#endif
