/*
 * What the user sees while runs go on, on stderr: on a terminal one line per worker and one for
 * all, redrawn in place; elsewhere (pipe, file, TERM=dumb) a plain line per worker now and then.
 * Nothing at all under -q. No colours.
 */
#ifndef SUPERVISE_DISPLAY_H
#define SUPERVISE_DISPLAY_H

#include <stdbool.h>

struct display_row {		/* a worker */
	const char *label;
	long seed;
	long from, step, steps;	/* begun after, done, when complete (0: not known) */
	double loss, val_loss;	/* NAN: none yet */
	double tokens_per_s;
	double begun_s;		/* clock_s() */
};

struct display_total {		/* times: clock_s() */
	const char *sweep;
	int n, done, failed, running;	/* runs; failed: or diverged */
	double share;			/* of the missing work that is done */
	double begun_s, now_s;
};

struct display {
	bool tty;
	int drawn;		/* lines on the terminal that the next drawing replaces */
	double drawn_s;
};

void display_open(struct display *p, double now_s);
/* Draws if total->now_s is late enough behind the last drawing, or if `now`. */
void display_draw(struct display *p, const struct display_total *total,
	const struct display_row *rows, int n, bool now);
void display_clear(struct display *p);	/* before anything else is printed, and at the end */

/* "mamba s1  340/1000  loss 2.345  val 2.401  12,300 tok/s  3 min 20 s left", cut to width - 1. */
void display_line(const struct display_row *row, double now_s, char *line, int width);

#endif
