#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "graph/internal.h"

struct graph *graph_new(struct arena *a, struct params *params, const struct device *device,
	bool training)
{
	struct graph *g = ARENA_NEW(a, struct graph);

	*g = (struct graph){.arena = a, .params = params, .device = device, .training = training,
		.block = -1, .scope = ARENA_NEW(a, struct str)};
	str_init(g->scope);
	return g;
}

void graph_release(struct graph *g)
{
	if (g->inputs)
		device_free(g->device, g->inputs, g->memory.input_bytes);
	if (g->metric_memory)
		device_free(g->device, g->metric_memory, g->memory.metric_bytes);
	if (g->metric_host)
		device_host_free(g->device, g->metric_host);
	if (g->input_host)
		device_host_free(g->device, g->input_host);
	for (int p = 0; p < N_PROGRAMS; p++)
		if (g->recorded[p])
			queue_recording_free(g->recorded[p]);
	for (int k = 0; g->marks && k <= g->n_calls; k++)
		queue_mark_free(g->marks[k]);
	free(g->values);
	free(g->param_values);
	free(g->nodes);
	free(g->calls);
	free(g->cells);
	free(g->metrics);
	free(g->losses);
	str_release(g->scope);
}

bool graph_trains(const struct graph *g)
{
	return g->training;
}

struct arena *graph_arena(struct graph *g)
{
	return g->arena;
}

void graph_enter(struct graph *g, const char *format, ...)
{
	char name[128];
	va_list ap;

	va_start(ap, format);
	vsnprintf(name, sizeof name, format, ap);
	va_end(ap);
	CHECK(g->n_scopes < (int)ARRAY_SIZE(g->scope_marks));
	g->scope_marks[g->n_scopes++] = g->scope->length;
	str_printf(g->scope, "%s.", name);
}

void graph_enter_shared(struct graph *g, const char *name)
{
	CHECK(!g->param_from);
	g->param_from = g->scope->length;
	graph_enter(g, "%s", name);
}

void graph_leave(struct graph *g)
{
	CHECK(g->n_scopes > 0);
	g->scope->length = g->scope_marks[--g->n_scopes];
	g->scope->text[g->scope->length] = '\0';
	if (g->scope->length <= g->param_from)
		g->param_from = 0;
}

const char *graph_scope(struct graph *g)
{
	char *copy = arena_strdup(g->arena, g->scope->text);

	if (copy[0])
		copy[g->scope->length - 1] = '\0';
	return copy;
}

static const char *scoped(struct graph *g, const char *name)
{
	return arena_printf(g->arena, "%s%s", g->scope->text, name);
}

static struct value *value_new(struct graph *g, enum place place, struct tensor shape)
{
	struct value *v = ARENA_NEW(g->arena, struct value);

	*v = (struct value){.t = shape, .place = place, .slice_of = -1, .param = -1, .producer = -1};
	v->t.id = g->n_values;
	v->t.at = NULL;
	GROW(g->values, g->n_values + 1, g->values_capacity);
	g->values[g->n_values++] = v;
	return v;
}

struct tensor *graph_input(struct graph *g, const char *name, struct tensor shape)
{
	struct value *v = value_new(g, PLACE_INPUT, shape);

	v->name = scoped(g, name);
	return &v->t;
}

static int *value_of_param(struct graph *g, int param)
{
	int i = g->param_values_capacity;

	GROW(g->param_values, param + 1, g->param_values_capacity);
	for (; i < g->param_values_capacity; i++)
		g->param_values[i] = -1;
	return &g->param_values[param];
}

struct tensor *graph_param(struct graph *g, const char *name, struct tensor shape,
	const struct param_rule *rule)
{
	const char *full = arena_printf(g->arena, "%s%s", g->scope->text + g->param_from, name);
	int param = params_add(g->params, full, &shape, rule), *value = value_of_param(g, param);
	struct value *v;

	if (*value >= 0)
		return &g->values[*value]->t;
	*value = g->n_values;
	v = value_new(g, PLACE_PARAM, shape);
	v->param = param;
	v->name = g->params->list[param].name;
	v->wants_gradient = g->training;
	return &v->t;
}

struct tensor *graph_param_storage(struct graph *g, int param)
{
	struct value *v = value_new(g, PLACE_BLOB, g->params->list[param].shape);

	v->t.kind = MASTER;
	v->param = param;
	v->blob = BLOB_WEIGHTS;
	return &v->t;
}

struct tensor *graph_blob(struct graph *g, enum blob blob)
{
	enum kind kind = blob == BLOB_WORKING ? REAL : MASTER;
	struct value *v = value_new(g, PLACE_BLOB, tensor_of(kind, 1, g->params->blob_size));

	v->blob = blob;
	return &v->t;
}

int graph_slice_root(const struct graph *g, int value)
{
	while (g->values[value]->slice_of >= 0)
		value = g->values[value]->slice_of;
	return value;
}

struct tensor *graph_slice(struct graph *g, struct tensor *t, long column, long width)
{
	struct value *of = g->values[t->id], *v;
	struct tensor shape = *t;

