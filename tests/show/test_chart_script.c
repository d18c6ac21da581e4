/* Scripts for gnuplot: lines can be told apart, labels of a heat map stand clear of each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/str.h"
#include "show/chart.h"

static void styles_differ_in_colour_or_dash(void **state)
{
	struct str script;
	struct chart c;

	(void)state;
	chart_init(&c, "lines");
	struct panel *p = chart_panel(&c, "y");
	for (int k = 0; k < N_STYLES; k++)
		chart_series(&c, p, "one", k, 2);
	str_init(&script);
	chart_script(&c, chart_format_find("svg"), "lines", &script);
	int n = 0;
	for (char *at = script.text; (at = strstr(at, "with lines linecolor")); n++) {
		char *end = strstr(at, " title");
		assert_non_null(end);
		char *look = xasprintf("%.*s title", (int)(end - at), at);
		at = end;
		if (strstr(at, look))
			fail_msg("two lines %s", look);
		free(look);
	}
	assert_int_equal(n, N_STYLES);
	str_release(&script);
	chart_release(&c);
}

/* Labels of a heat map of n layers, each with one row. */
static int labels_of(int n)
{
	const char *titles[40];
	double x[2] = {1, 2}, value[2 * ARRAY_SIZE(titles)] = {0};
	struct str script;
	struct chart c;
	int found = 0;

	for (int i = 0; i < n; i++)
		titles[i] = "layer";
	chart_init(&c, "load");
	struct panel *p = chart_panel(&c, "");
	p->x = x, p->n_x = 2, p->value = value, p->row_title = titles, p->n_rows = n;
	str_init(&script);
	chart_script(&c, chart_format_find("svg"), "load", &script);
	for (char *at = script.text; (at = strstr(at, "'layer' ")); at++)
		found++;
	str_release(&script);
	chart_release(&c);
	return found;
}

/* Those of many layers that a panel has no room for side by side would cover each other. */
static void labels_of_layers_stand_clear(void **state)
{
	(void)state;
	assert_int_equal(labels_of(4), 4);
	assert_in_range(labels_of(40), 4, 20);
}

/* The script of n heat maps, on a page and in a font of so many points or usual ones. */
static void script_of_maps(int n, double width_pt, double height_pt, double font_pt, struct str *script)
{
	static const char *titles[] = {"layer"};
	static double x[2] = {1, 2}, value[2] = {0};
	struct chart c;

	chart_init(&c, "load");
	c.look.width_pt = width_pt, c.look.height_pt = height_pt, c.look.font_pt = font_pt;
	for (int i = 0; i < n; i++) {
		struct panel *p = chart_panel(&c, "");
		p->title = "map";
		p->x = x, p->n_x = 2, p->value = value, p->row_title = titles, p->n_rows = 1;
	}
	c.x_title = "steps";
	str_init(script);
	chart_script(&c, chart_format_find("svg"), "load", script);
	chart_release(&c);
}

static int times(const char *text, const char *word)
{
	int n = 0;

	for (; (text = strstr(text, word)); text++)
		n++;
	return n;
}

/* Many stand beside each other, with one box of colours right of all and numbers below the last of each column; on a
   page that is asked for, where a column would leave them too low. */
static void many_heat_maps_stand_in_a_grid(void **state)
{
	static const struct {
		int n;
		double width_pt, height_pt;
		const char *layout, *size;
		int columns;
	} cases[] = {
		{5, 0, 0, "layout 5,1 ", "svg size 960,1060 ", 1}, {12, 0, 0, "layout 6,2 ", "svg size 960,1250 ", 2},
		{17, 0, 0, "layout 6,3 ", "svg size 1280,1250 ", 3}, {7, 454, 567, "layout 7,1 ", "svg size 605,756 ", 1},
		{17, 454, 567, "layout 9,2 ", "svg size 605,756 ", 2}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct str script;
		script_of_maps(cases[i].n, cases[i].width_pt, cases[i].height_pt, 0, &script);
		assert_non_null(strstr(script.text, cases[i].layout));
		assert_non_null(strstr(script.text, cases[i].size));
		assert_int_equal(times(script.text, "set xlabel 'steps'"), cases[i].columns);
		assert_int_equal(times(script.text, "set colorbox user"), cases[i].columns > 1);
		str_release(&script);
	}
}

/* Where neither another grid nor less between them makes maps large enough; SVG counts in pixels. */
static void small_pages_of_heat_maps_have_small_type(void **state)
{
	static const struct {
		double width_pt, height_pt, font_pt;
		const char *font;
	} cases[] = {{0, 0, 0, " font 'sans,14' "}, {454, 227, 0, " font 'sans,14' "}, {241, 150, 0, " font 'sans,8.667' "},
		{241, 150, 9, " font 'sans,12' "}, {100, 40, 0, " font 'sans,6.667' "}};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct str script;
		script_of_maps(3, cases[i].width_pt, cases[i].height_pt, cases[i].font_pt, &script);
		*strchr(strstr(script.text, "linewidth"), '\n') = '\0';
		if (!strstr(script.text, cases[i].font))
			fail_msg("%s, not %s", script.text, cases[i].font);
		str_release(&script);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(styles_differ_in_colour_or_dash), cmocka_unit_test(labels_of_layers_stand_clear),
		cmocka_unit_test(many_heat_maps_stand_in_a_grid),
		cmocka_unit_test(small_pages_of_heat_maps_have_small_type)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
