/*
 * The queue of a GPU: kernels and copies run one after the other in the order in which they were
 * asked for, while the host goes on. What a program of calls asks for can be recorded once and
 * replayed as a whole, which costs a microsecond a kernel instead of four.
 * Host devices have no queue: their calls are done when they return.
 */
#ifndef TENSOR_QUEUE_H
#define TENSOR_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct queue {
	void *stream;			/* cudaStream_t */
	void *blas;			/* cublasLtHandle_t, opened by its first user (op/cuda/gemm.h) */
	void *products;			/* algorithms chosen so far, of that user */
	int n_multiprocessors;
	int capability;			/* 90: sm_90 */
	size_t shared_bytes;		/* of a block, at most */
	char gpu[64];			/* "NVIDIA H200" */
};

struct queue_recording;			/* a program of calls, ready to run */
struct queue_mark;			/* a moment in the queue */

struct queue *queue_open(void);		/* on the GPU that CUDA shows first; none is fatal */
void queue_wait(struct queue *q);	/* until all that was asked for is done; faults are fatal */

/* Enqueue a copy; from and to host memory of device_host_alloc(). */
void queue_copy_in(struct queue *q, void *to, const void *from, size_t bytes);
void queue_copy_out(struct queue *q, void *to, const void *from, size_t bytes);

void queue_copy(struct queue *q, void *to, const void *from, size_t bytes);	/* within the GPU */

/* Between the two, what is asked for is recorded and not done. */
void queue_record_begin(struct queue *q);
struct queue_recording *queue_record_end(struct queue *q);
void queue_replay(struct queue *q, struct queue_recording *r);
void queue_recording_free(struct queue_recording *r);

struct queue_mark *queue_mark_new(void);
void queue_mark_free(struct queue_mark *m);
void queue_mark(struct queue *q, struct queue_mark *m);
/* Seconds from one mark to the other, waiting for the second. */
double queue_seconds(const struct queue_mark *from, const struct queue_mark *to);

/* Memory of the GPU, as device.h has it for any device. */
void *queue_alloc(struct queue *q, size_t bytes);
void queue_free(void *at);
void *queue_host_alloc(size_t bytes);
void queue_host_free(void *at);
void queue_memory(double *all, double *left);	/* bytes */
const char *queue_missing(void);	/* NULL, or why there is no GPU to use */

/* What the GPU is, for logs and records: "NVIDIA H200, driver 13.0, runtime 13.0". */
const char *queue_name(void);

#ifdef __cplusplus
}
#endif

#endif
