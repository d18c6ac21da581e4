/* Tables and figures as a paper needs them: names, order, and what a caption says. */
#include "caught.h"

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
	assert_string_equal(study.arms[1].label, "MoE = Mamba-n_experts=2");
	table_has("final", "md", "| MoE = Mamba-n_experts=2 ");
	table_has("final", "csv", "\neight,");
	/* what the database knows by the old name is still found */
	assert_string_equal(study_published(&study, &study.arms[2], "loss")->text, "3.25");
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
		assert_string_equal(study.arms[i].label, expected[i]);
	assert_ptr_equal(study.baseline, &study.arms[2]);
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
	const struct arm **rows = study_rows(&study, arms_numbers(&study, "model.moe.n_experts"));
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
	assert_string_equal(study.arms[2].label, "m-n_experts=2");
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

/* --- look ------------------------------------------------------------------------------------ */

/* The script of a plot, drawn as the words ask; "" if that cannot be, with the message caught. */
static char *script_of(const char *name, const char *format, const struct look_words *words)
{
	struct look look;
	const struct plot_options o = {.x = AXIS_TOKENS, .look = &look};
	struct chart c;
	struct str out;

	str_init(&out);
	catch_messages();
	if (!look_read(&look, words)) {
		if (!plot_make(plot_find(name), &study, &o, &c))
			chart_script(&c, chart_format_find(format), "stem", &out);
		chart_release(&c);
	}
	error_sink = NULL;
	return out.text;
}

static void script_has(const char *name, const char *format, struct look_words words, const char *text)
{
	char *script = script_of(name, format, &words);

	assert_string_equal(caught, "");
	assert_has(script, text);
	free(script);
}

static void script_lacks(const char *name, const char *format, struct look_words words, const char *text)
{
	char *script = script_of(name, format, &words);

	assert_true(*script);
	assert_lacks(script, text);
	free(script);
}

static void look_refused(const char *name, struct look_words words, const char *message)
{
	char *script = script_of(name, "svg", &words);

	assert_string_equal(script, "");
	assert_caught(message);
	assert_true(strchr(caught, '\n') == caught + strlen(caught) - 1);
	free(script);
}

#define WORDS(...) ((struct look_words){__VA_ARGS__})

static void page_is_as_large_as_asked(void **state)
{
	(void)state;
	open_study(NULL, NULL, NULL);
	script_has("loss", "pdf", WORDS(.size = "8.5x6cm"), "pdfcairo size 8.500cm,6.000cm");
	script_has("loss", "pdf", WORDS(.size = "3x2in"), "pdfcairo size 7.620cm,5.080cm");
	script_has("loss", "svg", WORDS(.size = "3x2.5in"), "svg size 288,240 fixed");
	script_has("loss", "png", WORDS(.size = "3x2.5in"), "size 900,750");
	script_has("loss", "svg", WORDS(.size = NULL), "svg size 960,560 dynamic font 'sans,14'");
	script_has("loss", "png", WORDS(.size = NULL), "pngcairo size 1920,1120");
	look_refused("loss", WORDS(.size = "8x6"), "--size takes WIDTHxHEIGHT with its unit");
	look_refused("loss", WORDS(.size = "8x6pt"), "not \"8x6pt\"");
	look_refused("loss", WORDS(.size = "8cm"), "not \"8cm\"");
	look_refused("loss", WORDS(.size = "0x6cm"), "1 to 100 inches");
	look_refused("loss", WORDS(.size = "nanx6cm"), "1 to 100 inches");
	study_close(&study);
}

/* All texts are in the font asked for; SVG counts in pixels. A narrow page has its legend below. */
static void font_and_legend_follow_the_page(void **state)
{
	(void)state;
	open_study(NULL, NULL, NULL);
	script_has("loss", "pdf", WORDS(.font = "Times New Roman,9"), "font 'Times New Roman,9' fontscale 0.75");
	script_has("loss", "svg", WORDS(.font = "serif,9"), "font 'serif,12'");
	script_lacks("loss", "svg", WORDS(.font = "serif"), "sans");
	script_has("loss", "svg", WORDS(.font = NULL), "set key outside right");
	script_has("loss", "pdf", WORDS(.size = "8.5x6cm", .font = ",8"), "set key at screen 0.5");
	look_refused("loss", WORDS(.font = "a'b,9"), "--font takes NAME,SIZE");
	look_refused("loss", WORDS(.font = "Times,900"), "--font takes NAME,SIZE");
	look_refused("loss", WORDS(.font = "Times,"), "--font takes NAME,SIZE");
	look_refused("loss", WORDS(.font = ""), "--font takes NAME,SIZE");
	study_close(&study);
}

/* Of the last y range. */
static double high_end(const char *script)
{
	const char *at = NULL, *next = script;

	while ((next = strstr(next + 1, "set yrange [")))
		at = next;
	assert_non_null(at);
	return atof(strchr(at, ':') + 1);
}

