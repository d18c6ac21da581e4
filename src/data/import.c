#include "data/import.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "data/dataset_writer.h"
#include "data/document.h"
#include "data/group.h"

static const double HELD_OUT_BYTES = 2 << 20, HELD_OUT_MIN = 0.001, HELD_OUT_MAX = 0.05,
	HELD_OUT_UNKNOWN = 0.01;
enum { FILE_TOKENS = 1 << 30 };

struct import {
	const struct import_options *options;
	struct cut_rule cut;
	struct group_rule group;
	double val, tune;
	struct tokenizer tokenizer;
	struct token_list tokens;	/* of the current document */
	struct dataset_writer writer;
	json_t *sources;		/* what was read, for dataset.json */
	struct source_size *sizes;	/* by input */
	long stored, stored_done;	/* bytes of all inputs (0: unknown), of those read whole */
	long n_bad_lines;
	bool terminal;			/* stderr is one */
	double start_s, shown_s;
};

/* --- progress ------------------------------------------------------------------------------ */

static long n_bytes(const struct import *im)
{
	const struct dataset_split *s = im->writer.d.splits;

	return s[SPLIT_TRAIN].n_bytes + s[SPLIT_VAL].n_bytes + s[SPLIT_TUNE].n_bytes;
}

static long n_documents(const struct import *im)
{
	const struct dataset_split *s = im->writer.d.splits;

	return s[SPLIT_TRAIN].n_documents + s[SPLIT_VAL].n_documents + s[SPLIT_TUNE].n_documents;
}

static void progress_line(const struct import *im, const struct source *source, double now_s,
	struct str *line)
{
	char text[32], rate[32], count[32];
	double bytes = (double)n_bytes(im);

	str_add(line, "import: ");
	if (im->stored)
		str_printf(line, "%.0f %%, ",
			100.0 * (double)(im->stored_done + source->n_bytes) / (double)im->stored);
	str_printf(line, "%s of text, %s documents, %s/s", str_bytes(bytes, text),
		str_count(n_documents(im), count),
		str_bytes(bytes / (now_s - im->start_s + 1e-9), rate));
}

