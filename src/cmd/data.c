/* moelab data import | make | images | series | ask | info | batches */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/data.h"
#include "cmd/options.h"
#include "data/dataset.h"
#include "data/import.h"
#include "data/manifest.h"
#include "data/order.h"
#include "data/tokenizer.h"

/* --- import -------------------------------------------------------------------------------- */

#define HELP_INDENT "                             "	/* as options_help() indents */

static volatile sig_atomic_t stop_signal;

static void on_signal(int n)
{
	stop_signal = n;
}

static int import(struct import_options *o)
{
	struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESETHAND};
	int ret;

	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	o->stop = &stop_signal;
	ret = data_import(o);
	return ret && stop_signal ? 128 + stop_signal : data_exit(ret);
}

int data_exit(int ret)
{
	return ret == DATASET_UNWRITTEN ? EXIT_ENVIRONMENT : ret ? EXIT_USAGE : EXIT_DONE;
}

int data_read_share(const struct cmd *cmd, const char *option, const char *text, double *share)
{
	if (text && (!str_to_double(text, share) || !(*share >= 0 && *share < 1)))
		return error("%s: %s %s: not a share from 0 to below 1", cmd->name, option, text);
	return 0;
}

static int run_import(const struct cmd *cmd, int argc, char **argv)
{
	struct import_options o = {.val = -1, .tune = -1};	/* not given */
	const char *val = NULL, *tune = NULL;
	const struct option_row rows[] = {
		{"output", 'o', "DIR", "the dataset to make", .text = &o.output},
		{"tokenizer", 0, "NAME", "a wrong one lists those there are", .text = &o.tokenizer},
		{"format", 0, "FORMAT", "text, jsonl ({\"text\": .., \"url\": ..}); default: by\n"
			HELP_INDENT "content; tokens of other programs: nanogpt, llmc", .text = &o.format},
		{"split", 0, "RULE", "how text is cut into documents: blank[:BYTES] (default),\n"
			HELP_INDENT "entry[:BYTES], line, file, =TEXT", .text = &o.split},
		{"group-by", 0, "RULE", "what stays together: block[:BYTES] (default of text),\n"
			HELP_INDENT "file, url-host (default of jsonl), url[:DEPTH], document;\n"
			HELP_INDENT "PATTERN=RULE,..,RULE: by the pattern that fits the url",
			.text = &o.group_by},
		{"val", 0, "SHARE", "held out for evaluation; default: 2 MiB, but 0.001 to 0.05",
			.text = &val},
		{"tune", 0, "SHARE", "held out for choosing learning rates; default as val",
			.text = &tune},
		{"threads", 'T', "T", "threads; default: one a core; the result is the same",
			.number = &o.threads},
		{"strict", 0, NULL, "a bad JSON line is an error, not skipped", .flag = &o.strict},
		{"lenient", 0, NULL, "skip bad JSON lines even if they are more than 1 %",
			.flag = &o.lenient},
		{"force", 0, NULL, "replace an existing dataset", .flag = &o.force},
		{0},
	};
	struct arguments a;
	int ret = options_parse(cmd, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_overrides)
		return error("data import: write ./%s if that is an input", a.overrides[0]), EXIT_USAGE;
	if (!a.n_words || !o.output || !o.tokenizer)
		return error("data import: needs an input, --tokenizer NAME and -o DIR"), EXIT_USAGE;
	if (data_read_share(cmd, "--val", val, &o.val) || data_read_share(cmd, "--tune", tune, &o.tune))
		return EXIT_USAGE;
	o.inputs = a.words;
	o.n_inputs = a.n_words;
	return import(&o);
}

/* --- info ---------------------------------------------------------------------------------- */

static void print_info(const struct dataset *d)
{
	char tokens[32], documents[32], bytes[32];

	printf("%s: tokenizer %s, vocabulary %d, hash %s\n", d->folder, d->tokenizer, d->vocab,
		d->hash);
	printf("%-6s %16s %14s %18s %12s\n", "split", "tokens", "documents", "bytes",
		"bytes/token");
	for (int i = 0; i < N_SPLITS; i++) {
		const struct dataset_split *s = &d->splits[i];
		printf("%-6s %16s %14s %18s %12.4f\n", s->name,
			str_count(s->n_tokens, tokens), str_count(s->n_documents, documents),
			str_count(s->n_bytes, bytes),
			s->n_tokens ? (double)s->n_bytes / (double)s->n_tokens : 0.0);
	}
	printf("origin: %s/dataset.json\n", d->folder);
}

/* Of a task: rows of examples, and the test sets. */
static void print_rows(const struct dataset *d)
{
	char rows[32];

	printf("%s: examples, tokens %s, vocabulary %d, hash %s\n", d->folder, d->tokenizer, d->vocab, d->hash);
	printf("%-16s %14s %14s\n", "split", "rows", "tokens a row");
	for (int i = 0; i < d->n_splits; i++) {
		const struct dataset_split *s = &d->splits[i];
		printf("%s%-*s %14s %14ld\n", s->length ? "test " : "", s->length ? 11 : 16, s->name,
			str_count(s->n_documents, rows), s->row);
	}
	printf("origin: %s/dataset.json\n", d->folder);
}

