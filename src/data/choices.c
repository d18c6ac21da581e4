#include "data/choices.h"

#include <stdlib.h>

#include "base/error.h"

static void close_one(struct choices *c, int i)
{
	dataset_writer_release(&c->writer[i]);
	free(c->counts[i]);
	c->counts[i] = NULL;
}

int choices_open(struct choices *c, int n, int n_inputs, const char *target, bool replace,
	const struct tokenizer_type *tokenizer, long file_tokens)
{
	*c = (struct choices){0};
	for (int i = 0; i < n; i++) {
		int ret = dataset_writer_open(&c->writer[i], target, replace, tokenizer, file_tokens, i);
		if (ret) {
			choices_release(c);
			return ret;
		}
		c->counts[i] = xcalloc((size_t)n_inputs, sizeof *c->counts[i]);
		c->n = i + 1;
	}
	return 0;
}

static int add(struct choices *c, int i, const struct batch *b)
{
	for (enum split s = 0; s < N_SPLITS; s++) {
		const struct dataset_part *part = &b->parts[i][s];
		struct split_count *count = &c->counts[i][b->portion.input][s];
		if (dataset_writer_add(&c->writer[i], s, part))
			return -1;
		count->n_tokens += (long)part->tokens.n;
		count->n_documents += part->n_documents;
		count->n_bytes += part->n_bytes;
	}
	return 0;
}

enum split choices_empty(const struct choices *c, int i)
{
	enum split s = 0;

	while (s < N_SPLITS && !(c->wanted[s] && !c->writer[i].d.splits[s].n_documents))
		s++;
	return s;
}

int choices_add(struct choices *c, const struct batch *b)
{
	for (int i = 0; i < c->n; i++) {
		if (add(c, i, b))
			return -1;
		if (choices_empty(c, i) == N_SPLITS)
			while (c->n > i + 1)
				close_one(c, --c->n);
	}
	return 0;
}

int choices_taken(const struct choices *c)
{
	return choices_empty(c, c->n - 1) == N_SPLITS ? c->n - 1 : -1;
}

void choices_release(struct choices *c)
{
	while (c->n)
		close_one(c, --c->n);
}
