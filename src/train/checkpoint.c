#include "train/checkpoint.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "store/run_dir.h"

static const struct {
	enum blob blob;
	const char *prefix;
} stored[] = {{BLOB_WEIGHTS, ""}, {BLOB_MOMENT1, "moment1."}, {BLOB_MOMENT2, "moment2."}};

struct safetensor checkpoint_tensor(const struct setup *s, const struct param *p, const char *name,
	const void *blob)
{
	size_t bytes = s->device->bytes[MASTER];
	struct safetensor t = {.name = name, .dtype = bytes == 8 ? "F64" : "F32",
		.n_dims = p->shape.n_dims, .data = (const char *)blob + (size_t)p->offset * bytes,
		.bytes = (size_t)param_elements(p) * bytes};

	memcpy(t.dims, p->shape.dims, sizeof t.dims);
	if (p->rule.used_rows)
		t.dims[0] = p->rule.used_rows;
	return t;
}

static struct safetensor file_tensor(const struct setup *s, const struct param *p, const char *name,
	enum blob blob)
{
	struct safetensor t = checkpoint_tensor(s, p, name, s->memory.blob[blob]);

	t.device = s->device;
	return t;
}

/* What streams carry (data.sampling: stream), as tensor i of a file; its kind says its type. */
static struct safetensor carried_tensor(const struct setup *s, int i, const char *name)
{
	const struct model_memory *m = &s->streams[STREAMS_TRAIN];
	const struct param *p = &s->streamed.list[i];
	size_t bytes = s->device->bytes[p->shape.kind];
	struct safetensor t = {.name = name, .device = s->device, .n_dims = p->shape.n_dims,
		.dtype = p->shape.kind == INDEX ? "I32" : bytes == 8 ? "F64" : bytes == 4 ? "F32" : "BF16",
		.data = (const char *)m->carried + (size_t)p->offset * s->device->bytes[MASTER],
		.bytes = (size_t)tensor_size(&p->shape) * bytes};

	memcpy(t.dims, p->shape.dims, sizeof t.dims);
	return t;
}

/* ---- files of a run ------------------------------------------------------------------------- */

static char *checkpoint_path(const char *folder, long step)
{
	return xasprintf("%s/step_%ld.safetensors", folder, step);
}

/* Up to step `newest` all but `keep`. What is ahead of it the run could not go on from: it does not count. */
static void delete_old(const char *folder, long newest, long keep)
{
	int n;
	long *steps = run_dir_checkpoints(folder, &n);

	for (long i = 0; i < n; i++) {
		if (steps[i] > newest || keep-- > 0)
			continue;
		char *path = checkpoint_path(folder, steps[i]);
		unlink(path);
		free(path);
	}
	free(steps);
}

/* ---- writing -------------------------------------------------------------------------------- */

/* A large file takes longer to write than whoever takes a run over waits. */
static int name_claimed(const char *run_dir, const char *claim, const char *written, const char *path)
{
	if (claim_is_mine(run_dir, claim))
		return path_rename(written, path);
	unlink(written);
	return -1;
}

/* All that a checkpoint holds, in the arena; gives how many. */
static int list_tensors(const struct setup *s, struct arena *a, struct safetensor **list)
{
	int n = 0;

	*list = ARENA_ARRAY(a, struct safetensor, 3 * s->params.n + s->streamed.n);
	for (size_t k = 0; k < ARRAY_SIZE(stored); k++)
		for (int i = 0; i < s->params.n; i++) {
			const struct param *q = &s->params.list[i];
			(*list)[n++] = file_tensor(s, q, arena_printf(a, "%s%s", stored[k].prefix, q->name),
				stored[k].blob);
		}
	for (int i = 0; i < s->streamed.n; i++)
		(*list)[n++] = carried_tensor(s, i, arena_printf(a, "carried.%s", s->streamed.list[i].name));
	return n;
}

