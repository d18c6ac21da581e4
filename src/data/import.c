#include "data/import.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/cpu.h"
#include "base/error.h"
#include "base/path.h"
#include "base/str.h"
#include "data/batch.h"
#include "data/choices.h"
#include "data/input.h"
#include "data/manifest.h"
#include "data/pipeline.h"

static const double HELD_OUT_BYTES = 2 << 20, HELD_OUT_MIN = 0.001, HELD_OUT_MAX = 0.05,
	HELD_OUT_UNKNOWN = 0.01;
enum { FILE_TOKENS = 1 << 30, THREADS_MAX = 1024 };
enum { HELD_MAX = 64 << 20 };		/* bytes a thread of tokens that wait to be written */

struct import_input {
	struct source_size size;
	bool whole_val;
	struct input *open;	/* while it is read */
	json_t *origin;		/* afterwards */
	long n_bad_lines, n_without_url;
	enum form form;
};

struct import {
	const struct import_options *options;
	struct input_rule rule;
	struct group_rules group;	/* given; none: rule.group is NULL */
	struct tokenizer *tokenizers;	/* by thread; the first is opened at the start, the others
					   when they are needed */
	int n_threads;
	uint8_t *id_bytes;		/* of tokens as input: bytes of text of each id */
	struct choices choices;
	struct import_input *inputs;
	long stored, stored_done;	/* bytes of all inputs (0: unknown), of those written */
	bool terminal;			/* stderr is one */
	double start_s, shown_s;
};

/* --- progress ------------------------------------------------------------------------------ */

/* Whatever the grouping, the sums over all splits are the same. */
static long n_bytes(const struct import *im)
{
	const struct dataset_split *s = im->choices.writer[0].d.splits;

	return s[SPLIT_TRAIN].n_bytes + s[SPLIT_VAL].n_bytes + s[SPLIT_TUNE].n_bytes;
}

static long n_documents(const struct import *im)
{
	const struct dataset_split *s = im->choices.writer[0].d.splits;

	return s[SPLIT_TRAIN].n_documents + s[SPLIT_VAL].n_documents + s[SPLIT_TUNE].n_documents;
}

static void progress_line(const struct import *im, double now_s, struct str *line)
{
	char text[32], rate[32], count[32];
	double bytes = (double)n_bytes(im);

	str_add(line, "import: ");
	if (im->stored)
		str_printf(line, "%.0f %%, ",
			100.0 * (double)im->stored_done / (double)im->stored);
	str_printf(line, "%s of text, %s documents, %s/s", str_bytes(bytes, text),
		str_count(n_documents(im), count),
		str_bytes(bytes / (now_s - im->start_s + 1e-9), rate));
}

/* On a terminal one line that moves; else a line every ten seconds. */
static void show_progress(struct import *im)
{
	double now_s = clock_s();
	struct str line;

	if (log_level < LOG_NORMAL || now_s - im->shown_s < (im->terminal ? 0.2 : 10.0))
		return;
	im->shown_s = now_s;
	str_init(&line);
	progress_line(im, now_s, &line);
	if (im->terminal)
		fprintf(stderr, "%s\033[K\r", line.text);	/* the next line overwrites it */
	else
		info("%s", line.text);
	str_release(&line);
}

static void clear_progress(const struct import *im)
{
	if (log_level >= LOG_NORMAL && im->terminal)
		fputs("\033[K", stderr);
}

/* --- the steps of the pipeline ------------------------------------------------------------- */

static int end_input(struct import_input *in)
{
	struct input *open = in->open;

	if (document_check_lines(&open->reader))
		return -1;
	in->origin = input_origin(open);
	in->n_bad_lines = open->reader.n_bad_lines;
	in->n_without_url = open->grouping.n_without_url;
	in->form = open->reader.rule.form;
	input_close(open);
	in->open = NULL;
	return 0;
}

static int read_batch(void *context, int i, struct portion **portion)
{
	struct import *im = context;
	struct import_input *in = &im->inputs[i];
	struct batch *b;
	int got;

	if (!in->open)
		in->open = input_open(im->options->inputs[i], &im->rule, in->size.text,
			in->whole_val);
	if (!in->open)
		return -1;
	b = batch_new(im->choices.n);
	got = input_read(in->open, b);
	if (got > 0) {
		*portion = &b->portion;
		return 1;
	}
	batch_free(b);
	return got ? got : end_input(in);
}

