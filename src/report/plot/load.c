/* Expert load during the run: a panel for each variant (its first seed), a row for each expert. */
#include "report/plot.h"

#include "base/str.h"

#include <math.h>

static bool has_load(const struct arm *v)
{
	return !v->runs[0]->diverged && isfinite(v->runs[0]->least_load);
}

static bool applies(const struct study *s)
{
	for (int i = 0; i < s->n_arms; i++)
		if (has_load(&s->arms[i]))
			return true;
	return false;
}

enum { MOST_COLUMNS = 240 };

/* Sizes of the map: steps recorded, each `stride`-th of them shown, and experts of all layers. */
static int measure(struct study *s, const struct run_data *r, struct panel *p, int *stride)
{
	struct db_statement row;

	db_prepare(&row, s->db,
		"SELECT count(DISTINCT step),"
		" (SELECT count(*) FROM"
		"  (SELECT DISTINCT router, expert FROM expert WHERE run_id = :run))"
		" FROM expert WHERE run_id = :run");
	db_bind_int(&row, ":run", r->id);
	if (db_step(&row)) {
		int n = (int)db_int(&row, 0);
		*stride = (n + MOST_COLUMNS - 1) / MOST_COLUMNS;
		p->n_x = (n + *stride - 1) / *stride;
		p->n_rows = (int)db_int(&row, 1);
	}
	return db_finish(&row);
}

/* Dense ranks make column and row of each cell, so gaps in the record stay gaps. */
static const char sql[] =
	"SELECT step, router, expert, load * e.n, dense_rank() OVER (ORDER BY step) - 1,"
	" dense_rank() OVER (ORDER BY router, expert) - 1"
	" FROM expert JOIN (SELECT router, count(DISTINCT expert) AS n FROM expert"
	"  WHERE run_id = :run GROUP BY router) e USING (router) WHERE run_id = :run";

static int read_map(struct study *s, const struct run_data *r, struct chart *c, struct panel *p,
	int stride)
{
	struct db_statement row;

	p->x = ARENA_ARRAY(&c->arena, double, p->n_x);
	p->value = ARENA_ARRAY(&c->arena, double, p->n_x * p->n_rows);
	p->row_title = ARENA_ARRAY(&c->arena, const char *, p->n_rows);
	for (int i = 0; i < p->n_x * p->n_rows; i++)
		p->value[i] = NAN;
	db_prepare(&row, s->db, sql);
	db_bind_int(&row, ":run", r->id);
	while (db_step(&row)) {
		int x = (int)db_int(&row, 4) / stride, y = (int)db_int(&row, 5);
		if (db_int(&row, 4) % stride)
			continue;
		p->x[x] = db_real(&row, 0);
		p->value[y * p->n_x + x] = db_real(&row, 3);
		if (db_int(&row, 2) == 0)
			p->row_title[y] = arena_printf(&c->arena, "router %lld", db_int(&row, 1));
	}
	return db_finish(&row);
}

static int add_panel(struct study *s, const struct arm *v, struct chart *c)
{
	struct panel *p = chart_panel(c, "");
	int stride = 1;

	p->title = arena_printf(&c->arena, "%s, seed %ld", v->label, v->runs[0]->seed);
	if (measure(s, v->runs[0], p, &stride))
		return -1;
	return read_map(s, v->runs[0], c, p, stride);
}

/* As of one expert, or where experts choose: a panel of one colour, which its name says as well. */
static int is_even(struct study *s, const struct run_data *r, bool *even)
{
	struct db_statement row;

	db_prepare(&row, s->db, "SELECT max(abs(load * n - 1)) < 0.05 FROM (SELECT load, count(*) OVER"
		" (PARTITION BY step, router) AS n FROM expert WHERE run_id = :run)");
	db_bind_int(&row, ":run", r->id);
	*even = db_step(&row) && db_int(&row, 0);
	return db_finish(&row);
}

/* Of variants whose load is even all the time, or of the others. */
static int add_panels(struct study *s, struct chart *c, bool of_even, struct str *others)
{
	for (int i = 0; i < s->n_arms; i++) {
		const struct arm *v = &s->arms[i];
		bool even = false;
		if (!has_load(v))
			continue;
		if (is_even(s, v->runs[0], &even) || (even == of_even && add_panel(s, v, c)))
			return -1;
		if (even != of_even)
			str_add_item(others, "%s", v->label);
	}
	return 0;
}

static int fill(struct study *s, const struct plot_options *o, struct chart *c)
{
	struct str even;
	int ret;

	(void)o;
	str_init(&even);
	ret = add_panels(s, c, false, &even);
	if (!ret && !c->n_panels) {
		str_clear(&even);
		ret = add_panels(s, c, true, &even);
	}
	plot_title(c, s, "expert load during training");
	c->subtitle = arena_printf(&c->arena, "one row an expert, layers below each other; first seed of each variant"
		"%s%s", even.length ? "; even all the time: " : "", even.text);
	c->ruleless = true;
	c->marks = arena_printf(&c->arena, "a row an expert, layers below each other, first seed of each variant;"
		" colours show an expert's share of the choices times the number of experts%s%s",
		even.length ? "; even all the time, and not shown: " : "", even.text);
	c->x_title = "training steps";
	c->value_title = "load x experts";
	str_release(&even);
	return ret;
}

const struct plot plot_load = {
	.name = "load",
	.place = 5,
	.help = "heat map of expert load by step, router and expert",
	.applies = applies,
	.needs = "record of expert loads",
	.fill = fill,
};
