#include "trace/trace.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "base/str.h"
#include "trace/tracer.h"
#include "train/checkpoint.h"

/* A metric of the training graph that goes into the file. */
struct kept {
	const char *metric;
	bool flag;			/* only whether a value is >= 0 */
	int place;			/* in the list */
};

struct trace {
	struct tracer tracer;
	struct arena arena;		/* of all below */
	struct safetensor *list;	/* the file */
	int n;
	struct kept *kept;
	int n_kept;
	struct step_input input;
	struct step_result result;
};

/* ---- tensors of the file -------------------------------------------------------------------- */

/* The next one, its data cleared; shape: with that of a micro-batch for the whole batch. */
static struct safetensor *add_tensor(struct trace *t, const char *name, const struct tensor *shape)
{
	struct safetensor *f = &t->list[t->n++];
	bool wide = t->tracer.device->bytes[MASTER] == 8;

	*f = (struct safetensor){.name = name, .n_dims = shape->n_dims,
		.dtype = shape->kind == INDEX ? "I32" : wide ? "F64" : "F32"};
	memcpy(f->dims, shape->dims, sizeof f->dims);
	f->dims[0] = t->tracer.setup.spec.batch;
	f->bytes = shape->kind != INDEX && wide ? 8 : 4;
	for (int i = 0; i < f->n_dims; i++)
		f->bytes *= (size_t)f->dims[i];
	f->data = arena_get(&t->arena, f->bytes);
	return f;
}

static void put(const struct safetensor *f, long i, double value)
{
	void *data = (void *)f->data;

	if (!strcmp(f->dtype, "I32"))
		((int *)data)[i] = (int)value;
	else if (!strcmp(f->dtype, "F64"))
		((double *)data)[i] = value;
	else
		((float *)data)[i] = (float)value;
}

/* All parameters, from a copy of the blob as it is now. */
static void add_blob(struct trace *t, const char *prefix, enum blob blob)
{
	const struct setup *s = &t->tracer.setup;
	size_t bytes = s->memory.blob_bytes[blob];
	void *copy = arena_get(&t->arena, bytes);

	device_to_host(s->device, copy, s->memory.blob[blob], bytes);
	for (int i = 0; i < s->params.n; i++) {
		const struct param *p = &s->params.list[i];
		const char *name = arena_printf(&t->arena, "%s%s", prefix, p->name);
		t->list[t->n++] = checkpoint_tensor(s, p, name, copy);
	}
}

/* ---- the batch ------------------------------------------------------------------------------ */

static int read_micro(void *from, long step, long micro, int *tokens_BT, int *targets_BT)
{
	const struct trace *t = from;

	return tracer_read(&t->tracer, step, micro, tokens_BT, targets_BT);
}

static int add_batch(struct trace *t)
{
	const struct run_spec *s = &t->tracer.setup.spec;
	struct tensor shape = tensor_of(INDEX, 2, s->batch, s->context);
	int *tokens = (int *)add_tensor(t, "tokens", &shape)->data;
	int *targets = (int *)add_tensor(t, "targets", &shape)->data;
	long n = s->micro_batch * s->context;

	for (long micro = 0; micro < t->tracer.setup.micro_batches; micro++)
		if (read_micro(t, t->tracer.step, micro, tokens + micro * n, targets + micro * n))
			return -1;
	return 0;
}

/* ---- routes and outputs --------------------------------------------------------------------- */

/* [B, T] where a token has one choice, whatever operators route it. */
static struct tensor shape_of_routes(const struct tensor *metric)
{
	struct tensor shape = *metric;

	if (shape.n_dims == 3 && shape.dims[2] == 1)
		shape.n_dims = 2;
	return shape;
}

/* Tensors for the metrics that a traced training graph keeps, in its order. */
static void add_kept(struct trace *t)
{
	static const struct {
		const char *end, *prefix, *suffix;
		bool flag;
	} kinds[] = {
		{".route", "", ".route", false},
		{".slot", "", ".keep", true},
		{".gate", "", ".gate", false},
		{".output", "output.", "", false},
	};
	struct graph *g = t->tracer.setup.graphs[GRAPH_TRAIN];
	int n;
	const char *const *names = graph_metrics_named(g, NULL, &n);

	for (int i = 0; i < n; i++)
		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
			const struct tensor *metric = graph_metric_shape(g, names[i]);
			struct tensor routes = shape_of_routes(metric);
			if (!str_ends(names[i], kinds[k].end))
				continue;
			t->kept[t->n_kept++] = (struct kept){names[i], kinds[k].flag, t->n};
			add_tensor(t, arena_printf(&t->arena, "%s%.*s%s", kinds[k].prefix,
				(int)(strlen(names[i]) - strlen(kinds[k].end)), names[i],
				kinds[k].suffix), *kinds[k].prefix ? metric : &routes);
		}
}

static void keep_micro(void *from, long micro)
{
	struct trace *t = from;
	const struct graph *g = t->tracer.setup.graphs[GRAPH_TRAIN];

	for (int i = 0; i < t->n_kept; i++) {
		const struct kept *k = &t->kept[i];
		long n = tensor_size(graph_metric_shape(g, k->metric));
		double *values = xcalloc((size_t)n, sizeof *values);
		graph_read_all(g, k->metric, values);
		for (long j = 0; j < n; j++)
			put(&t->list[k->place], micro * n + j,
				k->flag ? values[j] >= 0 : values[j]);
		free(values);
	}
}

