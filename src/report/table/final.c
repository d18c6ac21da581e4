/* How well each variant ends: loss in every unit, accuracy, and the difference to the baseline. */
#include "report/table.h"

#include <math.h>

static void columns(struct grid *g)
{
	columns_of_model(g);
	grid_column(g, "seeds", "seeds", COLUMN_NUMBER);
	grid_column(g, "loss", "loss", COLUMN_INTERVAL);
	grid_column(g, "perplexity", "ppl", COLUMN_NUMBER);
	grid_column(g, "bits_per_byte", "bits/byte", COLUMN_NUMBER);
	grid_column(g, "accuracy", "accuracy", COLUMN_NUMBER);
	grid_column(g, "loss_dropless", "no drops", COLUMN_INTERVAL);
	grid_column(g, "loss_repeated_bigram", "repeated bigrams", COLUMN_INTERVAL);
	grid_column(g, "share_repeated_bigram", NULL, COLUMN_NUMBER);
	grid_column(g, "difference", "to baseline", COLUMN_INTERVAL);
	grid_column(g, "published_loss", "published", COLUMN_NUMBER);
	grid_column(g, "lr", "lr", COLUMN_TEXT);
}

static void row(struct study *s, struct grid *g, const struct arm *v)
{
	struct interval loss = ARM_MEAN(v, final_loss);

	grid_row(g);
	cells_of_model(g, s, v);
	grid_number(g, v->n, "%d", v->n);
	cell_mean(g, loss, 3);
	cell_value(g, exp(loss.mean), 2);
	cell_value(g, ARM_MEAN(v, bpb).mean, 3);
	cell_share(g, ARM_MEAN(v, accuracy));
	cell_mean(g, ARM_MEAN(v, loss_dropless), 3);
	cell_mean(g, ARM_MEAN(v, loss_bigram), 3);
	cell_share(g, ARM_MEAN(v, share_bigram));
	cell_difference(g, s, v);
	cell_published(g, s, v, "loss");
	grid_text(g, "%s", study_rate_choice(s, v));
}

static int fill(struct study *s, struct grid *g)
{
	table_title(g, s, "final loss (nats per token)");
	columns(g);
	for (int i = 0; i < s->n_arms; i++)
		row(s, g, &s->arms[i]);
	row_of_null_loss(g, s, 0, 13);
	notes_add(&g->notes, NOTE_PLAIN,
		"loss is a mean over seeds +- half its 95 %% interval; differences are"
		" means of pairs of one seed [95 %% interval, Student's t]");
	notes_add(&g->notes, NOTE_PLAIN,
		"no drops: the last evaluation repeated without capacity; repeated"
		" bigrams: tokens whose pair with the token before came earlier in the window");
	return 0;
}

const struct table table_final = {
	.name = "final",
	.place = 2,
	.help = "final loss, perplexity, bits per byte, accuracy; difference to the baseline",
	.fill = fill,
};