int checkpoint_write(const struct setup *s, const char *run_dir, const struct progress *p, const char *claim)
{
	struct arena a = {0};
	char *folder = xasprintf("%s/ckpt", run_dir), *path = checkpoint_path(folder, p->step);
	const char *written = claim ? arena_printf(&a, "%s.tmp%d", path, (int)getpid()) : path;
	struct safetensor *list;
	struct safetensors_meta meta[] = {{"format", "moelab checkpoint 1"},
		{"step", arena_printf(&a, "%ld", p->step)},
		{"seconds", arena_printf(&a, "%.17g", p->seconds)},
		{"flops", arena_printf(&a, "%.17g", p->flops)},
		{"told", p->told ? "1" : "0"},
		{"seed", arena_printf(&a, "%ld", s->spec.seed)},
		{"arch", s->model.arch->name}};
	int n = list_tensors(s, &a, &list), ret = path_mkdirs(folder);

	if (!ret)
		ret = safetensors_write(written, list, n, meta, ARRAY_SIZE(meta));
	if (!ret && claim)
		ret = name_claimed(run_dir, claim, written, path);
	if (!ret)
		delete_old(folder, p->step, s->spec.checkpoint_keep ? s->spec.checkpoint_keep : 1);
	free(path);
	free(folder);
	arena_release(&a);
	return ret;
}

void checkpoint_remove(const char *run_dir)
{
	char *folder = xasprintf("%s/ckpt", run_dir);

	delete_old(folder, LONG_MAX, 0);
	rmdir(folder);
	free(folder);
}

/* ---- reading -------------------------------------------------------------------------------- */

/* A tensor to be read, as the file has it, and as it is to be: its data are the place. */
struct reading {
	struct safetensor from, to;
};

/* Of floating point, where the types differ. */
static void convert(const struct reading *r, void *values)
{
	bool wide = !strcmp(r->to.dtype, "F64");
	long n = (long)(r->to.bytes / (wide ? sizeof(double) : sizeof(float)));

	for (long i = 0; i < n; i++)
		if (wide)
			((double *)values)[i] = safetensor_at(&r->from, i);
		else
			((float *)values)[i] = (float)safetensor_at(&r->from, i);
}

static void read_tensor(const struct device *d, const struct reading *r)
{
	bool same = !strcmp(r->from.dtype, r->to.dtype);
	void *values = same ? NULL : xmalloc(r->to.bytes);

	if (!same)
		convert(r, values);
	device_from_host(d, (void *)r->to.data, same ? r->from.data : values, r->to.bytes);
	free(values);
}

/* A file that tensors are taken from; exact: of the device's own types, so that a run goes on bit for bit. */
struct source {
	struct safetensors f;
	const char *path;
	bool exact;
};

/* The tensor prefix.name of the file, which must be of the same shape as t. */
static int find_tensor(const struct source *from, const char *prefix, const char *name, struct safetensor t,
	struct reading *r)
{
	char *whole = xasprintf("%s%s", prefix, name);
	const struct safetensor *found = safetensors_find(&from->f, whole);
	int ret = 0;

	if (!found || !safetensor_same_shape(found, &t))
		ret = error("%s: no tensor %s of the model's shape: another model's file", from->path, whole);
	else if (from->exact && strcmp(found->dtype, t.dtype))
		ret = error("%s: %s is %s, this device goes on with %s: another device's checkpoint", from->path,
			whole, found->dtype, t.dtype);
	else
		*r = (struct reading){*found, t};
	free(whole);
	return ret;
}

/* All tensors of the model and of its streams, checked before any is copied; *n of them. */
static int find_tensors(const struct setup *s, const struct source *from, struct reading *list, int *n)
{
	*n = 0;
	for (size_t k = 0; k < ARRAY_SIZE(stored); k++)
		for (int i = 0; i < s->params.n; i++) {
			const struct param *p = &s->params.list[i];
			if (find_tensor(from, stored[k].prefix, p->name,
				file_tensor(s, p, p->name, stored[k].blob), &list[(*n)++]))
				return -1;
		}
	for (int i = 0; i < s->streamed.n; i++) {
		const char *name = s->streamed.list[i].name;
		if (find_tensor(from, "carried.", name, carried_tensor(s, i, name), &list[(*n)++]))
			return -1;
	}
	return 0;
}

