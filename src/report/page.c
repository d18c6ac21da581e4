/* The parts of the report's page. */
#include "report/report.h"

#include "base/path.h"
#include "report/grid.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char style[] =
	":root{color-scheme:light dark;--ink:#1a1a1a;--soft:#5c5c5c;--paper:#fff;--line:#d9d9d9;"
	"--panel:#f6f6f4;--warn:#8a5a00;--stamp:#a31515;--link:#0b5394}\n"
	"@media (prefers-color-scheme:dark){:root{--ink:#e6e6e6;--soft:#a0a0a0;--paper:#161616;"
	"--line:#3a3a3a;--panel:#202020;--warn:#e0b050;--stamp:#ff8080;--link:#8ab8e6}}\n"
	"body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);"
	"max-width:84rem;margin:2rem auto;padding:0 1.25rem}\n"
	"h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2.5rem 0 .75rem;"
	"border-bottom:1px solid var(--line);padding-bottom:.25rem}h2::first-letter{text-transform:uppercase}\n"
	".question{color:var(--soft);font-style:italic;margin:.25rem 0 1rem}\n"
	".scroll{overflow-x:auto}\n"
	"table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}\n"
	"caption{text-align:left;font-weight:600;padding:.25rem 0}\n"
	"caption small{display:none}\n"
	"th,td{padding:.25rem .7rem;text-align:left;white-space:nowrap;border-bottom:1px solid var(--line)}\n"
	"th{color:var(--soft);font-weight:600}\n"
	".number{text-align:right}\n"
	"tr.ruled td{border-top:2px solid var(--line);color:var(--soft)}\n"
	".notes{font-size:.82rem;color:var(--soft);padding-left:1.1rem;margin:.5rem 0}\n"
	".notes:empty{display:none}.notes .warning{color:var(--warn)}\n"
	".notes .stamp{color:var(--stamp);font-weight:700}\n"
	".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(34rem,100%),1fr));gap:1rem;"
	"align-items:start}\n"
	"figure{margin:0;padding:.75rem;background:#fff;border:1px solid var(--line);border-radius:4px}\n"
	"figure svg{width:100%;height:auto;display:block}\n"
	"figcaption,.files{font-size:.78rem;color:var(--soft)}\n"
	"figcaption a,a{color:var(--link)}figure figcaption a{color:#0b5394}\n";

