#include "tensor/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/hash.h"
#include "base/path.h"
#include "base/str.h"

enum { PIECE_BYTES = 16 << 20 };	/* of device memory, at once */
enum { HEADER_LIMIT = 100 << 20 };	/* as other readers have it */

static const struct {
	const char *name;
	size_t bytes;
} dtypes[] = {{"F64", 8}, {"F32", 4}, {"I32", 4}, {"I64", 8}, {"BOOL", 1}, {"BF16", 2}};

static size_t dtype_bytes(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(dtypes); i++)
		if (!strcmp(name, dtypes[i].name))
			return dtypes[i].bytes;
	return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

static json_t *header(const struct safetensor *list, int n, const struct safetensors_meta *meta,
	int n_meta, const char *hash)
{
	json_t *root = json_object(), *texts = json_object();
	size_t at = 0;

	for (int i = 0; i < n_meta; i++)
		json_object_set_new(texts, meta[i].key, json_string(meta[i].value));
	json_object_set_new(texts, "hash", json_string(hash));
	json_object_set_new(root, "__metadata__", texts);
	for (int i = 0; i < n; i++) {
		json_t *shape = json_array();
		for (int k = 0; k < list[i].n_dims; k++)
			json_array_append_new(shape, json_integer(list[i].dims[k]));
		json_object_set_new(root, list[i].name, json_pack("{s:s, s:o, s:[I, I]}", "dtype",
			list[i].dtype, "shape", shape, "data_offsets", (json_int_t)at,
			(json_int_t)(at + list[i].bytes)));
		at += list[i].bytes;
	}
	return root;
}

static bool elsewhere(const struct safetensor *t)
{
	return t->device && !device_is_host(t->device);
}

/* A piece of what a safetensor in device memory holds: path_piece.read. */
static void read_device(const void *tensor, size_t at, void *to, size_t n)
{
	const struct safetensor *t = tensor;

	device_to_host(t->device, to, (const char *)t->data + at, n);
}

static void hash_device(struct hash *h, const struct safetensor *t)
{
	char *buffer = device_host_alloc(t->device, PIECE_BYTES);

	for (size_t at = 0; at < t->bytes; at += PIECE_BYTES) {
		size_t n = t->bytes - at < PIECE_BYTES ? t->bytes - at : PIECE_BYTES;
		read_device(t, at, buffer, n);
		hash_add(h, buffer, n);
	}
	device_host_free(t->device, buffer);
}

static void hash_data(const struct safetensor *list, int n, char hex[HASH_HEX])
{
	struct hash *h = hash_open();

	for (int i = 0; i < n; i++)
		if (elsewhere(&list[i]))
			hash_device(h, &list[i]);
		else
			hash_add(h, list[i].data, list[i].bytes);
	hash_close(h, hex);
}

static struct path_piece piece_of(const struct safetensor *t)
{
	return elsewhere(t) ? (struct path_piece){t, t->bytes, read_device}
		: (struct path_piece){.bytes = t->data, .n = t->bytes};
}

int safetensors_write(const char *path, const struct safetensor *list, int n,
	const struct safetensors_meta *meta, int n_meta)
{
	char hex[HASH_HEX];
	struct path_piece *pieces = xcalloc((size_t)n + 3, sizeof *pieces);
	json_t *root;
	char *text;
	uint64_t length, padding;
	int ret;

	hash_data(list, n, hex);
	root = header(list, n, meta, n_meta, hex);
	text = json_dumps(root, JSON_COMPACT);
	CHECK(text);
	padding = (8 - strlen(text) % 8) % 8;	/* blanks, so that the data is aligned */
	length = strlen(text) + padding;
	pieces[0] = (struct path_piece){.bytes = &length, .n = sizeof length};
	pieces[1] = (struct path_piece){.bytes = text, .n = length - padding};
	pieces[2] = (struct path_piece){.bytes = "        ", .n = padding};
	for (int i = 0; i < n; i++)
		pieces[i + 3] = piece_of(&list[i]);
	ret = path_write_pieces(path, pieces, n + 3);
	free(text);
	free(pieces);
	json_decref(root);
	return ret;
}

/* ---- reading -------------------------------------------------------------------------------- */

static int bad(const char *path, const char *why)
{
	return error("%s: %s: not a whole safetensors file", path, why);
}

