#include "supervise/display.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"

#define REDRAW_S 0.2
#define PLAIN_S 15.0
enum { WIDEST = 200 };

void display_open(struct display *p, double now_s)
{
	const char *term = getenv("TERM");

	*p = (struct display){.drawn_s = now_s};
	p->tty = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

static int terminal_width(void)
{
	const char *columns = getenv("COLUMNS");
	struct winsize size;
	long long width = 80;

	if (!ioctl(STDERR_FILENO, TIOCGWINSZ, &size) && size.ws_col > 0)
		width = size.ws_col;
	else if (columns)
		str_to_long(columns, &width);
	return width < 20 ? 20 : width > WIDEST ? WIDEST : (int)width;
}

/* Appends to a line of `width` bytes, terminator included; what does not fit is cut. */
static void append(char *line, int width, const char *format, ...) PRINTF_LIKE(3, 4);
static void append(char *line, int width, const char *format, ...)
{
	int used = (int)strlen(line);
	va_list ap;

	va_start(ap, format);
	vsnprintf(line + used, (size_t)(width - used), format, ap);
	va_end(ap);
}

void display_line(const struct display_row *row, double now_s, char *line, int width)
{
	char text[32];
	long done = row->step - row->from;

	snprintf(line, (size_t)width, "%s s%ld", row->label, row->seed);
	if (!row->step) {
		append(line, width, "  starting");
		return;
	}
	append(line, width, row->steps ? "  %ld/%ld" : "  step %ld", row->step, row->steps);
	if (isfinite(row->loss))
		append(line, width, "  loss %.4f", row->loss);
	if (isfinite(row->val_loss))
		append(line, width, "  val %.4f", row->val_loss);
	if (row->tokens_per_s > 0)
		append(line, width, "  %s tok/s", str_count((long long)row->tokens_per_s, text));
	if (done > 0 && row->steps > row->step)
		append(line, width, "  %s left",
			str_duration((now_s - row->begun_s) / (double)done *
					     (double)(row->steps - row->step),
				text));
}

static void total_line(const struct display_total *t, char *line, int width)
{
	char text[32];

	snprintf(line, (size_t)width, "%s: %d of %d done", t->sweep, t->done, t->n);
	if (t->failed)
		append(line, width, ", %d failed", t->failed);
	append(line, width, ", %d running", t->running);
	if (t->share > 0 && t->share < 1)
		append(line, width, ", about %s left",
			str_duration((t->now_s - t->begun_s) * (1 / t->share - 1), text));
}

void display_clear(struct display *p)
{
	if (p->drawn)
		fprintf(stderr, "\033[%dA\033[J", p->drawn);	/* up, and erase to the end */
	p->drawn = 0;
}

void display_draw(struct display *p, const struct display_total *total,
	const struct display_row *rows, int n, bool now)
{
	char line[WIDEST];
	int width = p->tty ? terminal_width() : WIDEST;

	if (log_level < LOG_NORMAL || (!now && total->now_s - p->drawn_s < (p->tty ? REDRAW_S : PLAIN_S)))
		return;
	display_clear(p);
	for (int i = 0; i < n; i++) {
		display_line(&rows[i], total->now_s, line, width);
		fprintf(stderr, "%s\n", line);
	}
	if (p->tty) {
		total_line(total, line, width);
		fprintf(stderr, "%s\n", line);
		p->drawn = n + 1;
	}
	fflush(stderr);
	p->drawn_s = total->now_s;
}
