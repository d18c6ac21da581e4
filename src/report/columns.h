/*
 * Columns of a row for each configuration. A table's list of columns is made of the ones below, which
 * several tables share, and of its own; in brackets: what a cell says.
 */
#ifndef REPORT_COLUMNS_H
#define REPORT_COLUMNS_H

#include "show/grid.h"
#include "study/study.h"

struct subject {
	struct study *s;
	const struct arm *v;	/* NULL in the null row */
	const void *more;	/* for a table's own columns */
};

/* The function of a cell, or of a cell of the null row. */
#define UNUSED __attribute__((unused))
#define CELL(name) \
	void name(struct grid *g, UNUSED const struct column *c, UNUSED const struct subject *r)

CELL(cell_label);
CELL(cell_model);		/* (label, and whether it is the baseline or foreign) */
CELL(cell_of_run);		/* (.member of the first run, .put) */
CELL(cell_perplexity);		/* (of losses that are no forecasts', .digits) */
CELL(cell_average);		/* (mean of .member over the seeds, .put) */
CELL(cell_mean);		/* (the same with its interval, .digits) */
CELL(cell_key);			/* (the number at .key of the config, .digits) */
CELL(cell_seeds);
CELL(cell_difference);		/* (of final losses in pairs, or what stands in its place) */
CELL(cell_speed);		/* (tokens a second; ~ beside other runs) */
CELL(cell_speedup);		/* (to the first target) */
CELL(cell_published);		/* (published value of the quantity .key) */
CELL(cell_rate);		/* (study_rate_choice()) */
CELL(null_label);
CELL(null_model);
CELL(null_difference);		/* (what differences the baseline's seeds could show) */

#define OF(name) .member = offsetof(struct run_data, name)
#define COLUMN_COUNT(of, title)                                                                    \
	{#of, title, COLUMN_NUMBER, .cell = cell_of_run, OF(of), .put = put_count}
#define COLUMNS_OF_MODEL                                                                           \
	{"model", NULL, COLUMN_TEXT, .cell = cell_label, .null = null_label},                      \
	{NULL, "model", COLUMN_TEXT, .cell = cell_model, .null = null_model},                      \
	COLUMN_COUNT(params_total, "params"),                                                      \
	COLUMN_COUNT(params_active, "active"),                                                     \
	COLUMN_COUNT(params_embedding, "embedding")
#define COLUMN_EXPERTS                                                                             \
	{"n_experts", "experts", COLUMN_NUMBER, .cell = cell_key, .key = "model.moe.n_experts"}
#define COLUMN_SEEDS {"seeds", "seeds", COLUMN_NUMBER, .cell = cell_seeds}
#define COLUMN_MEAN(name, title, of)                                                               \
	{name, title, COLUMN_INTERVAL, .cell = cell_mean, OF(of), .digits = 3}
#define COLUMN_LOSS COLUMN_MEAN("loss", "loss", final_loss)
#define COLUMN_PERPLEXITY                                                                          \
	{"perplexity", "ppl", COLUMN_NUMBER, .cell = cell_perplexity, OF(final_loss),              \
		.digits = 2}
#define COLUMN_BITS                                                                                \
	{"bits_per_byte", "bits/byte", COLUMN_NUMBER, .cell = cell_average, OF(bpb),               \
		.put = put_value, .digits = 3}
#define COLUMN_DROPLESS COLUMN_MEAN("loss_dropless", "no drops", loss_dropless)
#define COLUMN_DROP                                                                                \
	{"drop", "dropped", COLUMN_NUMBER, .cell = cell_average, OF(drop), .put = put_share}
#define COLUMN_DIFFERENCE                                                                          \
	{"difference", "to baseline", COLUMN_INTERVAL, .cell = cell_difference,                    \
		.null = null_difference}
#define COLUMN_SPEEDUP {"speedup_tokens", "speed-up", COLUMN_INTERVAL, .cell = cell_speedup}
#define COLUMN_RATE {"lr", "lr", COLUMN_TEXT, .cell = cell_rate}
#define COLUMN_PUBLISHED(quantity, title)                                                          \
	{"published_" quantity, title, COLUMN_NUMBER, .cell = cell_published, .key = quantity}

/* --- for cells ------------------------------------------------------------------------------- */

/* A column's .put: those with digits after the point show so many. NaN: "-". */
void put_value(struct grid *g, double value, int digits);
void put_count(struct grid *g, double value, int digits);	/* "27.1M", "85.2" */
void put_flops(struct grid *g, double value, int digits);	/* "1.23e15" */
void put_share(struct grid *g, double value, int digits);	/* "0.8 %" */
/* Of final losses in pairs, or what stands in its place; of_base: what the base itself has. base NULL: "-". */
void put_difference(struct grid *g, struct study *s, const struct arm *v, const struct arm *base,
	const char *of_base);
/* What differences the base's seeds could show. */
void put_null_difference(struct grid *g, const struct arm *base);
/* "~" where others ran beside, whose seconds and speed are marked. */
const char *mark_of_busy(const struct subject *r);
/* "27.1M", "1.23e15": at least 32 bytes. NaN gives "-". */
const char *text_count(double n, char *buffer);
const char *text_flops(double flops, char *buffer);

/* What a speed-up in tokens amounts to. */
struct verdict {
	/* "faster", "slower", "unclear" (the interval holds 1), "no difference seen", ... */
	const char *word;
	char text[64];		/* the same for people, with the number where there is one */
};
struct verdict verdict_of(const struct study *s, const struct arm *v, const struct speedup *up,
	const struct null_speedup *null);

#endif
