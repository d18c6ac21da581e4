#include "tensor/device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/cpu.h"
#include "base/error.h"
#include "tensor/queue.h"

enum { HOST_ALIGN = 64, GPU_ALIGN = 256, HUGE = 2 << 20 };

const struct device device_list[N_DEVICES] = {
	[REF] = {REF, "ref", "f64", {[REAL] = 8, [MASTER] = 8, [INDEX] = 4}, HOST_ALIGN},
	[CPU] = {CPU, "cpu", "f32", {[REAL] = 4, [MASTER] = 4, [INDEX] = 4}, HOST_ALIGN},
	[CUDA_SCAN] = {CUDA_SCAN, "cuda_scan", "f32", {[REAL] = 4, [MASTER] = 4, [INDEX] = 4},
		HOST_ALIGN},
	[CUDA] = {CUDA, "cuda", "bf16", {[REAL] = 2, [MASTER] = 4, [INDEX] = 4}, GPU_ALIGN},
	[CUDA_F32] = {CUDA_F32, "cuda_f32", "f32", {[REAL] = 4, [MASTER] = 4, [INDEX] = 4},
		GPU_ALIGN},
};

const struct device *device_find(const char *name)
{
	for (int i = 0; i < N_DEVICES; i++)
		if (!strcmp(name, device_list[i].name))
			return &device_list[i];
	error("no device \"%s\": ref, cpu, cuda_scan, cuda or cuda_f32", name);
	return NULL;
}

bool device_is_host(const struct device *d)
{
	return d->id < CUDA;
}

bool device_is_built(const struct device *d)
{
#ifdef WITH_CUDA
	(void)d;
	return true;
#else
	return device_is_host(d);
#endif
}

const char *device_missing(const struct device *d)
{
	return device_is_host(d) ? NULL : queue_missing();
}

struct queue *device_queue(const struct device *d)
{
	static struct queue *queue;	/* part of the device, as its memory is */

	if (device_is_host(d))
		return NULL;
	if (!queue)
		queue = queue_open();
	return queue;
}

/* ---- memory --------------------------------------------------------------------------------- */

static void *host_alloc(const struct device *d, size_t bytes)
{
	size_t unit = bytes >= HUGE ? HUGE : HOST_ALIGN, rounded = (bytes + unit - 1) / unit * unit;
	void *at = aligned_alloc(unit, rounded ? rounded : unit);

	if (!at)
		die("out of memory: %zu bytes on device %s", bytes, d->name);
	if (unit == HUGE)
		madvise(at, rounded, MADV_HUGEPAGE);	/* advice only: a refusal costs speed alone */
	memset(at, 0, rounded);
	return at;
}

void *device_alloc(const struct device *d, size_t bytes)
{
	return device_is_host(d) ? host_alloc(d, bytes) : queue_alloc(device_queue(d), bytes);
}

void device_free(const struct device *d, void *at, size_t bytes)
{
	(void)bytes;
	if (device_is_host(d))
		free(at);
	else
		queue_free(at);
}

void device_from_host(const struct device *d, void *to, const void *from, size_t bytes)
{
	if (device_is_host(d)) {
		memcpy(to, from, bytes);
		return;
	}
	queue_copy_in(device_queue(d), to, from, bytes);
	queue_wait(device_queue(d));
}

void device_to_host(const struct device *d, void *to, const void *from, size_t bytes)
{
	if (device_is_host(d)) {
		memcpy(to, from, bytes);
		return;
	}
	queue_copy_out(device_queue(d), to, from, bytes);
	queue_wait(device_queue(d));
}

double device_memory_bytes(const struct device *d)
{
	double all, left;

	if (device_is_host(d))
		return cpu_memory_bytes();
	queue_memory(&all, &left);
	return all;
}

double device_free_bytes(const struct device *d)
{
	double all, left;

	if (device_is_host(d))
		return cpu_free_memory_bytes();
	queue_memory(&all, &left);
	return left;
}

void *device_host_alloc(const struct device *d, size_t bytes)
{
	return device_is_host(d) ? host_alloc(d, bytes) : queue_host_alloc(bytes);
}

void device_host_free(const struct device *d, void *at)
{
	if (device_is_host(d))
		free(at);
	else
		queue_host_free(at);
}
