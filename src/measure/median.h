/* Measured values in order. */
#ifndef MEASURE_MEDIAN_H
#define MEASURE_MEDIAN_H

void sort_values(double *values, int n);	/* rising */
double median_of(double *values, int n);	/* sorts them; n >= 1, the middle two's mean if n is even */

#endif
