/* moelab eval RUN --questions FILE */
#ifndef CMD_EVAL_QUESTIONS_H
#define CMD_EVAL_QUESTIONS_H

#include "cmd/lab.h"
#include "tensor/device.h"
#include "train/trained.h"

/* Prints the table of the scores. An exit code. */
int eval_questions(const struct lab *lab, const struct trained *t, const struct device *device,
	const char *path);

#endif
