/* The forms of a grid, letter by letter, with texts that try to break out of each. */
#include "caught.h"

#include "show/grid.h"

#include <jansson.h>
#include <math.h>

static void fill(struct grid *g)
{
	grid_init(g, "t");
	grid_title(g, "a_b: 100 %%");
	grid_column(g, "model", "model", COLUMN_TEXT);
	grid_column(g, "loss", "loss", COLUMN_INTERVAL);
	grid_column(g, "raw", NULL, COLUMN_NUMBER);
	grid_column(g, NULL, "shown", COLUMN_NUMBER);
	grid_row(g);
	grid_text(g, "a|b,\"c\"\n<d>&$_~");
	grid_interval(g, 1.5, 1, 2, "1.50 +- 0.50");
	grid_number(g, 3, "three");
	grid_text(g, "3");
	grid_row(g);
	grid_rule(g);
	grid_text(g, "\xc3\xa9");
	grid_interval(g, NAN, NAN, NAN, "not reached");
	notes_add(&g->notes, NOTE_WARNING, "n < 3");
	notes_add(&g->notes, NOTE_WARNING, "n < 3");
	notes_add(&g->notes, NOTE_STAMP, "rows differ");
}

static void check(const char *format, const char *expected)
{
	struct grid g;
	struct str out;

	fill(&g);
	str_init(&out);
	grid_format_find(format)->render(&g, &out);
	assert_string_equal(out.text, expected);
	str_release(&out);
	grid_release(&g);
}

static void markdown_is_aligned(void **state)
{
	(void)state;
	check("md",
		"### a_b: 100 %\n\n- FORCED: rows differ\n\n"
		"| model            |         loss | shown |\n"
		"|------------------|-------------:|------:|\n"
		"| a\\|b,\"c\" <d>&$_~ | 1.50 +- 0.50 |     3 |\n"
		"| \xc3\xa9                |  not reached |       |\n"
		"\n- Warning: n < 3\n");
}

static void csv_has_values_and_comments(void **state)
{
	(void)state;
	check("csv",
		"# a_b: 100 %\n# Warning: n < 3\n# FORCED: rows differ\n"
		"model,loss,loss_low,loss_high,raw\n"
		"\"a|b,\"\"c\"\"\n<d>&$_~\",1.5,1,2,3\n"
		"\xc3\xa9,,,,\n");
}

static void chosen(const char *names, const char *format, const char *expected)
{
	struct grid g;
	struct str out;

	fill(&g);
	str_init(&out);
	assert_int_equal(grid_choose(&g, names), 0);
	grid_format_find(format)->render(&g, &out);
	assert_has(out.text, expected);
	str_release(&out);
	grid_release(&g);
}

static void columns_can_be_chosen(void **state)
{
	struct grid g;

	(void)state;
	chosen("raw,model", "csv", "FORCED: rows differ\nraw,model\n3,\"a|b");
	chosen("shown,loss", "csv", "loss,loss_low,loss_high\n1.5,1,2\n");
	chosen("raw,shown", "md", "|   raw | shown |\n|------:|------:|\n| three |     3 |\n|       |       |\n");
	fill(&g);
	catch_messages();
	assert_int_equal(grid_choose(&g, "model,rae"), -1);
	assert_caught("table t has no column \"rae\": there are model, loss, raw, shown");
	assert_int_equal(grid_choose(&g, "raw,raw"), -1);
	assert_caught("table t: column \"raw\" is named twice");
	error_sink = NULL;
	grid_release(&g);
}

static void latex_is_escaped(void **state)
{
	(void)state;
	check("latex",
		"\\begin{table}\n\t\\centering\n\t\\caption{a\\_b: 100 \\%}\n\t\\label{tab:t}\n"
		"\t\\begin{tabular}{lrr}\n\t\t\\toprule\n\t\tmodel & loss & shown \\\\\n\t\t\\midrule\n"
		"\t\ta|b,\"c\" $<$d$>$\\&\\$\\_\\textasciitilde{} & 1.50 $\\pm$ 0.50 & 3 \\\\\n\t\t\\midrule\n"
		"\t\t\xc3\xa9 & not reached &  \\\\\n\t\t\\bottomrule\n\t\\end{tabular}\n"
		"\n\t\\par\\footnotesize Warning: n $<$ 3\n\t\\par\\footnotesize FORCED: rows differ\n"
		"\\end{table}\n");
}

