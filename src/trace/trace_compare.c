#include "trace/trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "tensor/safetensors.h"

/* Tensors in the order in which a step computes them, by the beginnings of their names. */
enum { INPUTS, OLD, FORWARD, LOGITS, SCALARS, GRADIENTS, NEW, N_STAGES };
static const struct {
	const char *prefix[3];
	double loose;			/* times the tolerance */
	bool backward;			/* computed from the head back */
} stages[N_STAGES] = {
	[INPUTS] = {{"tokens", "targets"}, 1, false},
	[OLD] = {{"param.", "moment1.", "moment2."}, 1, false},
	[FORWARD] = {{NULL}, 1, false},	/* all other names */
	[LOGITS] = {{"logits"}, 1, false},
	[SCALARS] = {{NULL}, 1, false},	/* metadata */
	[GRADIENTS] = {{"grad."}, 10, true},
	[NEW] = {{"new."}, 10, false},
};

struct row {
	const char *name;
	int stage, place;		/* place: in the file that has the order */
	const struct safetensor *a, *b;	/* NULL: a number of the metadata */
	bool integers;
	double error;			/* relative L2; of integers, the share that differs */
	double largest;			/* difference */
	bool parts;
};

struct comparison {
	struct arena arena;
	struct safetensors a, b;
	struct row *rows;
	int n;
	double tolerance;
};

/* ---- errors --------------------------------------------------------------------------------- */

/* Sums over the elements of a tensor. */
struct distance {
	double squares, norm, largest;
	long n, n_differ;
};

/* slack: what rounding may add to the difference. */
static void distance_add(struct distance *s, double a, double b, double slack)
{
	double d = fabs(a - b);

	if (d > s->largest || isnan(d))
		s->largest = d;
	s->n++;
	s->n_differ += d != 0;
	d = d < slack ? 0 : d - slack;
	s->squares += d * d;
	s->norm += a * a;
}

static void judge(const struct comparison *c, struct row *r, const struct distance *s)
{
	double most = r->integers ? 0 : c->tolerance * stages[r->stage].loose;

	r->largest = s->largest;
	if (r->integers)
		r->error = (double)s->n_differ / (double)s->n;
	else
		r->error = s->squares == 0 ? 0 : sqrt(s->squares / s->norm);
	r->parts = !(r->error <= most);
}

/* What a new parameter was before, if the file has it. */
static const struct safetensor *old_of(const struct safetensors *f, const struct safetensor *t)
{
	char *name = xasprintf("param.%s", t->name + strlen(stages[NEW].prefix[0]));
	const struct safetensor *found = safetensors_find(f, name);

	free(name);
	return found && safetensor_same_shape(found, t) ? found : NULL;
}

/* New parameters by their change, where both files tell it: a step moves a weight by little, so the
   weights would agree whatever the step was. A stored weight is rounded to float32. */
static void measure(const struct comparison *c, struct row *r)
{
	const struct safetensor *old_a = r->stage == NEW ? old_of(&c->a, r->a) : NULL;
	const struct safetensor *old_b = r->stage == NEW ? old_of(&c->b, r->b) : NULL;
	bool change = old_a && old_b, rounded = r->a->dtype[1] != '6' || r->b->dtype[1] != '6';
	struct distance s = {0};

	if (!safetensor_same_shape(r->a, r->b)) {
		r->error = r->largest = INFINITY;
		r->parts = true;
		return;
	}
	for (long i = 0; i < safetensor_size(r->a); i++) {
		double x = safetensor_at(r->a, i), y = safetensor_at(r->b, i);
		double slack = change && rounded ? 0x1p-23 * fabs(x) : 0;
		if (change) {
			x -= safetensor_at(old_a, i);
			y -= safetensor_at(old_b, i);
		}
		distance_add(&s, x, y, slack);
	}
	r->integers = r->a->dtype[0] == 'I' && r->b->dtype[0] == 'I';
	judge(c, r, &s);
}

/* ---- rows in their order -------------------------------------------------------------------- */

static int stage_of(const char *name)
{
	for (int s = 0; s < N_STAGES; s++)
		for (int k = 0; k < 3 && stages[s].prefix[k]; k++)
			if (str_starts(name, stages[s].prefix[k]))
				return s;
	return FORWARD;
}

static int by_order(const void *x, const void *y)
{
	const struct row *a = x, *b = y;

	if (a->stage != b->stage)
		return a->stage - b->stage;
	return stages[a->stage].backward ? b->place - a->place : a->place - b->place;
}

/* Files of ours have the order of the forward pass; others may have any. */
static bool has_order(const struct safetensors *f)
{
	const char *format = safetensors_metadata(f, "format");

	return format && str_starts(format, "moelab trace");
}