void page_begin(struct str *page, const struct study *s)
{
	str_add(page, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		"<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
	html_text(page, s->sweep.name);
	str_add(page, "</title>\n<style>\n");
	str_add(page, style);
	str_add(page, "</style>\n</head>\n<body>\n<h1>");
	html_text(page, s->sweep.name);
	str_add(page, "</h1>\n<p class=\"question\">");
	html_text(page, s->sweep.question ? s->sweep.question : "");
	str_add(page, "</p>\n");
}

void page_notes(struct str *page, const struct notes *n, enum note_kind kind)
{
	static const char *const class[] = {
		[NOTE_PLAIN] = "plain", [NOTE_WARNING] = "warning", [NOTE_STAMP] = "stamp"};

	if (!notes_count(n, kind))
		return;
	str_add(page, "<ul class=\"notes\">\n");
	for (int i = 0; i < n->n; i++) {
		if (n->items[i].kind != kind)
			continue;
		str_printf(page, "<li class=\"%s\">%s", class[kind], note_mark[kind]);
		html_text(page, n->items[i].text);
		str_add(page, "</li>\n");
	}
	str_add(page, "</ul>\n");
}

void page_section(struct str *page, const char *title)
{
	str_add(page, "<h2>");
	html_text(page, title);
	str_add(page, "</h2>\n");
}

static void link_to(struct str *page, const char *stem, const char *suffix)
{
	str_add(page, " <a href=\"");
	html_text(page, stem);
	str_printf(page, "%s\">%s</a>", suffix, suffix + 1);
}

void page_figure(struct str *page, const char *svg, const char *stem)
{
	const char *root = svg ? strstr(svg, "<svg") : NULL;	/* behind the XML declaration */

	str_add(page, "<figure>\n");
	str_add(page, root ? root : "<p>not drawn</p>\n");
	str_add(page, "<figcaption>Files:");
	if (root)
		link_to(page, stem, ".svg");
	link_to(page, stem, ".csv");
	link_to(page, stem, ".gp");
	str_add(page, "</figcaption>\n</figure>\n");
}

void page_table_links(struct str *page, const char *stem)
{
	str_add(page, "<p class=\"files\">Files:");
	for (const struct grid_format *f = grid_formats; f->name; f++)
		if (strcmp(f->name, "html"))
			link_to(page, stem, f->suffix);
	str_add(page, "</p>\n");
}

/* A path as seen from a folder; both exist. Caller frees. */
static char *path_from(const char *folder, const char *path)
{
	char *from = realpath(folder, NULL), *to = realpath(path, NULL);
	struct str s;
	size_t common = 0;

	str_init(&s);
	if (!from || !to) {
		str_add(&s, path);
	} else {
		for (size_t i = 0;; i++) {
			char a = from[i], b = to[i];
			if ((a == '/' || !a) && (b == '/' || !b))
				common = i;
			if (a != b || !a)
				break;
		}
		for (const char *c = from + common; *c; c++)
			if (*c == '/')
				str_add(&s, "../");
		str_add(&s, to[common] == '/' ? to + common + 1 : to + common);
	}
	free(from);
	free(to);
	return str_take(&s);
}

static void run_cells(struct grid *g, const struct run_row *r)
{
	grid_row(g);
	grid_text(g, "%s", r->label);
	grid_number(g, (double)r->seed, "%ld", r->seed);
	grid_text(g, "%s", r->state);
	grid_number(g, (double)r->step, "%lld/%lld", r->step, r->steps);
	if (isfinite(r->loss))
		grid_number(g, r->loss, "%.3f", r->loss);
	else
		grid_number(g, NAN, "-");
	grid_text(g, "%.8s", r->identity);
	grid_text(g, "%s", r->reason ? r->reason : "");
}

static void run_html(struct str *page, const struct grid *g, const struct run_row *runs, const char *folder)
{
	str_add(page, "<div class=\"scroll\"><table>\n<thead><tr>");
	for (int c = 0; c < g->n_columns; c++)
		str_printf(page, "<th%s>%s</th>", g->columns[c].kind == COLUMN_TEXT ? "" : " class=\"number\"",
			g->columns[c].title);
	str_add(page, "</tr></thead>\n<tbody>\n");
	for (int i = 0; i < g->n_rows; i++) {
		char *path = path_from(folder, runs[i].dir);
		str_add(page, "<tr><td><a href=\"");
		html_text(page, path);
		str_add(page, "/\">");
		html_text(page, runs[i].label);
		str_add(page, "</a></td>");
		for (int c = 1; c < g->n_columns; c++) {
			str_add(page, g->columns[c].kind == COLUMN_TEXT ? "<td>" : "<td class=\"number\">");
			html_text(page, g->rows[i][c].text);
			str_add(page, "</td>");
		}
		str_add(page, "</tr>\n");
		free(path);
	}
	str_add(page, "</tbody></table></div>\n");
}

int page_runs(struct str *page, struct study *s, const char *folder)
{
	struct run_row *runs;
	struct grid g;
	int n;

	if (query_runs(s->db, s->sweep.sweep_id, &s->arena, &runs, &n))
		return -1;
	grid_init(&g, "runs");
	grid_column(&g, "label", "run", COLUMN_TEXT);
	grid_column(&g, "seed", "seed", COLUMN_NUMBER);
	grid_column(&g, "state", "state", COLUMN_TEXT);
	grid_column(&g, "step", "steps", COLUMN_NUMBER);
	grid_column(&g, "loss", "loss", COLUMN_NUMBER);
	grid_column(&g, "identity", "identity", COLUMN_TEXT);
	grid_column(&g, "reason", "reason", COLUMN_TEXT);
	for (int i = 0; i < n; i++)
		run_cells(&g, &runs[i]);
	run_html(page, &g, runs, folder);
	grid_release(&g);
	return 0;
}

static const char *host_of(const struct run_data *r) { return r->host; }
static const char *device_of(const struct run_data *r) { return r->device; }
static const char *cpu_of(const struct run_data *r) { return r->cpu; }
static const char *core_of(const struct run_data *r) { return r->blas_core; }
static const char *git_of(const struct run_data *r) { return r->git; }
static const char *build_of(const struct run_data *r) { return r->build; }
static const char *data_of(const struct run_data *r) { return r->data_hash; }
static const char *precision_of(const struct run_data *r) { return r->precision; }

static bool seen_before(const struct study *s, const char *(*of)(const struct run_data *r), int i)
{
	for (int k = 0; k < i; k++)
		if (of(&s->runs[k]) && !strcmp(of(&s->runs[k]), of(&s->runs[i])))
			return true;
	return false;
}

void page_provenance(struct str *page, const struct study *s)
{
	static const struct {
		const char *what;
		const char *(*of)(const struct run_data *r);
	} rows[] = {
		{"data", data_of}, {"precision", precision_of}, {"host", host_of}, {"device", device_of},
		{"processor", cpu_of}, {"BLAS core", core_of}, {"source", git_of}, {"build", build_of},
	};

	str_add(page, "<div class=\"scroll\"><table>\n");
	for (int i = 0; i < (int)ARRAY_SIZE(rows); i++) {
		str_printf(page, "<tr><th>%s</th><td>", rows[i].what);
		const char *between = "";
		for (int k = 0; k < s->n_runs; k++) {
			if (!rows[i].of(&s->runs[k]) || seen_before(s, rows[i].of, k))
				continue;
			str_add(page, between);
			html_text(page, rows[i].of(&s->runs[k]));
			between = "<br>";
		}
		str_add(page, "</td></tr>\n");
	}
	str_add(page, "</table></div>\n");
}

void page_end(struct str *page)
{
	str_add(page, "</body>\n</html>\n");
}
