#include "trace/explain.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "data/tokenizer.h"
#include "op/dispatch.h"
#include "op/experts.h"
#include "op/place.h"
#include "op/route.h"
#include "trace/tracer.h"

/* More than so many rows or columns are cut short. */
enum { ROWS_MAX = 40, COLUMNS_MAX = 16, LABEL = 10 };

struct explained {
	struct tracer tracer;
	const struct explain_options *options;
	FILE *out;
	struct arena arena;
	const char *token[EXPLAIN_TOKENS_MAX];	/* labels of rows */
	bool *seen;				/* parameters printed already */
	long rows_S;				/* of the dispatch buffer that have a token */
	struct step_input input;
};

/* ---- numbers ---------------------------------------------------------------------------------- */

static double element(const struct explained *e, const struct tensor *t, long row, long i)
{
	if (t->kind == INDEX)
		return row_int(t, row)[i];
	return e->tracer.device->bytes[t->kind] == 8 ? row_f64(t, row)[i] : row_f32(t, row)[i];
}

static void print_row(const struct explained *e, const struct tensor *t, long row)
{
	long width = tensor_width(t), n = width > COLUMNS_MAX ? COLUMNS_MAX - 1 : width;

	for (long i = 0; i < n; i++)
		fprintf(e->out, " %*.*f", e->options->digits + 5,
			t->kind == INDEX ? 0 : e->options->digits, element(e, t, row, i));
	if (n < width)
		fprintf(e->out, "  ... %ld more", width - n);
	fputc('\n', e->out);
}

static bool is_of_tokens(const struct explained *e, const struct tensor *t)
{
	const struct run_spec *s = &e->tracer.setup.spec;

	return t->n_dims > 1 && t->dims[0] == s->batch && t->dims[1] == s->context;
}

/* The row's place: a token's, an expert's and the row in it, or just its number. */
static const char *row_label(struct explained *e, const struct tensor *t, bool of_tokens, long row)
{
	if (of_tokens)
		return e->token[row];
	if (t->n_dims == 3)
		return arena_printf(&e->arena, "%ld, %ld", row / t->dims[1], row % t->dims[1]);
	return arena_printf(&e->arena, "%ld", row);
}

/* rows: those in front are printed; 0: all. */
static void print_tensor(struct explained *e, const struct tensor *t, long rows)
{
	bool of_tokens = is_of_tokens(e, t);
	struct tensor shown = *t;
	long n;

	if (of_tokens && t->n_dims == 2) {	/* one value a token: a line each */
		shown.n_dims = 3;
		shown.dims[2] = shown.ld = 1;
	}
	rows = rows ? rows : tensor_rows(&shown);
	n = rows > ROWS_MAX ? ROWS_MAX - 1 : rows;
	for (long row = 0; row < n; row++) {
		fprintf(e->out, "      %-*s", LABEL, rows == 1 && !of_tokens ? ""
			: row_label(e, &shown, of_tokens, row));
		print_row(e, &shown, row);
	}
	if (n < rows)
		fprintf(e->out, "      ... %ld more\n", rows - n);
}

/* ---- calls ------------------------------------------------------------------------------------ */

/* The parameter that input i is, if it was not printed before; else NULL. */
static const struct param *new_param(struct explained *e, struct graph *g, int node, int i, const char *name)
{
	const struct params *params = &e->tracer.setup.params;
	int p = graph_operand_is_param(g, node, i) ? params_find(params, name) : -1;

	if (p < 0 || e->seen[p])
		return NULL;
	e->seen[p] = true;
	return &params->list[p];
}

/* Which rows of w1, by two where it is gated, and columns of w2 are an expert's, where experts differ in width. */
static void print_units(const struct explained *e, const struct op_run *r)
{
	const struct experts_attr *attr = r->attr;
	long n = r->op == &op_experts && attr->units.n ? tensor_width(r->in[EXPERTS_FIRST_E1]) - 1 : 0;

	if (n)
		fprintf(e->out, "    %-*s ", LABEL, "units");
	for (long i = 0; i < n && i < COLUMNS_MAX; i++)
		fprintf(e->out, "%s%ld to %ld", i ? ", " : " ", units_first(&attr->units, i),
			units_first(&attr->units, i + 1) - 1);
	if (n)
		fprintf(e->out, "%s\n", n > COLUMNS_MAX ? " ..." : "");
}

