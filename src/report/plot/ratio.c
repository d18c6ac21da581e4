/* Final loss by the share of the active parameters in Mamba layers, the baseline as a flat line. */
#include "report/plot.h"

#include <math.h>

/* In sixths, to the tenth that the table prints. */
static double tenths(double share)
{
	return round(60 * share) / 10;
}

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	double *x = ARENA_ARRAY(&s->arena, double, s->n_arms);

	(void)o;
	for (int i = 0; i < s->n_arms; i++)
		x[i] = &s->arms[i] == s->baseline ? NAN : tenths(arm_mamba_share(&s->arms[i]));
	plot_title(c, s, "final loss by share of Mamba");
	plot_subtitle(c, s, s->rule->help);
	c->x_title = "sixths of the active parameters in Mamba layers";
	c->x_few = true;
	plot_by(c, plot_loss_panel(c, s, "final loss"), s, x,
		offsetof(struct run_data, final_loss));
	return 0;
}

const struct plot plot_ratio = {
	.name = "ratio",
	.place = 7,
	.help = "final loss by the share of the active parameters in Mamba layers",
	.applies = study_has_shares,
	.needs = "mixtures that differ in their share of Mamba",
	.fill = fill,
};