static void axes_reach_as_far_as_asked(void **state)
{
	(void)state;
	open_study(NULL, NULL, NULL);
	script_has("loss", "svg", WORDS(.x_range = "1e5:2e6"), "set logscale x\nset xrange [100000:2000000] noextend\n"
		"set xtics ('100k' 100000, '200k' 200000, '500k' 500000, '1M' 1000000, '2M' 2000000)");
	script_has("loss", "svg", WORDS(.x_range = "1e6:", .log = "none"), "set xrange [1000000:");
	script_lacks("loss", "svg", WORDS(.log = "none"), "set logscale x");
	script_has("loss", "svg", WORDS(.y_range = ":3"), "set yrange [*:3]\nunset logscale y");
	script_has("loss", "svg", WORDS(.log = "y"), "set logscale y");
	script_has("loss", "svg", WORDS(.log = "xy", .x_range = "2.1e6:2.9e6"), "'2.2M' 2200000, ");
	script_lacks("loss", "svg", WORDS(.y_range = "2.5:3"), "at its end"); /* a level outside */
	script_has("loss", "svg", WORDS(.x_title = "tokens", .y_title = "none"), "set xlabel 'tokens'");
	/* a logarithmic y axis spans what the x axis shows */
	char *whole = script_of("loss", "svg", &WORDS(.log = "xy")), *end = script_of("loss", "svg",
		&WORDS(.log = "xy", .x_range = "2e6:"));
	assert_true(high_end(whole) > 3 && high_end(end) < 2.5);
	free(whole);
	free(end);
	look_refused("loss", WORDS(.x_range = "2:1"), "--xrange takes A:B with A below B");
	look_refused("loss", WORDS(.x_range = "5"), "not \"5\"");
	look_refused("loss", WORDS(.y_range = "1:x"), "--yrange takes A:B");
	look_refused("loss", WORDS(.y_range = ":"), "--yrange takes A:B");
	look_refused("loss", WORDS(.log = "z"), "--log takes x, y, xy or none, not \"z\"");
	look_refused("loss", WORDS(.x_range = "0:1e6"), "--xrange begins at 0, but its axis is logarithmic");
	look_refused("loss", WORDS(.y_range = "90:100"), "no point lies in --xrange and --yrange");
	look_refused("delta", WORDS(.log = "y"), "--log y: the axis reaches to 0 or below");
	look_refused("load", WORDS(.log = "y"), "a heat map takes no");
	study_close(&study);
}

/* A legend lists curves as they end on the axis that is shown. */
static void legend_has_the_order_of_the_right_end(void **state)
{
	struct chart c;
	struct str out;

	(void)state;
	chart_init(&c, "cross");
	struct panel *p = chart_panel(&c, "y");
	for (int k = 0; k < 2; k++) {
		struct series *s = chart_series(&c, p, k ? "falls" : "rises", k, 2);
		for (int i = 0; i < 2; i++) {
			s->x[i] = 1 + i;
			s->y[i] = k == i ? 1 : 2;
		}
	}
	str_init(&out);
	chart_script(&c, chart_format_find("svg"), "s", &out);
	assert_true(strstr(out.text, "'rises'") < strstr(out.text, "'falls'"));
	str_clear(&out);
	c.x_high = 1.5;
	chart_script(&c, chart_format_find("svg"), "s", &out);
	assert_true(strstr(out.text, "'rises'") > strstr(out.text, "'falls'"));
	str_release(&out);
	chart_release(&c);
}

/* The axes' right end, as a share of the page, of two panels of n curves. */
static double right_end(int n)
{
	struct chart c;
	struct str out;
	double right;

	chart_init(&c, "many");
	for (int i = 0; i < 2; i++) {
		struct panel *p = chart_panel(&c, "y");
		for (int k = 0; k < n; k++) {
			struct series *s = chart_series(&c, p, "label of 18 letters", k, 2);
			for (int x = 0; x < 2; x++) {
				s->x[x] = 1 + x;
				s->y[x] = k;
			}
		}
	}
	str_init(&out);
	chart_script(&c, chart_format_find("svg"), "s", &out);
	assert_non_null(strstr(out.text, "set key outside right"));
	assert_int_equal(sscanf(strstr(out.text, "margins screen "), "margins screen %*f, %lf", &right), 1);
	str_release(&out);
	chart_release(&c);
	return right;
}

/* A legend of more curves than lines fit beside a panel has two columns, and room for them: twice 16 em of 69. */
static void legend_of_many_curves_has_room(void **state)
{
	(void)state;
	assert_true(right_end(14) > 0.7);
	assert_true(right_end(20) < 0.54);
}

static void titles_may_go_but_not_the_stamp(void **state)
{
	(void)state;
	open_study(NULL, NULL, NULL);
	script_has("loss", "svg", WORDS(.title = "My title"), "set label 1 'My title' at");
	script_lacks("loss", "svg", WORDS(.title = "none"), "set label 1");
	notes_add(&study.notes, NOTE_STAMP, "rows differ");
	script_has("loss", "svg", WORDS(.title = "My title"), "set label 1 'FORCED My title' at");
	script_has("loss", "svg", WORDS(.title = "none"), "set label 1 'FORCED' at");
	study_close(&study);
}

