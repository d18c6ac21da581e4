#include "tensor/device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/error.h"

enum { ALIGN = 64, HUGE = 2 << 20 };

const struct device device_list[N_DEVICES] = {
	[REF] = {REF, "ref", "f64", {[REAL] = 8, [MASTER] = 8, [INDEX] = 4}},
	[CPU] = {CPU, "cpu", "f32", {[REAL] = 4, [MASTER] = 4, [INDEX] = 4}},
	[CUDA_SCAN] = {CUDA_SCAN, "cuda_scan", "f32", {[REAL] = 4, [MASTER] = 4, [INDEX] = 4}},
	[CUDA] = {CUDA, "cuda", "bf16", {[REAL] = 2, [MASTER] = 4, [INDEX] = 4}},
};

const struct device *device_find(const char *name)
{
	for (int i = 0; i < N_DEVICES; i++)
		if (!strcmp(name, device_list[i].name))
			return &device_list[i];
	error("no device \"%s\": ref, cpu, cuda_scan or cuda", name);
	return NULL;
}

bool device_is_host(const struct device *d)
{
	return d->id != CUDA;
}

/* No operator has kernels for the GPU-resident device, so graph_plan() refuses it before any memory
   is asked for: a request that comes here is a fault of ours. */
static void check_host(const struct device *d)
{
	CHECK(device_is_host(d));
}

void *device_alloc(const struct device *d, size_t bytes)
{
	size_t unit = bytes >= HUGE ? HUGE : ALIGN, rounded = (bytes + unit - 1) / unit * unit;
	void *at;

	check_host(d);
	at = aligned_alloc(unit, rounded ? rounded : unit);
	if (!at)
		die("out of memory: %zu bytes on device %s", bytes, d->name);
	if (unit == HUGE)
		madvise(at, rounded, MADV_HUGEPAGE);	/* advice only: a refusal costs speed alone */
	memset(at, 0, rounded);
	return at;
}

void device_free(const struct device *d, void *at, size_t bytes)
{
	(void)bytes;
	check_host(d);
	free(at);
}

void device_from_host(const struct device *d, void *to, const void *from, size_t bytes)
{
	check_host(d);
	memcpy(to, from, bytes);
}

void device_to_host(const struct device *d, void *to, const void *from, size_t bytes)
{
	check_host(d);
	memcpy(to, from, bytes);
}
