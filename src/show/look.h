/* How a figure is to be drawn, as a user asks for it; what is not asked for is as usual. */
#ifndef SHOW_LOOK_H
#define SHOW_LOOK_H

#include <math.h>
#include <stdbool.h>

enum { LOOK_LOG_X = 1, LOOK_LOG_Y = 2 };

struct look {
	double width_pt, height_pt;	/* of the page; 0: as the format has it */
	char font[64];			/* "": sans */
	double font_pt;			/* 0: as the format has it */
	double x_low, x_high;		/* NaN: as the data need */
	double y_low, y_high;		/* of the first panel */
	int log;			/* LOOK_LOG_X, LOOK_LOG_Y or both; -1: as the plot has it */
	const char *title;		/* NULL: the plot's own; "": neither title nor subtitle */
	const char *x_title, *y_title;	/* of the axes; NULL: the plot's own */
};
#define LOOK_USUAL                                                                                 \
	(struct look){.x_low = NAN, .x_high = NAN, .y_low = NAN, .y_high = NAN, .log = -1}

/* The same in words, as on the command line; NULL: not given. */
struct look_words {
	const char *size;		/* "8.5x6cm", "3.3x2.5in" */
	const char *font;		/* "Times New Roman,9", "Times New Roman", ",9" */
	const char *x_range, *y_range;	/* "A:B", "A:", ":B" */
	const char *log;		/* x, y, xy, none */
	const char *title;		/* "none": neither title nor subtitle */
	const char *x_title, *y_title;	/* "none": none */
};

/* 0, or -1 after one message that names the option. Titles stay the caller's. */
int look_read(struct look *look, const struct look_words *words);
/*
 * Is a font of this name installed? Warns if another will stand in its place. For formats that
 * gnuplot draws itself; SVG names the font and leaves it to the viewer.
 */
void look_check_font(const struct look *look);

#endif
