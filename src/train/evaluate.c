#include "train/evaluate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"
#include "data/bigram.h"
#include "data/frequency.h"
#include "train/worker_link.h"

/* All bigrams that are repeated in the windows, each once; *n of them. NULL after a message. */
static uint32_t *repeated(const struct evaluator *e, long *n)
{
	long T = e->windows.context, size = 0;
	int32_t *tokens = xmalloc(2 * (size_t)T * sizeof *tokens), *targets = tokens + T;
	uint8_t *mask = xmalloc((size_t)T);
	uint32_t *found = NULL;
	int ret = 0;

	*n = 0;
	for (long i = 0; i < e->n_windows && !ret; i++) {
		ret = sequences_read(&e->windows, i, 1, tokens, targets);
		if (ret)
			break;
		slice_repeats(tokens, targets, 1, (int)T, e->document_end, mask);
		GROW(found, *n + T, size);
		for (long t = 0; t < T; t++)
			if (mask[t])
				found[(*n)++] = bigram_of(tokens[t], targets[t]);
	}
	if (!ret)
		*n = bigrams_sort(found, *n);
	else
		free(found);
	free(mask);
	free(tokens);
	return ret ? NULL : found;
}

/* Which of them training knows: those stay in e->known. */
static int open_recall(struct evaluator *e, const struct setup *s, const struct dataset *d)
{
	long limit = slice_recall_limit(d->splits[SPLIT_TRAIN].n_tokens), n, *counts;
	int ret;

	classes_by_recall(&e->classes[SLICE_RECALL], limit);
	e->document_end = s->spec.reset_at_eot ? d->eot : -1;
	e->known = repeated(e, &n);
	if (!e->known)
		return -1;
	counts = xmalloc((size_t)n * sizeof *counts);
	ret = dataset_bigrams(d, e->known, n, counts);
	for (long i = 0; i < n; i++)
		if (counts[i] > limit)
			e->known[e->n_known++] = e->known[i];
	free(counts);
	return ret;
}

static int open_classes(struct evaluator *e, const struct setup *s, const struct dataset *d)
{
	long *counts_V;
	int ret;

	classes_by_position(&e->classes[SLICE_POSITION], (int)(setup_asked(s, s->spec.context) * (e->windows.streams
		? e->n_windows / e->windows.streams : 1)));
	if (e->rows)
		return 0;
	counts_V = xcalloc((size_t)d->vocab, sizeof *counts_V);
	ret = dataset_frequency(d, counts_V);
	classes_by_frequency(&e->classes[SLICE_FREQUENCY], counts_V, d->vocab);
	free(counts_V);
	return ret ? ret : open_recall(e, s, d);
}

int evaluator_open(struct evaluator *e, const struct setup *s, const struct dataset *d,
	enum split split)
{
	size_t n = (size_t)(s->spec.micro_batch * s->spec.context);

	*e = (struct evaluator){.rows = d->splits[split].row > 0,
		.bits_per_nat = d->splits[split].row ? NAN : dataset_bits_per_nat(d, split)};
	e->n_windows = run_streams(&s->spec)
		? sequences_eval_streams(&e->windows, d, split, (int)s->spec.context, s->spec.eval_tokens,
			s->spec.batch)
		: sequences_eval(&e->windows, d, split, (int)s->spec.context, s->spec.eval_tokens);
	e->at_once = run_streams(&s->spec) ? e->windows.streams : s->spec.micro_batch;
	if (e->n_windows < 0 || sequences_hash(&e->windows, e->n_windows, e->hash))
		return -1;
	e->tokens_BT = xcalloc(n, sizeof *e->tokens_BT);
	e->targets_BT = xcalloc(n, sizeof *e->targets_BT);
	e->present_BT = xcalloc(n, sizeof *e->present_BT);
	e->nll_BT = xcalloc(n, sizeof *e->nll_BT);
	e->correct_BT = xcalloc(n, sizeof *e->correct_BT);
	e->bigram_BT = xcalloc(n, 1);
	e->recall_BT = xcalloc(n, 1);
	return open_classes(e, s, d);
}

void evaluator_close(struct evaluator *e)
{
	free(e->tokens_BT);
	free(e->targets_BT);
	free(e->present_BT);
	free(e->nll_BT);
	free(e->correct_BT);
	free(e->bigram_BT);
	free(e->recall_BT);
	free(e->known);
	for (int k = 0; k < N_SLICES; k++)
		classes_release(&e->classes[k]);
	*e = (struct evaluator){0};
}

struct sums {
	double nll, correct, bigram_nll, bigrams, tokens;
	struct routed routed;
	double present;		/* tokens that are there */
};

/* n windows of this replay hold tokens; the rest is masked. */
static void add_replay(const struct evaluator *e, const struct setup *s, long n, struct sums *sum)
{
	for (long i = 0; i < n * setup_asked(s, s->spec.context); i++) {
		sum->nll += e->nll_BT[i];
		sum->correct += e->correct_BT[i];
		sum->bigram_nll += e->bigram_BT[i] ? e->nll_BT[i] : 0;
		sum->bigrams += e->bigram_BT[i];
		sum->tokens += e->targets_BT[i] >= 0;
	}
}

/* The same n windows by class: row b of nll_BT, targets_BT is a window. Of streams the first one has
   seen `before` tokens already, and so have the others. */