static int encode_batch(void *context, int thread, struct portion *portion)
{
	struct import *im = context;
	struct tokenizer *t = &im->tokenizers[thread];
	struct batch *b = (struct batch *)portion;

	if (!t->type && tokenizer_open(t, im->options->tokenizer))
		return -1;
	if (im->id_bytes)
		return batch_adopt(b, im->options->inputs[portion->input], t->type, im->id_bytes);
	batch_encode(b, t);
	return 0;
}

static int write_batch(void *context, const struct portion *portion)
{
	const struct batch *b = (const struct batch *)portion;
	struct import *im = context;

	if (choices_add(&im->choices, b))
		return DATASET_UNWRITTEN;
	im->stored_done += b->n_stored;
	show_progress(im);
	return 0;
}

static void free_batch(struct portion *portion)
{
	batch_free((struct batch *)portion);
}

static int import_inputs(struct import *im)
{
	struct pipeline p = {.context = im, .n_inputs = im->options->n_inputs,
		.n_threads = im->n_threads, .held_max = (size_t)im->n_threads * HELD_MAX,
		.stop = im->options->stop, .read = read_batch, .work = encode_batch,
		.write = write_batch, .free_portion = free_batch};
	int ret = pipeline_run(&p);

	clear_progress(im);
	if (ret && im->options->stop && *im->options->stop)
		error("import interrupted: nothing was written");
	return ret;
}

/* --- the whole ----------------------------------------------------------------------------- */

/* Sizes of all inputs; text is set to their sum, 0 if one is unknown. */
static int measure(struct import *im, long *text)
{
	const struct import_options *o = im->options;
	bool known = true;

	*text = 0;
	for (int i = 0; i < o->n_inputs; i++) {
		struct source_size *size = &im->inputs[i].size;
		if (source_measure(o->inputs[i], size))
			return -1;
		known = known && size->stored;
		im->stored += size->stored;
		*text += size->text;
	}
	if (!known)
		im->stored = *text = 0;
	return 0;
}

static double held_out(double given, long text_bytes)
{
	double share = text_bytes ? HELD_OUT_BYTES / (double)text_bytes : HELD_OUT_UNKNOWN;

	if (!(given < 0))
		return given;
	return share < HELD_OUT_MIN ? HELD_OUT_MIN : share > HELD_OUT_MAX ? HELD_OUT_MAX : share;
}

/* Does the name of the file have the word "val"? */
static bool named_val(const char *path)
{
	static const char separators[] = "._-";
	const char *word = path_name(path);

	while (*word) {
		size_t n = strcspn(word, separators);
		if (n == 3 && !memcmp(word, "val", 3))
			return true;
		word += n + (word[n] != '\0');
	}
	return false;
}

/* What is held out: files of their own, or shares. */
static int choose_splits(struct import *im, long text_bytes)
{
	const struct import_options *o = im->options;
	struct input_rule *rule = &im->rule;
	bool given = false;

	for (int i = 0; i < o->n_inputs && form_is_tokens(rule->documents.form); i++) {
		im->inputs[i].whole_val = named_val(o->inputs[i]);
		given = given || im->inputs[i].whole_val;
	}
	rule->val = given && o->val < 0 ? 0.0 : held_out(o->val, text_bytes);
	rule->tune = held_out(o->tune, text_bytes);
	if (!(rule->val + rule->tune < 1.0))	/* not a number, too */
		return error("shares of val (%g) and tune (%g) leave nothing to train on",
			rule->val, rule->tune);
	return 0;
}

/* By id: how many bytes of text it stands for. */
static uint8_t *measure_ids(const struct tokenizer *t)
{
	uint8_t *id_bytes = xmalloc((size_t)t->type->vocab);
	struct str text;

	str_init(&text);
	for (int32_t id = 0; id < t->type->vocab; id++) {
		str_clear(&text);
		tokenizer_decode(t, &id, 1, &text);
		CHECK(text.length <= UINT8_MAX);
		id_bytes[id] = (uint8_t)text.length;
	}
	str_release(&text);
	return id_bytes;
}

