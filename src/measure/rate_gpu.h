/* Ceilings of a GPU, for measure/rate.h. */
#ifndef MEASURE_RATE_GPU_H
#define MEASURE_RATE_GPU_H

#include "tensor/device.h"

/* FLOP/s of a large product of the device's type, bytes/s of a large copy (read plus written); best of
   a few tries. NAN without CUDA. */
double rate_gemm_gpu(const struct device *d);
double rate_copy_gpu(const struct device *d);

#endif
