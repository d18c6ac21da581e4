/*
 * The tokenizer of GPT-2 (Radford et al. 2019, "Language models are unsupervised multitask
 * learners", section 2.2): a pattern splits text into words, byte-pair encoding each of them.
 *
 * Text need not be UTF-8. A byte that is not part of a valid sequence (RFC 3629) is a token of its
 * own, and the text before and after it is split as if it stood alone. (Implementations that work
 * on characters put U+FFFD in its place and cannot give the byte back.)
 *
 * White space is the Unicode property White_Space, as where GPT-2 was trained; what PCRE2 and
 * JavaScript call \s differs in U+180E, U+FEFF and U+0085.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "data/bpe.h"
#include "data/tokenizer.h"

extern const char gpt2_merges[];
__asm__(".pushsection .rodata\n"
	".global gpt2_merges\n"
	".type gpt2_merges, @object\n"
	"gpt2_merges: .incbin \"data/gpt2/vocab.bpe\"\n"
	".byte 0\n"
	".size gpt2_merges, . - gpt2_merges\n"
	".popsection\n");

#define SPACE "\\t-\\r\\x{85}\\p{Z}"
static const char pattern[] =
	"'s|'t|'re|'ve|'m|'ll|'d"
	"| ?\\p{L}+"
	"| ?\\p{N}+"
	"| ?[^" SPACE "\\p{L}\\p{N}]+"
	"|[" SPACE "]+(?![^" SPACE "])"
	"|[" SPACE "]+";

enum { VOCAB = 50257, EOT = 50256 };
/* Steps of one match. The pattern needs one or two however long the word: it goes back by at most
   one character. */
enum { MATCH_LIMIT = 1000 };

/* Words met before: most text is made of few. Each hash has one place, the newest word keeps it. */
enum { CACHE_BITS = 15, CACHED_BYTES = 31, CACHED_IDS = 15 };

struct cached {
	uint64_t key[4];		/* the bytes, zeros, and in the last byte their number */
	uint16_t id[CACHED_IDS], n;	/* n = 0: free */
};

struct gpt2 {
	struct bpe bpe;
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *limits;
	struct cached cache[1 << CACHE_BITS];
};

/* --- opening ------------------------------------------------------------------------------- */

static bool stands_for_itself(int byte)
{
	return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
}

/* The bytes in the order of their ids; those from *n_plain on are written U+0100, U+0101, ... */
static void byte_order(uint8_t bytes[256], int *n_plain)
{
	int n = 0;

	for (int plain = 1; plain >= 0; plain--) {
		for (int byte = 0; byte < 256; byte++)
			if (stands_for_itself(byte) == plain)
				bytes[n++] = (uint8_t)byte;
		if (plain)
			*n_plain = n;
	}
}

/* One line of merges: two words of printable characters, together the bytes of the next token. */
static const char *add_line(struct bpe *b, const char *line, const uint8_t *written_high)
{
	uint8_t bytes[256];
	size_t n = 0;

	for (; *line != '\n'; line++) {
		unsigned c = (unsigned char)*line;
		if (c == ' ')
			continue;
		if (c >= 0x80)		/* two bytes of UTF-8 */
			c = (c & 0x1f) << 6 | ((unsigned char)*++line & 0x3f);
		CHECK(n < sizeof bytes);
		bytes[n++] = c < 256 ? (uint8_t)c : written_high[c - 256];
	}
	bpe_add_token(b, bytes, n);
	return line + 1;
}

static void load_merges(struct bpe *b)
{
	const char *line = strchr(gpt2_merges, '\n') + 1;	/* the first states a version */
	uint8_t bytes[256];
	int n_plain;

	byte_order(bytes, &n_plain);
	bpe_init(b, bytes);
	while (*line)
		line = add_line(b, line, bytes + n_plain);
	CHECK(b->n_tokens == EOT);
}

static void *open_gpt2(void)
{
	struct gpt2 *g = xcalloc(1, sizeof *g);
	PCRE2_SIZE offset;
	int code;

	load_merges(&g->bpe);
	g->code = pcre2_compile((PCRE2_SPTR)pattern, sizeof pattern - 1,
		PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &code, &offset, NULL);
	if (!g->code)
		BUG("pattern: PCRE2 error %d at %zu", code, offset);
	pcre2_jit_compile(g->code, PCRE2_JIT_COMPLETE);	/* where it cannot, it interprets */
	g->match = pcre2_match_data_create(1, NULL);
	g->limits = pcre2_match_context_create(NULL);
	if (!g->match || !g->limits)
		die("out of memory: pattern of the tokenizer");
	pcre2_set_match_limit(g->limits, MATCH_LIMIT);
	return g;
}

