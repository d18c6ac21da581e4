/* moelab data ask DIR -o FILE */
#include <string.h>

#include "base/error.h"
#include "cmd/data.h"
#include "cmd/options.h"
#include "data/ask.h"

/* Sets follow each other. Who reads scores must know which are of fewer questions. */
static void say(const struct questions *q, long asked, const char *file)
{
	for (long i = 0, n = 1; i < q->n; i += n, n = 1) {
		while (i + n < q->n && !strcmp(q->list[i + n].set, q->list[i].set))
			n++;
		if (n < asked)
			info("%s: %s: %ld questions, of %ld asked for", file, q->list[i].set, n, asked);
		else
			info("%s: %s: %ld questions", file, q->list[i].set, n);
	}
}

static int ask(struct ask_options *o, const char *folder, const char *split, const char *file)
{
	struct dataset d;
	struct questions q;
	int ret;

	if (dataset_open(&d, folder))
		return EXIT_USAGE;
	ret = dataset_find_split(&d, split, &o->split) || data_ask(&d, o, &q) ? EXIT_USAGE : EXIT_DONE;
	if (!ret) {
		say(&q, o->n, file);
		ret = questions_write(&q, file) ? EXIT_ENVIRONMENT : EXIT_DONE;
		questions_release(&q);
	}
	dataset_close(&d);
	return ret;
}

static int parse_and_ask(const struct cmd *cmd, int argc, char **argv, const char *sets)
{
	struct ask_options o = {.n = 1000, .context = 400, .least = 20, .train_tokens = 1 << 26};
	const char *file = NULL, *split = "val";
	long seed = 1;
	const struct option_row rows[] = {
		{"output", 'o', "FILE", "the questions, JSON lines", .text = &file},
		{"split", 0, "NAME", "whose text is asked about (default val)", .text = &split},
		{"sets", 0, "LIST", sets, .text = &o.sets},
		{"number", 'n', "N", "questions of each set (default 1000)", .number = &o.n},
		{"context", 0, "BYTES", "of text in front, of a sentence, or of a text that `copy` has twice, at "
			"most (default 400: 75 words or so, as passages of LAMBADA; what is longer than the training "
			"context is cut in front)",
			.number = &o.context},
		{"least", 0, "N", "occurrences in training of words asked for (default 20)", .number = &o.least},
		{"train-tokens", 0, "N", "of the training split that words are counted in (default 2^26)",
			.number = &o.train_tokens},
		{"seed", 0, "S", "of the choice of questions (default 1)", .number = &seed},
		{0},
	};
	struct arguments a;
	int ret = options_parse(cmd, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1 || a.n_overrides || !file)
		return error("data ask: needs a dataset's folder, and -o FILE"), EXIT_USAGE;
	for (const struct option_row *r = rows; r->name; r++)
		if (r->number && *r->number < (r->number != &seed))
			return error("data ask: --%s %ld: %d or more must stand here", r->name, *r->number,
				r->number != &seed), EXIT_USAGE;
	o.seed = (uint64_t)seed;
	return ask(&o, a.words[0], split, file);
}

int data_ask_run(const struct cmd *cmd, int argc, char **argv)
{
	struct str sets;
	int ret;

	str_init(&sets);
	str_add(&sets, "which, between commas (default all: ");
	ask_set_names(&sets);
	str_add(&sets, ")");
	ret = parse_and_ask(cmd, argc, argv, sets.text);
	str_release(&sets);
	return ret;
}
