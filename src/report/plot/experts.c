/* Final loss by number of experts, dense variants as flat lines. */
#include "report/plot.h"

static const char key[] = "model.moe.n_experts";

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	(void)o;
	plot_title(c, s, "final loss by number of experts");
	plot_subtitle(c, s, s->rule->help);
	c->x_title = "experts per MoE layer";
	c->x_log = true;
	c->x_few = true;
	plot_by(c, plot_loss_panel(c, s, "final loss"), s, arms_numbers(s, key),
		offsetof(struct run_data, final_loss));
	return 0;
}

const struct plot plot_experts = {
	.name = "experts",
	.place = 3,
	.help = "final loss by number of experts",
	.axis = key,
	.fill = fill,
};
