#include "train/protocol.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "op/moba_step.h"
#include "op/summary_step.h"
#include "train/checkpoint.h"

const char *const protocol_name[N_PROTOCOLS] = {"reset", "sliding", "carried"};

int segments_open(struct segments *s, const struct dataset *d, enum split split, long length, long n_tokens)
{
	long all = (d->splits[split].n_tokens - 1) / length, n = n_tokens / length;

	if (d->splits[split].row)
		return error("%s: holds rows of examples, no text", d->folder);
	if (all < 1)
		return error("%s: split %s has %ld tokens, too few for a segment of %ld", d->folder,
			split_name(split), d->splits[split].n_tokens, length);
	*s = (struct segments){d, split, length, n < 1 ? 1 : n < all ? n : all};
	return 0;
}

long segment_first(const struct segments *s, long i)
{
	long all = (s->data->splits[s->split].n_tokens - 1) / s->length;

	return i * all / s->n * s->length;
}

/* What goes through the model at once: `batch` rows of `width` tokens. */
struct pass {
	const struct segments *segments;
	struct setup setup;
	enum protocol how;
	long batch, width, stride;	/* stride: from window to window of a segment */
	long n_windows;			/* of a segment */
	int *tokens_BT, *targets_BT;	/* targets < 0: the token is not there */
	long *context_B;		/* tokens seen before the next one of each row */
	long *first_B;			/* the first token of each row that is scored */
	double *nll_BT;
};

/* Row b becomes a window of a segment; without one it is masked. */
static int read_row(struct pass *p, long b, long segment, long window)
{
	int *tokens = p->tokens_BT + b * p->width, *targets = p->targets_BT + b * p->width;
	long at = window * p->stride;
	int32_t *read;
	int ret;

	memset(tokens, 0, (size_t)p->width * sizeof *tokens);
	for (long t = 0; t < p->width; t++)
		targets[t] = -1;
	p->first_B[b] = p->how == PROTOCOL_SLIDING && window ? p->width - p->stride : 0;
	if (segment >= p->segments->n)
		return 0;
	read = xcalloc((size_t)p->width + 1, sizeof *read);
	ret = dataset_read(p->segments->data, p->segments->split, segment_first(p->segments, segment) + at,
		p->width + 1, read);
	for (long t = 0; t < p->width && !ret; t++) {
		tokens[t] = read[t];
		targets[t] = read[t + 1];
	}
	free(read);
	return ret;
}

static void add_losses(struct pass *p, struct protocol_loss *loss)
{
	const struct setup *s = &p->setup;

	for (long b = 0, i = 0; b < p->batch; b++)
		for (long t = 0; t < p->width; t++, i++) {
			int class = loss->classes.of[p->context_B[b]++];
			if (s->spec.reset_at_eot && p->tokens_BT[i] == (int)s->n_vocab - 1)
				p->context_B[b] = 0;
			if (p->targets_BT[i] < 0 || t < p->first_B[b])
				continue;
			loss->nll += p->nll_BT[i];
			loss->nll_of[class] += p->nll_BT[i];
			loss->tokens++;
			loss->tokens_of[class]++;
		}
}

/* Row b is the window `window` of segment `segment` + b, or with independent windows number `window` + b. */
static int replay(struct pass *p, long segment, long window, struct protocol_loss *loss)
{
	struct graph *g = p->setup.graphs[GRAPH_EVAL];
	bool carried = p->how == PROTOCOL_CARRIED;

	for (long b = 0; b < p->batch; b++)
		if (carried ? read_row(p, b, segment + b, window)
			: read_row(p, b, (window + b) / p->n_windows, (window + b) % p->n_windows))
			return -1;
	if (!carried || window == 0)
		memset(p->context_B, 0, (size_t)p->batch * sizeof *p->context_B);
	setup_replay(g, p->tokens_BT, p->targets_BT);
	graph_read_all(g, "nll", p->nll_BT);
	add_losses(p, loss);
	return 0;
}