static long sum(const long n[N_SPLITS])
{
	return n[SPLIT_TRAIN] + n[SPLIT_VAL] + n[SPLIT_TUNE];
}

/* A line for each input of the import; shares are of the tokens of all splits. */
static int print_sources(const struct dataset *d)
{
	struct manifest_source *sources;
	int n = manifest_sources(d->folder, &sources);
	char tokens[32], documents[32], val[32], tune[32];
	long all = 0;

	if (n < 0)
		return -1;
	for (int i = 0; i < n; i++)
		all += sum(sources[i].n_tokens);
	printf("%16s %8s %14s %14s %14s  source\n", "tokens", "share", "documents", "val", "tune");
	for (int i = 0; i < n; i++) {
		const struct manifest_source *s = &sources[i];
		printf("%16s %6.2f %% %14s %14s %14s  %s\n",
			str_count(sum(s->n_tokens), tokens),
			all ? 100.0 * (double)sum(s->n_tokens) / (double)all : 0.0,
			str_count(sum(s->n_documents), documents),
			str_count(s->n_tokens[SPLIT_VAL], val),
			str_count(s->n_tokens[SPLIT_TUNE], tune), path_name(s->name));
		free(s->name);
	}
	free(sources);
	return 0;
}

/* The one argument of info and batches, opened. 0, or -1 after a message. */
static int open_argument(struct dataset *d, const struct cmd *cmd, const struct arguments *a)
{
	if (a->n_words != 1 || a->n_overrides)
		return error("%s: needs one folder of a dataset", cmd->name);
	return dataset_open(d, a->words[0]);
}

