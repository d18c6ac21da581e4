/* Does a variant use its context? Loss by the number of tokens before the target. */
#include "report/slice.h"

static int fill(struct study *s, struct grid *g)
{
	notes_add(&g->notes, NOTE_PLAIN, "columns: tokens of context, the one before the target among them");
	return slice_table(s, g, "position");
}

const struct table table_position = {
	.name = "position",
	.place = 11,
	.help = "validation loss by position in the context, difference to the baseline",
	.applies = slice_by_position,
	.needs = slice_needs,
	.title = "loss by position in the context",
	.fill = fill,
};