/* Shape and type in t, if they can be read here; else its dtype stays NULL. NULL, or what is wrong. */
static const char *read_shape(struct safetensor *t, const char *dtype, const json_t *shape)
{
	size_t bytes = dtype_bytes(dtype), n = json_array_size(shape);
	bool empty = t->bytes == 0, readable = bytes && n <= MAX_DIMS;

	bytes = bytes ? bytes : 1;
	for (size_t i = 0; i < n; i++) {
		const json_t *dim = json_array_get(shape, i);
		json_int_t d = json_integer_value(dim);
		if (!json_is_integer(dim) || d < 0)
			return "a tensor has no shape";
		if (d && bytes > (size_t)-1 / (size_t)d)
			return "a tensor is larger than any memory";
		bytes *= (size_t)d;
		if (readable)
			t->dims[i] = (long)d;
	}
	if (dtype_bytes(dtype) && bytes != t->bytes)
		return "a tensor's place has not the size of its shape";
	t->n_dims = readable ? (int)n : 0;
	t->dtype = readable && !empty ? dtype : NULL;
	return NULL;
}

/* One entry of the header; data_bytes: what follows the header. NULL, or what is wrong. */
static const char *read_tensor(struct safetensors *f, const char *name, const json_t *entry,
	const char *data, size_t data_bytes)
{
	struct safetensor *t = &f->list[f->n++];
	const char *dtype = json_string_value(json_object_get(entry, "dtype"));
	const json_t *shape = json_object_get(entry, "shape");
	const json_t *offsets = json_object_get(entry, "data_offsets");
	const json_t *first = json_array_get(offsets, 0), *last = json_array_get(offsets, 1);
	json_int_t begin = json_integer_value(first), end = json_integer_value(last);

	if (!dtype || !json_is_array(shape) || json_array_size(offsets) != 2 ||
		!json_is_integer(first) || !json_is_integer(last))
		return "a tensor has no type, no shape or no place";
	if (begin < 0 || end < begin || (size_t)end > data_bytes)
		return "a tensor lies outside of the file";
	*t = (struct safetensor){.name = arena_strdup(&f->arena, name), .data = data + begin,
		.bytes = (size_t)(end - begin)};
	return read_shape(t, arena_strdup(&f->arena, dtype), shape);
}

static void read_meta(struct safetensors *f, json_t *texts)
{
	const char *key;
	json_t *value;

	f->meta = ARENA_ARRAY(&f->arena, struct safetensors_meta, json_object_size(texts) + 1);
	json_object_foreach(texts, key, value)
		if (json_is_string(value))
			f->meta[f->n_meta++] = (struct safetensors_meta){arena_strdup(&f->arena, key),
				arena_strdup(&f->arena, json_string_value(value))};
}

/* Empty ones first, so that what follows begins where they end. */
static int by_address(const void *a, const void *b)
{
	const struct safetensor *x = a, *y = b;

	return x->data != y->data ? (x->data > y->data) - (x->data < y->data) :
		(x->bytes > y->bytes) - (x->bytes < y->bytes);
}

/* The tensors, sorted, are the data: one behind the other, from the first byte to the last. */
static const char *check_places(const struct safetensors *f, const char *data, size_t data_bytes)
{
	const char *at = data;

	for (int i = 0; i < f->n; i++) {
		const struct safetensor *t = &f->list[i];
		if ((const char *)t->data != at)
			return (const char *)t->data < at ? "tensors overlap" :
				"bytes between tensors belong to none";
		at += t->bytes;
	}
	return at == data + data_bytes ? NULL : "bytes behind the last tensor";
}

/* Leaves out what cannot be read here, and names it. */
static void pass_over(struct safetensors *f, const char *path)
{
	enum { NAMED = 4 };
	struct str names;
	int kept = 0, passed = 0;

	str_init(&names);
	for (int i = 0; i < f->n; i++) {
		if (f->list[i].dtype)
			f->list[kept++] = f->list[i];
		else if (passed++ < NAMED)
			str_add_item(&names, "%s", f->list[i].name);
	}
	if (passed)
		warning("%s: %d tensor%s passed over, empty or of a type that is not read here: %s%s",
			path, passed, passed > 1 ? "s" : "", names.text, passed > NAMED ? ", ..." : "");
	str_release(&names);
	f->n = kept;
}

