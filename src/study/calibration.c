#include "study/calibration.h"

#include "store/query.h"

#include <math.h>
#include <string.h>

static const double quiet = 0.05;	/* share of the processors that others may take */

static bool is_foreign(const struct run_data *r)
{
	return run_text(r, "foreign");
}

static void apply(struct run_data *r, const struct calibration_row *c)
{
	const struct curve *curves[] = {&r->val, &r->train};

	for (int k = 0; k < 2; k++)
		for (int i = 0; i < curves[k]->n; i++)
			curves[k]->x[AXIS_SECONDS][i] =
				curves[k]->x[AXIS_STEPS][i] * c->seconds_per_step;
	r->seconds = r->steps * c->seconds_per_step;
	r->tokens_per_s = r->tokens / r->seconds;
	r->threads = (double)c->threads;
	r->jobs = 1;
}

static void note(struct study *s, const struct calibration_row *c)
{
	notes_add(&s->notes, NOTE_PLAIN,
		"seconds are steps times seconds per step, calibrated on %s, %ld thread%s, %.10s:"
		" every configuration alone, in turn, medians",
		c->host ? c->host : "an unknown host", c->threads, c->threads == 1 ? "" : "s",
		c->measured);
}

int study_calibrate(struct study *s)
{
	struct calibration_row *rows = ARENA_ARRAY(&s->arena, struct calibration_row, s->n_runs);
	const struct calibration_row *first = NULL;
	int n = 0, same = 0;
	double busy = 0;

	for (int i = 0; i < s->n_runs; i++) {
		if (is_foreign(&s->runs[i]))
			continue;
		if (query_calibration(s->db, s->runs[i].id, &s->arena, &rows[i]))
			return -1;
		n++;
		if (!rows[i].measured)
			continue;
		first = first ? first : &rows[i];
		same += !strcmp(rows[i].measured, first->measured);
		busy = fmax(busy, rows[i].busy);
	}
	if (!first)
		return 0;
	if (same < n)
		notes_add(&s->notes, NOTE_PLAIN, "calibrated seconds are not used: one calibration"
			" timed %d of these %d runs; --calibrate times all", same, n);
	else if (!(busy <= quiet))
		notes_add(&s->notes, NOTE_PLAIN, "calibrated seconds are not used: other programs"
			" took %.0f %% of the processors meanwhile", 100 * busy);
	else
		note(s, first);
	for (int i = 0; i < s->n_runs && same == n && busy <= quiet; i++)
		if (!is_foreign(&s->runs[i]))
			apply(&s->runs[i], &rows[i]);
	return 0;
}