/* On a terminal one line that moves; else a line every ten seconds. */
static void show_progress(struct import *im, const struct source *source)
{
	double now_s = clock_s();
	struct str line;

	if (log_level < LOG_NORMAL || now_s - im->shown_s < (im->terminal ? 0.2 : 10.0))
		return;
	im->shown_s = now_s;
	str_init(&line);
	progress_line(im, source, now_s, &line);
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

/* --- one input ----------------------------------------------------------------------------- */

static bool has_text(const struct document *d)
{
	for (size_t i = 0; i < d->n; i++)
		if (!isspace((unsigned char)d->text[i]))
			return true;
	return false;
}

static int add_document(struct import *im, struct grouping *g, const struct document *d)
{
	enum split split = group_split(group_position(g, d), im->val, im->tune);

	if (!has_text(d))
		return 0;
	im->tokens.n = 0;
	tokenizer_encode(&im->tokenizer, d->text, d->n, &im->tokens);
	token_list_add(&im->tokens, (uint16_t)im->tokenizer.type->eot);
	return dataset_writer_add(&im->writer, split, &im->tokens, d->n) ? IMPORT_UNWRITTEN : 0;
}

static int add_documents(struct import *im, struct source *source, struct document_reader *reader,
	struct grouping *g)
{
	struct document d;
	int more, ret = 0;

	while (!ret && (more = document_next(reader, &d)) > 0) {
		if (im->options->stop && *im->options->stop)
			return error("import interrupted: nothing was written");
		ret = add_document(im, g, &d);
		show_progress(im, source);
	}
	return ret ? ret : more;
}

static bool named_json(const char *name)
{
	static const char *const ends[] = {".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz",
		".ndjson.gz"};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (str_ends(name, ends[i]))
			return true;
	return false;
}

static bool is_json(const struct import_options *o, const struct source *source)
{
	if (o->format)
		return !strcmp(o->format, "jsonl");
	if (!strcmp(source->name, "-"))
		return source_starts(source, "{\"");
	return named_json(source->name);
}

/* Names and rules are any bytes, JSON is not. */
static json_t *text_json(const char *text)
{
	json_t *json = json_string(text);

	return json ? json : json_string("(not UTF-8)");
}

static void record_source(struct import *im, struct source *source)
{
	char hex[HASH_HEX];

	hash_close(source->hash, hex);
	source->hash = NULL;
	json_array_append_new(im->sources, json_pack("{so sI ss}", "name", text_json(source->name),
		"bytes", (json_int_t)source->n_bytes, "hash", hex));
	im->stored_done += source->n_bytes;
}

static int import_input(struct import *im, int i)
{
	const struct import_options *o = im->options;
	struct group_rule group = im->group;
	struct document_reader reader;
	struct grouping grouping;
	struct source source;
	bool json;
	int ret;

	if (source_open(&source, o->inputs[i]))
		return -1;
	json = is_json(o, &source);
	if (!o->group_by)
		group.by = json ? GROUP_URL_HOST : GROUP_BLOCK;
	grouping_init(&grouping, &group, source.name, im->sizes[i].text);
	document_reader_init(&reader, &source, json ? NULL : &im->cut, o->strict);
	ret = add_documents(im, &source, &reader, &grouping);
	clear_progress(im);
	im->n_bad_lines += reader.n_bad_lines;
	document_reader_release(&reader);
	if (!ret)
		record_source(im, &source);
	source_close(&source);
	return ret;
}

/* --- the whole ----------------------------------------------------------------------------- */

/* Sizes of all inputs; text is set to their sum, 0 if one is unknown. */
static int measure(struct import *im, long *text)
{
	const struct import_options *o = im->options;
	bool known = true;

	im->sizes = xcalloc((size_t)o->n_inputs, sizeof *im->sizes);
	*text = 0;
	for (int i = 0; i < o->n_inputs; i++) {
		if (source_measure(o->inputs[i], &im->sizes[i]))
			return -1;
		known = known && im->sizes[i].stored;
		im->stored += im->sizes[i].stored;
		*text += im->sizes[i].text;
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

static int check_options(struct import *im)
{
	const struct import_options *o = im->options;
	long text_bytes;

	if (o->n_inputs < 1 || !o->output)
		return error("data import: give at least one input, and the output folder");
	if (o->format && strcmp(o->format, "text") && strcmp(o->format, "jsonl"))
		return error("format \"%s\": not text or jsonl", o->format);
	if (cut_rule_parse(&im->cut, o->split ? o->split : "blank") ||
		group_rule_parse(&im->group, o->group_by ? o->group_by : "block"))
		return -1;
	if (measure(im, &text_bytes))
		return -1;
	im->val = held_out(o->val, text_bytes);
	im->tune = held_out(o->tune, text_bytes);
	if (!(im->val + im->tune < 1.0))	/* not a number, too */
		return error("shares of val (%g) and tune (%g) leave nothing to train on", im->val,
			im->tune);
	return tokenizer_open(&im->tokenizer, o->tokenizer);
}

static int check_result(const struct import *im)
{
	const struct dataset_split *splits = im->writer.d.splits;
	const double shares[N_SPLITS] = {1.0 - im->val - im->tune, im->val, im->tune};

	if (!n_documents(im))
		return error("empty corpus: no text in %s%s", im->options->inputs[0],
			im->options->n_inputs > 1 ? " and the other inputs" : "");
	for (enum split s = 0; s < N_SPLITS; s++)
		if (shares[s] > 0 && !splits[s].n_documents)
			return error("no group of documents fell into split %s (%ld documents in "
				"all): import more text, set --val and --tune (0: none), or a "
				"finer --group-by", split_name(s), n_documents(im));
	return 0;
}

static json_t *provenance(const struct import *im)
{
	const struct import_options *o = im->options;

	return json_pack("{sO sI s{ss so ss sf sf sb}}", "sources", im->sources,
		"bad_lines_skipped", (json_int_t)im->n_bad_lines, "options",
		"format", o->format ? o->format : "by name",
		"split", text_json(o->split ? o->split : "blank"),
		"group_by", o->group_by ? o->group_by : "by format", "val", im->val,
		"tune", im->tune, "strict", o->strict);
}

static void report(const struct import *im, const struct dataset_split *splits)
{
	double seconds = clock_s() - im->start_s + 1e-9;
	char bytes[32], rate[32], count[32];

	if (im->n_bad_lines)
		warning("%ld bad JSON lines were skipped", im->n_bad_lines);
	info("%s: %s of text in %s documents, tokenizer %s, %.1f s, %s/s", im->options->output,
		str_bytes((double)n_bytes(im), bytes), str_count(n_documents(im), count),
		im->tokenizer.type->name, seconds, str_bytes((double)n_bytes(im) / seconds, rate));
	for (enum split s = 0; s < N_SPLITS; s++)
		info("  %-5s %15s tokens", split_name(s), str_count(splits[s].n_tokens, count));
}

static int run(struct import *im)
{
	const struct import_options *o = im->options;
	long file_tokens = o->file_tokens ? o->file_tokens : FILE_TOKENS;
	json_t *origin;
	int ret = 0;

	if (check_options(im) || dataset_writer_open(&im->writer, o->output, o->force,
		im->tokenizer.type, file_tokens))
		return -1;
	for (int i = 0; i < o->n_inputs && !ret; i++)
		ret = import_input(im, i);
	if (!ret)
		ret = check_result(im);
	if (!ret) {
		origin = provenance(im);
		ret = dataset_writer_commit(&im->writer, origin) ? IMPORT_UNWRITTEN : 0;
		json_decref(origin);
	}
	if (!ret)
		report(im, im->writer.d.splits);
	dataset_writer_release(&im->writer);
	return ret;
}

int data_import(const struct import_options *o)
{
	struct import im = {.options = o, .sources = json_array(), .start_s = clock_s(),
		.terminal = isatty(STDERR_FILENO)};
	int ret;

	im.shown_s = im.start_s;
	ret = run(&im);
	if (im.tokenizer.type)
		tokenizer_close(&im.tokenizer);
	token_list_release(&im.tokens);
	json_decref(im.sources);
	free(im.sizes);
	return ret;
}
