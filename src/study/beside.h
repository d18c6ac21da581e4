/*
 * Runs that were at work beside others, whoever began these: two `moelab run` on one machine know nothing of each
 * other, but their attempts overlap in time. Places are the processors of a machine, and each of its GPUs; attempts
 * that do not tell their GPU, as older ones, count as alone.
 */
#ifndef STUDY_BESIDE_H
#define STUDY_BESIDE_H

#include "study/study.h"

/* Raises `jobs` of the study's runs: 1 + others in the database that were there meanwhile, in the mean, rounded up.
   0, or -1 after a message. */
int beside_count(struct study *s);

#endif
