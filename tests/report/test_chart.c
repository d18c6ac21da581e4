/* Figures: scripts that gnuplot takes whatever the names are, data beside them, faults in one line;
   and the page that holds them. */
#include "caught.h"

#include "lab.h"
#include "report/plot.h"
#include "report/report.h"
#include "show/gnuplot.h"

#include <unistd.h>

static const char nasty[] = "a_b^c {x} 'q' \"d\" `touch owned` @m $(touch owned) %d \\n <&>\nend";

static char folder[256];

/* No locale is set, as on a bare machine. */
static int make_folder(void **state)
{
	(void)state;
	setenv("LC_ALL", "C", 1);
	return path_tmp_folder(folder, sizeof folder, "fig");
}

static int remove_folder(void **state)
{
	(void)state;
	error_sink = NULL;
	return path_remove_tree(folder);
}

static char *in_folder(const char *name)
{
	return path_join(folder, name);
}

static void fill(struct chart *c)
{
	chart_init(c, "lines");
	c->title = nasty;
	c->subtitle = nasty;
	c->x_title = nasty;
	c->x_log = true;
	struct panel *p = chart_panel(c, nasty);
	p->y_level = 2;
	p->level_title = nasty;
	for (int k = 0; k < 9; k++) {
		struct series *s = chart_series(c, p, nasty, k, 5);
		for (int i = 0; i < 5; i++) {
			s->x[i] = 100 << i;
			s->y[i] = i == 2 ? NAN : 1 + k + 3.0 / (i + 1);
			s->low[i] = k == 1 ? s->y[i] - 0.1 : NAN;
			s->high[i] = k == 1 ? s->y[i] + 0.1 : NAN;
		}
	}
}

static void nasty_names_are_drawn_as_they_are(void **state)
{
	struct chart c;

	(void)state;
	fill(&c);
	for (const struct chart_format *f = chart_formats; *f->suffix; f++) {
		char *name = xasprintf("lines%s", f->suffix), *path = in_folder(name);
		catch_messages();
		assert_int_equal(chart_write(&c, f, path), 0);
		assert_string_equal(caught, "");
		char *drawn = path_read(path, NULL);
		assert_non_null(drawn);
		if (!strcmp(f->name, "svg"))
			assert_has(drawn, "a_b^c {x} 'q' \"d\" `touch owned` @m $(touch owned) %d \\n &lt;&amp;> end");
		free(drawn);
		free(path);
		free(name);
	}
	char *owned = in_folder("owned");
	assert_false(path_exists(owned));
	free(owned);
	chart_release(&c);
}

static void script_runs_alone(void **state)
{
	struct chart c;
	char *path = in_folder("lines.svg");

	(void)state;
	fill(&c);
	assert_int_equal(chart_write(&c, chart_format_find("svg"), path), 0);
	char *first = path_read(path, NULL);
	unlink(path);
	char *command = xasprintf("cd '%s' && gnuplot lines.gp", folder);
	assert_int_equal(system(command), 0);
	char *again = path_read(path, NULL);
	assert_string_equal(first, again);
	free(command);
	free(again);
	free(first);
	free(path);
	chart_release(&c);
}

static void data_stand_beside_one_line_a_point(void **state)
{
	struct chart c;
	struct str csv;

	(void)state;
	chart_init(&c, "lines");
	struct series *s = chart_series(&c, chart_panel(&c, "loss"), "a \"b\"", 0, 2);
	s->x[0] = 1;
	s->x[1] = 2.5;
	s->y[0] = 3;
	s->low[0] = 2;
	s->high[0] = 4;
	str_init(&csv);
	chart_csv(&c, &csv);
	assert_string_equal(csv.text, "panel,series,x,y,low,high\n"
		"\"loss\",\"a \"\"b\"\"\",1,3,2,4\n\"loss\",\"a \"\"b\"\"\",2.5,NaN,NaN,NaN\n");
	str_release(&csv);
	chart_release(&c);
}

static void terminal_needs_a_temporary_folder(void **state)
{
	char *tmp = getenv("TMPDIR") ? xstrdup(getenv("TMPDIR")) : xstrdup("");
	struct chart c;

	(void)state;
	fill(&c);
	setenv("TMPDIR", "/nonexistent", 1);
	catch_messages();
	assert_int_equal(chart_write(&c, chart_format_find("term"), "lines"), EXIT_ENVIRONMENT);
	assert_caught("cannot make /nonexistent/moelab-plot-");
	setenv("TMPDIR", tmp, 1);
	chart_release(&c);
	free(tmp);
}

