/* What does a variant learn better, common tokens or rare ones? Loss by how often the target occurs. */
#include "report/slice.h"

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	(void)o;
	plot_title(c, s, "loss by frequency of the target");
	c->x_title = "occurrences of the target in the training split"
		" (each class from here to ten times as many)";
	return slice_plot(s, c, "frequency");
}

const struct plot plot_frequency = {
	.name = "frequency",
	.place = 11,
	.help = "loss by frequency of the target, band over seeds",
	.applies = slice_by_frequency,
	.needs = slice_needs,
	.fill = fill,
};
