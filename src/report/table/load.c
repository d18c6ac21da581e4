/* How evenly the routers spread the tokens at the end of training, router by router. */
#include "report/table.h"

#include <math.h>

static bool applies(const struct study *s)
{
	for (int i = 0; i < s->n_runs; i++)
		if (isfinite(s->runs[i].least_load))
			return true;
	return false;
}

static void columns(struct grid *g)
{
	grid_column(g, "model", "model", COLUMN_TEXT);
	grid_column(g, "router", "router", COLUMN_NUMBER);
	grid_column(g, "n_experts", "experts", COLUMN_NUMBER);
	grid_column(g, "seeds", "seeds", COLUMN_NUMBER);
	grid_column(g, "least_load", "least load x E", COLUMN_NUMBER);
	grid_column(g, "most_load", "most load x E", COLUMN_NUMBER);
	grid_column(g, "dead", "without tokens", COLUMN_NUMBER);
	grid_column(g, "entropy", "entropy / ln E", COLUMN_NUMBER);
	grid_column(g, "drop", "dropped", COLUMN_NUMBER);
}

/* Means over the seeds, each at its last record. */
static const char sql[] =
	"WITH last AS (SELECT run_id, max(step) AS step FROM expert GROUP BY run_id),"
	" by_router AS (SELECT e.run_id, e.step, e.router, count(*) AS n,"
	"  min(e.load) * count(*) AS least, max(e.load) * count(*) AS most"
	"  FROM expert e JOIN last USING (run_id, step) GROUP BY e.run_id, e.router)"
	" SELECT b.router, max(b.n), count(*), avg(b.least), avg(b.most), avg(l.dead),"
	"  avg(l.entropy),  avg(l.\"drop\")"
	" FROM by_router b JOIN run r ON r.run_id = b.run_id"
	" LEFT JOIN router l ON l.run_id = b.run_id AND l.step = b.step AND l.router = b.router"
	" WHERE r.run_id IN (SELECT value FROM json_each(:runs)) AND r.state = 'done'"
	" GROUP BY b.router ORDER BY b.router";

static int rows(struct study *s, struct grid *g, const struct arm *v)
{
	struct db_statement row;

	db_prepare(&row, s->db, sql);
	db_bind_text(&row, ":runs", arm_run_ids(s, v));
	for (int i = 0; db_step(&row); i++) {
		double n = db_real(&row, 1);
		grid_row(g);
		if (i == 0 && g->n_rows > 1)
			grid_rule(g);
		grid_text(g, "%s", v->label);
		cell_value(g, db_real(&row, 0), 0);
		cell_value(g, n, 0);
		cell_value(g, db_real(&row, 2), 0);
		cell_value(g, db_real(&row, 3), 2);
		cell_value(g, db_real(&row, 4), 2);
		cell_value(g, db_real(&row, 5), 1);
		cell_value(g, n > 1 ? db_real(&row, 6) / log(n) : NAN, 3);
		cell_share(g, (struct interval){.mean = db_real(&row, 7)});
	}
	return db_finish(&row);
}

static int fill(struct study *s, struct grid *g)
{
	table_title(g, s, "expert load at the end of training");
	columns(g);
	for (int i = 0; i < s->n_arms; i++)
		if (rows(s, g, &s->arms[i]))
			return -1;
	notes_add(&g->notes, NOTE_PLAIN,
		"load x E: an expert's share of the tokens times the number of experts,"
		" so 1 is even; entropy of the router's probabilities, 1 is undecided;"
		" means over seeds");
	return 0;
}

const struct table table_load = {
	.name = "load",
	.place = 7,
	.help = "expert load, router entropy and drops by router",
	.applies = applies,
	.needs = "record of expert loads",
	.fill = fill,
};
