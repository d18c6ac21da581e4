#include "train/products.h"

#include "base/cpu.h"

#ifdef WITH_CUDA
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "op/cuda/gemm.h"
#include "tensor/queue.h"

#define FILE_NAME "products.txt"

const char *products_library(const struct device *d)
{
	static char text[400];

	if (device_is_host(d))
		return blas_config();
	snprintf(text, sizeof text, "%s, %s", gpu_gemm_library(), queue_name());
	return text;
}

int products_open(const struct device *d, const char *run_dir)
{
	char *own = path_join(run_dir, FILE_NAME), *shared = xasprintf("%s/../../" FILE_NAME, run_dir);
	int ret = 0;

	if (!device_is_host(d) && !device_missing(d))
		ret = gpu_gemm_choices_file(device_queue(d), path_exists(own) ? own : shared);
	free(own);
	free(shared);
	return ret;
}

int products_save(const struct device *d, const char *run_dir)
{
	char *own = path_join(run_dir, FILE_NAME), *text = NULL;
	int ret = 0;

	if (!device_is_host(d)) {
		text = gpu_gemm_choices_text(device_queue(d));
		ret = path_write(own, text, strlen(text));
	}
	free(text);
	free(own);
	return ret;
}
#else
const char *products_library(const struct device *d)
{
	(void)d;
	return blas_config();
}

int products_open(const struct device *d, const char *run_dir)
{
	(void)d;
	(void)run_dir;
	return 0;
}

int products_save(const struct device *d, const char *run_dir)
{
	(void)d;
	(void)run_dir;
	return 0;
}
#endif