static int read_progress(const struct safetensors *f, const char *path, struct progress *p)
{
	const char *step = safetensors_metadata(f, "step");
	const char *seconds = safetensors_metadata(f, "seconds");
	const char *flops = safetensors_metadata(f, "flops");
	const char *told = safetensors_metadata(f, "told");
	long long n;

	if (!step || !seconds || !str_to_long(step, &n) || !str_to_double(seconds, &p->seconds))
		return error("%s: no checkpoint of a run: its metadata lack step or seconds", path);
	p->step = (long)n;
	if (!flops || !str_to_double(flops, &p->flops))
		p->flops = NAN;
	p->told = !told || strcmp(told, "0");
	return 0;
}

static int read_file(struct setup *s, const char *path, bool exact, struct progress *p)
{
	struct source from = {.path = path, .exact = exact};
	struct reading *list;
	int n, ret;

	if (safetensors_open(&from.f, path))
		return -1;
	list = ARENA_ARRAY(&from.f.arena, struct reading, 3 * s->params.n + s->streamed.n);
	ret = find_tensors(s, &from, list, &n) || read_progress(&from.f, path, p) ? -1 : 0;
	for (int i = 0; i < n && !ret; i++)
		read_tensor(s->device, &list[i]);
	if (!ret)
		setup_weights_changed(s);
	safetensors_close(&from.f);
	return ret;
}

int checkpoint_read(struct setup *s, const char *path, struct progress *p)
{
	return read_file(s, path, false, p);
}

int checkpoint_resume(struct setup *s, const char *run_dir, struct progress *p)
{
	char *folder = xasprintf("%s/ckpt", run_dir);
	int n, found = 0;
	long *steps = run_dir_checkpoints(folder, &n);

	for (int i = 0; i < n && !found; i++) {
		char *path = checkpoint_path(folder, steps[i]);
		found = read_file(s, path, true, p) == 0;
		if (!found)
			warning("%s is of no use; going back to the one before it", path);
		free(path);
	}
	free(steps);
	free(folder);
	return found;
}

/* ---- weights from other files --------------------------------------------------------------- */

static const struct safetensor *find_prefixed(const struct safetensors *f, const char *prefix,
	const struct param *p)
{
	char *name = xasprintf("%s%s", prefix, p->name);
	const struct safetensor *found = safetensors_find(f, name);

	free(name);
	return found;
}

/* Padding rows stay as they are. */
static int load_blob(struct setup *s, const struct source *from, const char *prefix, enum blob blob)
{
	for (int i = 0; i < s->params.n; i++) {
		const struct param *p = &s->params.list[i];
		struct reading r;
		if (find_tensor(from, prefix, p->name, file_tensor(s, p, p->name, blob), &r))
			return -1;
		read_tensor(s->device, &r);
	}
	return 0;
}

int checkpoint_weights(struct setup *s, const char *path, bool moments)
{
	const struct param *first = &s->params.list[0];
	struct source from = {.path = path};
	int ret;

	if (safetensors_open(&from.f, path))
		return -1;
	ret = load_blob(s, &from, find_prefixed(&from.f, "param.", first) ? "param." : "", BLOB_WEIGHTS);
	for (size_t k = 1; moments && k < ARRAY_SIZE(stored) && !ret; k++)
		if (find_prefixed(&from.f, stored[k].prefix, first))
			ret = load_blob(s, &from, stored[k].prefix, stored[k].blob);
	setup_weights_changed(s);
	safetensors_close(&from.f);
	return ret;
}
