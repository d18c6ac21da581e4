/* Operators by themselves: how long they take, and how far from the float64 reference they are. */
#ifndef MEASURE_OP_TIMES_H
#define MEASURE_OP_TIMES_H

#include "measure/op_cases.h"

/* Fills what is measured (struct op_case), and adds it to the report. */
void op_times_measure(struct bench *b, struct op_case *c);

struct scan_pace {		/* single numbers that the scan stands on, on one core, ns */
	double forward_ns, backward_ns;		/* per (token, channel, state) */
	double exp2_ns, exp_ns;			/* per value: 2^x of the scan, exp */
};
/* c: a scan; what: the shape in the report. */
struct scan_pace op_times_scan(struct bench *b, const struct op_case *c, const char *what);

#endif
