/* Does a variant use its context? Loss by the number of tokens before the target. */
#include "report/slice.h"

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	(void)o;
	plot_title(c, s, "loss by position in the context");
	c->x_title = "tokens of context (each class from here to the next)";
	return slice_plot(s, c, "position");
}

const struct plot plot_position = {
	.name = "position",
	.place = 10,
	.help = "loss by position in the context, band over seeds",
	.applies = slice_by_position,
	.needs = slice_needs,
	.fill = fill,
};
