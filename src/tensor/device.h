/*
 * Where a graph runs. A device gives the element types their size and owns the memory; operators
 * bring one kernel per device (op/op.h).
 *
 *   ref        float64, plain loops written from the formula: the oracle of all others
 *   cpu        float32, SIMD, OpenMP and BLAS
 *   cuda_scan  cpu, with those kernels that have a staged CUDA version (the selective scan)
 *   cuda       the whole step on the GPU: bfloat16 activations, float32 masters
 */
#ifndef TENSOR_DEVICE_H
#define TENSOR_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

enum device_id { REF, CPU, CUDA_SCAN, CUDA, N_DEVICES };

/* What an element is for; the device says how it is stored. */
enum kind {
	REAL,		/* activations, working weights, their gradients: f64 | f32 | f32 | bf16 */
	MASTER,		/* master weights, moments, losses, metrics:      f64 | f32 | f32 | f32 */
	INDEX,		/* tokens, expert numbers:                        int32 */
	N_KINDS,
};

struct device {
	enum device_id id;
	const char *name;
	const char *precision;		/* part of a run's identity: "f64", "f32", "bf16" */
	size_t bytes[N_KINDS];		/* of one element */
};

extern const struct device device_list[N_DEVICES];

const struct device *device_find(const char *name);	/* NULL after a message that lists them */
bool device_is_host(const struct device *d);	/* its memory can be read and written directly */
/* 64-byte aligned, large blocks on huge pages, zeroed. Exhaustion is fatal. */
void *device_alloc(const struct device *d, size_t bytes);
void device_free(const struct device *d, void *at, size_t bytes);
void device_from_host(const struct device *d, void *to, const void *from, size_t bytes);
void device_to_host(const struct device *d, void *to, const void *from, size_t bytes);

#endif
