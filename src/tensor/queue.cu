#include "tensor/queue.h"

#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "base/error.h"
}

/* The calls here fail where the GPU or its driver does; nothing can be done then. */
static void check(cudaError_t result, const char *what)
{
	if (result != cudaSuccess)
		die("GPU: %s: %s", what, cudaGetErrorString(result));
}

static cudaStream_t stream_of(const struct queue *q)
{
	return (cudaStream_t)q->stream;
}

const char *queue_missing(void)
{
	int n = 0;
	cudaError_t result = cudaGetDeviceCount(&n);

	if (result == cudaErrorInsufficientDriver)
		return "no NVIDIA driver, or one that is older than this CUDA";
	if (result != cudaSuccess)
		return cudaGetErrorString(result);
	return n ? NULL : "no GPU is visible (CUDA_VISIBLE_DEVICES?)";
}

const char *queue_name(void)
{
	static char text[320];
	cudaDeviceProp p;
	int driver = 0, runtime = 0;

	check(cudaGetDeviceProperties(&p, 0), "properties");
	check(cudaDriverGetVersion(&driver), "driver");
	check(cudaRuntimeGetVersion(&runtime), "runtime");
	snprintf(text, sizeof text, "%s, driver %d.%d, runtime %d.%d", p.name, driver / 1000,
		driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
	return text;
}

struct queue *queue_open(void)
{
	const char *why = queue_missing();
	struct queue *q = (struct queue *)xcalloc(1, sizeof *q);
	cudaDeviceProp properties;
	cudaStream_t stream;
	int shared;

	if (why)
		die("GPU: %s", why);
	check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
	q->stream = stream;
	check(cudaDeviceGetAttribute(&q->n_multiprocessors, cudaDevAttrMultiProcessorCount, 0),
		"multiprocessors");
	check(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0),
		"shared memory");
	q->shared_bytes = (size_t)shared;
	check(cudaGetDeviceProperties(&properties, 0), "properties");
	q->capability = 10 * properties.major + properties.minor;
	snprintf(q->gpu, sizeof q->gpu, "%.63s", properties.name);
	return q;
}

void queue_wait(struct queue *q)
{
	check(cudaStreamSynchronize(stream_of(q)), "a kernel or copy");
}

void queue_copy_in(struct queue *q, void *to, const void *from, size_t bytes)
{
	check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_of(q)), "copy in");
}

void queue_copy_out(struct queue *q, void *to, const void *from, size_t bytes)
{
	check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_of(q)), "copy out");
}

void queue_copy(struct queue *q, void *to, const void *from, size_t bytes)
{
	check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_of(q)), "copy");
}

/* ---- recording ------------------------------------------------------------------------------ */

void queue_record_begin(struct queue *q)
{
	check(cudaStreamBeginCapture(stream_of(q), cudaStreamCaptureModeThreadLocal), "recording");
}

struct queue_recording *queue_record_end(struct queue *q)
{
	cudaGraph_t graph;
	cudaGraphExec_t program;

	check(cudaStreamEndCapture(stream_of(q), &graph), "recording");
	check(cudaGraphInstantiate(&program, graph, 0), "recording");
	check(cudaGraphDestroy(graph), "recording");
	return (struct queue_recording *)program;
}

void queue_replay(struct queue *q, struct queue_recording *r)
{
	check(cudaGraphLaunch((cudaGraphExec_t)r, stream_of(q)), "replay");
}

void queue_recording_free(struct queue_recording *r)
{
	check(cudaGraphExecDestroy((cudaGraphExec_t)r), "recording");
}

/* ---- time ----------------------------------------------------------------------------------- */

struct queue_mark *queue_mark_new(void)
{
	cudaEvent_t event;

	check(cudaEventCreate(&event), "event");
	return (struct queue_mark *)event;
}

void queue_mark_free(struct queue_mark *m)
{
	check(cudaEventDestroy((cudaEvent_t)m), "event");
}

void queue_mark(struct queue *q, struct queue_mark *m)
{
	check(cudaEventRecord((cudaEvent_t)m, stream_of(q)), "event");
}

double queue_seconds(const struct queue_mark *from, const struct queue_mark *to)
{
	float ms;

	check(cudaEventSynchronize((cudaEvent_t)to), "a kernel or copy");
	check(cudaEventElapsedTime(&ms, (cudaEvent_t)from, (cudaEvent_t)to), "event");
	return 1e-3 * ms;
}

/* ---- memory --------------------------------------------------------------------------------- */

void *queue_alloc(struct queue *q, size_t bytes)
{
	void *at;
	cudaError_t result = cudaMalloc(&at, bytes ? bytes : 1);

	if (result == cudaErrorMemoryAllocation)
		die("GPU: out of memory: %zu bytes asked for", bytes);
	check(result, "memory");
	check(cudaMemsetAsync(at, 0, bytes, stream_of(q)), "memory");
	queue_wait(q);
	return at;
}

void queue_free(void *at)
{
	check(cudaFree(at), "memory");
}

void *queue_host_alloc(size_t bytes)
{
	void *at;

	check(cudaHostAlloc(&at, bytes ? bytes : 1, cudaHostAllocDefault), "host memory");
	return memset(at, 0, bytes);
}

void queue_host_free(void *at)
{
	check(cudaFreeHost(at), "host memory");
}

void queue_memory(double *all, double *left)
{
	size_t n_free, n_all;

	check(cudaMemGetInfo(&n_free, &n_all), "memory");
	*all = (double)n_all;
	*left = (double)n_free;
}
