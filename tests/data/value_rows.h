/* Rows of values as a dataset holds them. */
#ifndef TESTS_DATA_VALUE_ROWS_H
#define TESTS_DATA_VALUE_ROWS_H

#include "scratch.h"

enum { MOST = 4096 };

static int32_t tokens[MOST], targets[MOST];	/* of the row read last */

/* As they stand in the file. */
static void read_row(const struct dataset *d, enum split s, long i)
{
	long T = d->splits[s].row;

	assert_true(T <= MOST);
	assert_int_equal(dataset_read(d, s, 2 * i * T, T, tokens), 0);
	assert_int_equal(dataset_read(d, s, (2 * i + 1) * T, T, targets), 0);
}

#endif
