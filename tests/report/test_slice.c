/* Losses by class of tokens: from records of known losses to tables and figures. */
#include "shown.h"

#include "report/slice.h"
#include "store/refresh.h"

#include <unistd.h>

enum { N_CLASSES = 4 };

static const struct lab_run runs[] = {THREE("mamba", 1), THREE("near", 1), THREE("far", 1)};

/* mamba's loss in class k is 3 - k / 2; seeds are 0.01 apart; far is 0.25 better in the last class and
   in the others as much better as worse, near is below what the seeds show. */
static double loss_of(const struct lab_run *r, int k)
{
	double loss = 3 - 0.5 * k + 0.01 * (double)r->seed;

	if (!strcmp(r->label, "near"))
		return loss - 0.001;
	if (!strcmp(r->label, "far"))
		return k == N_CLASSES - 1 ? loss - 0.25 : loss + (r->seed == 2 ? 0.3 : -0.14);
	return loss;
}

/* others_alone: no pair is rare. */
static void tell(struct recorder *rec, long long id, const struct lab_run *r, const char *kind, long step,
	bool others_alone)
{
	static const long by_position[N_CLASSES][2] = {{1, 1}, {2, 2}, {3, 4}, {5, 8}};
	static const long by_frequency[N_CLASSES][2] = {{0, 0}, {1, 9}, {100, 999}, {100000, 999999}};
	double off = step < LAB_STEPS || strcmp(kind, "val") ? 7 : 0;
	struct record s = record_new(RECORD_IS_SLICE);

	for (int k = 0; k < N_CLASSES; k++) {
		s.slice = (struct slice_record){.kind = kind, .step = step, .by = "position",
			.low = by_position[k][0], .high = by_position[k][1], .loss = off + loss_of(r, k),
			.n_tokens = 100 * (by_position[k][1] - by_position[k][0] + 1)};
		recorder_add(rec, id, &s);
		s.slice.by = "frequency";
		s.slice.low = by_frequency[k][0];
		s.slice.high = by_frequency[k][1];
		recorder_add(rec, id, &s);
	}
	if (!strcmp(r->label, "near") && r->seed == 2 && step < LAB_STEPS)
		return;		/* by a moelab that did not know recall yet */
	s.slice.by = "recall";
	s.slice.low = s.slice.high = 0;
	s.slice.loss = off + loss_of(r, 0);
	recorder_add(rec, id, &s);
	if (others_alone)
		return;
	s.slice.low = 1;
	s.slice.high = 25;
	s.slice.loss = off + loss_of(r, 3);
	recorder_add(rec, id, &s);
}

/* Also an earlier evaluation, and one without capacity, which are not what is asked for. */
static void fill_with(struct lab *lab, bool others_alone)
{
	struct recorder rec;
	char id_hex[HASH_HEX];

	lab_open(lab, "mamba");
	lab_fill(lab, runs, ARRAY_SIZE(runs));
	assert_int_equal(db_begin(&lab->db), 0);
	recorder_open(&rec, &lab->db);
	for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
		long long id = catalog_run_id(&lab->db, lab_identity(&runs[i], id_hex));
		tell(&rec, id, &runs[i], "val", LAB_STEPS / 2, others_alone);
		tell(&rec, id, &runs[i], "val", LAB_STEPS, others_alone);
		tell(&rec, id, &runs[i], "val_dropless", LAB_STEPS, others_alone);
	}
	assert_int_equal(recorder_close(&rec), 0);
	assert_int_equal(db_commit(&lab->db), 0);
}

static void fill(struct lab *lab)
{
	fill_with(lab, false);
}

static void losses_by_position(void **state)
{
	const struct study_options o = {.rule = NULL};
	struct shown w;
	char text[600];

	(void)state;
	fill(&w.lab);
	assert_true(show_with(&w, "position", "md", &o));
	assert_has(line(&w, "model", text, sizeof text), "|         1 |         2 |       3-4 |            5-8 |");
	assert_has(line(&w, "mamba (baseline)", text, sizeof text),
		"|     3.020 |     2.520 |     2.020 |          1.520 |");
	assert_has(line(&w, "near", text, sizeof text), "| 3.019 (=) | 2.519 (=) | 2.019 (=) |      1.519 (=) |");
	assert_has(line(&w, "far", text, sizeof text), "| 3.027 (=) | 2.527 (=) | 2.027 (=) | 1.270 (-0.250) |");
	assert_has(line(&w, "share of tokens", text, sizeof text),
		"|      12 % |      12 % |      25 % |           50 % |");
	assert_has(line(&w, "null: mamba against itself", text, sizeof text), " 0.035 |");
	hide(&w);
	assert_true(show_with(&w, "position", "csv", &o));
	assert_has(w.text.text, "loss_5,loss_5_low,loss_5_high,difference_5,difference_5_low,");
	assert_has(line(&w, "far", text, sizeof text), ",-0.25,-0.25,-0.25");	/* pairs of one seed */
	end(&w);
}

static void losses_by_frequency(void **state)
{
	const struct study_options o = {.rule = NULL};
	struct shown w;
	char text[600];

	(void)state;
	fill(&w.lab);
	assert_true(show_with(&w, "frequency", "md", &o));
	assert_has(line(&w, "model", text, sizeof text), "|         0 |       1-9 |   100-999 |        100K-1M |");
	assert_has(line(&w, "far", text, sizeof text), "| 1.270 (-0.250)");
	end(&w);
}