static void missing_gnuplot_is_one_line(void **state)
{
	char *path = xstrdup(getenv("PATH")), *figure = in_folder("lines.svg");
	struct chart c;

	(void)state;
	fill(&c);
	setenv("PATH", "/nonexistent", 1);
	catch_messages();
	int code = chart_write(&c, chart_format_find("svg"), figure);
	setenv("PATH", path, 1);
	assert_int_equal(code, EXIT_ENVIRONMENT);
	assert_caught("gnuplot: not found: install the package gnuplot-nox");
	assert_true(strchr(caught, '\n') == caught + strlen(caught) - 1);
	chart_release(&c);
	free(figure);
	free(path);
}

static void run_script(const char *text, double limit_s, const char *message)
{
	char *path = in_folder("odd.gp");

	assert_int_equal(path_write(path, text, strlen(text)), 0);
	catch_messages();
	assert_int_equal(gnuplot_run(folder, "odd.gp", limit_s), -1);
	assert_caught(message);
	free(path);
}

static void faults_of_scripts_are_shown(void **state)
{
	(void)state;
	run_script("plot 'absent.csv'\n", 20, "absent.csv");
	run_script("nonsense\n", 20, "invalid command");
}

static void endless_scripts_are_ended(void **state)
{
	(void)state;
	run_script("while (1) { x = 1 }\n", 0.3, "not done after");
}

static const struct lab_run runs[] = {
	{.label = "mamba", .variant = "mamba", .seed = 1, .noise = 0.002},
	{.label = "mamba", .variant = "mamba", .seed = 2, .noise = 0.002},
	{.label = "m-n_experts=2", .variant = "m", .seed = 1, .fast = 1.3, .experts = 2},
	{.label = "m-n_experts=2", .variant = "m", .seed = 2, .fast = 1.3, .experts = 2},
	{.label = "m-n_experts=8", .variant = "m", .seed = 1, .fast = 1.8, .experts = 8},
	{.label = "wild", .variant = "wild", .seed = 1, .diverged = true},
};

static const struct series *series_of(const struct chart *c, const char *label)
{
	for (int i = 0; i < c->panels[0].n_series; i++)
		if (!strcmp(c->panels[0].series[i].label, label))
			return &c->panels[0].series[i];
	fail_msg("no series %s", label);
	return NULL;
}

/* A series each configuration, with the names of all variants that come to it; a value with a diverged trial has no
   point. So of a sweep that has several rates. */
static void drawn_by_rate(const char *sweep)
{
	const struct lab_run trials[] = {
		{.label = "mamba-lr=2", .variant = "mamba", .seed = 8, .fast = 1.5, .lr = 2e-3},
		{.label = "mamba-lr=1", .variant = "mamba", .seed = 8, .lr = 1e-3},
		{.label = "mamba-lr=4", .variant = "mamba", .seed = 8, .lr = 4e-3, .diverged = true},
		{.label = "m-lr=1", .variant = "m", .seed = 8, .lr = 1e-3},
		{.label = "twin-lr=2", .variant = "twin", .seed = 8, .fast = 1.5, .lr = 2e-3, .run = "mamba-lr=2"},
		{.label = "twin-lr=1", .variant = "twin", .seed = 8, .lr = 1e-3, .run = "mamba-lr=1"}};
	const struct plot_options o = {.x = AXIS_STEPS};
	struct study s;
	struct lab lab;
	struct chart c;

	lab_open(&lab, NULL);
	json_object_set_new(lab.sweep, "name", json_string(sweep));
	lab_fill(&lab, trials, ARRAY_SIZE(trials));
	assert_int_equal(study_open(&s, &lab.db, sweep, &(struct study_options){.rule = NULL}), 0);
	assert_int_equal(plot_make(plot_find("tune"), &s, &o, &c), 0);
	assert_int_equal(c.panels[0].n_series, 2);
	const struct series *mamba = series_of(&c, "mamba, twin");
	assert_true(mamba->n == 2 && mamba->x[0] < mamba->x[1] && fabs(mamba->x[1] - 2e-3) < 1e-12);
	assert_true(fabs(mamba->y[1] - lab_loss(&trials[0], LAB_STEPS)) < 1e-6);
	assert_int_equal(series_of(&c, "m")->n, 1);
	chart_release(&c);
	study_close(&s);
	lab_close(&lab);
}

