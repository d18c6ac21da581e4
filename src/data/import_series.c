#include "data/import_series.h"

#include <math.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/half.h"
#include "data/dataset_writer.h"
#include "data/manifest.h"

enum { CHUNK_TOKENS = 1 << 20, FILE_TOKENS = 1 << 30 };

struct part {			/* of time: steps begin .. end - 1 are asked for */
	long begin, end;
	const char *what;	/* they are to do */
};

struct windows {
	const struct series_options *o;
	const struct csv *from;
	double *mean, *deviation;	/* of each column, to train */
	struct part train, tune, val, test;
};

static void cut_time(struct windows *w)
{
	const struct series_options *o = w->o;
	double n = (double)w->from->n_lines;
	long test = lround(n * (1 - o->test)), val = lround(n * (1 - o->test - o->val));
	long tune = lround(n * (1 - o->test - o->val - o->tune));

	w->train = (struct part){0, tune, "train"};
	w->tune = (struct part){tune, val, "tune"};
	w->val = (struct part){val, test, "validate"};
	w->test = (struct part){test, w->from->n_lines, "test"};
}

static int check_part(const struct windows *w, const struct part *p, long horizon)
{
	long least = p->begin < w->o->known ? w->o->known : p->begin;

	return p->end - least >= horizon ? 0 : error("%s: %ld of its %ld steps are to %s, too few for %ld known values "
		"and a horizon of %ld", w->o->input, p->end - p->begin, w->from->n_lines, p->what, w->o->known, horizon);
}

static int check_parts(const struct windows *w)
{
	const struct series_options *o = w->o;

	if (check_part(w, &w->train, o->horizons[0]) || check_part(w, &w->val, o->horizons[0]) ||
		(o->tune > 0 && check_part(w, &w->tune, o->horizons[0])))
		return -1;
	for (int i = 0; i < o->n_horizons && o->test > 0; i++)
		if (check_part(w, &w->test, o->horizons[i]))
			return -1;
	return 0;
}

/* A column that does not change is only moved, by its value to the last bit. */
static int scale_column(struct windows *w, int c)
{
	const struct csv *f = w->from;
	double sum = 0, square = 0, least = INFINITY, most = -INFINITY;
	long n = 0;

	for (long t = w->train.begin; t < w->train.end; t++) {
		double x = csv_at(f, t, c);
		n += !isnan(x);
		sum += isnan(x) ? 0 : x;
		least = fmin(least, x);
		most = fmax(most, x);
	}
	if (!n)
		return error("%s: column \"%s\", %d of %d, has no value among the %ld steps to train: leave it out",
			w->o->input, f->names[c], c + 1, f->n_columns, w->train.end);
	w->mean[c] = least == most ? least : sum / (double)n;
	for (long t = w->train.begin; t < w->train.end; t++) {
		double x = csv_at(f, t, c) - w->mean[c];
		square += isnan(x) ? 0 : x * x;
	}
	w->deviation[c] = square > 0 ? sqrt(square / (double)n) : 1;
	return 0;
}

static int scale_columns(struct windows *w)
{
	for (int c = 0; c < w->from->n_columns; c++)
		if (scale_column(w, c))
			return -1;
	return 0;
}

static double scaled(const struct windows *w, long t, int c)
{
	return (csv_at(w->from, t, c) - w->mean[c]) / w->deviation[c];
}

static uint16_t value(const struct windows *w, long t, int c)
{
	return half_bits(scaled(w, t, c));
}

/* Errors at values that the dataset cannot hold are not those of the file. */
static void warn_of_far(const struct windows *w)
{
	for (int c = 0; c < w->from->n_columns; c++) {
		long n = 0;
		for (long t = 0; t < w->from->n_lines; t++)
			n += fabs(scaled(w, t, c)) > HALF_LARGEST;
		if (n)
			warning("%s: column \"%s\": %ld values lie more than %d deviations (%g) from the mean to train, and are "
				"taken to lie as far", w->o->input, w->from->names[c], n, HALF_LARGEST, w->deviation[c]);
	}
}

/* The window whose first value asked for is at step t; none where all of them are missing. */
static void add_window(const struct windows *w, struct dataset_part *part, long t, int c, long horizon)
{
	struct token_list *to = &part->tokens;
	long known = w->o->known, n = 0;

	for (long i = 0; i < horizon; i++)
		n += !isnan(csv_at(w->from, t + i, c));
	if (!n)
		return;
	part->n_documents++;
	for (long i = 0; i < known + horizon; i++)
		token_list_add(to, i < known ? value(w, t - known + i, c) : HALF_MISSING);
	for (long i = 0; i < known + horizon; i++)
		token_list_add(to, i < known ? HALF_MISSING : value(w, t - known + i, c));
}

