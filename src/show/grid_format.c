/* The forms of a grid. Widths count characters of UTF-8, so that Markdown aligns in a terminal. */
#include "show/grid.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int width_of(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += (*text & 0xC0) != 0x80;
	return n;
}

/* Text of a Markdown cell: a bar would end it, a line break the row. */
static void md_text(struct str *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '|')
			str_add(out, "\\|");
		else
			str_add_bytes(out, *text == '\n' || *text == '\r' ? " " : text, 1);
	}
}

static int md_width(const char *text)
{
	int n = width_of(text);

	for (; *text; text++)
		n += *text == '|';
	return n;
}

static void md_cell(struct str *out, const char *text, int width, bool right)
{
	int space = width - md_width(text);

	str_printf(out, "| %*s", right ? space : 0, "");
	md_text(out, text);
	str_printf(out, "%*s ", right ? 0 : space, "");
}

static int md_column_width(const struct grid *g, int column)
{
	int width = md_width(g->columns[column].title);

	if (width < 3)
		width = 3;
	for (int i = 0; i < g->n_rows; i++) {
		int w = md_width(g->rows[i][column].text);
		width = w > width ? w : width;
	}
	return width;
}

static void md_notes(const struct grid *g, struct str *out, bool stamps)
{
	for (int i = 0; i < g->notes.n; i++) {
		if ((g->notes.items[i].kind == NOTE_STAMP) != stamps)
			continue;
		str_printf(out, "- %s", note_mark[g->notes.items[i].kind]);
		md_text(out, g->notes.items[i].text);
		str_add(out, "\n");
	}
}

static void md_row(const struct grid *g, struct str *out, const int *width, const struct cell *row)
{
	for (int c = 0; c < g->n_columns; c++)
		if (g->columns[c].title)
			md_cell(out, row ? row[c].text : g->columns[c].title, width[c],
				g->columns[c].kind != COLUMN_TEXT);
	str_add(out, "|\n");
}

static void md_line(const struct grid *g, struct str *out, const int *width)
{
	for (int c = 0; c < g->n_columns; c++) {
		if (!g->columns[c].title)
			continue;
		str_add(out, "|-");
		for (int i = 0; i < width[c]; i++)
			str_add(out, "-");
		str_add(out, g->columns[c].kind == COLUMN_TEXT ? "-" : ":");
	}
	str_add(out, "|\n");
}

static void render_md(const struct grid *g, struct str *out)
{
	int *width = xcalloc((size_t)g->n_columns + 1, sizeof *width);

	for (int c = 0; c < g->n_columns; c++)
		width[c] = g->columns[c].title ? md_column_width(g, c) : 0;
	if (*g->title) {
		str_add(out, "### ");
		md_text(out, g->title);
		str_add(out, "\n\n");
	}
	if (*g->subtitle) {
		md_text(out, g->subtitle);
		str_add(out, "\n\n");
	}
	if (notes_count(&g->notes, NOTE_STAMP)) {
		md_notes(g, out, true);
		str_add(out, "\n");
	}
	md_row(g, out, width, NULL);
	md_line(g, out, width);
	for (int i = 0; i < g->n_rows; i++)
		md_row(g, out, width, g->rows[i]);
	str_add(out, "\n");
	md_notes(g, out, false);
	free(width);
}

/* RFC 4180: quoted when it must be. */
static void csv_text(struct str *out, const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		str_add(out, text);
		return;
	}
	str_add(out, "\"");
	for (; *text; text++) {
		if (*text == '"')
			str_add(out, "\"");
		str_add_bytes(out, text, 1);
	}
	str_add(out, "\"");
}

static void csv_number(struct str *out, double value)
{
	if (isfinite(value))
		str_printf(out, "%.10g", value);
}

static void csv_comment(struct str *out, const char *mark, const char *text)
{
	str_printf(out, "# %s", mark);
	for (; *text; text++)
		str_add_bytes(out, *text == '\n' || *text == '\r' ? " " : text, 1);
	str_add(out, "\n");
}

static void csv_row(const struct grid *g, struct str *out, const struct cell *row)
{
	const char *comma = "";

	for (int c = 0; c < g->n_columns; c++) {
		if (!g->columns[c].name)
			continue;
		str_add(out, comma);
		comma = ",";
		if (g->columns[c].kind == COLUMN_TEXT)
			csv_text(out, row[c].text);
		else
			csv_number(out, row[c].value);
		if (g->columns[c].kind == COLUMN_INTERVAL) {
			str_add(out, ",");
			csv_number(out, row[c].low);
			str_add(out, ",");
			csv_number(out, row[c].high);
		}
	}
	str_add(out, "\n");
}

