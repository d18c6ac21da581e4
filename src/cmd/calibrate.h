/* The step times behind `table NAME --calibrate`. */
#ifndef CMD_CALIBRATE_H
#define CMD_CALIBRATE_H

#include "study/study.h"

/*
 * Times a training step of each configuration that the query finds (foreign ones apart), as in
 * measure/turns.h, and gives each of its runs the median: in metrics.jsonl and in the database, which is
 * locked meanwhile, so that no runs are started beside. threads: 0 for all cores. An exit code.
 */
int calibrate(const struct study_query *q, long threads);

#endif