static void open_study(struct lab *lab, const struct lab_run *list, int n, struct study *s)
{
	lab_open(lab, "mamba");
	lab_fill(lab, list, n);
	assert_int_equal(study_open(s, &lab->db, "lab/one", &(struct study_options){.rule = NULL}), 0);
}

static void losses_are_drawn_by_rate(void **state)
{
	(void)state;
	drawn_by_rate("lab/one.tune");
	drawn_by_rate("lab/one");
}

static void plots_show_what_the_runs_told(void **state)
{
	const struct plot_options o = {.x = AXIS_STEPS};
	struct study s;
	struct lab lab;
	struct chart c;

	(void)state;
	open_study(&lab, runs, ARRAY_SIZE(runs), &s);

	assert_int_equal(plot_make(plot_find("loss"), &s, &o, &c), 0);
	const struct series *mamba = series_of(&c, "mamba");
	assert_true(mamba->n == LAB_STEPS / LAB_EVERY && mamba->style == 0);
	assert_true(fabs(mamba->x[4] - 50) < 1e-9);
	assert_true(fabs(mamba->y[4] - (lab_loss(&runs[0], 50) + lab_loss(&runs[1], 50)) / 2) < 1e-6);
	assert_true(fabs(mamba->high[4] - fmax(lab_loss(&runs[0], 50), lab_loss(&runs[1], 50))) < 1e-6);
	assert_true(series_of(&c, "wild")->n == LAB_STEPS / LAB_EVERY / 2);
	assert_true(isnan(series_of(&c, "m-n_experts=8")->high[0]));
	chart_release(&c);

	assert_int_equal(plot_make(plot_find("speedup"), &s, &o, &c), 0);
	const struct series *m = series_of(&c, "m-n_experts=8");
	assert_true(fabs(m->y[m->n / 2] - 1.8) < 0.1 && fabs(m->y[m->n - 1] - 1.8) < 0.1);
	chart_release(&c);

	assert_int_equal(plot_make(plot_find("experts"), &s, &o, &c), 0);
	m = series_of(&c, "m");
	assert_true(m->n == 2 && fabs(m->x[0] - 2) < 1e-9 && fabs(m->x[1] - 8) < 1e-9);
	assert_true(fabs(m->y[1] - lab_loss(&runs[4], LAB_STEPS)) < 1e-6);
	assert_true(series_of(&c, "mamba")->flat);
	chart_release(&c);

	assert_int_equal(plot_make(plot_find("load"), &s, &o, &c), 0);
	assert_true(c.n_panels == 2 && c.panels[1].n_rows == 8 * LAB_LAYERS && c.panels[1].n_x == LAB_STEPS / 50);
	double sum = 0;
	for (int i = 0; i < 8; i++)
		sum += c.panels[1].value[i * c.panels[1].n_x + 3];
	assert_true(fabs(sum - 8) < 1e-4);
	chart_release(&c);
	study_close(&s);
	lab_close(&lab);
}

/* Panels of one colour are names in the subtitle and the caption, unless there are no others. */
static void even_loads_are_named(void **state)
{
	const struct plot_options o = {.x = AXIS_STEPS};
	struct str script;
	struct study s;
	struct lab lab;
	struct chart c;

	(void)state;
	open_study(&lab, runs, ARRAY_SIZE(runs), &s);
	assert_int_equal(db_exec(&lab.db, "UPDATE expert SET load = 0.51 - 0.02 * expert WHERE run_id IN "
		"(SELECT run_id FROM run WHERE label = 'm-n_experts=2')"), 0);
	assert_int_equal(plot_make(plot_find("load"), &s, &o, &c), 0);
	assert_int_equal(c.n_panels, 1);
	assert_string_equal(c.panels[0].title, "m-n_experts=8, seed 1");
	assert_true(str_ends(c.subtitle, "; even all the time: m-n_experts=2"));
	assert_has(c.marks, "not shown: m-n_experts=2");
	chart_release(&c);
	assert_int_equal(db_exec(&lab.db, "UPDATE expert SET load = 0.125 WHERE run_id IN "
		"(SELECT run_id FROM run WHERE label = 'm-n_experts=8')"), 0);
	assert_int_equal(plot_make(plot_find("load"), &s, &o, &c), 0);
	assert_int_equal(c.n_panels, 2);
	assert_null(strstr(c.subtitle, "even all"));
	str_init(&script);		/* lines between layers are no broader than these allow */
	chart_script(&c, chart_format_find("svg"), "s", &script);
	assert_has(script.text, "'white' linewidth 3\n");
	c.look.height_pt = 150, c.look.font_pt = 10.5;
	str_clear(&script);
	chart_script(&c, chart_format_find("svg"), "s", &script);
	assert_lacks(script.text, "'white' linewidth 3\n");
	str_release(&script);
	chart_release(&c);
	study_close(&s);
	lab_close(&lab);
}