/* Title and notes are comment lines, so that a warning travels with the numbers. */
static void render_csv(const struct grid *g, struct str *out)
{
	if (*g->title)
		csv_comment(out, "", g->title);
	if (*g->subtitle)
		csv_comment(out, "", g->subtitle);
	for (int i = 0; i < g->notes.n; i++)
		csv_comment(out, note_mark[g->notes.items[i].kind], g->notes.items[i].text);
	const char *comma = "";
	for (int c = 0; c < g->n_columns; c++) {
		const char *name = g->columns[c].name;
		if (!name)
			continue;
		str_printf(out, "%s%s", comma, name);
		comma = ",";
		if (g->columns[c].kind == COLUMN_INTERVAL)
			str_printf(out, ",%s_low,%s_high", name, name);
	}
	str_add(out, "\n");
	for (int i = 0; i < g->n_rows; i++)
		csv_row(g, out, g->rows[i]);
}

/* What is no UTF-8, of a database say, becomes U+FFFD: JSON has nothing else. */
static json_t *json_text(const char *text)
{
	struct str valid;

	str_init(&valid);
	for (const char *p = text; *p;) {
		const char *from = p;
		bool good = str_next_code(&p) >= 0;
		p = good ? p : from + 1;
		str_add_bytes(&valid, good ? from : "\xEF\xBF\xBD", good ? (size_t)(p - from) : 3);
	}
	json_t *value = json_string(valid.text);
	str_release(&valid);
	return value;
}

/* Whole numbers without a point, as far as a double has all of them. */
static void json_number(json_t *row, const char *name, const char *end, double value)
{
	char *key = xasprintf("%s%s", name, end);

	json_object_set_new(row, key, !isfinite(value) ? json_null() :
		fabs(value) < 0x1p53 && value == trunc(value) ? json_integer((json_int_t)value) :
		json_real(value));
	free(key);
}

static json_t *json_row(const struct grid *g, const struct cell *row)
{
	json_t *object = json_object();

	for (int i = 0; i < g->n_columns; i++) {
		const struct column *c = &g->columns[i];
		if (c->name && c->kind == COLUMN_TEXT)
			json_object_set_new(object, c->name, json_text(row[i].text));
		else if (c->name)
			json_number(object, c->name, "", row[i].value);
		if (c->name && c->kind == COLUMN_INTERVAL) {
			json_number(object, c->name, "_low", row[i].low);
			json_number(object, c->name, "_high", row[i].high);
		}
	}
	return object;
}

static void json_add(struct str *out, const char *before, json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(10));

	str_printf(out, "%s%s", before, text);
	free(text);
	json_decref(value);
}

/* A line for each note and row. */
static void render_json(const struct grid *g, struct str *out)
{
	static const char *const kind[] = {
		[NOTE_PLAIN] = "note", [NOTE_WARNING] = "warning", [NOTE_STAMP] = "forced"};

	json_add(out, "{\n  \"table\": ", json_text(g->name));
	json_add(out, ",\n  \"title\": ", json_text(g->title));
	json_add(out, ",\n  \"subtitle\": ", json_text(g->subtitle));
	str_add(out, ",\n  \"notes\": [");
	for (const struct note *n = g->notes.items; n < g->notes.items + g->notes.n; n++)
		json_add(out, n == g->notes.items ? "\n    " : ",\n    ",
			json_pack("{s:s, s:o}", "kind", kind[n->kind], "text", json_text(n->text)));
	str_add(out, "],\n  \"rows\": [");
	for (int i = 0; i < g->n_rows; i++)
		json_add(out, i ? ",\n    " : "\n    ", json_row(g, g->rows[i]));
	str_add(out, "]\n}\n");
}

void latex_text(struct str *out, const char *text)
{
	static const char special[] = "&%$#_{}";

	for (; *text; text++) {
		if (str_starts(text, "+- ")) {
			str_add(out, "$\\pm$");
			text++;
		} else if (strchr(special, *text))
			str_printf(out, "\\%c", *text);
		else if (*text == '\\')
			str_add(out, "\\textbackslash{}");
		else if (*text == '~')
			str_add(out, "\\textasciitilde{}");
		else if (*text == '^')
			str_add(out, "\\textasciicircum{}");
		else if (*text == '<' || *text == '>')
			str_printf(out, "$%c$", *text);
		else
			str_add_bytes(out, *text == '\n' || *text == '\r' ? " " : text, 1);
	}
}

static void latex_row(const struct grid *g, struct str *out, const struct cell *row)
{
	const char *between = "\t\t";

	for (int c = 0; c < g->n_columns; c++) {
		if (!g->columns[c].title)
			continue;
		str_add(out, between);
		latex_text(out, row ? row[c].text : g->columns[c].title);
		between = " & ";
	}
	str_add(out, " \\\\\n");
}

static void add_sentences(const struct grid *g, enum note_kind kind, const char *before,
	const char *behind, struct str *out)
{
	for (int i = 0; i < g->notes.n; i++)
		if (g->notes.items[i].kind == kind) {
			str_add(out, before);
			note_sentence(&g->notes.items[i], out);
			str_add(out, behind);
		}
}

