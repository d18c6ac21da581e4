#include "data/batch.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

struct batch_document {
	size_t n;		/* bytes of text */
	enum split split[GROUP_CHOICES];
};

struct batch *batch_new(int n_choices)
{
	struct batch *b = xcalloc(1, sizeof *b);

	b->n_choices = n_choices;
	str_init(&b->text);
	return b;
}

void batch_free(struct batch *b)
{
	str_release(&b->text);
	free(b->documents);
	for (int i = 0; i < b->n_choices; i++)
		for (int s = 0; s < N_SPLITS; s++)
			token_list_release(&b->parts[i][s].tokens);
	free(b);
}

void batch_add(struct batch *b, const struct document *d, const enum split split[GROUP_CHOICES])
{
	struct batch_document *added;

	str_add_bytes(&b->text, d->text, d->n);
	GROW(b->documents, b->n_documents + 1, b->documents_size);
	added = &b->documents[b->n_documents++];
	added->n = d->n;
	memcpy(added->split, split, sizeof added->split);
}

/* What is left is tokens. */
static void drop_text(struct batch *b)
{
	str_release(&b->text);
	b->portion.held_bytes = sizeof *b;
	for (int i = 0; i < b->n_choices; i++)
		for (int s = 0; s < N_SPLITS; s++)
			b->portion.held_bytes += b->parts[i][s].tokens.size * sizeof(uint16_t);
}

/* The tokens of the document were added to its part of the first grouping, from `begin` on: count
   it, and give the other groupings the same. */
static void end_document(struct batch *b, const struct batch_document *d, size_t begin,
	long n_bytes, bool text)
{
	const struct token_list *from = &b->parts[0][d->split[0]].tokens;

	for (int i = 0; i < b->n_choices; i++) {
		struct dataset_part *part = &b->parts[i][d->split[i]];
		if (i)
			token_list_append(&part->tokens, from->id + begin, from->n - begin);
		part->n_bytes += n_bytes;
		part->n_documents += text;
	}
}

void batch_encode(struct batch *b, const struct tokenizer *t)
{
	const char *text = b->text.text;

	for (size_t i = 0; i < b->n_documents; i++) {
		const struct batch_document *d = &b->documents[i];
		struct token_list *tokens = &b->parts[0][d->split[0]].tokens;
		size_t begin = tokens->n;
		tokenizer_encode(t, text, d->n, tokens);
		token_list_add(tokens, (uint16_t)t->type->eot);
		end_document(b, d, begin, (long)d->n, true);
		text += d->n;
	}
	drop_text(b);
}

static int adopt(struct batch *b, const struct batch_document *d, const uint16_t *ids,
	const char *input, const struct tokenizer_type *type, const uint8_t *id_bytes)
{
	struct token_list *tokens = &b->parts[0][d->split[0]].tokens;
	size_t begin = tokens->n;
	bool text = false;
	long n_bytes = 0;

	for (size_t i = 0; i < d->n / 2; i++) {
		if (ids[i] >= type->vocab)
			return error("%s: holds token %d, not below the vocabulary of %d: another "
				"--tokenizer or --format?", input, ids[i], type->vocab);
		n_bytes += id_bytes[ids[i]];
		text = text || ids[i] != type->eot;
	}
	token_list_append(tokens, ids, d->n / 2);
	end_document(b, d, begin, n_bytes, text);
	return 0;
}

int batch_adopt(struct batch *b, const char *input, const struct tokenizer_type *type,
	const uint8_t *id_bytes)
{
	const char *text = b->text.text;
	int ret = 0;

	for (size_t i = 0; i < b->n_documents && !ret; i++) {
		const struct batch_document *d = &b->documents[i];
		ret = adopt(b, d, (const uint16_t *)text, input, type, id_bytes);
		text += d->n;
	}
	drop_text(b);
	return ret;
}
