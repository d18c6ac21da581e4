/* Shapes of examples as settings name them: "64x4:100000,5-20:16000". */
#ifndef DATA_TASK_SHAPES_H
#define DATA_TASK_SHAPES_H

#include "data/dataset.h"
#include "data/task.h"

struct shape {
	char name[48];			/* "64x4", "5-20" */
	long least, most, items;	/* length, drawn from the two and all between; items 0: not counted */
	long n;				/* examples */
};

struct shapes {
	struct shape list[MAX_TESTS];
	int n;
	long n_examples;		/* of all */
};

/* key: for messages, "train". 0, or -1 after a message: not of the task's form, impossible, twice. */
int shapes_parse(struct shapes *s, const struct task *t, const double *value, const char *key,
	const char *text);
/* Of example i of n that are mixed as those listed. */
const struct shape *shapes_at(const struct shapes *s, long i, long n);
/* Tokens of the longest example. */
long shapes_row(const struct shapes *s, const struct task *t, const double *value);

#endif