static int replay_all(struct pass *p, struct protocol_loss *loss)
{
	long n = p->segments->n;

	if (p->how != PROTOCOL_CARRIED) {
		for (long i = 0; i < n * p->n_windows; i += p->batch)
			if (replay(p, 0, i, loss))
				return -1;
		return 0;
	}
	for (long segment = 0; segment < n; segment += p->batch) {
		model_memory_forget(&p->setup.memory);
		for (long window = 0; window < p->n_windows; window++)
			if (replay(p, segment, window, loss))
				return -1;
	}
	return 0;
}

/* The widest window up to the training context that a segment can be cut into. */
static long carried_width(long segment, long context)
{
	while (segment % context)
		context--;
	return context;
}

static void shape(struct pass *p, const struct run_spec *spec, long length, long stride)
{
	long segment = p->segments->length;
	long most = p->how == PROTOCOL_CARRIED ? p->segments->n : p->segments->n * (segment / length);

	p->width = p->how == PROTOCOL_CARRIED ? carried_width(segment, spec->context) : length;
	p->stride = p->how == PROTOCOL_SLIDING ? stride : p->width;
	p->n_windows = (segment - p->width) / p->stride + 1;
	p->batch = spec->micro_batch * spec->context / p->width;
	p->batch = p->batch < 1 ? 1 : p->batch < most ? p->batch : most;
}

/* Attention on segments carries a text that it sees whole (op/moba_step.h, op/summary_step.h), and no part of one. */
static int check_seen(const struct pass *p, const char *file, long length)
{
	struct graph *g = p->setup.graphs[GRAPH_EVAL];

	for (int i = 0; length < p->segments->length && i < graph_n_nodes(g); i++) {
		const struct op *op = graph_node_info(g, i).op;
		if (op == &op_moba_step || op == &op_summary_step)
			return error("%s: model.attn.segment is for all that is carried, %ld tokens here, and not for %ld "
				"of them: take that length alone (--length), or modes without carried", file,
				p->segments->length, length);
	}
	return 0;
}

static int open_pass(struct pass *p, const struct trained *t, const struct device *device, long length,
	long stride)
{
	struct run_spec spec;
	size_t n;

	if (run_spec_open(&spec, &t->config))
		return -1;
	shape(p, &spec, length, stride);
	n = (size_t)(p->batch * p->width);
	p->tokens_BT = xcalloc(n, sizeof *p->tokens_BT);
	p->targets_BT = xcalloc(n, sizeof *p->targets_BT);
	p->nll_BT = xcalloc(n, sizeof *p->nll_BT);
	p->context_B = xcalloc((size_t)p->batch, sizeof *p->context_B);
	p->first_B = xcalloc((size_t)p->batch, sizeof *p->first_B);
	return setup_open_losses(&p->setup, &t->config, device, t->n_vocab, p->batch, p->width,
		p->how == PROTOCOL_CARRIED ? length : 0) || check_seen(p, t->config.file, length) ||
		setup_allocate(&p->setup) || checkpoint_weights(&p->setup, t->checkpoint, false) ? -1 : 0;
}

int protocol_run(const struct trained *t, const struct device *device, const struct segments *segments,
	enum protocol how, long length, long stride, struct protocol_loss *loss)
{
	struct pass p = {.segments = segments, .how = how};
	int ret;

	CHECK(segments->length % length == 0 && (how != PROTOCOL_SLIDING || length % stride == 0));
	*loss = (struct protocol_loss){0};
	classes_by_position(&loss->classes, (int)segments->length);
	ret = open_pass(&p, t, device, length, stride) || replay_all(&p, loss) ? -1 : 0;
	if (ret)
		classes_release(&loss->classes);
	setup_close(&p.setup);
	free(p.tokens_BT);
	free(p.targets_BT);
	free(p.nll_BT);
	free(p.context_B);
	free(p.first_B);
	return ret;
}
