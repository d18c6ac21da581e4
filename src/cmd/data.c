/* moelab data import | info | batches */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "data/dataset.h"
#include "data/import.h"
#include "data/order.h"
#include "data/tokenizer.h"

static const char usage_text[] =
	"usage: moelab data import INPUT... --tokenizer NAME -o DIR [options]\n"
	"       moelab data info DIR [--check]\n"
	"       moelab data batches DIR [--split NAME] [--seed S] [--context T] [--first I] [-n N]\n"
	"\n"
	"import: make a dataset of text or JSON lines ({\"text\": .., \"url\": ..}), plain or gzip; - is\n"
	"standard input\n"
	"  -o, --output DIR     the dataset to make\n"
	"  --tokenizer NAME     one of those below\n"
	"  --format text|jsonl  default: by the name of the input\n"
	"  --split RULE         how text is cut into documents: blank[:BYTES] (default, blank:4096),\n"
	"                       entry[:BYTES] (behind a blank line and before one not indented), line,\n"
	"                       file, =TEXT\n"
	"  --group-by RULE      what is never spread over two splits: block[:BYTES] (default for text),\n"
	"                       file, url-host (default for JSON lines), url, document\n"
	"  --val F, --tune F    held-out shares; default: about 2 MiB each, at most 0.05\n"
	"  --strict             a bad JSON line is an error, not skipped\n"
	"  --force              replace an existing dataset\n"
	"info: sizes and origin\n"
	"  --check              read all tokens and compare them with their hashes\n"
	"batches: sequences in training order, one a line: number, then the text with escapes; \\E is\n"
	"the end of a document (default: train, seed 1, context 256, 8 from number 0 on)\n"
	"tokenizers:\n";

static int usage(FILE *f, int code)
{
	fputs(usage_text, f);
	for (const struct tokenizer_type *const *t = tokenizer_types; *t; t++)
		fprintf(f, "  %-20s %s\n", (*t)->name, (*t)->help);
	return code;
}

/* --- options: each fills its place in an array of texts ------------------------------------------- */

enum { TOKENIZER = 1, FORMAT, SPLIT, GROUP_BY, VAL, TUNE, STRICT, FORCE, CHECKED, SEED, CONTEXT, FIRST,
	HELP = 'h', NUMBER = 'n', OUTPUT = 'o', N_TEXTS = 128 };

struct arguments {
	const char *text[N_TEXTS];	/* NULL: not given; "": given without a value */
	char **rest;			/* what is no option */
	int n_rest;
};

static bool parse(struct arguments *a, int argc, char **argv, const char *letters,
	const struct option *options)
{
	int c;

	*a = (struct arguments){0};
	optind = 0;	/* the GNU way to say: from the start, forget the last scan */
	while ((c = getopt_long(argc, argv, letters, options, NULL)) != -1) {
		if (c == '?')
			return false;
		a->text[c] = optarg ? optarg : "";
	}
	a->rest = argv + optind;
	a->n_rest = argc - optind;
	return true;
}

/* A number of an option that may be left out; false after a message. */
static bool number(const char *name, const char *text, long min, long max, long *value)
{
	long long n = *value;

	if (text && (!str_to_long(text, &n) || n < min || n > max)) {
		error("%s %s: not a whole number from %ld to %ld", name, text, min, max);
		return false;
	}
	*value = (long)n;
	return true;
}

static bool share(const char *name, const char *text, double *value)
{
	*value = -1;
	if (!text || (str_to_double(text, value) && *value >= 0 && *value < 1))
		return true;
	error("%s %s: not a number from 0 to below 1", name, text);
	return false;
}

/* --- import --------------------------------------------------------------------------------------- */

static volatile sig_atomic_t stop_signal;

static void on_signal(int n)
{
	stop_signal = n;
}

static int import(const struct import_options *o)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
	int ret;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	ret = data_import(o);
	if (ret && stop_signal)
		return 128 + stop_signal;
	if (ret == IMPORT_UNWRITTEN)
		return EXIT_ENVIRONMENT;
	return ret ? EXIT_USAGE : EXIT_DONE;
}

static int run_import(int argc, char **argv)
{
	static const struct option options[] = {
		{"output", 1, NULL, OUTPUT}, {"tokenizer", 1, NULL, TOKENIZER},
		{"format", 1, NULL, FORMAT}, {"split", 1, NULL, SPLIT}, {"group-by", 1, NULL, GROUP_BY},
		{"val", 1, NULL, VAL}, {"tune", 1, NULL, TUNE}, {"strict", 0, NULL, STRICT},
		{"force", 0, NULL, FORCE}, {"help", 0, NULL, HELP}, {0}};
	struct arguments a;

	if (!parse(&a, argc, argv, "o:h", options))
		return EXIT_USAGE;
	if (a.text[HELP])
		return usage(stdout, EXIT_DONE);
	if (!a.n_rest || !a.text[OUTPUT] || !a.text[TOKENIZER]) {
		error("data import: needs an input, --tokenizer NAME and -o DIR");
		return EXIT_USAGE;
	}
	struct import_options o = {
		.inputs = (const char *const *)a.rest, .n_inputs = a.n_rest,
		.output = a.text[OUTPUT], .tokenizer = a.text[TOKENIZER], .format = a.text[FORMAT],
		.split = a.text[SPLIT], .group_by = a.text[GROUP_BY], .strict = a.text[STRICT],
		.force = a.text[FORCE], .stop = &stop_signal,
	};
	if (!share("--val", a.text[VAL], &o.val) || !share("--tune", a.text[TUNE], &o.tune))
		return EXIT_USAGE;
	return import(&o);
}

/* --- info ----------------------------------------------------------------------------------------- */