static void print_inputs(struct explained *e, struct graph *g, int node, const struct op_run *r)
{
	for (int i = 0; i < r->op->n_in; i++) {
		const struct param *p;
		const char *from;
		if (!r->in[i])
			continue;
		from = graph_operand(g, node, i);
		fprintf(e->out, "    %-*s  %s\n", LABEL, r->op->in[i].name, from);
		p = new_param(e, g, node, i, from);
		if (p)
			print_tensor(e, r->in[i], p->rule.used_rows);
	}
	print_units(e, r);
}

/* Rows of the buffer sorted by expert behind those that have a token are nobody's. */
static long rows_of_output(const struct explained *e, const struct op_run *r, int i)
{
	return (r->op == &op_dispatch || r->op == &op_experts) && r->out[i]->n_dims == 2 ? e->rows_S : 0;
}

static long rows_used(const struct tensor *first_E1)
{
	return row_int(first_E1, 0)[tensor_width(first_E1) - 1];
}

static void print_forward(struct explained *e, struct graph *g, int node, const struct op_run *r)
{
	print_inputs(e, g, node, r);
	for (int i = 0; i < r->op->n_out; i++) {
		fprintf(e->out, "    %s\n", r->op->out[i].name);
		print_tensor(e, r->out[i], rows_of_output(e, r, i));
	}
}

static void print_backward(struct explained *e, struct graph *g, int node, const struct op_run *r)
{
	for (int i = 0; i < r->op->n_in; i++) {
		if (!r->d_in[i])
			continue;
		fprintf(e->out, "    d %-*s  of %s%s\n", LABEL, r->op->in[i].name,
			graph_operand(g, node, i), op_adds(r, i) ? ", added" : "");
		print_tensor(e, r->d_in[i], 0);
	}
}

static bool is_asked_for(const struct explained *e, const struct graph_node_info *info)
{
	return !e->options->only || strstr(info->name, e->options->only);
}

static void watch(void *data, int node, bool backward, const struct op_run *r)
{
	struct explained *e = data;
	struct graph *g = e->tracer.setup.graphs[GRAPH_TRAIN];
	struct graph_node_info info;

	if (node < 0 || (backward && !e->options->backward))
		return;
	info = graph_node_info(g, node);
	if ((info.op == &op_route || info.op == &op_place) && !backward)
		e->rows_S = rows_used(r->out[info.op == &op_route ? (int)ROUTE_FIRST_E1 : (int)PLACE_FIRST_E1]);
	if (!is_asked_for(e, &info))
		return;
	fprintf(e->out, "\n%3d  %s%s%s\n", node, info.name, backward ? ", backward" : "    ",
		backward ? "" : info.op->formula);
	(backward ? print_backward : print_forward)(e, g, node, r);
}

/* ---- the page --------------------------------------------------------------------------------- */

static int read_micro(void *from, long step, long micro, int *tokens_BT, int *targets_BT)
{
	const struct explained *e = from;

	return tracer_read(&e->tracer, step, micro, tokens_BT, targets_BT);
}

/* Text, not rows of a task's numbers. */
static bool has_text(const struct explained *e)
{
	return e->tracer.has_data && !e->tracer.data.splits[SPLIT_TRAIN].row;
}

/* The token's bytes in quotes, "" without text. */
static const char *token_text(struct explained *e, const struct tokenizer *tokenizer, int token)
{
	struct str bytes, text;
	int32_t id = token;

	if (!has_text(e))
		return "";
	str_init(&bytes);
	str_init(&text);
	tokenizer_decode(tokenizer, &id, 1, &bytes);
	str_add(&text, " \"");
	str_add_printable(&text, bytes.text, bytes.length);
	str_add(&text, "\"");
	str_release(&bytes);
	return str_keep(&text, &e->arena);
}

static int print_tokens(struct explained *e)
{
	const struct run_spec *s = &e->tracer.setup.spec;
	struct tokenizer tokenizer = {0};
	long n = s->batch * s->context;

	if (has_text(e) && tokenizer_open(&tokenizer, e->tracer.data.tokenizer))
		return -1;
	fprintf(e->out, "tokens and their targets\n");
	for (long i = 0; i < n; i++) {
		int token = e->input.tokens_BT[i], target = e->input.targets_BT[i];
		e->token[i] = arena_printf(&e->arena, "%ld%s", i, token_text(e, &tokenizer, token));
		fprintf(e->out, "      %-*s %d -> %d%s\n", LABEL, e->token[i], token, target,
			token_text(e, &tokenizer, target));
	}
	if (has_text(e))
		tokenizer_close(&tokenizer);
	return 0;
}