static void loss_is_drawn_by_share_of_mamba(void **state)
{
	const struct lab_run mixed[] = {{.label = "mamba", .variant = "mamba", .seed = 1, .expand = 2},
		{.label = "m-d_expert=1024", .variant = "m", .seed = 1, .expand = 1, .d_expert = 1024, .experts = 8},
		{.label = "m-d_expert=512", .variant = "m", .seed = 1, .fast = 2, .expand = 1,
			.d_expert = 512, .experts = 8},
		{.label = "wide", .variant = "wide", .seed = 1, .expand = 4, .foreign = true}};
	const struct plot_options o = {.x = AXIS_STEPS};
	struct study s;
	struct lab lab;
	struct chart c;

	(void)state;
	open_study(&lab, mixed, ARRAY_SIZE(mixed), &s);
	assert_int_equal(plot_make(plot_find("ratio"), &s, &o, &c), 0);
	const struct series *m = series_of(&c, "m");
	assert_true(m->n == 2 && fabs(m->x[0] - 2.8) < 1e-9 && fabs(m->x[1] - 4.4) < 1e-9);
	assert_true(fabs(m->y[1] - lab_loss(&mixed[2], LAB_STEPS)) < 1e-6);
	assert_true(series_of(&c, "mamba")->flat);
	assert_true(fabs(series_of(&c, "wide (foreign)")->x[0] - 6) < 1e-9);
	chart_release(&c);
	study_close(&s);
	lab_close(&lab);
}

/* Legends say what tables say of an imported curve. */
static void foreign_curves_are_called_so(void **state)
{
	const struct lab_run mixed[] = {{.label = "mamba", .variant = "mamba", .seed = 1},
		{.label = "m-n_experts=2", .variant = "m", .seed = 1, .fast = 1.3, .experts = 2},
		{.label = "m-n_experts=8", .variant = "m", .seed = 1, .fast = 1.8, .experts = 8, .foreign = true},
		{.label = "theirs", .variant = "theirs", .seed = 1, .fast = 1.1, .foreign = true}};
	static const char *const labels[][3] = {{"loss", "m-n_experts=8 (foreign)", "theirs (foreign)"},
		{"speedup", "m-n_experts=8 (foreign)", "theirs (foreign)"},
		{"experts", "m (foreign)", "theirs (foreign)"}};
	struct study s;
	struct lab lab;
	struct chart c;

	(void)state;
	open_study(&lab, mixed, ARRAY_SIZE(mixed), &s);
	for (size_t i = 0; i < ARRAY_SIZE(labels); i++) {
		assert_int_equal(plot_make(plot_find(labels[i][0]), &s, &(struct plot_options){.x = AXIS_STEPS},
			&c), 0);
		for (int k = 1; k < 3; k++)
			series_of(&c, labels[i][k]);
		chart_release(&c);
	}
	assert_int_equal(plot_make(plot_find("loss"), &s, &(struct plot_options){.x = AXIS_SECONDS}, &c), 0);
	assert_int_equal(c.panels[0].n_series, 2);	/* the foreign ones do not tell their seconds */
	chart_release(&c);
	study_close(&s);
	lab_close(&lab);
}