static void slice_replay(const struct evaluator *e, const struct setup *s, long before, long n,
	struct loss_slice *slices)
{
	struct loss_slice *position = &slices[SLICE_POSITION], *frequency = &slices[SLICE_FREQUENCY];
	struct loss_slice *recall = &slices[SLICE_RECALL];
	const unsigned char *of_t = position->classes->of + before, *of_id = frequency->classes->of;

	for (long b = 0, i = 0; b < n; b++)
		for (long t = 0; t < setup_asked(s, s->spec.context); t++, i++) {
			if (e->targets_BT[i] < 0)
				continue;
			position->nll[of_t[t]] += e->nll_BT[i];
			position->tokens[of_t[t]]++;
			if (e->rows)
				continue;
			frequency->nll[of_id[e->targets_BT[i]]] += e->nll_BT[i];
			frequency->tokens[of_id[e->targets_BT[i]]]++;
			recall->nll[e->recall_BT[i]] += e->nll_BT[i];
			recall->tokens[e->recall_BT[i]]++;
		}
}

static void mark_repeats(struct evaluator *e, int n, int context)
{
	slice_repeated_bigram(e->tokens_BT, e->targets_BT, n, context, e->bigram_BT);
	slice_repeats(e->tokens_BT, e->targets_BT, n, context, e->document_end, e->recall_BT);
	for (long i = 0; i < (long)n * context; i++)
		if (e->recall_BT[i] && bigrams_find(e->known, e->n_known,
			bigram_of(e->tokens_BT[i], e->targets_BT[i])) >= 0)
			e->recall_BT[i] = 0;
}

static int read_windows(struct evaluator *e, const struct setup *s, long first, long n)
{
	long context = s->spec.context, all = s->spec.micro_batch * context;

	memset(e->tokens_BT, 0, (size_t)all * sizeof *e->tokens_BT);
	memset(e->present_BT, 0, (size_t)all * sizeof *e->present_BT);
	for (long i = n * context; i < all; i++)
		e->targets_BT[i] = -1;
	for (long i = n * context / s->model.patch; i < all; i++)
		e->present_BT[i] = -1;
	if (sequences_read(&e->windows, first, (int)n, e->tokens_BT, e->targets_BT))
		return -1;
	if (!e->rows)
		mark_repeats(e, (int)n, (int)context);
	return 0;
}

/* Tokens without targets are there for routers where they are present. */
static void add_routers(const struct evaluator *e, const struct setup *s, enum setup_graph which, long n,
	struct sums *sum)
{
	const int *there = e->rows ? e->present_BT : e->targets_BT;

	for (int i = 0; i < s->routers.n; i++)
		setup_add_routed(s, which, i, &sum->routed);
	for (long t = 0; t < n * s->spec.context; t++)
		sum->present += there[t] >= 0;
}

static void set_routed(const struct setup *s, const struct sums *sum, struct evaluation *result)
{
	double tokens = s->routers.n ? s->routers.n * sum->present : NAN;	/* of all routers */

	result->drop = s->routers.n ? routed_drop_share(&sum->routed) : NAN;
	result->choices = sum->routed.computed / tokens;
	result->unserved = 1 - sum->routed.served / tokens;
}

static void set_losses(const struct evaluator *e, const struct setup *s, const struct sums *sum,
	struct evaluation *result)
{
	result->loss = sum->nll / sum->tokens;
	result->bpb = sum->nll / sum->tokens * e->bits_per_nat;
	result->accuracy = s->model.forecasts ? NAN : sum->correct / sum->tokens;
	result->loss_bigram = sum->bigrams > 0 ? sum->bigram_nll / sum->bigrams : NAN;
	result->share_bigram = e->rows ? NAN : sum->bigrams / sum->tokens;
	result->n_tokens = (long)sum->tokens;
}

/* n windows, which have been read. */
static void replay_windows(struct evaluator *e, struct setup *s, struct graph *g, long n)
{
	if (e->rows)
		graph_set_input(g, "present", e->present_BT);
	setup_replay(g, e->tokens_BT, e->targets_BT);
	graph_read_all(g, "nll", e->nll_BT);
	graph_read_all(g, s->model.forecasts ? "error" : "correct", e->correct_BT);
	setup_keep_asked(s, n, s->spec.context, e->targets_BT);
}

int evaluator_run(struct evaluator *e, struct setup *s, enum setup_graph which,
	struct evaluation *result)
{
	struct sums sum = {0};
	long batch = e->at_once, T = s->spec.context;

	setup_begin_streams(s, STREAMS_EVAL);
	*result = (struct evaluation){0};
	for (int k = 0; k < N_SLICES; k++)
		result->slices[k].classes = &e->classes[k];
	for (long first = 0; first < e->n_windows; first += batch) {
		long n = min_long(e->n_windows - first, batch);
		if (worker_link_stop())
			return EVALUATION_STOPPED;
		if (read_windows(e, s, first, n))
			return -1;
		replay_windows(e, s, s->graphs[which], n);
		add_replay(e, s, n, &sum);
		slice_replay(e, s, e->windows.streams ? first / batch * T : 0, n, result->slices);
		if (e->rows)
			recall_add(&result->answers, &(struct recall_rows){e->targets_BT, e->nll_BT,
				e->correct_BT, n, setup_asked(s, T), s->model.forecasts});
		add_routers(e, s, which, n, &sum);
	}
	set_losses(e, s, &sum, result);
	set_routed(s, &sum, result);
	return 0;
}