/* --- captions ---------------------------------------------------------------------------------- */

static void caption_has(const char *plot, const char *text)
{
	struct chart c;

	draw(plot, &c);
	assert_has(c.caption, text);
	chart_release(&c);
}

static void captions_say_what_is_drawn(void **state)
{
	struct chart c;

	(void)state;
	open_study("wide=Wide", NULL, NULL);
	caption_has("loss", "Validation loss. Lines are means over the seeds, point by point; bands reach from the"
		" lowest to the highest seed. 2 seeds of each configuration. Context of 256 tokens, evaluation on the"
		" split val. Learning rates: the paper's (m-n_experts=8 0.001);"
		" untuned (mamba 0.001, m-n_experts=2 0.002, Wide 0.001). Rule default: validation loss, raw;");
	caption_has("loss", "Budget 4,096,000 tokens, 1000 steps; data 01234567 (byte); validation on ");
	caption_has("loss", "\n\nWarning: fewer than 3 seeds: all rows.\n");
	caption_has("experts", "Points and flat lines are means over the seeds; bars and bands reach from the lowest");
	caption_has("speedup", "Lines are geometric means over pairs of one seed");
	caption_has("delta", "of a single seed two standard errors of the running mean");
	draw("delta", &c);
	assert_lacks(c.caption, "Rule default"); /* it draws training losses */
	chart_release(&c);
	notes_add(&study.notes, NOTE_STAMP, "rows differ");
	caption_has("loss", "FORCED: rows differ. Validation loss.");
	study_close(&study);
}

/* Each plot states its headline and what it draws. */
static void no_plot_forgets_its_caption(void **state)
{
	int n = 0;

	(void)state;
	open_study(NULL, NULL, NULL);
	for (int i = 0; plots[i]; i++) {
		struct chart c;
		if (!plot_applies(plots[i], &study))
			continue;
		draw(plots[i]->name, &c);
		if (!*c.headline || !*c.marks)
			fail_msg("plot %s has no headline or no marks", plots[i]->name);
		chart_release(&c);
		n++;
	}
	assert_true(n >= 5);
	study_close(&study);
}

static void captions_of_single_seeds_claim_no_band(void **state)
{
	struct chart c;

	(void)state;
	open_study(NULL, NULL, NULL);
	for (int i = 0; i < study.n_arms; i++)
		study.arms[i].n = i == 1 ? 2 : 1;
	caption_has("loss", "1 to 2 seeds of each configuration.");
	study.arms[1].n = 1;
	caption_has("loss", "One seed each, so neither means nor bands. 1 seed of each configuration.");
	draw("experts", &c);
	assert_lacks(c.caption, "lowest");
	chart_release(&c);
	study_close(&study);
}

/* Facts in the caption, warnings below the table, nothing twice. */
static void latex_tables_have_the_same_caption(void **state)
{
	struct grid g;
	struct str out;

	(void)state;
	open_study(NULL, NULL, NULL);
	str_init(&out);
	assert_int_equal(table_make(table_find("final"), &study, true, &g), 0);
	grid_format_find("latex")->render(&g, &out);
	const char *end = strstr(out.text, "}\n\t\\label"), *facts = strstr(out.text, "2 seeds of each configuration."),
		   *rule = strstr(out.text, "Rule default: validation loss"), *rates = strstr(out.text, "n\\_experts=8 0.001"),
		   *warning = strstr(out.text, "\\footnotesize Warning: fewer than 3 seeds");
	assert_true(end && facts && rule && rates && facts < rates && rates < rule && rule < end);
	assert_true(warning && warning > end);
	assert_null(strstr(rule + 4, "ule default"));
	str_release(&out);
	grid_release(&g);
	study_close(&study);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(labels_are_renamed_wherever_they_stand),
		cmocka_unit_test(order_puts_rows_and_curves_first),
		cmocka_unit_test(order_takes_variants),
		cmocka_unit_test(bad_names_are_one_line),
		cmocka_unit_test(page_is_as_large_as_asked),
		cmocka_unit_test(font_and_legend_follow_the_page),
		cmocka_unit_test(axes_reach_as_far_as_asked),
		cmocka_unit_test(legend_has_the_order_of_the_right_end),
		cmocka_unit_test(legend_of_many_curves_has_room),
		cmocka_unit_test(titles_may_go_but_not_the_stamp),
		cmocka_unit_test(captions_say_what_is_drawn),
		cmocka_unit_test(no_plot_forgets_its_caption),
		cmocka_unit_test(captions_of_single_seeds_claim_no_band),
		cmocka_unit_test(latex_tables_have_the_same_caption),
	};

	return cmocka_run_group_tests(tests, open_lab, close_lab);
}