/* What the head makes of the last norm's output, which training never keeps. */
static void print_logits(struct explained *e)
{
	struct setup *s = &e->tracer.setup;
	struct graph *g = s->graphs[GRAPH_LOGITS];
	long n = s->spec.batch * s->spec.context, width = s->n_vocab;
	double *values = xcalloc((size_t)(n * width), sizeof *values);
	struct tensor logits = tensor_of(MASTER, 3, s->spec.batch, s->spec.context, width);

	logits.at = values;
	setup_state(s, e->tracer.step, 0);
	graph_set_input(g, "tokens", e->input.tokens_BT);
	graph_set_input(g, "targets", e->input.targets_BT);
	graph_forward(g);
	graph_fetch_metrics(g);
	graph_read_all(g, "lm_head.logits", values);
	fprintf(e->out, "\nlogits of the next token\n");
	print_tensor(e, &logits, 0);
	for (long t = 0; t < n; t++) {
		double most = -INFINITY, sum = 0;
		for (long v = 0; v < width; v++)
			most = fmax(most, values[t * width + v]);
		for (long v = 0; v < width; v++)
			sum += values[t * width + v] = exp(values[t * width + v] - most);
		for (long v = 0; v < width; v++)
			values[t * width + v] /= sum;
	}
	fprintf(e->out, "their softmax\n");
	print_tensor(e, &logits, 0);
	free(values);
}

/* A word that no operator has would print nothing. */
static int check_only(const struct explained *e)
{
	struct graph *g = e->tracer.setup.graphs[GRAPH_TRAIN];

	for (int i = 0; i < graph_n_nodes(g); i++) {
		struct graph_node_info info = graph_node_info(g, i);
		if (is_asked_for(e, &info))
			return 0;
	}
	return error("--only %s: no operator has it in its name", e->options->only);
}

static int print_step(struct explained *e)
{
	struct setup *s = &e->tracer.setup;
	struct step_result result;

	if (read_micro(e, e->tracer.step, 0, e->input.tokens_BT, e->input.targets_BT) || print_tokens(e))
		return -1;
	graph_watch(s->graphs[GRAPH_TRAIN], watch, e);
	if (!e->options->only)
		print_logits(e);
	if (setup_step(s, e->tracer.step, &e->input, &result))
		return -1;
	fprintf(e->out, "\ncross-entropy %.*f, auxiliary losses %.*f, norm of the gradient %.*f\n",
		e->options->digits, result.ce, e->options->digits, result.aux, e->options->digits,
		result.grad_norm);
	return 0;
}

static int explain_step(struct explained *e)
{
	const struct run_spec *s = &e->tracer.setup.spec;

	if (config_find(&e->tracer.config, "model.patch")->integer)
		return error("the model reads values (model.patch): explain shows tokens; trace lays a step open");
	if (s->batch * s->context > EXPLAIN_TOKENS_MAX)
		return error("a batch of %ld x %ld tokens: explain takes at most %d, as with "
			"train.batch=1 train.context=4", s->batch, s->context, EXPLAIN_TOKENS_MAX);
	if (e->tracer.setup.micro_batches > 1)
		return error("explain takes the batch whole: train.micro_batch=%ld", s->batch);
	e->seen = ARENA_ARRAY(&e->arena, bool, e->tracer.setup.params.n);
	e->input = (struct step_input){.read = read_micro, .from = e,
		.tokens_BT = ARENA_ARRAY(&e->arena, int, s->batch * s->context),
		.targets_BT = ARENA_ARRAY(&e->arena, int, s->batch * s->context)};
	return check_only(e) ? -1 : print_step(e);
}

int explain(const char *what, const struct explain_options *options, FILE *out)
{
	struct explained e = {.options = options, .out = out};
	int ret;

	if (tracer_open(&e.tracer, what, &options->trace))
		return -1;
	ret = device_is_host(e.tracer.device) ? explain_step(&e)
		: error("--device %s: explain needs one of the host: ref or cpu", e.tracer.device->name);
	tracer_close(&e.tracer);
	arena_release(&e.arena);
	return ret;
}