/* What is drawn of the lab's runs. */
struct drawn {
	struct lab lab;
	struct study study;
};

static void open_drawn(struct drawn *d, bool all_frequent)
{
	const struct study_options o = {.rule = NULL};

	fill_with(&d->lab, all_frequent);
	assert_int_equal(study_open(&d->study, &d->lab.db, "lab/one", &o), 0);
}

static void close_drawn(struct drawn *d)
{
	study_close(&d->study);
	lab_close(&d->lab);
}

static void lines_over_classes(void **state)
{
	const struct plot_options p = {0};
	struct drawn d;
	struct chart c;

	(void)state;
	open_drawn(&d, false);
	assert_int_equal(plot_make(plot_find("position"), &d.study, &p, &c), 0);
	const struct series *far = &c.panels[0].series[2];
	assert_true(c.panels[0].n_series == 3 && far->n == N_CLASSES);
	assert_true(far->x[3] == 5 && fabs(far->y[3] - 1.27) < 1e-9);
	assert_true(fabs(far->low[3] - 1.26) < 1e-9 && fabs(far->high[3] - 1.28) < 1e-9);
	chart_release(&c);
	assert_int_equal(plot_make(plot_find("frequency"), &d.study, &p, &c), 0);
	assert_true(c.panels[0].series[0].n == 3 && c.panels[0].series[0].x[0] == 1);	/* no place for 0 */
	chart_release(&c);
	close_drawn(&d);
}

/* A point for each evaluation that tells recalled targets from others. */
static void recall_over_the_run(void **state)
{
	const struct plot_options p = {.x = AXIS_STEPS};
	struct drawn d;
	struct chart c;

	(void)state;
	open_drawn(&d, false);
	assert_int_equal(plot_make(plot_find("gap"), &d.study, &p, &c), 0);
	assert_int_equal(c.n_panels, 2);
	const struct series *recalled = &c.panels[0].series[2], *others = &c.panels[1].series[2];
	assert_true(c.panels[0].n_series == 3 && recalled->n == 2 && others->n == 2);
	assert_true(recalled->x[0] == LAB_STEPS / 2 && recalled->x[1] == LAB_STEPS);
	assert_true(fabs(recalled->y[0] - 8.27) < 1e-9 && fabs(recalled->y[1] - 1.27) < 1e-9);
	assert_true(fabs(recalled->low[1] - 1.26) < 1e-9 && fabs(recalled->high[1] - 1.28) < 1e-9);
	assert_true(fabs(others->y[1] - (3.02 + (0.3 - 0.14 - 0.14) / 3)) < 1e-9);
	const struct series *near = &c.panels[0].series[1];	/* one of its seeds tells it at the end alone */
	assert_true(near->n == 2 && near->x[0] == LAB_STEPS / 2 && near->x[1] == LAB_STEPS);
	assert_true(fabs(near->y[0] - 8.519) < 1e-9 && fabs(near->y[1] - 1.519) < 1e-9);
	chart_release(&c);
	close_drawn(&d);
}

static void no_pair_is_rare(void **state)
{
	const struct plot_options p = {.x = AXIS_STEPS};
	struct drawn d;
	struct chart c;

	(void)state;
	open_drawn(&d, true);
	catch_messages();
	assert_int_equal(plot_make(plot_find("gap"), &d.study, &p, &c), -1);
	assert_caught("sweep lab/one has no losses of recalled targets");
	error_sink = NULL;
	chart_release(&c);
	close_drawn(&d);
}

/* Runs of an older moelab, in a new database and in their own, which the reader brings up to date. */
static void older_runs_have_none(void **state)
{
	char *text = path_read("tests/store/lab_v1.sql", NULL), folder[256], *path;
	const struct study_options o = {.force = true};
	struct study study;
	struct shown w;
	struct grid g;
	sqlite3 *handle;
	struct db db;

	(void)state;
	assert_false(show(&w, runs, ARRAY_SIZE(runs), "position", "md"));
	assert_caught("sweep lab/one has no losses by class of tokens");
	end(&w);
	assert_int_equal(path_tmp_folder(folder, sizeof folder, "old"), 0);
	path = path_join(folder, "lab.db");
	assert_int_equal(sqlite3_open(path, &handle), SQLITE_OK);
	assert_int_equal(sqlite3_exec(handle, text, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(handle);
	catch_messages();
	assert_int_equal(refresh_open(&db, path), 0);
	assert_int_equal(study_open(&study, &db, "old/sweep", &o), 0);
	assert_int_equal(table_make(table_find("frequency"), &study, true, &g), -1);
	assert_caught("has no losses by class of tokens");
	grid_release(&g);
	study_close(&study);
	db_close(&db);
	path_remove_tree(folder);
	free(path);
	free(text);
	error_sink = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(losses_by_position), cmocka_unit_test(losses_by_frequency),
		cmocka_unit_test(lines_over_classes), cmocka_unit_test(recall_over_the_run),
		cmocka_unit_test(no_pair_is_rare),
		cmocka_unit_test(older_runs_have_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