static void add_tensors(struct comparison *c)
{
	const struct safetensors *order = has_order(&c->a) || !has_order(&c->b) ? &c->a : &c->b;

	for (int i = 0; i < order->n; i++) {
		struct row r = {.name = order->list[i].name, .place = i};
		r.stage = stage_of(r.name);
		r.a = safetensors_find(&c->a, r.name);
		r.b = safetensors_find(&c->b, r.name);
		if (!r.a || !r.b)
			continue;
		measure(c, &r);
		c->rows[c->n++] = r;
	}
}

static void add_scalars(struct comparison *c)
{
	static const char *const names[] = {"lr", "ce", "aux", "loss", "grad_norm"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *a = safetensors_metadata(&c->a, names[i]);
		const char *b = safetensors_metadata(&c->b, names[i]);
		struct row r = {.name = names[i], .stage = SCALARS, .place = (int)i};
		struct distance s = {0};
		double x, y;
		if (!a || !b || !str_to_double(a, &x) || !str_to_double(b, &y))
			continue;
		distance_add(&s, x, y, 0);
		judge(c, &r, &s);
		c->rows[c->n++] = r;
	}
}

/* ---- printing ------------------------------------------------------------------------------- */

static const char *shape_text(const struct safetensor *t, char *text)
{
	struct tensor shape;

	if (!t)
		return "";
	shape = (struct tensor){.n_dims = t->n_dims};
	memcpy(shape.dims, t->dims, sizeof shape.dims);
	return tensor_shape_text(&shape, text);
}

static void print_rows(const struct comparison *c, FILE *out)
{
	char shape[64];
	int width = 6;

	for (int i = 0; i < c->n; i++)
		width = (int)strlen(c->rows[i].name) > width ? (int)strlen(c->rows[i].name) : width;
	fprintf(out, "%-*s  %-22s %12s %12s\n", width, "tensor", "shape", "error", "largest");
	for (int i = 0; i < c->n; i++) {
		const struct row *r = &c->rows[i];
		fprintf(out, "%-*s  %-22s %12.3g %12.3g%s\n", width, r->name,
			shape_text(r->a, shape), r->error, r->largest, r->parts ? "  parts" : "");
	}
}

static void print_missing(const struct safetensors *f, const struct safetensors *other,
	const char *path, FILE *out)
{
	const char *first = NULL;
	int n = 0;

	for (int i = 0; i < f->n; i++)
		if (!safetensors_find(other, f->list[i].name)) {
			first = first ? first : f->list[i].name;
			n++;
		}
	if (n)
		fprintf(out, "not compared: %d tensor%s that only %s has (%s%s)\n", n,
			n == 1 ? "" : "s", path, first, n == 1 ? "" : ", ...");
}

static int print_verdict(const struct comparison *c, FILE *out)
{
	const struct row *worst = NULL, *first = NULL;
	int n_parts = 0;
	char a[64], b[64];

	for (int i = 0; i < c->n; i++) {
		const struct row *r = &c->rows[i];
		n_parts += r->parts;
		first = r->parts && !first ? r : first;
		worst = !worst || r->error > worst->error ? r : worst;
	}
	if (!first) {
		fprintf(out, "same: %d compared, largest error %.3g (%s)\n", c->n,
			worst->error, worst->name);
		return TRACE_SAME;
	}
	fprintf(out, "parts first at %s", first->name);
	if (first->a && !safetensor_same_shape(first->a, first->b))
		fprintf(out, ": shapes %s and %s", shape_text(first->a, a),
			shape_text(first->b, b));
	else if (first->integers)
		fprintf(out, ": %.3g %% of the elements differ", 100 * first->error);
	else
		fprintf(out, ": relative L2 error %.3g, largest difference %.3g", first->error,
			first->largest);
	fprintf(out, "; %d of %d part\n", n_parts, c->n);
	return TRACE_PARTS;
}

/* Both files are open. */
static int compare(struct comparison *c, const char *path_a, const char *path_b, FILE *out)
{
	c->rows = ARENA_ARRAY(&c->arena, struct row, c->a.n + c->b.n + 8);
	add_tensors(c);
	if (!c->n)
		return error("%s and %s have no tensor in common: names must be those of a trace",
			path_a, path_b);
	add_scalars(c);
	qsort(c->rows, (size_t)c->n, sizeof *c->rows, by_order);
	print_rows(c, out);
	print_missing(&c->a, &c->b, path_a, out);
	print_missing(&c->b, &c->a, path_b, out);
	return print_verdict(c, out);
}

int trace_compare(const char *a, const char *b, double tolerance, FILE *out)
{
	struct comparison c = {.tolerance = tolerance};
	int ret = -1;

	if (!safetensors_open(&c.a, a)) {
		if (!safetensors_open(&c.b, b)) {
			ret = compare(&c, a, b, out);
			safetensors_close(&c.b);
		}
		safetensors_close(&c.a);
	}
	arena_release(&c.arena);
	return ret;
}
