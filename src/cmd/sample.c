/* moelab sample RUN --prompt TEXT: text as the model of a run goes on with it. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/source.h"
#include "cmd/lab.h"
#include "cmd/run_model.h"
#include "train/checkpoint.h"
#include "train/decode.h"
#include "train/products.h"
#include "train/trained.h"

extern const struct cmd cmd_sample;

struct request {
	const char *database, *prompt, *file, *device, *tokenizer;
	long tokens, step, seed, threads;	/* step -1: the newest checkpoint */
	struct sampler sampler;
	/* made ready: */
	struct trained trained;
	struct tokenizer words;
	struct token_list prompt_tokens;
	int *ids;			/* of the prompt */
	struct str piece;
};

/* ---- the prompt ----------------------------------------------------------------------------- */

static int open_prompt(struct request *r)
{
	size_t n = r->prompt ? strlen(r->prompt) : 0;
	char *text = r->file ? source_text(r->file, SIZE_MAX, &n) : xstrdup(r->prompt);
	struct token_list *tokens = &r->prompt_tokens;

	if (!text)
		return -1;
	tokenizer_encode(&r->words, text, n, tokens);
	free(text);
	if ((long)tokens->n > INT_MAX - r->tokens)
		return error("--tokens %ld behind %zu of the prompt: more than %d, which positions are counted to",
			r->tokens, tokens->n, INT_MAX);
	if (!tokens->n)
		return error("the prompt is empty: a model goes on with a text, --prompt TEXT or "
			"--prompt-file FILE has some");
	r->ids = xcalloc(tokens->n, sizeof *r->ids);
	for (size_t i = 0; i < tokens->n; i++)
		r->ids[i] = tokens->id[i];
	return 0;
}

/* ---- the text ------------------------------------------------------------------------------- */

static void print_token(void *to, int token)
{
	struct request *r = to;
	int32_t id = token;

	str_clear(&r->piece);
	tokenizer_decode(&r->words, &id, 1, &r->piece);
	fwrite(r->piece.text, 1, r->piece.length, stdout);
	fflush(stdout);
}

static int generate(struct request *r, struct setup *s)
{
	struct generation g = {.prompt = r->ids, .n_prompt = (long)r->prompt_tokens.n,
		.n_tokens = r->tokens, .sampler = &r->sampler, .end = r->words.type->eot,
		.tell = print_token, .to = r};
	double start = clock_s();
	long n = decode_generate(s, &g);
	int code;

	if (n < 0)
		return EXIT_RUN_FAILED;
	printf("\n");
	code = lab_flush();	/* the text stands before what is said of it, in one file too */
	info("%ld tokens behind %ld of the prompt in %.2f s%s; checkpoint of step %ld; %s", n, g.n_prompt,
		clock_s() - start, n < g.n_tokens ? ", the text ended" : "", r->trained.step,
		r->sampler.temperature == 0 ? "the likeliest token each time"
		: "temperature, top-k, top-p, min-p in this order");
	return code;
}

static int open_model(struct request *r, struct setup *s, const struct device *device, const char *dir)
{
	long longest = (long)r->prompt_tokens.n + r->tokens;

	if (products_open(device, dir) ||
		setup_open_decoding(s, &r->trained.config, device, r->trained.n_vocab, longest))
		return -1;
	if (longest > s->spec.context)
		info("prompt and text are %ld tokens, the model has seen %ld at once", longest,
			s->spec.context);
	return setup_allocate(s) || checkpoint_weights(s, r->trained.checkpoint, false) ? -1 : 0;
}

static int sample(struct request *r, const char *dir)
{
	const struct device *device = device_find(r->device);
	struct setup s = {0};
	int ret = EXIT_USAGE;

	if (device && !trained_open(&r->trained, dir, r->step)) {
		str_init(&r->piece);
		if (!trained_check_text(&r->trained) && !trained_tokenizer(&r->trained, r->tokenizer, &r->words) &&
			!open_prompt(r) && !open_model(r, &s, device, dir)) {
			ret = generate(r, &s);
		}
		setup_close(&s);
		tokenizer_close(&r->words);
		token_list_release(&r->prompt_tokens);
		free(r->ids);
		str_release(&r->piece);
		trained_close(&r->trained);
	}
	return ret;
}

static int check(struct request *r, const struct arguments *a)
{
	if (a->n_words != 1 || a->n_overrides)
		return error("sample takes one run: " RUN_WORDS);
	if (!r->prompt == !r->file)
		return error("sample takes --prompt TEXT or --prompt-file FILE, one of them");
	if (r->tokens < 1)
		return error("--tokens 0: at least one");
	r->sampler.seed = (uint64_t)r->seed;
	return sampler_check(&r->sampler);
}

static int run(int argc, char **argv)
{
	struct request r = {.database = "results/lab.db", .device = "cpu", .tokens = 128, .step = -1,
		.sampler = {.temperature = 1, .top_p = 1}};
	const struct option_row rows[] = {
		{"prompt", 'p', "TEXT", "the text to go on with", .text = &r.prompt},
		{"prompt-file", 0, "FILE", "the same from a file; -: from standard input", .text = &r.file},
		{"tokens", 'n', "N", "at most so many; end of text ends before (default 128)",
			.number = &r.tokens},
		{"temperature", 't', "T", "logits are divided by it; 0: always the likeliest token "
			"(default 1)", .real = &r.sampler.temperature},
		{"top-k", 0, "K", "then: of the K likeliest tokens and those like the last of them",
			.number = &r.sampler.top_k},
		{"top-p", 0, "P", "then: of the fewest likeliest that have this share",
			.real = &r.sampler.top_p},
		{"min-p", 0, "M", "then: of those with this share of the likeliest's probability",
			.real = &r.sampler.min_p},
		{"seed", 0, "N", "of the draws (default 0): same seed, same text", .number = &r.seed},
		{"step", 0, "N", "checkpoint of this step (default the newest)", .number = &r.step},
		{"tokenizer", 0, "NAME", "byte or gpt2 (default the dataset's)", .text = &r.tokenizer},
		{"device", 0, "NAME", "ref (float64), cpu or cuda", .text = &r.device},
		{"threads", 'T', "N", "default all cores", .number = &r.threads},
		{"db", 0, "FILE", "database (default results/lab.db)", .text = &r.database},
		{0},
	};
	struct arena a = {0};
	struct arguments words;
	const char *dir;
	int ret = options_parse(&cmd_sample, rows, argc, argv, &words);

	if (ret != GO_ON)
		return ret;
	if (check(&r, &words))
		return EXIT_USAGE;
	cpu_threads((int)r.threads);
	dir = run_model_dir(words.words[0], r.database, &a);
	ret = dir ? sample(&r, dir) : EXIT_USAGE;
	arena_release(&a);
	return ret;
}

const struct cmd cmd_sample = {
	.name = "sample",
	.arguments = "RUN --prompt TEXT",
	.help = "text as the model of a run goes on with it, from its newest checkpoint",
	.run = run,
};