/* With facts of its own a caption has all notes but the warnings, which stand below the table. */
static void latex_caption(const struct grid *g, struct str *out)
{
	struct str text;

	str_init(&text);
	if (*g->caption)
		add_sentences(g, NOTE_STAMP, "", " ", &text);
	str_add(&text, g->title);
	str_add(&text, *g->subtitle || *g->caption ? ". " : "");
	if (*g->caption) {
		note_sentence(&(struct note){NOTE_PLAIN, g->subtitle}, &text);
		str_printf(&text, "%s%s", *g->subtitle ? " " : "", g->caption);
		add_sentences(g, NOTE_PLAIN, " ", "", &text);
	} else {
		str_add(&text, g->subtitle);
	}
	latex_text(out, text.text);
	str_release(&text);
}

/* Needs the package booktabs. */
static void render_latex(const struct grid *g, struct str *out)
{
	str_add(out, "\\begin{table}\n\t\\centering\n\t\\caption{");
	latex_caption(g, out);
	str_printf(out, "}\n\t\\label{tab:%s}\n\t\\begin{tabular}{", g->name);
	for (int c = 0; c < g->n_columns; c++)
		if (g->columns[c].title)
			str_add(out, g->columns[c].kind == COLUMN_TEXT ? "l" : "r");
	str_add(out, "}\n\t\t\\toprule\n");
	latex_row(g, out, NULL);
	str_add(out, "\t\t\\midrule\n");
	for (int i = 0; i < g->n_rows; i++) {
		str_add(out, g->ruled[i] ? "\t\t\\midrule\n" : "");
		latex_row(g, out, g->rows[i]);
	}
	str_add(out, "\t\t\\bottomrule\n\t\\end{tabular}\n");
	for (int i = 0; i < g->notes.n; i++) {
		if (*g->caption && g->notes.items[i].kind != NOTE_WARNING)
			continue;
		str_printf(out, "\n\t\\par\\footnotesize %s", note_mark[g->notes.items[i].kind]);
		latex_text(out, g->notes.items[i].text);
	}
	str_add(out, "\n\\end{table}\n");
}

void html_text(struct str *out, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			str_add(out, "&amp;");
			break;
		case '<':
			str_add(out, "&lt;");
			break;
		case '>':
			str_add(out, "&gt;");
			break;
		case '"':
			str_add(out, "&quot;");
			break;
		default:
			str_add_bytes(out, text, 1);
		}
	}
}

static void html_cell(
	struct str *out, const char *tag, const struct column *column, const char *text)
{
	if (!column->title)
		return;
	str_printf(out, "<%s%s>", tag, column->kind == COLUMN_TEXT ? "" : " class=\"number\"");
	html_text(out, text);
	str_printf(out, "</%s>", tag);
}

static void html_notes(const struct grid *g, struct str *out, bool stamps)
{
	static const char *const class[] = {
		[NOTE_PLAIN] = "plain", [NOTE_WARNING] = "warning", [NOTE_STAMP] = "stamp"};

	str_add(out, "<ul class=\"notes\">\n");
	for (int i = 0; i < g->notes.n; i++) {
		if ((g->notes.items[i].kind == NOTE_STAMP) != stamps)
			continue;
		str_printf(out, "<li class=\"%s\">%s", class[g->notes.items[i].kind],
			note_mark[g->notes.items[i].kind]);
		html_text(out, g->notes.items[i].text);
		str_add(out, "</li>\n");
	}
	str_add(out, "</ul>\n");
}

static void render_html(const struct grid *g, struct str *out)
{
	if (notes_count(&g->notes, NOTE_STAMP))
		html_notes(g, out, true);
	str_add(out, "<div class=\"scroll\"><table>\n<caption>");
	html_text(out, g->title);
	str_add(out, "<small>");
	html_text(out, g->subtitle);
	str_add(out, "</small></caption>\n<thead><tr>");
	for (int c = 0; c < g->n_columns; c++)
		html_cell(out, "th", &g->columns[c], g->columns[c].title);
	str_add(out, "</tr></thead>\n<tbody>\n");
	for (int i = 0; i < g->n_rows; i++) {
		str_add(out, g->ruled[i] ? "<tr class=\"ruled\">" : "<tr>");
		for (int c = 0; c < g->n_columns; c++)
			html_cell(out, "td", &g->columns[c], g->rows[i][c].text);
		str_add(out, "</tr>\n");
	}
	str_add(out, "</tbody></table></div>\n");
	html_notes(g, out, false);
}

const struct grid_format grid_formats[] = {
	{"md", ".md", render_md},
	{"csv", ".csv", render_csv},
	{"json", ".json", render_json},
	{"latex", ".tex", render_latex},
	{"html", ".html", render_html},
	{NULL, NULL, NULL},
};
