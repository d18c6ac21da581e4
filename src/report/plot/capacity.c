/* Final loss and dropped tokens by capacity factor. */
#include "report/plot.h"

#include <math.h>

static const char key[] = "model.moe.capacity_factor";

/* As it is at the end, where it moves; NaN, a flat line: no limit, if others have one. *few: it does not move, so
   that few values are of interest. */
static const double *capacities(struct study *s, bool *few)
{
	double *x = ARENA_ARRAY(&s->arena, double, s->n_arms);
	bool limited = false;

	*few = true;
	for (int i = 0; i < s->n_arms; i++) {
		x[i] = ARM_MEAN(&s->arms[i], capacity).mean;
		limited |= x[i] > 0;
		*few = *few && !(fabs(x[i] - arm_number(&s->arms[i], key)) > 1e-9);
	}
	for (int i = 0; i < s->n_arms && limited; i++)
		x[i] = x[i] > 0 ? x[i] : NAN;
	return x;
}

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	const double *x = capacities(s, &c->x_few);

	(void)o;
	plot_title(c, s, "final loss by capacity factor");
	plot_subtitle(c, s, s->rule->help);
	c->x_title = "capacity factor at the end";
	plot_by(c, plot_loss_panel(c, s, "final loss"), s, x, offsetof(struct run_data, final_loss));
	plot_by(c, chart_panel(c, "share of tokens dropped"), s, x, offsetof(struct run_data, drop));
	c->panels[1].y_low = 0;
	return 0;
}

const struct plot plot_capacity = {
	.name = "capacity",
	.place = 4,
	.help = "final loss and dropped tokens by capacity factor (at the end)",
	.axis = key,
	.fill = fill,
};