static int write_part(const struct windows *w, struct dataset_writer *to, enum split split, const struct part *p,
	long horizon, long stride)
{
	struct dataset_part part = {.n_documents = 0};
	long t = p->begin < w->o->known ? w->o->known : p->begin;
	int ret = 0;

	for (; t + horizon <= p->end && !ret; t += stride) {
		for (int c = 0; c < w->from->n_columns; c++)
			add_window(w, &part, t, c, horizon);
		if (!part.n_documents || (part.tokens.n < CHUNK_TOKENS && t + stride + horizon <= p->end))
			continue;
		ret = dataset_writer_add(to, split, &part) ? DATASET_UNWRITTEN : 0;
		part.tokens.n = 0;
		part.n_documents = 0;
	}
	token_list_release(&part.tokens);
	if (!ret && !to->d.splits[split].n_documents && p->end > p->begin)
		return error("%s: steps %ld to %ld, which are to %s, have no value to ask for", w->o->input, p->begin + 1,
			p->end, p->what);
	return ret;
}

static int write_splits(const struct windows *w, struct dataset_writer *to)
{
	const struct series_options *o = w->o;
	long horizon = o->horizons[0];
	int ret;

	dataset_writer_rows(to, o->known + horizon);
	to->d.season = o->season;
	ret = write_part(w, to, SPLIT_TRAIN, &w->train, horizon, o->stride);
	ret = ret ? ret : write_part(w, to, SPLIT_TUNE, &w->tune, horizon, o->stride);
	ret = ret ? ret : write_part(w, to, SPLIT_VAL, &w->val, horizon, o->stride);
	for (int i = 0; i < o->n_horizons && o->test > 0 && !ret; i++) {
		char *name = xasprintf("%ldx%ld", o->known, o->horizons[i]);
		enum split s = dataset_writer_test(to, name, o->known, o->horizons[i], o->known + o->horizons[i]);
		free(name);
		ret = write_part(w, to, s, &w->test, o->horizons[i], 1);
	}
	return ret;
}

/* What undoes the scaling, among other things. */
static json_t *provenance(const struct windows *w)
{
	json_t *columns = json_array();

	for (int c = 0; c < w->from->n_columns; c++)
		json_array_append_new(columns, json_pack("{so sf sf}", "name", manifest_text(w->from->names[c]), "mean",
			w->mean[c], "deviation", w->deviation[c]));
	return json_pack("{s{so ss so sI sf sf sf}}", "series", "file", manifest_text(w->o->input), "hash",
		w->from->hash, "columns", columns, "stride", (json_int_t)w->o->stride, "tune", w->o->tune, "val", w->o->val, "test",
		w->o->test);
}

static int write_dataset(struct windows *w)
{
	const struct tokenizer_type type = {.name = SERIES, .vocab = HALF_MISSING + 1, .eot = HALF_MISSING};
	struct dataset_writer to;
	json_t *origin;
	int ret = dataset_writer_open(&to, w->o->output, w->o->force, &type, FILE_TOKENS, 0);

	if (ret)
		return ret;
	origin = provenance(w);
	ret = write_splits(w, &to);
	if (!ret && dataset_writer_commit(&to, origin))
		ret = DATASET_UNWRITTEN;
	json_decref(origin);
	if (!ret)
		info("%s: %d columns of %ld steps, %ld windows to train, %ld to validate, %d test sets", w->o->output,
			w->from->n_columns, w->from->n_lines, to.d.splits[SPLIT_TRAIN].n_documents,
			to.d.splits[SPLIT_VAL].n_documents, to.d.n_splits - N_SPLITS);
	dataset_writer_release(&to);
	return ret;
}

int import_series(const struct series_options *o)
{
	struct csv f;
	struct windows w = {.o = o, .from = &f};
	int ret;

	if (csv_read(&f, o->input, o->head))
		return -1;
	w.mean = xcalloc((size_t)f.n_columns, sizeof *w.mean);
	w.deviation = xcalloc((size_t)f.n_columns, sizeof *w.deviation);
	cut_time(&w);
	ret = check_parts(&w) || scale_columns(&w) ? -1 : 0;
	if (!ret) {
		warn_of_far(&w);
		ret = write_dataset(&w);
	}
	free(w.mean);
	free(w.deviation);
	csv_release(&f);
	return ret;
}
