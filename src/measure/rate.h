/* Measured ceilings and rates of this machine: for estimates and for shares of the peak. */
#ifndef MEASURE_RATE_H
#define MEASURE_RATE_H

#include "train/setup.h"

/* FLOP/s of a large matrix product on all threads, in the tiles that operators use; best of a few tries;
   takes about a fifth of a second. On a GPU: of its type of activations. */
double rate_gemm(const struct device *d);

/* FLOP/s of small products on all threads, many side by side, each of so few rows: [rows, inner] by
   [inner, outer] and its two gradients, as a layer of an expert has them. */
double rate_gemm_rows(long rows, long inner, long outer);

/* Bytes/s of a large copy on all threads, read plus written. */
double rate_copy(const struct device *d);

/* FLOP/s, of model FLOPs, that training may be expected to reach where the products reach this. */
double rate_expected(double gemm);

/* For step_input.read of a set-up (`from`): tokens and targets, random and the same each time. */
int rate_tokens(void *from, long step, long micro, int *tokens_BT, int *targets_BT);

/* Steps to warm up: on a GPU the first makes plans, and the second is recorded. */
int rate_warm_up(const struct device *d);
/* Training tokens/s of a set-up (allocated), on random tokens: median of n steps after those to warm up.
   The weights move; not for a model that is still wanted. */
double rate_train(struct setup *s, int n);

#endif
