/* moelab bench compare: what changed since the measurement before (view bench_change). */
#include "cmd/bench.h"

static int fill(struct lab *lab, struct grid *g)
{
	struct db_statement s;
	long long n = db_value(&lab->db, "SELECT count(*) FROM bench_change", 0);

	grid_title(g, "What changed by more than a tenth since it was measured before");
	grid_column(g, "kind", "kind", COLUMN_TEXT);
	grid_column(g, "name", "name", COLUMN_TEXT);
	grid_column(g, "shape", "shape", COLUMN_TEXT);
	grid_column(g, "metric", "metric", COLUMN_TEXT);
	grid_column(g, "previous", "before", COLUMN_NUMBER);
	grid_column(g, "value", "now", COLUMN_NUMBER);
	grid_column(g, "worse", "worse", COLUMN_NUMBER);
	grid_column(g, "previous_git", "at", COLUMN_TEXT);
	grid_column(g, "git", "now at", COLUMN_TEXT);
	db_prepare(&s, &lab->db, "SELECT kind, name, shape, metric, previous_git, git, previous, value, "
		"worse FROM bench_change WHERE worse NOT BETWEEN 1 / 1.1 AND 1.1 ORDER BY worse DESC");
	while (db_step(&s)) {
		grid_row(g);
		for (int i = 0; i < 4; i++)
			grid_text(g, "%s", db_text(&s, i));
		for (int i = 6; i < 8; i++)
			grid_number(g, db_real(&s, i), "%.4g", db_real(&s, i));
		grid_number(g, db_real(&s, 8), "%.2fx", db_real(&s, 8));
		for (int i = 4; i < 6; i++)
			grid_text(g, "%s", db_text(&s, i) ? db_text(&s, i) : "");
	}
	notes_add(&g->notes, NOTE_PLAIN, "of %lld figures that were measured twice on the same host, with "
		"the same threads; worse: slower, larger, less exact; below 1x: better", n);
	return db_finish(&s);
}

int bench_compare(struct lab *lab)
{
	struct grid g;
	int ret = EXIT_ENVIRONMENT;

	if (!db_open(&lab->db, lab->path, DB_READ)) {
		grid_init(&g, "bench_compare");
		if (fill(lab, &g))
			grid_release(&g);
		else
			ret = lab_print(lab, &g);
	}
	lab_end(lab);
	return ret;
}
