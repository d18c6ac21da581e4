/*
 * Questions whose answers a language model gives by probability: texts, one JSON object a line,
 *	{"set": "order", "context": "", "choices": ["in the same year", "in same the year"], "answer": 0}
 * `answer` counts from 0. A question of one choice asks whether the model would have said it (LAMBADA).
 */
#ifndef DATA_QUESTIONS_H
#define DATA_QUESTIONS_H

#include "base/arena.h"

enum { MAX_CHOICES = 8 };

struct question {
	const char *set, *context;	/* the set that it is counted in; may be "" */
	const char *choices[MAX_CHOICES];	/* each continues the context, byte by byte; not empty */
	int n_choices, answer;
};

struct questions {
	struct arena arena;
	struct question *list;		/* owned */
	long n, size;
};

/* A copy of q, its texts too. */
void questions_add(struct questions *q, const struct question *one);
void questions_release(struct questions *q);
/* -1 after a message with the line that is no question; then nothing is left. */
int questions_read(struct questions *q, const char *path);
int questions_write(const struct questions *q, const char *path);	/* 0, or -1 after a message */

#endif
