/* Tables and figures as a paper needs them: names, order, and what a caption says. */
#include "test.h"

#include "lab.h"
#include "report/plot.h"
#include "report/table.h"

static const struct lab_run runs[] = {
	{.label = "mamba", .variant = "mamba", .seed = 1, .noise = 0.002},
	{.label = "mamba", .variant = "mamba", .seed = 2, .noise = 0.002},
	{.label = "m-n_experts=2", .variant = "m", .seed = 1, .fast = 1.3, .experts = 2, .lr = 2e-3},
	{.label = "m-n_experts=2", .variant = "m", .seed = 2, .fast = 1.3, .experts = 2, .lr = 2e-3},
	{.label = "m-n_experts=8", .variant = "m", .seed = 1, .fast = 1.8, .experts = 8},
	{.label = "m-n_experts=8", .variant = "m", .seed = 2, .fast = 1.8, .experts = 8},
	{.label = "wide", .variant = "wide", .seed = 1, .fast = 1.1},
	{.label = "wide", .variant = "wide", .seed = 2, .fast = 1.1},
};

static struct lab lab;
static struct study study;

static int open_lab(void **state)
{
	(void)state;
	lab_open(&lab, "mamba");
	json_array_append_new(json_object_get(lab.sweep, "published"), json_pack("{s:s,s:s,s:f,s:s}",
		"label", "m-n_experts=8", "quantity", "loss", "value", 3.25, "text", "3.25"));
	lab_fill(&lab, runs, ARRAY_SIZE(runs));
	return 0;
}

static int close_lab(void **state)
{
	(void)state;
	error_sink = NULL;
	lab_close(&lab);
	return 0;
}

static void open_study(const char *label, const char *more, const char *order)
{
	struct study_options o = {.order = order};

	if (label)
		o.labels.items[o.labels.n++] = label;
	if (more)
		o.labels.items[o.labels.n++] = more;
	assert_int_equal(study_open(&study, &lab.db, "lab/one", &o), 0);
}

/* Not opened, after one line that holds the text. */
static void refused(const char *label, const char *order, const char *text)
{
	struct study_options o = {.order = order};

	if (label)
		o.labels.items[o.labels.n++] = label;
	catch_messages();
	assert_int_equal(study_open(&study, &lab.db, "lab/one", &o), -1);
	assert_caught(text);
	assert_true(strchr(caught, '\n') == caught + strlen(caught) - 1);
	error_sink = NULL;
}

static void table_has(const char *name, const char *form, const char *text)
{
	struct grid g;
	struct str out;

	str_init(&out);
	assert_int_equal(table_make(table_find(name), &study, true, &g), 0);
	grid_format_find(form)->render(&g, &out);
	assert_has(out.text, text);
	str_release(&out);
	grid_release(&g);
}

static const struct series *series_of(const struct chart *c, const char *label)
{
	for (int i = 0; i < c->panels[0].n_series; i++)
		if (!strcmp(c->panels[0].series[i].label, label))
			return &c->panels[0].series[i];
	fail_msg("no series %s", label);
	return NULL;
}

static void draw(const char *name, struct chart *c)
{
	const struct plot_options o = {.x = AXIS_TOKENS};

	assert_int_equal(plot_make(plot_find(name), &study, &o, c), 0);
}

/* --- names and order ------------------------------------------------------------------------- */

static void labels_are_renamed_wherever_they_stand(void **state)
{
	struct chart c;

	(void)state;
	open_study("m=MoE = Mamba", "m-n_experts=8=eight", NULL);
	assert_string_equal(study.setups[1].label, "MoE = Mamba-n_experts=2");
	table_has("final", "md", "| MoE = Mamba-n_experts=2 ");
	table_has("final", "csv", "\neight,");
	/* what the database knows by the old name is still found */
	assert_string_equal(study_published(&study, &study.setups[2], "loss")->text, "3.25");
	table_has("load", "csv", "eight");
	draw("experts", &c);
	assert_int_equal(series_of(&c, "MoE = Mamba")->n, 2);
	chart_release(&c);
	study_close(&study);
	open_study("mamba=Mamba", NULL, NULL);
	table_has("final", "md", "null: Mamba against itself");
	table_has("final", "md", "| Mamba (baseline) ");
	study_close(&study);
}

static void order_puts_rows_and_curves_first(void **state)
{
	struct chart before, after;

	(void)state;
	open_study(NULL, NULL, NULL);
	draw("loss", &before);
	assert_false(before.ordered);
	study_close(&study);
	open_study("wide=Wide", NULL, "m-n_experts=8,Wide");
	static const char *const expected[] = {"m-n_experts=8", "Wide", "mamba", "m-n_experts=2"};
	for (int i = 0; i < 4; i++)
		assert_string_equal(study.setups[i].label, expected[i]);
	assert_string_equal(study.baseline->label, "mamba");
	draw("loss", &after);
	assert_true(after.ordered);
	for (int i = 0; i < 4; i++)
		assert_string_equal(after.panels[0].series[i].label, expected[i]);
	/* colours stay */
	assert_int_equal(series_of(&after, "mamba")->style, 0);
	assert_int_equal(series_of(&after, "Wide")->style, series_of(&before, "wide")->style);
	assert_int_equal(series_of(&after, "m-n_experts=8")->style, series_of(&before, "m-n_experts=8")->style);
	chart_release(&before);
	chart_release(&after);
	table_has("experts", "csv", "\n8,m-n_experts=8,");
	const struct setup **rows = study_rows(&study, setups_numbers(&study, "model.moe.n_experts"));
	assert_string_equal(rows[0]->label, "m-n_experts=8");
	study_close(&study);
}

/* All configurations of a variant are meant by its name; its colour is that of its first in the sweep. */
static void order_takes_variants(void **state)
{
	struct chart before, after;

	(void)state;
	open_study(NULL, NULL, NULL);
	draw("experts", &before);
	study_close(&study);
	open_study(NULL, NULL, "wide,m-n_experts=8,m");
	assert_string_equal(study.setups[2].label, "m-n_experts=2");
	draw("experts", &after);
	assert_string_equal(after.panels[0].series[0].label, "wide");
	assert_int_equal(series_of(&after, "m")->style, series_of(&before, "m")->style);
	assert_true(series_of(&after, "m")->x[0] < series_of(&after, "m")->x[1]);
	chart_release(&before);
	chart_release(&after);
	study_close(&study);
}

static void bad_names_are_one_line(void **state)
{
	(void)state;
	refused("mambo=x", NULL, "--label: sweep lab/one has no label \"mambo\" (did you mean \"mamba\"?)");
	refused("mamba", NULL, "--label takes OLD=NEW, not \"mamba\"");
	refused("mamba=", NULL, "--label takes OLD=NEW");
	refused("mamba=wide", NULL, "two configurations would be called \"wide\"");
	refused("m=wide", NULL, "two variants would be called \"wide\"");
	refused(NULL, "wide,mambo", "--order: sweep lab/one has no label \"mambo\" (did you mean \"mamba\"?)");
	refused(NULL, "m,m-n_experts=2", "--order: \"m-n_experts=2\" stands there twice");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels_are_renamed_wherever_they_stand),
		cmocka_unit_test(order_puts_rows_and_curves_first),
		cmocka_unit_test(order_takes_variants),
		cmocka_unit_test(bad_names_are_one_line),
	};

	return cmocka_run_group_tests(tests, open_lab, close_lab);
}
