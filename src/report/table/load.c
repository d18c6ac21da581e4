/* How evenly the routers spread their choices at the end of training, router by router. */
#include "report/table.h"

#include <math.h>

static bool applies(const struct study *s)
{
	for (int i = 0; i < s->n_runs; i++)
		if (isfinite(s->runs[i].least_load))
			return true;
	return false;
}

/* Of a query that selects a value for each column; .key says which. */
static CELL(cell_number)
{
	c->put(g, db_real(r->more, (int)(c - g->columns)), c->digits);
}

/* Means over the seeds, each at its last record. */
#define NUMBER(name, title, sql, form, ...)                                                        \
	{name, title, COLUMN_NUMBER, .cell = cell_number, .key = sql, .put = form, __VA_ARGS__}
static const struct column columns[] = {
	{"model", "model", COLUMN_TEXT, .cell = cell_label, .key = "NULL"},
	NUMBER("router", "router", "b.router", put_value, .digits = 0),
	NUMBER("n_experts", "experts", "max(b.n)", put_value, .digits = 0),
	NUMBER("seeds", "seeds", "count(*)", put_value, .digits = 0),
	NUMBER("least_load", "least load x E", "avg(b.least)", put_value, .digits = 2),
	NUMBER("most_load", "most load x E", "avg(b.most)", put_value, .digits = 2),
	NUMBER("width", "width", "avg(l.width)", put_value, .digits = 2),
	NUMBER("dead", "without tokens", "avg(l.dead)", put_value, .digits = 1),
	NUMBER("entropy", "entropy / ln E", "avg(l.entropy) / ln(max(b.n))", put_value, .digits = 3),
	NUMBER("drop", "dropped", "avg(l.\"drop\")", put_share, .digits = 1),
	NUMBER("unserved", "no expert", "avg(l.unserved)", put_share, .digits = 1),
};

static const char *query(struct arena *a)
{
	const char *list = columns[0].key;

	for (size_t i = 1; i < ARRAY_SIZE(columns); i++)
		list = arena_printf(a, "%s, %s", list, columns[i].key);
	return arena_printf(a,
		"WITH last AS (SELECT run_id, max(step) AS step FROM expert GROUP BY run_id),"
		" by_router AS (SELECT e.run_id, e.step, e.router, count(*) AS n,"
		"  min(e.load) * count(*) AS least, max(e.load) * count(*) AS most"
		"  FROM expert e JOIN last USING (run_id, step) GROUP BY e.run_id, e.router)"
		" SELECT %s FROM by_router b JOIN run r ON r.run_id = b.run_id"
		" LEFT JOIN router l ON l.run_id = b.run_id AND l.step = b.step"
		"  AND l.router = b.router"
		" WHERE r.run_id IN (SELECT value FROM json_each(:runs)) AND r.state = 'done'"
		" GROUP BY b.router ORDER BY b.router", list);
}

static int fill(struct study *s, struct grid *g)
{
	const char *sql = query(&g->arena);
	int failed = 0;

	for (const struct arm *v = s->arms; v < s->arms + s->n_arms && !failed; v++) {
		struct db_statement found;
		int first = g->n_rows;
		db_prepare(&found, s->db, sql);
		db_bind_text(&found, ":runs", arm_run_ids(s, v));
		while (db_step(&found)) {
			grid_fill(g, &(struct subject){s, v, &found});
			if (first && g->n_rows == first + 1)
				grid_rule(g);
		}
		failed = db_finish(&found);
	}
	return failed;
}

const struct table table_load = {
	.name = "load",
	.place = 7,
	.help = "expert load, router entropy and drops by router",
	.applies = applies,
	.needs = "record of expert loads",
	.title = "expert load at the end of training",
	.columns = columns,
	.n_columns = ARRAY_SIZE(columns),
	.fill = fill,
	.notes = {"load x E: an expert's share of the choices, before any is dropped, times the number of experts,"
		" so 1 is even, for any number of choices a token; width: of the experts"
		" computed over the mean of all, where they differ; without tokens: experts that nothing was for; entropy"
		" of the router's probabilities, 1 is undecided; no expert: tokens that none computed; means over"
		" seeds"},
};