static const char *read_entries(struct safetensors *f, const json_t *root, const char *data,
	size_t data_bytes)
{
	const char *key, *wrong = NULL;
	json_t *value;

	f->list = ARENA_ARRAY(&f->arena, struct safetensor, json_object_size(root));
	json_object_foreach((json_t *)root, key, value)
		if (!wrong && strcmp(key, "__metadata__"))
			wrong = read_tensor(f, key, value, data, data_bytes);
	if (wrong)
		return wrong;
	if (f->n)
		qsort(f->list, (size_t)f->n, sizeof *f->list, by_address);
	return check_places(f, data, data_bytes);
}

/* What others call "hash" may be another one, of something else. */
static bool has_hash(const struct safetensors *f, const char *hex)
{
	const char *format = safetensors_metadata(f, "format"), *hash = safetensors_metadata(f, "hash");

	return !format || !hash || !str_starts(format, "moelab ") || !strcmp(hash, hex);
}

static int read_header(struct safetensors *f, const char *path)
{
	uint64_t length;
	const char *text = (const char *)f->map + sizeof length, *wrong;
	char hex[HASH_HEX];
	json_t *root;
	size_t n;

	if (f->bytes < sizeof length)
		return bad(path, "too short");
	memcpy(&length, f->map, sizeof length);
	if (length > HEADER_LIMIT || length > f->bytes - sizeof length)
		return bad(path, "header longer than the file");
	root = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(root)) {
		json_decref(root);
		return bad(path, "header is no JSON object");
	}
	n = f->bytes - sizeof length - length;
	read_meta(f, json_object_get(root, "__metadata__"));
	wrong = read_entries(f, root, text + length, n);
	json_decref(root);
	if (wrong)
		return bad(path, wrong);
	hash_bytes(text + length, n, hex);
	if (!has_hash(f, hex))
		return bad(path, "the data does not match its hash");
	pass_over(f, path);
	return 0;
}

int safetensors_open(struct safetensors *f, const char *path)
{
	int ret;

	*f = (struct safetensors){0};
	f->map = path_map(path, &f->bytes);
	if (!f->map)
		return -1;
	ret = f->bytes ? read_header(f, path) : bad(path, "empty");
	if (ret)
		safetensors_close(f);
	return ret;
}

void safetensors_close(struct safetensors *f)
{
	path_unmap(f->map, f->bytes);
	arena_release(&f->arena);
	*f = (struct safetensors){0};
}

const struct safetensor *safetensors_find(const struct safetensors *f, const char *name)
{
	for (int i = 0; i < f->n; i++)
		if (!strcmp(f->list[i].name, name))
			return &f->list[i];
	return NULL;
}

long safetensor_size(const struct safetensor *t)
{
	return (long)(t->bytes / dtype_bytes(t->dtype));
}

/* By memcpy: a foreign file may have its numbers at any offset. */
#define ELEMENT(type)                                                                              \
	do {                                                                                       \
		type value_;                                                                       \
		memcpy(&value_, (const char *)t->data + (size_t)i * sizeof value_, sizeof value_); \
		return (double)value_;                                                             \
	} while (0)

double safetensor_at(const struct safetensor *t, long i)
{
	uint32_t bits = 0;
	float value;

	if (!strcmp(t->dtype, "F32"))
		ELEMENT(float);
	if (!strcmp(t->dtype, "F64"))
		ELEMENT(double);
	if (!strcmp(t->dtype, "I32"))
		ELEMENT(int32_t);
	if (!strcmp(t->dtype, "I64"))
		ELEMENT(int64_t);
	if (!strcmp(t->dtype, "BOOL"))
		ELEMENT(unsigned char);
	/* BF16: the upper half of an F32 */
	memcpy((char *)&bits + 2, (const char *)t->data + 2 * i, 2);
	memcpy(&value, &bits, sizeof value);
	return value;
}

bool safetensor_same_shape(const struct safetensor *a, const struct safetensor *b)
{
	return a->n_dims == b->n_dims && !memcmp(a->dims, b->dims, sizeof(long) * (size_t)a->n_dims);
}

const char *safetensors_metadata(const struct safetensors *f, const char *key)
{
	for (int i = 0; i < f->n_meta; i++)
		if (!strcmp(f->meta[i].key, key))
			return f->meta[i].value;
	return NULL;
}
