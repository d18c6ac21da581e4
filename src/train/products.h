/*
 * The algorithms of a run's matrix products on a GPU. They are chosen by timing (op/cuda/gemm.h), and
 * another choice would give other bits, so a run goes on with those that it began with: they lie
 * beside its checkpoints, in RUN_DIR/products.txt. A new run takes what earlier ones have chosen, from
 * products.txt in the folder of results. Nothing of it on host devices.
 */
#ifndef TRAIN_PRODUCTS_H
#define TRAIN_PRODUCTS_H

#include "tensor/device.h"

/* What multiplies matrices, with its version: "cuBLASLt 13.1.0, NVIDIA H200, driver ...", or BLAS's own
   word. Valid until the next call. */
const char *products_library(const struct device *d);

/* Before the first product of a run in ROOT/runs/NAME. 0, or -1 after a message. */
int products_open(const struct device *d, const char *run_dir);
/* With each checkpoint. 0, or -1 after a message. */
int products_save(const struct device *d, const char *run_dir);

#endif
