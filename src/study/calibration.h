/*
 * Seconds that compare: a step of every configuration was timed alone, all in turn (`table NAME
 * --calibrate`), and what a run took is its steps times that.
 */
#ifndef STUDY_CALIBRATION_H
#define STUDY_CALIBRATION_H

#include "study/study.h"

/*
 * Replaces the seconds of all runs, if all (foreign ones apart) were timed by one calibration, and no
 * other program took more than a twentieth of the processors meanwhile; then they count as measured
 * alone. A note says where, or why a calibration that is there is not used. 0, or -1 after a message.
 */
int study_calibrate(struct study *s);

#endif
