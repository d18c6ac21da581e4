#include "data/words.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/num.h"

enum { CHUNK = 1 << 16 };	/* tokens decoded at once */

bool is_letter(char c)
{
	return isalpha((unsigned char)c) || c == '\'';
}

/* FNV-1a, 64 bits */
static uint64_t hash_of(const char *text, size_t n)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (unsigned char)text[i]) * 0x100000001b3u;
	return h;
}

/* The slot of the word, or the free one that it would take; size is a power of two. */
static struct word *slot_of(const struct words *w, const char *text, size_t n)
{
	uint64_t i = hash_of(text, n);

	for (;; i++) {
		struct word *slot = &w->slots[i & (uint64_t)(w->size - 1)];
		if (!slot->text || (!strncmp(slot->text, text, n) && !slot->text[n]))
			return slot;
	}
}

static void grow(struct words *w)
{
	struct words larger = {.size = w->size ? 2 * w->size : 1024};

	larger.slots = xcalloc((size_t)larger.size, sizeof *larger.slots);
	for (long i = 0; i < w->size; i++)
		if (w->slots[i].text)
			*slot_of(&larger, w->slots[i].text, strlen(w->slots[i].text)) = w->slots[i];
	free(w->slots);
	w->slots = larger.slots;
	w->size = larger.size;
}

struct word *words_find(struct words *w, const char *text, size_t n, bool add)
{
	struct word *slot;

	if (add && 2 * (w->n + 1) > w->size)
		grow(w);
	slot = w->size ? slot_of(w, text, n) : NULL;
	if (!slot || slot->text)
		return slot;
	if (!add)
		return NULL;
	slot->text = arena_printf(&w->arena, "%.*s", (int)n, text);
	w->n++;
	return slot;
}

void words_release(struct words *w)
{
	free(w->slots);
	arena_release(&w->arena);
	*w = (struct words){0};
}

/* All words of the text but for one that touches its end and may go on, unless it `ends` here; those that begin
   in the first `known` bytes were told of before. Returns where the last word told of begins: from there on
   the text is needed for the next one, and up to *done it is known. */
static size_t tell_words(const struct str *s, size_t known, bool ends, words_told *told, void *to,
	size_t *done)
{
	const char *text = s->text, *before = NULL;
	size_t n_before = 0, at = 0, keep = 0;

	while (at < s->length) {
		size_t begin = at, n;
		while (begin < s->length && !is_letter(text[begin]))
			begin++;
		for (n = 0; begin + n < s->length && is_letter(text[begin + n]);)
			n++;
		if (!n || (begin + n == s->length && !ends))
			break;
		if (!(before && before + n_before + 1 == text + begin && isspace((unsigned char)text[begin - 1])))
			before = NULL;
		if (begin >= known)
			told(to, text + begin, n, before, n_before);
		before = text + begin;
		n_before = n;
		keep = begin;
		at = begin + n;
	}
	*done = at;
	return keep;
}

int words_scan(const struct dataset *d, enum split split, long n_tokens, words_told *told, void *to)
{
	long n = min_long(n_tokens, d->splits[split].n_tokens);
	int32_t *ids = xmalloc(CHUNK * sizeof *ids);
	struct tokenizer t;
	struct str text;
	size_t known = 0;
	int ret = tokenizer_open(&t, d->tokenizer);

	str_init(&text);
	for (long at = 0; at < n && !ret; at += CHUNK) {
		long part = min_long(CHUNK, n - at);
		size_t keep, done;
		ret = dataset_read(d, split, at, part, ids);
		for (long i = 0; i < part && !ret; i++)
			if (ids[i] == d->eot)
				str_add(&text, "\n\n");
			else
				tokenizer_decode(&t, &ids[i], 1, &text);
		if (ret)
			break;
		keep = tell_words(&text, known, at + part == n, told, to, &done);
		known = done > keep ? done - keep : 0;
		memmove(text.text, text.text + keep, text.length - keep + 1);
		text.length -= keep;
	}
	if (t.type)
		tokenizer_close(&t);
	str_release(&text);
	free(ids);
	return ret;
}