/* ---- logits --------------------------------------------------------------------------------- */

/* Of the last positions of each sequence of a micro-batch, n values; values: of all its positions. */
static void put_logits(struct trace *t, const struct safetensor *f, long micro, long n, const double *values, long all)
{
	const struct setup *s = &t->tracer.setup;

	for (long b = 0; b < s->spec.micro_batch; b++)
		for (long i = 0; i < n; i++)
			put(f, (micro * s->spec.micro_batch + b) * n + i,
				values[(b + 1) * all - n + i]);
}

/* A forward pass of its own: training never has all logits at once. */
static int add_logits(struct trace *t)
{
	struct setup *s = &t->tracer.setup;
	struct graph *g = s->graphs[GRAPH_LOGITS];
	const struct tensor *said = graph_metric_shape(g, "lm_head.logits");	/* [B, N, V], or of a forecast [B, N, P] */
	long N = min_long(t->tracer.logits, said->dims[1]), width = said->dims[2];
	struct tensor shape = tensor_of(MASTER, 3, s->spec.batch, N, width);
	const struct safetensor *f = add_tensor(t, "logits", &shape);
	double *values = xcalloc((size_t)tensor_size(said), sizeof *values);
	int ret = 0;

	for (long micro = 0; micro < s->micro_batches && !ret; micro++) {
		ret = read_micro(t, t->tracer.step, micro, t->input.tokens_BT, t->input.targets_BT);
		setup_state(s, t->tracer.step, micro);
		graph_set_input(g, "tokens", t->input.tokens_BT);
		graph_set_input(g, "targets", t->input.targets_BT);
		graph_forward(g);
		graph_fetch_metrics(g);
		graph_read_all(g, "lm_head.logits", values);
		put_logits(t, f, micro, N * width, values, said->dims[1] * width);
	}
	free(values);
	return ret;
}

/* ---- the whole ------------------------------------------------------------------------------ */

static const char *spec_json(struct trace *t)
{
	json_t *root = config_json(&t->tracer.config);
	char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
	const char *kept;

	CHECK(text);
	kept = arena_strdup(&t->arena, text);
	free(text);
	json_decref(root);
	return kept;
}

static int write_file(struct trace *t, const char *output)
{
	const struct step_result *r = &t->result;
	struct arena *a = &t->arena;
	const struct safetensors_meta meta[] = {
		{"format", "moelab trace 1"},
		{"spec", spec_json(t)},
		{"step", arena_printf(a, "%ld", t->tracer.step)},
		{"data", t->tracer.has_data ? t->tracer.data.hash
			: t->tracer.has_trace ? "trace" : "random"},
		{"device", t->tracer.device->name},
		{"ce", arena_printf(a, "%.17g", r->ce)},
		{"aux", arena_printf(a, "%.17g", r->aux)},
		{"loss", arena_printf(a, "%.17g", r->ce + r->aux)},
		{"grad_norm", arena_printf(a, "%.17g", r->grad_norm)},
		{"lr", arena_printf(a, "%.17g", run_lr(&t->tracer.setup.spec, t->tracer.step))},
	};

	return safetensors_write(output, t->list, t->n, meta, ARRAY_SIZE(meta));
}

static void make_room(struct trace *t)
{
	struct setup *s = &t->tracer.setup;
	long n = s->spec.micro_batch * s->spec.context;
	int n_metrics;

	graph_metrics_named(s->graphs[GRAPH_TRAIN], NULL, &n_metrics);
	t->kept = ARENA_ARRAY(&t->arena, struct kept, n_metrics);
	t->list = ARENA_ARRAY(&t->arena, struct safetensor, 3 + n_metrics + 5 * s->params.n);
	t->input = (struct step_input){.read = read_micro, .from = t,
		.tokens_BT = ARENA_ARRAY(&t->arena, int, n),
		.targets_BT = ARENA_ARRAY(&t->arena, int, n)};
}

static int trace_step(struct trace *t)
{
	struct setup *s = &t->tracer.setup;
	long *step = &t->tracer.step;

	make_room(t);
	for (; *step < t->tracer.options->step; (*step)++)
		if (setup_step(s, *step, &t->input, &t->result))
			return -1;
	if (add_batch(t))
		return -1;
	add_blob(t, "param.", BLOB_WEIGHTS);
	if (*step > 0) {
		add_blob(t, "moment1.", BLOB_MOMENT1);
		add_blob(t, "moment2.", BLOB_MOMENT2);
	}
	add_kept(t);
	if (t->tracer.logits && add_logits(t))
		return -1;
	t->input.seen = keep_micro;
	if (setup_step(s, *step, &t->input, &t->result))
		return -1;
	add_blob(t, "grad.", BLOB_GRADIENTS);
	add_blob(t, "new.", BLOB_WEIGHTS);
	return 0;
}

int trace_write(const char *what, const struct trace_options *options, const char *output)
{
	struct trace t = {0};
	int ret;

	if (tracer_open(&t.tracer, what, options))
		return -1;
	ret = trace_step(&t) ? -1 : write_file(&t, output) ? TRACE_NOT_WRITTEN : 0;
	tracer_close(&t.tracer);
	arena_release(&t.arena);
	return ret;
}
