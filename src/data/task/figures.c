/*
 * Images of digits, byte by byte and row by row, as sequential MNIST reads them (Le, Jaitly and Hinton 2015,
 * arXiv:1504.00941, sec. 4.3): LENGTH x LENGTH values of 0 to 255, and at the last one the digit is asked for,
 * as id 256 + digit. A digit is strokes, bent, turned, slanted, stretched and moved by chance, drawn with a pen
 * of some width; noise falls on all pixels. All digits are as likely.
 */
#include <math.h>

#include "base/error.h"
#include "data/task.h"

enum { NOISE, WARP };
enum { DIGITS = 10, MOST_POINTS = 16, GREYS = 256 };

/* Corners of each digit's line, x and y from 0 to 8, y downwards; "|" lifts the pen. */
static const char *const strokes[DIGITS] = {
	"40 61 73 75 67 48 27 15 13 21 40", "22 40 48", "12 21 40 61 72 63 18 78", "11 30 51 62 53 34 55 66 57 38 17",
	"50 15 75|52 58", "70 20 23 53 74 76 57 38 17", "60 31 14 16 28 58 76 74 53 24", "10 70 38",
	"43 21 30 50 61 43 15 27 48 67 75 43", "28 57 74 72 60 30 12 14 35 64",
};

struct point {
	double x, y;
};

struct line {			/* in pixels; a piece ends at each corner but those behind which the pen is up */
	struct point corner[MOST_POINTS];
	bool up[MOST_POINTS];
	int n;
};

static int vocab(const double *value)
{
	(void)value;
	return GREYS + DIGITS + 1;
}

static long tokens(const double *value, long length, long items)
{
	(void)value, (void)items;
	return length >= 8 && length <= 64 ? length * length : 0;
}

/* Of a digit, `warp` times as far from its pattern as by default. */
static void draw_line(struct draw *d, struct line *l, const char *pattern, long side, double warp)
{
	double turn = warp * draw_between(d, -0.3, 0.3), slant = warp * draw_between(d, -0.25, 0.25);
	double wide = draw_between(d, 0.5, 0.8) * (double)side / 8;
	double tall = draw_between(d, 0.65, 0.9) * (double)side / 8;
	double rest = 0.06 * (double)side * warp, x0 = (double)side / 2 + draw_between(d, -rest, rest);
	struct point middle = {x0, (double)side / 2 + draw_between(d, -rest, rest)};

	l->n = 0;
	for (const char *p = pattern; *p; p += p[2] ? 3 : 2) {
		double x = wide * (p[0] - '4' + warp * draw_between(d, -0.5, 0.5));
		double y = tall * (p[1] - '4' + warp * draw_between(d, -0.5, 0.5));
		CHECK(l->n < MOST_POINTS);
		x += slant * y;
		l->up[l->n] = p[2] != ' ';
		l->corner[l->n++] = (struct point){middle.x + cos(turn) * x - sin(turn) * y,
			middle.y + sin(turn) * x + cos(turn) * y};
	}
}

static double distance(const struct point *a, const struct point *b, double x, double y)
{
	double dx = b->x - a->x, dy = b->y - a->y, length = dx * dx + dy * dy;
	double at = length > 0 ? ((x - a->x) * dx + (y - a->y) * dy) / length : 0;

	at = fmin(fmax(at, 0), 1);
	return hypot(x - a->x - at * dx, y - a->y - at * dy);
}

static double nearest(const struct line *l, double x, double y)
{
	double least = INFINITY;

	for (int i = 0; i + 1 < l->n; i++)
		if (!l->up[i])
			least = fmin(least, distance(&l->corner[i], &l->corner[i + 1], x, y));
	return least;
}

static long make(struct example *e)
{
	long side = e->length, digit = draw_below(&e->draw, DIGITS);
	double pen = draw_between(&e->draw, 0.03, 0.06) * (double)side, ink = draw_between(&e->draw, 0.6, 1);
	struct line line;

	draw_line(&e->draw, &line, strokes[digit], side, e->value[WARP]);
	for (long i = 0; i < side * side; i++) {
		double x = (double)(i % side) + 0.5, y = (double)(i / side) + 0.5;
		double grey = ink * fmin(fmax(pen + 0.5 - nearest(&line, x, y), 0), 1);
		grey += e->value[NOISE] * draw_between(&e->draw, -1, 1);
		e->tokens[i] = (uint16_t)lround((GREYS - 1) * fmin(fmax(grey, 0), 1));
	}
	e->targets[side * side - 1] = (uint16_t)(GREYS + digit);
	return side * side;
}

const struct task task_figures = {
	.name = "figures",
	.help = "which digit is drawn in an image, read byte by byte (as sequential MNIST, Le et al. 2015)",
	.shape = "LENGTH",
	.train = "28:30000",
	.tests = "28:2000",
	.settings = {
		{.key = "noise", .help = "most that falls on a pixel, of the range of greys", .initial = 0.25, .max = 1},
		{.key = "warp", .help = "how far digits are bent and moved, 0: not at all", .initial = 1.5, .max = 4}},
	.vocab = vocab, .tokens = tokens, .make = make,
	.possible = "LENGTH 8 to 64: pixels of a side",
};
