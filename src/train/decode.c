#include "train/decode.h"

#include <stdlib.h>

#include "base/error.h"

void decode_begin(struct setup *s)
{
	model_memory_forget(&s->memory);
}

void decode_skip(struct setup *s, long n)
{
	const struct params *carried = &s->carried;
	size_t offset = (size_t)carried->list[params_find(carried, "document_start")].offset;
	int start = -(int)n;

	device_from_host(s->device, (char *)s->memory.carried + offset * s->device->bytes[MASTER], &start,
		sizeof start);
}

void decode_tokens(struct setup *s, const int *tokens, long n, double *logits_V)
{
	struct graph *window = s->graphs[GRAPH_WINDOW], *step = s->graphs[GRAPH_STEP];
	long at = 0;

	for (; at + WINDOW_TOKENS < n; at += WINDOW_TOKENS) {
		graph_set_input(window, "tokens", tokens + at);
		graph_forward(window);
	}
	for (; at < n; at++) {
		graph_set_input(step, "tokens", tokens + at);
		graph_forward(step);
	}
	graph_fetch_metrics(step);
	graph_read_all(step, "lm_head.logits", logits_V);
}

long decode_generate(struct setup *s, const struct generation *g)
{
	double *logits_V = xcalloc((size_t)s->n_vocab, sizeof *logits_V);
	long n = 0;
	int token = 0;

	decode_begin(s);
	for (; n < g->n_tokens && !(g->stop && g->stop()); n++) {
		decode_tokens(s, n ? &token : g->prompt, n ? 1 : g->n_prompt, logits_V);
		token = sampler_choose(g->sampler, logits_V, s->n_vocab, (uint64_t)n);
		if (token < 0 || token == g->end)
			break;
		g->tell(g->to, token);
	}
	free(logits_V);
	return token < 0 ? error("the model's logits are no numbers: its weights have diverged") : n;
}
