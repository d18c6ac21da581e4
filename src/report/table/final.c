/* How well each variant ends: loss in every unit, accuracy, and the difference to the baseline. */
#include "report/table.h"

static const struct column columns[] = {
	COLUMNS_OF_MODEL,
	COLUMN_SEEDS,
	COLUMN_LOSS,
	COLUMN_PERPLEXITY,
	COLUMN_BITS,
	{"accuracy", "accuracy", COLUMN_NUMBER, .cell = cell_average, OF(accuracy),
		.put = put_share},
	COLUMN_DROPLESS,
	COLUMN_MEAN("loss_repeated_bigram", "repeated bigrams", loss_bigram),
	{"share_repeated_bigram", NULL, COLUMN_NUMBER, .cell = cell_average, OF(share_bigram),
		.put = put_share},
	COLUMN_DIFFERENCE,
	COLUMN_PUBLISHED("loss", "published"),
	COLUMN_RATE,
};

const struct table table_final = {
	.name = "final",
	.place = 2,
	.help = "final loss, perplexity, bits per byte, accuracy; difference to the baseline",
	.title = "final loss",
	.of_losses = true,
	.columns = columns,
	.n_columns = ARRAY_SIZE(columns),
	.notes = {"loss is a mean over seeds +- half its 95 % interval; differences are"
		" means of pairs of one seed [95 % interval, Student's t]",
		"no drops: the last evaluation repeated without capacity; repeated"
		" bigrams: tokens whose pair with the token before came earlier in the window"},
};