static void print_info(const struct dataset *d)
{
	char tokens[32], documents[32], bytes[32];

	printf("%s: tokenizer %s, vocabulary %d, hash %s\n", d->folder, d->tokenizer, d->vocab, d->hash);
	printf("%-6s %16s %14s %18s %12s\n", "split", "tokens", "documents", "bytes", "bytes/token");
	for (enum split i = 0; i < N_SPLITS; i++) {
		const struct dataset_split *s = &d->splits[i];
		printf("%-6s %16s %14s %18s %12.4f\n", split_name(i), str_count(s->n_tokens, tokens),
			str_count(s->n_documents, documents), str_count(s->n_bytes, bytes),
			s->n_tokens ? (double)s->n_bytes / (double)s->n_tokens : 0.0);
	}
	printf("origin: %s/dataset.json\n", d->folder);
}

static int run_info(int argc, char **argv)
{
	static const struct option options[] = {
		{"check", 0, NULL, CHECKED}, {"help", 0, NULL, HELP}, {0}};
	struct arguments a;
	struct dataset d;
	int ret = 0;

	if (!parse(&a, argc, argv, "h", options))
		return EXIT_USAGE;
	if (a.text[HELP] || a.n_rest != 1)
		return a.text[HELP] ? usage(stdout, EXIT_DONE) : usage(stderr, EXIT_USAGE);
	if (dataset_open(&d, a.rest[0]))
		return EXIT_USAGE;
	print_info(&d);
	if (a.text[CHECKED]) {
		ret = dataset_verify(&d);
		if (!ret)
			puts("checked: all tokens are as imported");
	}
	dataset_close(&d);
	return ret ? EXIT_USAGE : EXIT_DONE;
}

/* --- batches -------------------------------------------------------------------------------------- */

static void print_escaped(const struct str *s)
{
	for (size_t i = 0; i < s->length; i++) {
		unsigned char c = (unsigned char)s->text[i];
		if (c == '\n')
			fputs("\\n", stdout);
		else if (c == '\t')
			fputs("\\t", stdout);
		else if (c == '\\')
			fputs("\\\\", stdout);
		else if (c < ' ' || c > '~')
			printf("\\x%02x", c);
		else
			putchar(c);
	}
}

static void print_sequence(const struct tokenizer *t, const int32_t *ids, long n)
{
	struct str text;

	str_init(&text);
	for (long i = 0; i < n; i++) {
		str_clear(&text);
		tokenizer_decode(t, &ids[i], 1, &text);
		print_escaped(&text);
		if (ids[i] == t->type->eot)
			fputs("\\E", stdout);
	}
	putchar('\n');
	str_release(&text);
}

static int print_batches(const struct sequences *s, long first, long n)
{
	size_t T = (size_t)s->context;
	int32_t *ids = xmalloc(2 * T * sizeof *ids);
	struct tokenizer t;
	int ret = tokenizer_open(&t, s->dataset->tokenizer);

	for (long i = first; i < first + n && !ret; i++) {
		ret = sequences_read(s, i, 1, ids, ids + T);
		if (ret)
			break;
		printf("%ld\t", i);
		print_sequence(&t, ids, s->context);
	}
	tokenizer_close(&t);
	free(ids);
	return ret;
}

/* false after a message. */
static bool find_split(const char *name, enum split *split)
{
	for (enum split s = 0; s < N_SPLITS; s++)
		if (!strcmp(name, split_name(s))) {
			*split = s;
			return true;
		}
	error("--split %s: not train, val or tune", name);
	return false;
}

static int run_batches(int argc, char **argv)
{
	static const struct option options[] = {
		{"split", 1, NULL, SPLIT}, {"seed", 1, NULL, SEED}, {"context", 1, NULL, CONTEXT},
		{"first", 1, NULL, FIRST}, {"help", 0, NULL, HELP}, {0}};
	long seed = 1, context = 256, first = 0, n = 8;
	enum split split = SPLIT_TRAIN;
	struct sequences s;
	struct arguments a;
	struct dataset d;
	int ret;

	if (!parse(&a, argc, argv, "n:h", options))
		return EXIT_USAGE;
	if (a.text[HELP] || a.n_rest != 1)
		return a.text[HELP] ? usage(stdout, EXIT_DONE) : usage(stderr, EXIT_USAGE);
	if (!number("--seed", a.text[SEED], 0, INT64_MAX, &seed) ||
		!number("--context", a.text[CONTEXT], 1, 1 << 24, &context) ||
		!number("--first", a.text[FIRST], 0, INT64_MAX / 2, &first) ||
		!number("-n", a.text[NUMBER], 0, INT64_MAX / 2, &n) ||
		(a.text[SPLIT] && !find_split(a.text[SPLIT], &split)))
		return EXIT_USAGE;
	if (dataset_open(&d, a.rest[0]))
		return EXIT_USAGE;
	ret = sequences_init(&s, &d, split, (int)context, (uint64_t)seed);
	if (!ret)
		ret = print_batches(&s, first, n);
	dataset_close(&d);
	return ret ? EXIT_USAGE : EXIT_DONE;
}

/* -------------------------------------------------------------------------------------------------- */

static int run(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(int argc, char **argv);
	} commands[] = {{"import", run_import}, {"info", run_info}, {"batches", run_batches}};

	if (argc < 2)
		return usage(stderr, EXIT_USAGE);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i].name, argv[1]))
			return commands[i].run(argc - 1, argv + 1);
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return usage(stdout, EXIT_DONE);
	error("data: no subcommand \"%s\" (there is: import, info, batches)", argv[1]);
	return EXIT_USAGE;
}

extern const struct cmd cmd_data;
const struct cmd cmd_data = {
	.name = "data", .arguments = "import INPUT... -o DIR | info DIR | batches DIR",
	.help = "make and look at datasets", .run = run,
};
