/* Loss curves of all variants over steps, tokens, FLOPs or seconds. */
#include "report/plot.h"

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	struct panel *p = plot_loss_panel(c, s, "loss");

	plot_title(c, s, "%s loss", s->rule->training ? "smoothed training" : "validation");
	plot_subtitle(c, s, s->rule->help);
	plot_axis(c, s, o->x);
	if (s->baseline) {
		p->y_level = ARM_MEAN(s->baseline, final_loss).mean;
		p->level_title =
			arena_printf(&c->arena, "%s at its end: %.3f", s->baseline->label, p->y_level);
	}
	for (int i = 0; i < s->n_arms; i++)
		plot_curve(c, p, s, &s->arms[i], o->x);
	return 0;
}

const struct plot plot_loss = {
	.name = "loss",
	.place = 1,
	.help = "loss over steps, tokens, FLOPs or seconds, band over seeds",
	.fill = fill,
};
