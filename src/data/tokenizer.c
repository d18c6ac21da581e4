#include "data/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

extern const struct tokenizer_type tokenizer_byte, tokenizer_gpt2;

const struct tokenizer_type *const tokenizer_types[] = {
	&tokenizer_byte,
	&tokenizer_gpt2,
	NULL,
};

void token_list_add(struct token_list *l, uint16_t id)
{
	GROW(l->id, l->n + 1, l->size);
	l->id[l->n++] = id;
}

void token_list_append(struct token_list *l, const uint16_t *ids, size_t n)
{
	if (!n)
		return;
	GROW(l->id, l->n + n, l->size);
	memcpy(l->id + l->n, ids, n * sizeof *ids);
	l->n += n;
}

void token_list_release(struct token_list *l)
{
	free(l->id);
	*l = (struct token_list){0};
}

static int unknown(const char *name)
{
	struct str names;

	str_init(&names);
	for (const struct tokenizer_type *const *t = tokenizer_types; *t; t++)
		str_add_item(&names, "%s", (*t)->name);
	error("unknown tokenizer \"%s\" (there is: %s)", name, names.text);
	str_release(&names);
	return -1;
}

const struct tokenizer_type *tokenizer_find(const char *name)
{
	const struct tokenizer_type *const *type = tokenizer_types;

	while (*type && strcmp((*type)->name, name))
		type++;
	return *type;
}

int tokenizer_open(struct tokenizer *t, const char *name)
{
	const struct tokenizer_type *type = tokenizer_find(name);

	*t = (struct tokenizer){.type = type};
	if (!type)
		return unknown(name);
	if (type->open) {
		t->state = type->open();
		if (!t->state)
			return -1;
	}
	return 0;
}

void tokenizer_close(struct tokenizer *t)
{
	if (t->state)
		t->type->close(t->state);
	*t = (struct tokenizer){0};
}

void tokenizer_encode(const struct tokenizer *t, const void *bytes, size_t n,
	struct token_list *out)
{
	t->type->encode(t->state, bytes, n, out);
}

void tokenizer_decode(const struct tokenizer *t, const int32_t *ids, size_t n, struct str *out)
{
	for (size_t i = 0; i < n; i++) {
		CHECK(ids[i] >= 0 && ids[i] < t->type->vocab);
		if (ids[i] != t->type->eot)
			t->type->decode(t->state, ids[i], out);
	}
}
