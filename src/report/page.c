/* The parts of the report's page. */
#include "report/report.h"

#include "show/grid.h"
#include "study/provenance.h"

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
	"border-bottom:1px solid var(--line);padding-bottom:.25rem}\n"
	"h2::first-letter{text-transform:uppercase}\n"
	".question{color:var(--soft);font-style:italic;margin:.25rem 0 1rem}\n"
	".scroll{overflow-x:auto}\n"
	"table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}\n"
	"caption{text-align:left;font-weight:600;padding:.25rem 0}\n"
	"caption small{display:none}\n"
	"th,td{padding:.25rem .7rem;text-align:left;white-space:nowrap;"
	"border-bottom:1px solid var(--line)}\n"
	"th{color:var(--soft);font-weight:600}\n"
	".number{text-align:right}\n"
	"tr.ruled td{border-top:2px solid var(--line);color:var(--soft)}\n"
	".notes{font-size:.82rem;color:var(--soft);padding-left:1.1rem;margin:.5rem 0}\n"
	".notes:empty{display:none}.notes .warning{color:var(--warn)}\n"
	".notes .stamp{color:var(--stamp);font-weight:700}\n"
	".figures{display:grid;gap:1rem;align-items:start;"
	"grid-template-columns:repeat(auto-fit,minmax(min(34rem,100%),1fr))}\n"
	"figure{margin:0;padding:.75rem;background:#fff;"
	"border:1px solid var(--line);border-radius:4px}\n"
	"figure svg{width:100%;height:auto;display:block}\n"
	"details{white-space:pre-line}figcaption,.files{font-size:.78rem;color:var(--soft)}\n"
	"figcaption a,a{color:var(--link)}figure figcaption a{color:#0b5394}\n";

void page_begin(struct str *page, const struct study *s)
{
	str_add(page,
		"<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
		"<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n<title>");
	html_text(page, s->name);
	str_add(page, "</title>\n<style>\n");
	str_add(page, style);
	str_add(page, "</style>\n</head>\n<body>\n<h1>");
	html_text(page, s->name);
	str_add(page, "</h1>\n<p class=\"question\">");
	html_text(page, s->question ? s->question : "");
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

void page_figure(struct str *page, const char *svg, const char *stem, const char *caption)
{
	const char *root = svg ? strstr(svg, "<svg") : NULL; /* behind the XML declaration */

	str_add(page, "<figure>\n");
	str_add(page, root ? root : "<p>not drawn</p>\n");
	str_add(page, "<figcaption>Files:");
	if (root)
		link_to(page, stem, ".svg");
	link_to(page, stem, ".csv");
	link_to(page, stem, ".gp");
	link_to(page, stem, ".txt");
	str_add(page, "<details><summary>Caption</summary>");
	html_text(page, caption ? caption : "");
	str_add(page, "</details></figcaption>\n</figure>\n");
}

void page_table_links(struct str *page, const char *stem)
{
	str_add(page, "<p class=\"files\">Files:");
	for (const struct grid_format *f = grid_formats; f->name; f++)
		if (strcmp(f->name, "html"))
			link_to(page, stem, f->suffix);
	str_add(page, "</p>\n");
}

/* A path as seen from a folder; both exist, else it stays as it is. Caller frees. */
static char *path_from(const char *folder, const char *path)
{
	char *from = realpath(folder, NULL), *to = realpath(path, NULL), *result = NULL;
	size_t common = 0;
	int up = 0;

	if (from && to) {
		for (size_t i = 0;; i++) {
			if ((from[i] == '/' || !from[i]) && (to[i] == '/' || !to[i]))
				common = i;
			if (from[i] != to[i] || !from[i])
				break;
		}
		for (const char *c = from + common; *c; c++)
			up += *c == '/';
		result = xmalloc(3 * (size_t)up + strlen(to) + 1);
		for (int i = 0; i < up; i++)
			memcpy(result + 3 * i, "../", 3);
		strcpy(result + 3 * up, to + common + (to[common] == '/'));
	}
	free(from);
	free(to);
	return result ? result : xstrdup(path);
}

static void run_row(struct str *page, const struct run_row *r, const char *folder)
{
	char *path = path_from(folder, r->dir);

	str_add(page, "<tr><td><a href=\"");
	html_text(page, path);
	str_add(page, "/\">");
	html_text(page, r->label);
	str_printf(page,
		"</a></td><td class=\"number\">%ld</td><td>%s</td>"
		"<td class=\"number\">%lld/%lld</td>",
		r->seed, r->state, r->step, r->steps);
	str_printf(page,
		isfinite(r->loss) ? "<td class=\"number\">%.3f</td>"
				  : "<td class=\"number\">-</td>",
		r->loss);
	str_printf(page, "<td>%.8s</td><td>", r->identity);
	html_text(page, r->reason ? r->reason : "");
	if (r->excluded) {
		str_add(page, "<br>excluded by hand: ");
		html_text(page, r->excluded);
	}
	str_add(page, "</td></tr>\n");
	free(path);
}

/* Rows of one sweep, but not those that an earlier one has listed. */
static void run_rows(struct str *page, struct run_row *const *runs, const int *n, int sweep,
	const char *folder)
{
	for (int i = 0; i < n[sweep]; i++) {
		bool listed = false;
		for (int w = 0; w < sweep; w++)
			for (int k = 0; k < n[w]; k++)
				listed |= runs[w][k].run_id == runs[sweep][i].run_id;
		if (!listed)
			run_row(page, &runs[sweep][i], folder);
	}
}

int page_runs(struct str *page, struct study *s, const char *folder)
{
	struct run_row **runs = ARENA_ARRAY(&s->arena, struct run_row *, s->n_sweeps);
	int *n = ARENA_ARRAY(&s->arena, int, s->n_sweeps);

	str_add(page,
		"<div class=\"scroll\"><table>\n<thead><tr>"
		"<th>run</th><th class=\"number\">seed</th>"
		"<th>state</th><th class=\"number\">steps</th>"
		"<th class=\"number\">loss</th><th>identity</th>"
		"<th>reason</th></tr></thead>\n<tbody>\n");
	for (int w = 0; w < s->n_sweeps; w++) {
		if (query_runs(s->db, s->sweeps[w].sweep_id, &s->arena, &runs[w], &n[w]))
			return -1;
		run_rows(page, runs, n, w, folder);
	}
	str_add(page, "</tbody></table></div>\n");
	return 0;
}

static bool seen_before(const struct study *s, const struct provenance *p, int i)
{
	for (int k = 0; k < i; k++) {
		const char *text = run_member_text(&s->runs[k], p->member);
		if (text && !strcmp(text, run_member_text(&s->runs[i], p->member)))
			return true;
	}
	return false;
}

void page_provenance(struct str *page, const struct study *s)
{
	str_add(page, "<div class=\"scroll\"><table>\n");
	for (const struct provenance *p = provenances; p->what; p++) {
		const char *between = "";
		str_printf(page, "<tr><th>%s</th><td>", p->what);
		for (int k = 0; k < s->n_runs; k++) {
			const char *text = run_member_text(&s->runs[k], p->member);
			if (!text || seen_before(s, p, k))
				continue;
			str_add(page, between);
			html_text(page, text);
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
