/* attention's kernels for the CPU (op/attention.h). */
#ifndef OP_CPU_ATTENTION_H
#define OP_CPU_ATTENTION_H

#include "op/op.h"

/* A tile of scores: queries by keys. Tiles of queries divide those of keys, so the first row of a
   tile sees at least the first of its keys. */
enum { ATTENTION_QUERIES = 32 };

op_kernel attention_forward_cpu, attention_backward_cpu;

#endif