static void json_can_be_read(void **state)
{
	struct grid g;
	struct str out;

	(void)state;
	fill(&g);
	str_init(&out);
	grid_format_find("json")->render(&g, &out);
	json_t *root = json_loads(out.text, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(root);
	json_t *rows = json_object_get(root, "rows"), *first = json_array_get(rows, 0);
	assert_int_equal(json_array_size(rows), 2);
	assert_string_equal(json_string_value(json_object_get(first, "model")), "a|b,\"c\"\n<d>&$_~");
	assert_true(fabs(json_number_value(json_object_get(first, "loss_high")) - 2) < 1e-12);
	assert_true(json_is_null(json_object_get(json_array_get(rows, 1), "loss")));
	assert_null(json_object_get(first, "shown"));
	assert_string_equal(json_string_value(json_object_get(root, "title")), "a_b: 100 %");
	json_decref(root);
	str_release(&out);
	grid_release(&g);
}

/* A database may hold what JSON cannot say, and numbers that ten digits do not tell apart. */
static void json_is_valid_whatever_the_cells(void **state)
{
	struct grid g;
	struct str out;

	(void)state;
	grid_init(&g, "t");
	grid_column(&g, "text", "text", COLUMN_TEXT);
	grid_column(&g, "n", "n", COLUMN_NUMBER);
	grid_column(&g, "x", "x", COLUMN_NUMBER);
	grid_row(&g);
	grid_text(&g, "a\xff\xc3\xa4\xe2\x82" "b\x01\n");
	grid_number(&g, 27123456789, "27B");
	grid_number(&g, 1e300, "1e300");
	str_init(&out);
	grid_format_find("json")->render(&g, &out);
	json_t *root = json_loads(out.text, JSON_REJECT_DUPLICATES, NULL);
	json_t *row = json_array_get(json_object_get(root, "rows"), 0);
	assert_string_equal(json_string_value(json_object_get(row, "text")),
		"a\uFFFD\u00e4\uFFFD\uFFFDb\x01\n");
	assert_int_equal(json_integer_value(json_object_get(row, "n")), 27123456789);
	assert_true(json_real_value(json_object_get(row, "x")) == 1e300);
	json_decref(root);
	str_release(&out);
	grid_release(&g);
}

static void html_is_escaped(void **state)
{
	struct grid g;
	struct str out;

	(void)state;
	fill(&g);
	str_init(&out);
	grid_format_find("html")->render(&g, &out);
	assert_has(out.text, "<td>a|b,&quot;c&quot;\n&lt;d&gt;&amp;$_~</td>");
	assert_has(out.text, "FORCED: rows differ");
	assert_lacks(out.text, "<d>");
	str_release(&out);
	grid_release(&g);
}

static void endless_numbers_get_an_exponent(void **state)
{
	struct grid g;
	struct str out;

	(void)state;
	grid_init(&g, "t");
	grid_column(&g, "label", "label", COLUMN_TEXT);
	grid_column(&g, "loss", "loss", COLUMN_INTERVAL);
	grid_column(&g, "n", "n", COLUMN_NUMBER);
	grid_row(&g);
	grid_text(&g, "0123456789012345678");
	grid_interval(&g, 1e300, -1e20, 2, "%.3f [%.3f, %.3f]", 1e300, -1e20, 2.0);
	grid_number(&g, 1e14, "%.0f", 1e14);
	str_init(&out);
	grid_format_find("md")->render(&g, &out);
	assert_has(out.text, "| 0123456789012345678 | 1.000e+300 [-1.000e+20, 2.000] | 100000000000000 |");
	str_release(&out);
	grid_release(&g);
}

struct subject {
	const char *name;
	double loss;
};

static void cell_name(struct grid *g, const struct column *c, const struct subject *r)
{
	(void)c;
	grid_text(g, "%s", r->name);
}

static void cell_loss(struct grid *g, const struct column *c, const struct subject *r)
{
	grid_number(g, r->loss, "%.*f", c->digits, r->loss);
}

static void null_loss(struct grid *g, const struct column *c, const struct subject *r)
{
	grid_number(g, NAN, "of %s by %d", r->name, c->digits);
}

/* Cells stand where their columns do, also in a null row that has few of them. */
static void columns_make_rows(void **state)
{
	static const struct column columns[] = {{"name", "name", COLUMN_TEXT, .cell = cell_name},
		{"short", NULL, COLUMN_NUMBER, .cell = cell_loss, .digits = 1},
		{NULL, "loss", COLUMN_NUMBER, .cell = cell_loss, .null = null_loss, .digits = 2}};
	const struct subject a = {"a", 1.25};
	struct grid g;
	struct str out;

	(void)state;
	grid_init(&g, "t");
	grid_columns(&g, columns, ARRAY_SIZE(columns));
	grid_column(&g, "last", "last", COLUMN_TEXT);
	g.columns[3].cell = cell_name;
	grid_fill(&g, &a);
	grid_fill_null(&g, &a);
	str_init(&out);
	grid_format_find("md")->render(&g, &out);
	assert_has(out.text, "| a    |      1.25 | a    |\n|      | of a by 2 |      |\n");
	str_release(&out);
	str_init(&out);
	grid_format_find("csv")->render(&g, &out);
	assert_has(out.text, "name,short,last\na,1.25,a\n,,\n");
	assert_true(!g.ruled[0] && g.ruled[1]);
	str_release(&out);
	grid_release(&g);
}

static void unknown_format_is_an_error(void **state)
{
	(void)state;
	catch_messages();
	assert_null(grid_format_find("xls"));
	assert_caught("unknown format \"xls\"");
	error_sink = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(markdown_is_aligned),
		cmocka_unit_test(csv_has_values_and_comments),
		cmocka_unit_test(columns_can_be_chosen),
		cmocka_unit_test(latex_is_escaped),
		cmocka_unit_test(json_can_be_read),
		cmocka_unit_test(json_is_valid_whatever_the_cells),
		cmocka_unit_test(html_is_escaped),
		cmocka_unit_test(endless_numbers_get_an_exponent),
		cmocka_unit_test(columns_make_rows),
		cmocka_unit_test(unknown_format_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
