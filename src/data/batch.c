#include "data/batch.h"

#include <stdlib.h>

#include "base/error.h"

struct batch_document {
	size_t n;		/* bytes of text */
	enum split split;
};

struct batch *batch_new(void)
{
	struct batch *b = xcalloc(1, sizeof *b);

	str_init(&b->text);
	return b;
}

void batch_free(struct batch *b)
{
	str_release(&b->text);
	free(b->documents);
	for (int s = 0; s < N_SPLITS; s++)
		token_list_release(&b->parts[s].tokens);
	free(b);
}

void batch_add(struct batch *b, const struct document *d, enum split split)
{
	str_add_bytes(&b->text, d->text, d->n);
	GROW(b->documents, b->n_documents + 1, b->documents_size);
	b->documents[b->n_documents++] = (struct batch_document){d->n, split};
}

/* What is left is tokens. */
static void drop_text(struct batch *b)
{
	str_release(&b->text);
	b->portion.held_bytes = sizeof *b;
	for (int s = 0; s < N_SPLITS; s++)
		b->portion.held_bytes += b->parts[s].tokens.size * sizeof *b->parts[s].tokens.id;
}

void batch_encode(struct batch *b, const struct tokenizer *t)
{
	const char *text = b->text.text;

	for (size_t i = 0; i < b->n_documents; i++) {
		const struct batch_document *d = &b->documents[i];
		struct dataset_part *part = &b->parts[d->split];
		tokenizer_encode(t, text, d->n, &part->tokens);
		token_list_add(&part->tokens, (uint16_t)t->type->eot);
		part->n_bytes += (long)d->n;
		part->n_documents++;
		text += d->n;
	}
	drop_text(b);
}

static int adopt(struct dataset_part *part, const uint16_t *ids, size_t n, const char *input,
	const struct tokenizer_type *type, const uint8_t *id_bytes)
{
	bool text = false;

	for (size_t i = 0; i < n; i++) {
		if (ids[i] >= type->vocab)
			return error("%s: holds token %d, not below the vocabulary of %d: another "
				"--tokenizer or --format?", input, ids[i], type->vocab);
		token_list_add(&part->tokens, ids[i]);
		part->n_bytes += id_bytes[ids[i]];
		text = text || ids[i] != type->eot;
	}
	part->n_documents += text;
	return 0;
}

int batch_adopt(struct batch *b, const char *input, const struct tokenizer_type *type,
	const uint8_t *id_bytes)
{
	const char *text = b->text.text;
	int ret = 0;

	for (size_t i = 0; i < b->n_documents && !ret; i++) {
		const struct batch_document *d = &b->documents[i];
		ret = adopt(&b->parts[d->split], (const uint16_t *)text, d->n / 2, input, type,
			id_bytes);
		text += d->n;
	}
	drop_text(b);
	return ret;
}