static void close_gpt2(void *state)
{
	struct gpt2 *g = state;

	pcre2_match_context_free(g->limits);
	pcre2_match_data_free(g->match);
	pcre2_code_free(g->code);
	bpe_release(&g->bpe);
	free(g);
}

/* --- encoding ------------------------------------------------------------------------------ */

static void cache_key(uint64_t key[4], const uint8_t *word, size_t n)
{
	uint8_t bytes[CACHED_BYTES + 1] = {0};

	memcpy(bytes, word, n);
	bytes[CACHED_BYTES] = (uint8_t)n;
	memcpy(key, bytes, sizeof bytes);
}

static struct cached *cache_place(struct gpt2 *g, const uint64_t key[4])
{
	uint64_t h = 0;

	for (int i = 0; i < 4; i++)
		h = (h ^ key[i] ^ h >> 32) * 0x9E3779B97F4A7C15u;
	return &g->cache[h >> (64 - CACHE_BITS)];
}

static void encode_word(struct gpt2 *g, const uint8_t *word, size_t n, struct token_list *out)
{
	size_t before = out->n;
	struct cached *place;
	uint64_t key[4];

	if (n > CACHED_BYTES) {
		bpe_encode(&g->bpe, word, n, out);
		return;
	}
	cache_key(key, word, n);
	place = cache_place(g, key);
	if (!place->n || memcmp(place->key, key, sizeof key)) {
		bpe_encode(&g->bpe, word, n, out);
		if (out->n - before > CACHED_IDS)
			return;
		place->n = (uint16_t)(out->n - before);
		memcpy(place->key, key, sizeof key);
		memcpy(place->id, out->id + before, place->n * sizeof *place->id);
		return;
	}
	GROW(out->id, out->n + place->n, out->size);
	memcpy(out->id + out->n, place->id, place->n * sizeof *place->id);
	out->n += place->n;
}

/* Valid UTF-8. Each character begins a word of the pattern, so there is always a match. */
static void encode_text(struct gpt2 *g, const uint8_t *text, size_t n, struct token_list *out)
{
	const PCRE2_SIZE *range = pcre2_get_ovector_pointer(g->match);

	for (size_t at = 0; at < n; at += range[1]) {
		int got = pcre2_match(g->code, text + at, n - at, 0, PCRE2_NO_UTF_CHECK, g->match,
			g->limits);
		if (got < 0)
			die("tokenizer gpt2: PCRE2 gave up a match (error %d)", got);
		encode_word(g, text + at, range[1], out);
	}
}

/* Bytes of the character at s, or 0: n > 0 bytes do not begin with a valid one (RFC 3629). */
static size_t utf8_length(const uint8_t *s, size_t n)
{
	uint8_t c = s[0];
	size_t length = c < 0x80 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

	if ((c >= 0x80 && c < 0xc2) || c > 0xf4)
		return 0;	/* no first byte, or longer than needed */
	if (length > n)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xf0 && s[1] < 0x90))
		return 0;	/* longer than needed */
	if ((c == 0xed && s[1] > 0x9f) || (c == 0xf4 && s[1] > 0x8f))
		return 0;	/* a surrogate; beyond U+10FFFF */
	return length;
}

static void encode(void *state, const uint8_t *bytes, size_t n, struct token_list *out)
{
	struct gpt2 *g = state;

	for (size_t at = 0, end = 0; at < n; at = ++end) {
		size_t length = 1;
		while (end < n && (length = utf8_length(bytes + end, n - end)))
			end += length;
		encode_text(g, bytes + at, end - at, out);
		if (end < n)
			token_list_add(out, g->bpe.id_of_byte[bytes[end]]);
	}
}

static void decode(const void *state, int id, struct str *out)
{
	const struct gpt2 *g = state;

	bpe_decode(&g->bpe, id, out);
}

const struct tokenizer_type tokenizer_gpt2 = {
	.name = "gpt2", .help = "byte-pair encoding of GPT-2; 50,256 tokens and end of text",
	.vocab = VOCAB, .eot = EOT,
	.open = open_gpt2, .close = close_gpt2, .encode = encode, .decode = decode,
};
