/* Datasets of rows made by a task, for tests: the row read last. */
#ifndef TESTS_DATA_TASK_ROWS_H
#define TESTS_DATA_TASK_ROWS_H

#include "data/order.h"
#include "data/task.h"
#include "scratch.h"

enum { MOST = 4096 };

static int32_t tokens[MOST], targets[MOST];	/* of the row read last */

/* The settings are a list of words, cut at blanks. */
static inline int make(const char *task, const char *settings)
{
	char *copy = xstrdup(settings), *rest = copy, *word;
	const char *list[16];
	struct make_options o = {.folder = at("set"), .settings = list, .force = true};
	int ret;

	while ((word = strsep(&rest, " ")))
		list[o.n_settings++] = word;
	ret = data_make(task_find(task), &o);
	free(copy);
	return ret;
}

static inline void make_and_open(struct dataset *d, struct sequences *s, const char *task, const char *settings,
	const char *split)
{
	enum split which;

	assert_int_equal(make(task, settings), 0);
	assert_int_equal(dataset_open(d, at("set")), 0);
	assert_int_equal(dataset_verify(d), 0);
	assert_int_equal(dataset_find_split(d, split, &which), 0);
	assert_true(d->splits[which].row <= MOST);
	assert_int_equal(sequences_init(s, d, which, (int)d->splits[which].row, 1), 0);
}

static inline long read_row(const struct sequences *s, long i)
{
	assert_int_equal(sequences_read(s, i, 1, tokens, targets), 0);
	return s->context;
}

#endif
