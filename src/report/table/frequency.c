/* What does a variant learn better, common tokens or rare ones? Loss by how often the target occurs. */
#include "report/slice.h"

static int fill(struct study *s, struct grid *g)
{
	notes_add(&g->notes, NOTE_PLAIN, "columns: occurrences of the target in the training split");
	return slice_table(s, g, "frequency");
}

const struct table table_frequency = {
	.name = "frequency",
	.place = 12,
	.help = "validation loss by frequency of the target, difference to the baseline",
	.applies = slice_by_frequency,
	.needs = slice_needs,
	.title = "loss by frequency of the target",
	.fill = fill,
};
