/* Names of figures: whatever they are, the file is made under that name, and nothing else happens. */
#include "caught.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/path.h"
#include "show/chart.h"

static char folder[256];
static struct chart chart;

static int set_up(void **state)
{
	struct series *s;

	(void)state;
	chart_init(&chart, "loss");
	chart.title = chart.subtitle = chart.x_title = "t";
	chart.caption = "c\n";
	s = chart_series(&chart, chart_panel(&chart, "y"), "a", 0, 3);
	for (int i = 0; i < 3; i++) {
		s->x[i] = i;
		s->y[i] = 3 - i;
	}
	chart_series(&chart, chart.panels, "none", 1, 2)->n = 0;	/* a foreign run, say */
	return path_tmp_folder(folder, sizeof folder, "names") || chdir(folder) ? -1 : 0;
}

static int tear_down(void **state)
{
	(void)state;
	error_sink = NULL;
	chart_release(&chart);
	return chdir("/") || path_remove_tree(folder);
}

static void gnuplot_and_shell_see_no_name(void **state)
{
	static const char *const names[] = {"|touch owned #.svg", "<touch owned #.svg", "-x.svg", "$x.svg",
		"+.svg", "`touch owned`.svg", "@m.svg", "a 'b' \"c\".svg", "caf\xc3\xa9.svg", ".svg",
		"p/q.svg", "UPPER.SVG"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		catch_messages();
		assert_int_equal(chart_write(&chart, chart_format_of(names[i]), names[i]), 0);
		assert_string_equal(caught, "");
		char *drawn = path_read(names[i], NULL);
		assert_non_null(drawn);
		assert_has(drawn, "</svg>");
		free(drawn);
	}
	assert_false(path_exists("owned"));
	/* Its script draws it again, alone. */
	assert_int_equal(unlink("$x.svg") | unlink("|touch owned #.svg"), 0);
	assert_int_equal(system("gnuplot './$x.gp' './|touch owned #.gp'"), 0);
	assert_true(path_exists("$x.svg") && path_exists("|touch owned #.svg"));
	assert_false(path_exists("owned"));
	assert_true(path_exists("UPPER.csv") && path_exists("UPPER.txt"));
}

static void control_characters_are_refused(void **state)
{
	(void)state;
	catch_messages();
	assert_int_equal(chart_write(&chart, chart_format_of(NULL), "n\nsystem('touch owned')#.svg"),
		EXIT_USAGE);
	assert_caught("a control character in the name of a figure");
	assert_false(path_exists("owned"));
}

static void endings_say_the_form(void **state)
{
	static const char *const odd[] = {"noext", "/dev/stdout", "a.svgz", "pdf"};
	char *file;

	(void)state;
	assert_string_equal(chart_format_of("a.PDF")->name, "pdf");
	assert_string_equal(chart_format_of("a.b.Png")->name, "png");
	assert_string_equal(chart_format_of(NULL)->name, "svg");
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++) {
		catch_messages();
		assert_null(chart_format_of(odd[i]));
		assert_caught("a figure's name ends in .svg, .png or .pdf");
	}
	file = chart_file(chart_format_find("pdf"), "a.PDF");
	assert_string_equal(file, "a.PDF");
	free(file);
	file = chart_file(chart_format_find("pdf"), "a");
	assert_string_equal(file, "a.pdf");
	free(file);
}

/* What stood there stays, and nothing is told as made. */
static void failure_keeps_the_old_figure(void **state)
{
	char *path = xstrdup(getenv("PATH")), *own = xasprintf("%s/bin:%s", folder, path), *kept;

	(void)state;
	assert_int_equal(path_write("a.svg", "old", 3), 0);
	assert_int_equal(path_mkdirs("bin") | path_write("bin/gnuplot", "#!/bin/sh\nexit 0\n", 17) |
		system("chmod +x bin/gnuplot"), 0);
	setenv("PATH", own, 1);
	catch_messages();
	int code = chart_write(&chart, chart_format_find("svg"), "a.svg");
	setenv("PATH", path, 1);
	assert_int_equal(code, EXIT_ENVIRONMENT);
	assert_caught("loss.svg: No such file");
	kept = path_read("a.svg", NULL);
	assert_string_equal(kept, "old");
	free(kept);
	free(own);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
		TEST(gnuplot_and_shell_see_no_name), TEST(control_characters_are_refused),
		TEST(endings_say_the_form), TEST(failure_keeps_the_old_figure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