static int run_info(const struct cmd *cmd, int argc, char **argv)
{
	bool check = false, sources = false;
	const struct option_row rows[] = {
		{"sources", 0, NULL, "what came of each input of the import, and its share",
			.flag = &sources},
		{"check", 0, NULL, "read all tokens and compare their hashes", .flag = &check},
		{0},
	};
	struct arguments a;
	struct dataset d;
	int ret = options_parse(cmd, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (open_argument(&d, cmd, &a))
		return EXIT_USAGE;
	(d.splits[SPLIT_TRAIN].row ? print_rows : print_info)(&d);
	ret = sources ? print_sources(&d) : 0;
	if (check && !ret) {
		ret = dataset_verify(&d);
		if (!ret)
			puts("checked: all tokens are as imported");
	}
	dataset_close(&d);
	return ret ? EXIT_USAGE : EXIT_DONE;
}

/* --- batches ------------------------------------------------------------------------------- */

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

/* The inputs, then what follows the last: its targets are those but the first. */
static void print_ids(const int32_t *ids, const int32_t *targets, long n)
{
	for (long i = 0; i < n; i++)
		printf("%d ", ids[i]);
	printf("%d\n", targets[n - 1]);
}

/* A row of a task: its tokens, each with what is asked there, "7>12". */
static void print_row(const struct sequences *s, const int32_t *ids, const int32_t *targets)
{
	long n = s->context;

	while (n && ids[n - 1] == s->dataset->eot && targets[n - 1] < 0)
		n--;	/* what fills it up */
	for (long i = 0; i < n; i++) {
		printf("%s%d", i ? " " : "", ids[i]);
		if (targets[i] >= 0)
			printf(">%d", targets[i]);
	}
	putchar('\n');
}

static int print_batches(const struct sequences *s, long first, long n, bool as_ids)
{
	size_t T = (size_t)s->context;
	int32_t *ids = xmalloc(2 * T * sizeof *ids);
	bool rows = s->dataset->splits[s->split].row > 0;
	struct tokenizer t = {.type = NULL};
	int ret = rows ? 0 : tokenizer_open(&t, s->dataset->tokenizer);

	for (long i = first; i < first + n && !ret; i++) {
		ret = sequences_read(s, i, 1, ids, ids + T);
		if (ret)
			break;
		printf("%ld\t", i);
		if (rows)
			print_row(s, ids, ids + T);
		else if (as_ids)
			print_ids(ids, ids + T, s->context);
		else
			print_sequence(&t, ids, s->context);
	}
	if (!rows)
		tokenizer_close(&t);
	free(ids);
	return ret;
}

/* context 0: that of the dataset's rows, or 256. 0, or -1 after a message. */
static int open_sequences(struct sequences *s, const struct dataset *d, const char *name, long context, long seed)
{
	enum split split;

	if (dataset_find_split(d, name, &split))
		return -1;
	if (!context)
		context = d->splits[split].row ? d->splits[split].row : 256;
	return sequences_init(s, d, split, (int)context, (uint64_t)seed);
}

static int run_batches(const struct cmd *cmd, int argc, char **argv)
{
	long seed = 1, context = 0, first = 0, n = 8, streams = 16;
	const char *name = "train", *sampling_name = "shuffle";
	bool ids = false;
	const struct option_row rows[] = {
		{"split", 0, "NAME", "train (default), val, tune, or a test set of a task", .text = &name},
		{"sampling", 0, "RULE", "shuffle (default), paper or stream", .text = &sampling_name},
		{"seed", 0, "S", "of the order (default 1)", .number = &seed},
		{"batch", 0, "B", "streams side by side, of --sampling stream (default 16)", .number = &streams},
		{"context", 0, "T", "tokens of a sequence (default 256; of a task its rows')",
			.number = &context},
		{"first", 0, "I", "number of the first one, counted from 0", .number = &first},
		{"number", 'n', "N", "how many (default 8)", .number = &n},
		{"ids", 0, NULL, "the numbers of T tokens and the one after them", .flag = &ids},
		{0},
	};
	enum sampling sampling;
	struct sequences s;
	struct arguments a;
	struct dataset d;
	int ret = options_parse(cmd, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (context > 1 << 24)
		return error("--context %ld: not from 1 to %d", context, 1 << 24), EXIT_USAGE;
	if (streams < 1)
		return error("--batch %ld: not 1 or more", streams), EXIT_USAGE;
	if (sampling_parse(&sampling, sampling_name) || open_argument(&d, cmd, &a))
		return EXIT_USAGE;
	ret = open_sequences(&s, &d, name, context, seed);
	if (!ret) {
		ret = sequences_sample(&s, sampling, streams) || print_batches(&s, first, n, ids);
		sequences_release(&s);
	}
	dataset_close(&d);
	return ret ? EXIT_USAGE : EXIT_DONE;
}

/* ------------------------------------------------------------------------------------------- */

static const struct subcommand {
	const char *word;
	struct cmd cmd;		/* for its help; it is run with the function below */
	int (*run)(const struct cmd *cmd, int argc, char **argv);
} subcommands[] = {
	{"import", {.name = "data import", .arguments = "INPUT... --tokenizer NAME -o DIR",
		.help = "make a dataset of text or JSON lines, plain, gzip, xz or zstd;\n"
			"- is standard input"},
		run_import},
	{"make", {.name = "data make", .arguments = "[TASK [DIR [key=value...]]]",
		.help = "make a dataset of a task (recall, copying, images, a series); without DIR: tell its settings"},
		data_make_run},
	{"images", {.name = "data images", .arguments = "IMAGES LABELS [TEST_IMAGES TEST_LABELS] -o DIR",
		.help = "make rows of bytes, each with its class, of files in MNIST's form (IDX), plain or .gz"},
		data_images_run},
	{"series", {.name = "data series", .arguments = "FILE -o DIR",
		.help = "make windows of the columns of a CSV file, whose lines are steps in time, for forecasts"},
		data_series_run},
	{"ask", {.name = "data ask", .arguments = "DIR -o FILE",
		.help = "questions of a dataset's held-out text, which `moelab eval RUN --questions FILE` asks:\n"
			"word order, a missing word among others as frequent, the last word of a sentence, a text once more,\n"
			"one word exchanged: agreement, article, pronoun"},
		data_ask_run},
	{"info", {.name = "data info", .arguments = "DIR",
		.help = "size and identity of a dataset"}, run_info},
	{"batches", {.name = "data batches", .arguments = "DIR",
		.help = "print sequences in training order, one a line: number, text with escapes\n"
			"(\\E is the end of a document); of a task ids, each with its target: 7>12"}, run_batches},
};

static int no_subcommand(const char *word)
{
	struct str words;

	str_init(&words);
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++)
		str_add_item(&words, "%s", subcommands[i].word);
	error("data: no subcommand \"%s\" (there is: %s)", word, words.text);
	str_release(&words);
	return EXIT_USAGE;
}

static int run(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < ARRAY_SIZE(subcommands); i++)
		if (!strcmp(subcommands[i].word, argv[1]))
			return subcommands[i].run(&subcommands[i].cmd, argc - 1, argv + 1);
	if (argc > 1 && strcmp(argv[1], "--help") && strcmp(argv[1], "-h"))
		return no_subcommand(argv[1]);
	for (size_t i = 0; i < ARRAY_SIZE(subcommands); i++)
		printf("usage: moelab %s %s\n\t%s\n", subcommands[i].cmd.name,
			subcommands[i].cmd.arguments, subcommands[i].cmd.help);
	return argc > 1 ? EXIT_DONE : EXIT_USAGE;
}

const struct cmd cmd_data = {
	.name = "data", .arguments = "import INPUT... -o DIR | make TASK DIR | images IMAGES LABELS -o DIR | "
		"series FILE -o DIR | ask DIR -o FILE | info DIR | batches DIR",
	.help = "make datasets of text, tasks, images or series, and look at them", .run = run,
};