static int check_options(struct import *im)
{
	const struct import_options *o = im->options;
	struct input_rule *rule = &im->rule;
	long text_bytes;

	if (form_parse(&rule->documents.form, o->format ? o->format : "text") ||
		cut_rule_parse(&rule->documents.cut, o->split ? o->split : "blank") ||
		(o->group_by && group_rules_parse(&im->group, o->group_by)) ||
		measure(im, &text_bytes) || choose_splits(im, text_bytes) ||
		tokenizer_open(&im->tokenizers[0], o->tokenizer))
		return -1;
	rule->form_by_content = !o->format;
	rule->group = o->group_by ? &im->group : NULL;
	rule->stop = o->stop;
	rule->documents.strict = o->strict;
	rule->documents.lenient = o->lenient;
	rule->documents.eot = im->tokenizers[0].type->eot;
	if (form_is_tokens(rule->documents.form))
		im->id_bytes = measure_ids(&im->tokenizers[0]);
	return 0;
}

static void want_splits(struct import *im)
{
	im->choices.wanted[SPLIT_TRAIN] = true;
	im->choices.wanted[SPLIT_VAL] = im->rule.val > 0;
	im->choices.wanted[SPLIT_TUNE] = im->rule.tune > 0;
}

static int check_result(const struct import *im)
{
	if (!n_documents(im))
		return error("empty corpus: no text in %s%s", im->options->inputs[0],
			im->options->n_inputs > 1 ? " and the other inputs" : "");
	if (choices_taken(&im->choices) < 0)
		return error("no group of documents fell into split %s (%ld documents in all): "
			"import more text, set --val and --tune (0: none), or a finer --group-by",
			split_name(choices_empty(&im->choices, im->choices.n - 1)),
			n_documents(im));
	return 0;
}

static long n_bad_lines(const struct import *im)
{
	long n = 0;

	for (int i = 0; i < im->options->n_inputs; i++)
		n += im->inputs[i].n_bad_lines;
	return n;
}

/* How documents were grouped: as asked for, or the choice taken by the forms there are. */
static void describe_grouping(const struct import *im, struct str *out)
{
	const int taken = choices_taken(&im->choices);
	const char *last = "";

	str_add(out, im->options->group_by ? im->options->group_by : "");
	for (int i = 0; i < im->options->n_inputs && !im->options->group_by; i++) {
		const char *name = group_choice_name(im->inputs[i].form, taken);
		if (strcmp(name, last) && !strstr(out->text, name))
			str_add_item(out, "%s", name);
		last = name;
	}
}

static json_t *source_json(const struct import *im, int i)
{
	const struct split_count *n = im->choices.counts[choices_taken(&im->choices)][i];
	json_t *splits = json_object(), *source = im->inputs[i].origin;

	for (enum split s = 0; s < N_SPLITS; s++)
		json_object_set_new(splits, split_name(s), json_pack("{sI sI sI}", "tokens",
			(json_int_t)n[s].n_tokens, "documents", (json_int_t)n[s].n_documents,
			"bytes", (json_int_t)n[s].n_bytes));
	json_object_set_new(source, "splits", splits);
	return source;
}

static json_t *provenance(const struct import *im)
{
	const struct import_options *o = im->options;
	json_t *sources = json_array(), *json;
	struct str grouping;

	str_init(&grouping);
	describe_grouping(im, &grouping);
	for (int i = 0; i < o->n_inputs; i++)
		json_array_append(sources, source_json(im, i));
	json = json_pack("{so sI s{ss so so sf sf sb}}", "sources", sources,
		"bad_lines_skipped", (json_int_t)n_bad_lines(im), "options",
		"format", o->format ? o->format : "by content",
		"split", manifest_text(o->split ? o->split : "blank"),
		"group_by", manifest_text(grouping.text), "val", im->rule.val,
		"tune", im->rule.tune, "strict", o->strict);
	str_release(&grouping);
	return json;
}

