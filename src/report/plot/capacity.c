/* Final loss and dropped tokens by capacity factor. */
#include "report/plot.h"

static const char key[] = "model.moe.capacity_factor";

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	(void)o;
	plot_title(c, s, "final loss by capacity factor");
	plot_subtitle(c, s, s->rule->help);
	c->x_title = "capacity factor";
	c->x_few = true;
	plot_by(c, chart_panel(c, "final loss, nats per token"), s, arms_numbers(s, key),
		offsetof(struct run_data, final_loss));
	plot_by(c, chart_panel(c, "share of tokens dropped"), s, arms_numbers(s, key),
		offsetof(struct run_data, drop));
	c->panels[1].y_low = 0;
	return 0;
}

const struct plot plot_capacity = {
	.name = "capacity",
	.place = 4,
	.help = "final loss and dropped tokens by capacity factor",
	.axis = key,
	.fill = fill,
};