static void page_needs_no_other_file(void **state)
{
	struct study s;
	struct lab lab;

	(void)state;
	open_study(&lab, runs, ARRAY_SIZE(runs), &s);
	char *place = in_folder("report");
	assert_int_equal(report_write(&s, place, NULL), 0);
	char *page_path = path_join(place, "index.html"), *page = path_read(page_path, NULL);
	assert_has(page, "does it tell a factor from nothing?");
	assert_has(page, "Warning: diverged runs count as not reached: wild");
	assert_has(page, "not reached (best");
	assert_has(page, "<svg");
	assert_has(page, "prefers-color-scheme");
	assert_has(page, "href=\"../../moelab-lab-");	/* a run directory */
	assert_lacks(page, "src=");
	assert_lacks(page, "<link");
	assert_lacks(page, "<script");
	static const char *const files[] = {"loss.svg", "loss.gp", "loss.csv", "loss.txt", "loss-flops.svg",
		"speedup.svg", "experts.svg", "load.svg", "tables/speedup.md", "tables/final.csv",
		"tables/experts.json", "tables/cost.tex"};
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char *path = path_join(place, files[i]);
		assert_true(path_exists(path));
		free(path);
	}
	free(page);
	free(page_path);
	free(place);
	study_close(&s);
	lab_close(&lab);
}

/* The trials stand in the report of the sweep that chose by them. */
static void page_shows_the_trials(void **state)
{
	const struct lab_run trials[] = {
		{.label = "mamba-lr=2", .variant = "mamba", .seed = 8, .fast = 1.5, .lr = 2e-3},
		{.label = "mamba-lr=1", .variant = "mamba", .seed = 8, .lr = 1e-3}};
	static const char *const files[] = {"tune.svg", "tune.gp", "tables/tune.md", "tables/tune.csv"};
	struct study s;
	struct lab lab;

	(void)state;
	lab_open(&lab, "mamba");
	json_object_set_new(lab.sweep, "name", json_string("lab/one.tune"));
	lab_fill(&lab, trials, ARRAY_SIZE(trials));
	lab_next(&lab, "lab/one", "mamba");
	lab_fill(&lab, runs, ARRAY_SIZE(runs));
	assert_int_equal(study_open(&s, &lab.db, "lab/one", &(struct study_options){.rule = NULL}), 0);
	char *place = in_folder("tuned");
	assert_int_equal(report_write(&s, place, NULL), 0);
	char *page_path = path_join(place, "index.html"), *page = path_read(page_path, NULL);
	assert_has(page, "lab/one.tune: trials of train.lr");
	assert_has(page, "lab/one.tune: final loss by train.lr");
	assert_has(page, "href=\"tables/tune.csv\"");
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		char *path = path_join(place, files[i]);
		assert_true(path_exists(path));
		free(path);
	}
	free(page);
	free(page_path);
	free(place);
	study_close(&s);
	lab_close(&lab);
}

/* Colours repeat over many configurations; in one figure lines differ all the same. */
static void lines_of_a_figure_differ(void **state)
{
	struct lab_run many[10] = {{.label = "mamba", .variant = "mamba", .seed = 1}};
	char label[10][32];
	struct study s;
	struct lab lab;
	struct chart c;

	(void)state;
	for (int i = 1; i < 10; i++) {
		snprintf(label[i], sizeof label[i], "%s-n_experts=%d", i < 8 ? "m" : "k", i);
		many[i] = (struct lab_run){.label = label[i], .variant = i < 8 ? "m" : "k", .seed = 1,
			.experts = i + 1};
	}
	open_study(&lab, many, ARRAY_SIZE(many), &s);
	assert_int_equal(plot_make(plot_find("experts"), &s, &(struct plot_options){.x = AXIS_STEPS}, &c), 0);
	assert_int_equal(series_of(&c, "m")->style, 1);
	assert_int_equal(series_of(&c, "k")->style, 2);
	chart_release(&c);
	study_close(&s);
	lab_close(&lab);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nasty_names_are_drawn_as_they_are),
		cmocka_unit_test(script_runs_alone),
		cmocka_unit_test(data_stand_beside_one_line_a_point),
		cmocka_unit_test(terminal_needs_a_temporary_folder),
		cmocka_unit_test(missing_gnuplot_is_one_line),
		cmocka_unit_test(faults_of_scripts_are_shown),
		cmocka_unit_test(endless_scripts_are_ended),
		cmocka_unit_test(losses_are_drawn_by_rate),
		cmocka_unit_test(plots_show_what_the_runs_told),
		cmocka_unit_test(even_loads_are_named),
		cmocka_unit_test(loss_is_drawn_by_share_of_mamba),
		cmocka_unit_test(foreign_curves_are_called_so),
		cmocka_unit_test(lines_of_a_figure_differ),
		cmocka_unit_test(page_needs_no_other_file),
		cmocka_unit_test(page_shows_the_trials),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
