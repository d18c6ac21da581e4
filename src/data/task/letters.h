/*
 * Strings of letters and what is asked of them (Jelassi et al. 2024, arXiv:2402.01032;
 * sjelassi/transformers_ssm_copy, synthetic_exps): `$ string | question answer .`. The target of a token
 * is the one that follows. Training asks for the answer and the full stop, tests for the answer alone.
 */
#ifndef DATA_TASK_LETTERS_H
#define DATA_TASK_LETTERS_H

#include "data/task.h"

enum { LETTERS, LETTERS_NGRAM };	/* places of these settings */

#define SETTING_LETTERS {.key = "letters", .help = "of the alphabet", .initial = 26, .min = 2, .max = 60000}
#define SETTING_NGRAM(of) {.key = "ngram", .help = of, .initial = 3, .min = 1, .max = 1000}

int letters_vocab(const double *value);		/* letters, $, |, full stop, end of text */
long letters_tokens(const double *value, long length, long items);	/* of a copy, or less */
void letters_draw(struct example *e, uint16_t *string);	/* e->length of them */
/* The example: question and answer are letters. Returns its tokens. */
long letters_write(struct example *e, const uint16_t *string, const uint16_t *question, long n_question,
	const uint16_t *answer, long n_answer);

#endif
