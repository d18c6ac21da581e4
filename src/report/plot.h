/*
 * A plot: src/report/plot/NAME.c defines `const struct plot plot_NAME`, which fills a chart from a
 * study. Below: what several plots share.
 */
#ifndef REPORT_PLOT_H
#define REPORT_PLOT_H

#include "show/chart.h"
#include "study/study.h"

struct plot_options {
	enum axis x;
	const struct look *look;	/* NULL: the usual */
};

struct plot {
	const char *name, *help;	/* help: one line */
	int place;			/* in reports and lists: small ones first */
	/* Has the study what the plot shows? NULL: always. needs: what is missing, for people. */
	bool (*applies)(const struct study *s);
	const char *needs;
	const char *axis;	/* in place of both: a key that the sweep must vary */
	int (*fill)(struct study *s, const struct plot_options *o, struct chart *c);
};

extern const struct plot *const plots[];	/* ended by NULL */
const struct plot *plot_find(const char *name);	/* NULL after a message */
bool plot_applies(const struct plot *p, const struct study *s);
/*
 * The chart with its caption, dressed as asked; its title says if rows were forced. Released by the
 * caller also after an error.
 */
int plot_make(const struct plot *p, struct study *s, const struct plot_options *o, struct chart *c);

/* --- for the plots --------------------------------------------------------------------------- */

void plot_title(struct chart *c, const struct study *s, const char *format, ...) PRINTF_LIKE(3, 4);
/* "3 seeds, band from lowest to highest; data 3f2a9c01 (byte)", after `what`. */
void plot_subtitle(struct chart *c, const struct study *s, const char *what);
/* For the caption: what a line is, and what its band, where there are several seeds. */
void plot_marks(struct chart *c, const struct study *s, const char *line, const char *band);
/* Of curves: title and scale; says so where seconds are those of runs beside others. */
void plot_axis(struct chart *c, const struct study *s, enum axis axis);
/* Whose values are losses: "loss, nats per token". */
struct panel *plot_loss_panel(struct chart *c, const struct study *s, const char *what);
/* Label in the legend: says so if the curve is foreign. */
const char *plot_label(struct chart *c, const struct arm *v);
/* The same in every plot of a study. */
int plot_style(const struct study *s, const struct arm *v);
/*
 * Mean over the seeds, point by point, with the range from lowest to highest as band. For
 * logarithmic axes: without the evaluation before the first step.
 */
void plot_curve(struct chart *c, struct panel *p, const struct study *s,
	const struct arm *v, enum axis axis);
/*
 * A number of each configuration (a double of struct run_data) against a value x[i] of arms[i], such
 * as arms_numbers(): one series for each variant that has it, a flat line for others (NaN: the dense
 * baseline). Where configurations of a variant have the same value, one for each value of the axes in
 * which these differ.
 */
void plot_by(struct chart *c, struct panel *p, struct study *s, const double *x, size_t member);

#endif
