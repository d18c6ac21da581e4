/*
 * Files of named tensors in the safetensors format: a 64-bit length, a JSON header {name: {dtype,
 * shape, data_offsets}} with "__metadata__" (texts only), then the data, little endian, without gaps.
 */
#ifndef TENSOR_SAFETENSORS_H
#define TENSOR_SAFETENSORS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "tensor/tensor.h"

struct safetensor {
	const char *name;
	const char *dtype;		/* "F32", "F64", "I32", "I64", "BOOL", "BF16"; others are not read */
	int n_dims;
	long dims[MAX_DIMS];
	const void *data;		/* not owned */
	size_t bytes;
	const struct device *device;	/* in whose memory data lies, when written; NULL: the host's */
};

struct safetensors_meta {
	const char *key, *value;
};

/* Replaces the file as a whole (temporary file, fsync, rename). Adds the metadata "hash": XXH3 of
   all data, which reading checks where "format" is one of moelab's. 0, or -1 after a message; a file
   that stood there stays. */
int safetensors_write(const char *path, const struct safetensor *list, int n,
	const struct safetensors_meta *meta, int n_meta);

struct safetensors {
	struct arena arena;
	const void *map;		/* the file */
	size_t bytes;
	struct safetensor *list;	/* data points into the map */
	int n;
	struct safetensors_meta *meta;
	int n_meta;
};

/*
 * Every offset and size is checked, that each byte of the data belongs to one tensor, and the hash if
 * there is one. Tensors of other types, of more dimensions and empty ones are passed over, with a
 * warning that names them. 0, or -1 after a message.
 */
int safetensors_open(struct safetensors *f, const char *path);
void safetensors_close(struct safetensors *f);
const struct safetensor *safetensors_find(const struct safetensors *f, const char *name);	/* NULL */
long safetensor_size(const struct safetensor *t);	/* elements */
double safetensor_at(const struct safetensor *t, long i);	/* element i, whatever its type */
bool safetensor_same_shape(const struct safetensor *a, const struct safetensor *b);
const char *safetensors_metadata(const struct safetensors *f, const char *key);		/* NULL */

#endif
