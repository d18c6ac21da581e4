/* Bytes are their own ids; 256 ends a text. Perplexity per token is perplexity per byte. */
#include "base/error.h"
#include "data/tokenizer.h"

static void encode(void *state, const uint8_t *bytes, size_t n, struct token_list *out)
{
	(void)state;
	GROW(out->id, out->n + n, out->size);
	for (size_t i = 0; i < n; i++)
		out->id[out->n + i] = bytes[i];
	out->n += n;
}

static void decode(const void *state, int id, struct str *out)
{
	(void)state;
	str_add_bytes(out, &(char){(char)id}, 1);
}

const struct tokenizer_type tokenizer_byte = {
	.name = "byte", .help = "one token a byte; 256 bytes and end of text",
	.vocab = 257, .eot = 256,
	.encode = encode, .decode = decode,
};