	CHECK(column >= 0 && width > 0 && column + width <= tensor_width(t));
	CHECK(of->place == PLACE_ARENA);
	shape.dims[shape.n_dims - 1] = width;
	v = value_new(g, PLACE_ARENA, shape);
	v->slice_of = t->id;
	v->column = column;
	v->wants_gradient = of->wants_gradient;
	return &v->t;
}

/* The operand as this operator sees it: parameters in the copy it asks for. */
static const struct tensor *operand_shape(struct graph *g, const struct node *n, int i)
{
	struct tensor *t = ARENA_NEW(g->arena, struct tensor);
	const struct value *v = g->values[n->in[i]];

	*t = v->t;
	if (v->place == PLACE_PARAM)
		t->kind = n->op->in[i].flags & IN_MASTER ? MASTER : REAL;
	return t;
}

void graph_carry(struct graph *g, struct params *carried)
{
	g->carried = carried;
}

static bool is_carried(const struct graph *g, const char *name)
{
	for (int i = 0; i < g->n_values; i++)
		if (g->values[i]->place == PLACE_CARRIED && !strcmp(g->values[i]->name, name))
			return true;
	return false;
}

struct tensor *graph_carried(struct graph *g, const char *name, struct tensor shape)
{
	const struct param_rule rule = {.group = "carried"};
	const char *own = scoped(g, name);
	struct value *v;

	CHECK(g->carried);
	for (int n = 2; is_carried(g, own); n++)
		own = arena_printf(g->arena, "%s%s.%d", g->scope->text, name, n);
	v = value_new(g, PLACE_CARRIED, shape);
	v->name = own;
	v->param = params_add(g->carried, own, &shape, &rule);
	return &v->t;
}

static bool gradient_flows(const struct graph *g, const struct node *n)
{
	if (!g->training || !n->op->backward[REF])
		return false;
	for (int i = 0; i < n->op->n_in; i++)
		if (n->in[i] >= 0 && g->values[n->in[i]]->wants_gradient &&
			!(n->op->in[i].flags & (IN_INDEX | IN_NO_GRADIENT | IN_UPDATED)))
			return true;
	return false;
}

struct tensor *const *graph_apply(struct graph *g, const struct op *op, const void *attr,
	size_t attr_bytes, struct tensor *const *in)
{
	struct node *n = ARENA_NEW(g->arena, struct node);
	struct tensor **out = ARENA_ARRAY(g->arena, struct tensor *, OP_MAX_OUT);
	void *own_attr = attr_bytes ? arena_get(g->arena, attr_bytes) : NULL;
	bool flows;

	if (attr_bytes)
		memcpy(own_attr, attr, attr_bytes);
	*n = (struct node){.op = op, .name = scoped(g, op->name), .block = g->block,
		.shapes = {.device = g->device, .attr = own_attr}};
	for (int i = 0; i < op->n_in; i++) {
		n->in[i] = in[i] ? in[i]->id : -1;
		n->shapes.in[i] = n->in_shape[i] = in[i] ? operand_shape(g, n, i) : NULL;
	}
	flows = gradient_flows(g, n);
	n->shapes.training = flows;
	op_infer(op, &n->shapes);
	for (int i = 0; i < op->n_out; i++) {
		struct value *v = value_new(g, PLACE_ARENA, n->shapes.out[i]);
		v->producer = g->n_nodes;
		v->output = i;
		v->wants_gradient = flows && !op->out[i].no_gradient;
		n->out[i] = v->t.id;
		out[i] = &v->t;
	}
	GROW(g->nodes, g->n_nodes + 1, g->nodes_capacity);
	g->nodes[g->n_nodes++] = n;
	return out;
}

void graph_block(struct graph *g)
{
	g->block = g->n_blocks++;
}

void graph_block_end(struct graph *g)
{
	g->block = -1;
}

void graph_metric(struct graph *g, struct tensor *t, const char *name)
{
	struct value *v = g->values[t->id];

	CHECK(v->place == PLACE_ARENA && v->slice_of < 0);
	v->place = PLACE_METRIC;
	v->name = scoped(g, name);
	GROW(g->metrics, g->n_metrics + 1, g->metrics_capacity);
	g->metrics[g->n_metrics++] = t->id;
}

void graph_loss(struct graph *g, struct tensor *scalar, double weight, const char *name)
{
	CHECK(tensor_size(scalar) == 1);
	graph_metric(g, scalar, name);
	if (weight == 0)
		return;
	GROW(g->losses, g->n_losses + 1, g->losses_capacity);
	g->losses[g->n_losses++] = (struct loss){scalar->id, weight};
}

const char *const *graph_metrics_named(struct graph *g, const char *suffix, int *n)
{
	const char **names = ARENA_ARRAY(g->arena, const char *, g->n_metrics + 1);
	size_t length = suffix ? strlen(suffix) : 0;

	*n = 0;
	for (int i = 0; i < g->n_metrics; i++) {
		const char *name = g->values[g->metrics[i]]->name;
		size_t have = strlen(name);
		if (!suffix || (have >= length && !strcmp(name + have - length, suffix) &&
			(have == length || name[have - length - 1] == '.')))
			names[(*n)++] = name;
	}
	return names;
}
