/* Rows of numbers on the host: products and weighted sums, one after the other within a thread. */
#ifndef OP_KIT_ROWS_H
#define OP_KIT_ROWS_H

static inline float row_dot(const float *a, const float *b, long n)
{
	float sum = 0;

	#pragma omp simd reduction(+:sum)
	for (long i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* For references. */
static inline double row_dot_f64(const double *a, const double *b, long n)
{
	double sum = 0;

	for (long i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* y <- scale y + weight x */
static inline void row_add(float *y, float scale, float weight, const float *x, long n)
{
	#pragma omp simd
	for (long i = 0; i < n; i++)
		y[i] = scale * y[i] + weight * x[i];
}

#endif
