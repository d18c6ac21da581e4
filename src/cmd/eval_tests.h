/* moelab eval RUN, of a dataset of examples */
#ifndef CMD_EVAL_TESTS_H
#define CMD_EVAL_TESTS_H

#include "cmd/lab.h"
#include "tensor/device.h"
#include "train/trained.h"

/* Prints the scores of the model on the dataset's test sets, which are rows of examples. An exit code. */
int eval_tests(const struct lab *lab, const struct trained *t, const struct device *device,
	const struct dataset *data);

#endif
