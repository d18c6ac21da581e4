/* In place of queue.cu where the program is built without CUDA: says so to whoever asks. */
#include "tensor/queue.h"

#include "base/error.h"

#ifndef WITH_CUDA
#pragma GCC diagnostic ignored "-Wunused-parameter"

const char *queue_missing(void)
{
	return "this moelab was built without CUDA: make CUDA=1";
}

const char *queue_name(void)
{
	return "no GPU";
}

/* Whoever comes here has not asked queue_missing(). */
#define NONE() { BUG("no CUDA in this program"); }

struct queue *queue_open(void) NONE()
void queue_wait(struct queue *q) NONE()
void queue_copy_in(struct queue *q, void *to, const void *from, size_t bytes) NONE()
void queue_copy_out(struct queue *q, void *to, const void *from, size_t bytes) NONE()
void queue_copy(struct queue *q, void *to, const void *from, size_t bytes) NONE()
void queue_record_begin(struct queue *q) NONE()
struct queue_recording *queue_record_end(struct queue *q) NONE()
void queue_replay(struct queue *q, struct queue_recording *r) NONE()
void queue_recording_free(struct queue_recording *r) NONE()
struct queue_mark *queue_mark_new(void) NONE()
void queue_mark_free(struct queue_mark *m) NONE()
void queue_mark(struct queue *q, struct queue_mark *m) NONE()
double queue_seconds(const struct queue_mark *from, const struct queue_mark *to) NONE()
void *queue_alloc(struct queue *q, size_t bytes) NONE()
void queue_free(void *at) NONE()
void *queue_host_alloc(size_t bytes) NONE()
void queue_host_free(void *at) NONE()
void queue_memory(double *all, double *left) NONE()

#endif
