/* What diff and compare share. */
#ifndef CMD_DIFF_H
#define CMD_DIFF_H

#include "cmd/lab.h"

/* Two words as two runs; -1 after a message. */
int diff_runs(struct lab *lab, const struct arguments *a, struct run_row *ab);
/* A grid "diff" of kind, key and the values of both; then, as rows, in what their configs and precisions
   differ. */
void diff_begin(struct lab *lab, const struct run_row *ab, struct grid *g);
int diff_config(struct lab *lab, const struct run_row *ab, struct grid *g);

#endif
