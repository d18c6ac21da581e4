/*
 * Windows of one series of several channels, a function of the seed and the settings:
 *	x_c(t) = level + slope t + a sin(2 pi t / season + p) + b sin(4 pi t / season + q) + c sin(2 pi t / slow + s)
 *		+ noise e_c(t)
 * with a slope for each channel over all of time, and level, a, b, c, p, q, s of each channel drawn anew with every
 * regime; regimes change for all channels together, `regime` steps apart in the mean; `slow` lies between 1.5 and 4
 * seasons; e is N(0, 1). Over all of time a channel has a variance of about 1.
 *
 * A window is LENGTH values of a channel that are known and HORIZON that are asked for: inputs behind the first
 * LENGTH are missing, targets are the values there (base/half.h). Windows are drawn by chance, split by time: what
 * is asked for lies in the first 70 % to train, the next 5 % to tune, 5 % to validate, the last 20 % in tests.
 */
#include <math.h>

#include "base/error.h"
#include "base/half.h"
#include "base/hash.h"
#include "data/dataset.h"
#include "data/task.h"

enum { SEASON, STEPS, CHANNELS, REGIME, NOISE };
enum { DRAWS_LOG2 = 32 };	/* of a channel's noise; steps are fewer */

static int vocab(const double *value)
{
	(void)value;
	return HALF_MISSING + 1;
}

/* A window must fit into any part of the time. */
static long tokens(const double *value, long length, long items)
{
	return length > 0 && items > 0 && 20 * items <= (long)value[STEPS] && length + items <= (long)value[STEPS] / 2
		? length + items : 0;
}

static long season(const double *value)
{
	return (long)value[SEASON];
}

static struct draw draws_of(const struct example *e, const char *what, long number)
{
	struct rng_key key = {.seed = e->draw.key.seed, .stream = hash_u64(what)};

	return draw_begin(key, (uint64_t)number << DRAWS_LOG2);
}

static double normal(struct draw *d)
{
	double radius = sqrt(-2 * log(draw_uniform(d)));

	return radius * cos(2 * M_PI * draw_uniform(d));
}

struct regime {			/* of a channel */
	long end;		/* the first step behind it */
	double level, size[3], phase[3];
};

/* That of step t: all in front of it have to be passed. */
static struct regime regime_at(const struct example *e, long channel, long t)
{
	struct draw ends = draws_of(e, "series ends", 0);
	struct regime r = {.end = 0};
	long number = -1;

	for (; r.end <= t; number++)
		r.end += (long)ceil(e->value[REGIME] * draw_between(&ends, 0.5, 1.5));
	struct draw d = draws_of(e, "series regime", number * (long)e->value[CHANNELS] + channel);
	r.level = 0.4 * normal(&d);
	for (int k = 0; k < 3; k++) {
		const double most[3] = {1, 0.5, 0.8};
		r.size[k] = most[k] * draw_between(&d, 0.5, 1);
		r.phase[k] = draw_between(&d, 0, 2 * M_PI);
	}
	return r;
}

static double noise_at(const struct example *e, long channel, long t)
{
	struct draw d = draws_of(e, "series noise", channel);

	d.next += (uint64_t)t;		/* a block has the two numbers that a normal one takes */
	return normal(&d);
}

/* n values of a channel from step t on. */
static void write_values(const struct example *e, long channel, long t, long n, uint16_t *out)
{
	struct draw d = draws_of(e, "series channel", channel), common = draws_of(e, "series", 0);
	double slope = draw_between(&d, -1.5, 1.5), slow = e->value[SEASON] * draw_between(&common, 1.5, 4);
	double period[3] = {e->value[SEASON], e->value[SEASON] / 2, slow};
	struct regime r = {.end = 0};

	for (long i = t; i < t + n; i++) {
		double x = e->value[NOISE] * noise_at(e, channel, i);
		if (i >= r.end)
			r = regime_at(e, channel, i);
		x += r.level + slope * ((double)i / e->value[STEPS] - 0.5);
		for (int k = 0; k < 3; k++)
			x += r.size[k] * sin(2 * M_PI * (double)i / period[k] + r.phase[k]);
		out[i - t] = half_bits(x);
	}
}

static long make(struct example *e)
{
	double begin = e->training ? 0 : e->tune ? 0.7 : e->test ? 0.8 : 0.75;
	double end = e->training ? 0.7 : e->tune ? 0.75 : e->test ? 1 : 0.8;
	long channel = draw_below(&e->draw, (long)e->value[CHANNELS]), T = e->length + e->items;
	long first = (long)ceil(begin * e->value[STEPS]), last = (long)floor(end * e->value[STEPS]) - e->items;
	long t = first + draw_below(&e->draw, last - first + 1);	/* of the first value asked for */

	t = t < e->length ? e->length : t;
	write_values(e, channel, t - e->length, T, e->tokens);
	for (long i = e->length; i < T; i++) {
		e->targets[i] = e->tokens[i];
		e->tokens[i] = HALF_MISSING;
	}
	return T;
}

const struct task task_series = {
	.name = SERIES,
	.help = "how a series goes on: seasons, a trend, noise, and regimes that change",
	.shape = "LENGTHxHORIZON",
	.train = "96x96:20000",
	.tests = "96x96:1000,96x192:1000,96x336:1000,96x720:1000",
	.settings = {{.key = "season", .help = "steps of a season", .initial = 24, .min = 2, .max = 1 << 16},
		{.key = "steps", .help = "of all of time", .initial = 20000, .min = 100, .max = 1 << 28},
		{.key = "channels", .help = "that the windows are of", .initial = 8, .min = 1, .max = 1 << 16},
		{.key = "regime", .help = "steps of a regime, in the mean", .initial = 1000, .min = 10, .max = 1 << 28},
		{.key = "noise", .help = "its standard deviation", .initial = 0.25, .min = 0, .max = 100}},
	.vocab = vocab, .tokens = tokens, .make = make, .season = season,
	.possible = "LENGTH + HORIZON at most steps / 2, HORIZON at most steps / 20",
};