/* What the user should know: that groups are finer than by default, or than by the rule. */
static void report_grouping(const struct import *im)
{
	const int taken = choices_taken(&im->choices);
	struct str grouping;
	long n = 0;

	str_init(&grouping);
	describe_grouping(im, &grouping);
	if (taken > 0)
		info("grouped by %s: of coarser groups too few are there for split %s",
			grouping.text, split_name(choices_empty(&im->choices, taken - 1)));
	for (int i = 0; i < im->options->n_inputs; i++)
		n += im->inputs[i].n_without_url;
	if (n && strcmp(grouping.text, "document"))
		info("%ld documents without url: each is grouped by its text", n);
	str_release(&grouping);
}

/* Groups go whole to a split, by chance: of few or uneven ones most of the text may be held out. */
static void report_shares(const struct import *im)
{
	const struct dataset *d = &im->choices.writer[choices_taken(&im->choices)].d;
	const double asked[N_SPLITS] = {[SPLIT_VAL] = im->rule.val, [SPLIT_TUNE] = im->rule.tune};

	for (enum split s = SPLIT_TRAIN + 1; s < N_SPLITS; s++)
		if (asked[s] < 0.5 && d->splits[s].n_tokens > d->splits[SPLIT_TRAIN].n_tokens)
			warning("split %s has more text than train, where %.3g of all was asked for: groups are few "
				"or uneven, a finer --group-by has more", split_name(s), asked[s]);
}

static void report(const struct import *im)
{
	const struct dataset *d = &im->choices.writer[choices_taken(&im->choices)].d;
	double seconds = clock_s() - im->start_s + 1e-9;
	char bytes[32], rate[32], count[32];

	report_grouping(im);
	info("%s: %s of text in %s documents, tokenizer %s, %.1f s, %s/s", im->options->output,
		str_bytes((double)n_bytes(im), bytes), str_count(n_documents(im), count),
		d->tokenizer, seconds, str_bytes((double)n_bytes(im) / seconds, rate));
	for (enum split s = 0; s < N_SPLITS; s++)
		info("  %-5s %15s tokens", split_name(s), str_count(d->splits[s].n_tokens, count));
	report_shares(im);
}

/* Write the grouping that is taken. */
static int commit(struct import *im)
{
	json_t *origin = provenance(im);
	int ret = dataset_writer_commit(&im->choices.writer[choices_taken(&im->choices)], origin);

	json_decref(origin);
	return ret ? DATASET_UNWRITTEN : 0;
}

static int run(struct import *im)
{
	const struct import_options *o = im->options;
	long file_tokens = o->file_tokens ? o->file_tokens : FILE_TOKENS;
	int ret;

	if (check_options(im))
		return -1;
	ret = choices_open(&im->choices, o->group_by ? 1 : GROUP_CHOICES, o->n_inputs, o->output, o->force,
		im->tokenizers[0].type, file_tokens);
	if (ret)
		return ret;
	want_splits(im);
	ret = import_inputs(im);
	if (!ret)
		ret = check_result(im);
	if (!ret)
		ret = commit(im);
	if (!ret)
		report(im);
	choices_release(&im->choices);
	return ret;
}

static void release(struct import *im)
{
	for (int i = 0; i < im->options->n_inputs; i++) {
		if (im->inputs[i].open)
			input_close(im->inputs[i].open);
		json_decref(im->inputs[i].origin);
	}
	for (int i = 0; i < im->n_threads; i++)
		if (im->tokenizers[i].type)
			tokenizer_close(&im->tokenizers[i]);
	group_rules_release(&im->group);
	free(im->tokenizers);
	free(im->inputs);
	free(im->id_bytes);
}

int data_import(const struct import_options *o)
{
	struct import im = {.options = o, .start_s = clock_s(), .terminal = isatty(STDERR_FILENO),
		.n_threads = o->threads ? (int)o->threads : cpu_cores()};
	int ret;

	if (o->n_inputs < 1 || !o->output)
		return error("data import: give at least one input, and the output folder");
	if (o->threads < 0 || o->threads > THREADS_MAX)
		return error("threads %ld: not from 1 to %d, or 0 for one a core", o->threads,
			THREADS_MAX);
	im.shown_s = im.start_s;
	im.tokenizers = xcalloc((size_t)im.n_threads, sizeof *im.tokenizers);
	im.inputs = xcalloc((size_t)o->n_inputs, sizeof *im.inputs);
	ret = run(&im);
	release(&im);
	return ret;
}
