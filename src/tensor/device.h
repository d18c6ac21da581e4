/*
 * Where a graph runs. A device gives the element types their size and owns the memory; operators
 * bring one kernel per device (op/op.h).
 *
 *   ref        float64, plain loops written from the formula: the oracle of all others
 *   cpu        float32, SIMD, OpenMP and BLAS
 *   cuda_scan  cpu, with those kernels that have a staged CUDA version (the selective scan)
 *   cuda       the whole step on the GPU: bfloat16 activations, float32 masters
 *   cuda_f32   the same kernels in float32: its runs have the identity of the CPU's
 *
 * A GPU works through one queue (tensor/queue.h): kernels and copies run in the order in which they
 * were asked for. Copies through this page are done when they return.
 */
#ifndef TENSOR_DEVICE_H
#define TENSOR_DEVICE_H

#include <stdbool.h>
#include <stddef.h>

enum device_id { REF, CPU, CUDA_SCAN, CUDA, CUDA_F32, N_DEVICES };

/* What an element is for; the device says how it is stored. */
enum kind {
	REAL,		/* activations, working weights, their gradients: f64 | f32 | f32 | bf16 | f32 */
	MASTER,		/* master weights, moments, losses, metrics:      f64 | f32 | f32 | f32 | f32 */
	INDEX,		/* tokens, expert numbers:                        int32 */
	N_KINDS,
};

struct device {
	enum device_id id;
	const char *name;
	const char *precision;		/* part of a run's identity: "f64", "f32", "bf16" */
	size_t bytes[N_KINDS];		/* of one element */
	size_t align;			/* bytes; of operands in arenas and blobs */
};

extern const struct device device_list[N_DEVICES];

const struct device *device_find(const char *name);	/* NULL after a message that lists them */
bool device_is_host(const struct device *d);	/* its memory can be read and written directly */
bool device_is_built(const struct device *d);	/* the program has its kernels, whatever this machine has */
/* NULL, or why this program cannot run on the device: built without CUDA, no GPU, no driver. */
const char *device_missing(const struct device *d);
/* The device's one queue, opened at the first call; NULL for host devices. No GPU is fatal. */
struct queue *device_queue(const struct device *d);
/* Aligned, zeroed; on hosts large blocks lie on huge pages. Exhaustion is fatal. */
void *device_alloc(const struct device *d, size_t bytes);
void device_free(const struct device *d, void *at, size_t bytes);
void device_from_host(const struct device *d, void *to, const void *from, size_t bytes);
void device_to_host(const struct device *d, void *to, const void *from, size_t bytes);
/* Bytes of memory in all, and free now (on hosts: for this process; base/cpu.h). */
double device_memory_bytes(const struct device *d);
double device_free_bytes(const struct device *d);

/* Zeroed host memory that a GPU copies from and to at full speed; ordinary memory on hosts. */
void *device_host_alloc(const struct device *d, size_t bytes);
void device_host_free(const struct device *d, void *at);

#endif
