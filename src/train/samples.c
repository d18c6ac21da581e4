#include "train/samples.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "train/decode.h"

long samples_longest(const struct run_spec *s)
{
	size_t most = 0;

	/* A token is a byte at least. */
	for (const struct node *n = s->samples_prompts->first; n; n = n->next)
		most = strlen(n->text) > most ? strlen(n->text) : most;
	return (long)most + s->samples_tokens;
}

int samples_check(const struct run_spec *spec, const struct dataset *d)
{
	if (!spec->samples_every || tokenizer_find(d->tokenizer))
		return 0;
	return error("samples.every=%ld: %s holds tokens of the task %s, and no text can become such: set "
		"samples.every=0", spec->samples_every, d->folder, d->tokenizer);
}

int samples_open(struct samples *x, const struct run_spec *spec, const struct dataset *d)
{
	*x = (struct samples){0};
	if (!spec->samples_every)
		return 0;
	if (samples_check(spec, d) || tokenizer_open(&x->words, d->tokenizer))
		return -1;
	x->spec = spec;
	return 0;
}

void samples_close(struct samples *x)
{
	if (x->spec)
		tokenizer_close(&x->words);
	x->spec = NULL;
}

/* What records can hold: what is no UTF-8, or a control character, becomes U+FFFD. */
static void add_text(struct str *out, const char *bytes, size_t n)
{
	for (const char *p = bytes; p < bytes + n;) {
		const char *from = p;
		long code = *p ? str_next_code(&p) : -1;
		bool good = code >= 0x20 || code == '\t' || code == '\n';
		if (p == from)
			p++;
		if (good && code != 0x7f)
			str_add_bytes(out, from, (size_t)(p - from));
		else
			str_add(out, "\xef\xbf\xbd");
	}
}

struct piece {
	const struct tokenizer *words;
	struct str bytes;
};

static void add_token(void *to, int token)
{
	struct piece *p = to;
	int32_t id = token;

	tokenizer_decode(p->words, &id, 1, &p->bytes);
}

/* The prompt and what the model goes on with, as bytes. */
static void generate(struct samples *x, struct setup *s, const char *prompt, struct piece *text)
{
	struct sampler sampler = {.temperature = x->spec->samples_temperature, .top_p = 1,
		.seed = (uint64_t)x->spec->seed};
	struct token_list tokens = {0};
	int *ids;

	tokenizer_encode(&x->words, prompt, strlen(prompt), &tokens);
	ids = xcalloc(tokens.n, sizeof *ids);
	for (size_t i = 0; i < tokens.n; i++)
		ids[i] = tokens.id[i];
	str_add(&text->bytes, prompt);
	decode_generate(s, &(struct generation){.prompt = ids, .n_prompt = (long)tokens.n,
		.n_tokens = x->spec->samples_tokens, .sampler = &sampler, .end = x->words.type->eot,
		.tell = add_token, .to = text, .stop = worker_link_stop});
	free(ids);
	token_list_release(&tokens);
}

int samples_write(struct samples *x, struct setup *s, struct worker_link *link, long step)
{
	struct piece text = {.words = &x->words};
	struct str shown;
	int stop = 0;

	str_init(&text.bytes);
	str_init(&shown);
	for (const struct node *n = x->spec->samples_prompts->first; n; n = n->next) {
		str_clear(&text.bytes);
		str_clear(&shown);
		generate(x, s, n->text, &text);
		stop = worker_link_stop();
		if (stop)
			break;
		add_text(&shown, text.bytes.text, text.bytes.length);
		worker_link_event(link, "sample", step, "%s", shown.text);
	}
	str_release(&shown);
	str_release(&text.bytes);
	return stop;
}
