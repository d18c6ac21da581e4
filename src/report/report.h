/* The report of a sweep: one page that needs no other file, and every table and plot beside it. */
#ifndef REPORT_REPORT_H
#define REPORT_REPORT_H

#include "base/str.h"
#include "show/look.h"
#include "study/study.h"

/*
 * Into folder (made where missing): index.html, tables/TABLE.md .csv .json .tex, PLOT.svg .csv .gp
 * .txt, all figures with one look (NULL: the usual); with the trials of its `tune`, if it has any.
 * An exit code: 0; EXIT_ENVIRONMENT after a message, with the page all the same where only figures
 * failed.
 */
int report_write(struct study *s, const char *folder, const struct look *look);

/* --- the page, part by part ------------------------------------------------------------------- */

void page_begin(struct str *page, const struct study *s);
void page_notes(struct str *page, const struct notes *n, enum note_kind kind);
void page_section(struct str *page, const char *title);
/* svg: the figure as gnuplot wrote it, or NULL where it could not; stem: of the files beside. */
void page_figure(struct str *page, const char *svg, const char *stem, const char *caption);
void page_table_links(struct str *page, const char *stem);
int page_runs(struct str *page, struct study *s, const char *folder);
void page_provenance(struct str *page, const struct study *s);
void page_end(struct str *page);

#endif
