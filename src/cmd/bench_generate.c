/* moelab bench generate: the speed of text, token by token, as it grows. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/path.h"
#include "cmd/bench.h"
#include "measure/generate_times.h"
#include "show/chart.h"

static void add_row(struct grid *g, const struct generate_times *t, int i)
{
	grid_row(g);
	grid_number(g, (double)t->context[i], "%ld", t->context[i]);
	grid_number(g, t->tokens_per_s[i], "%.0f", t->tokens_per_s[i]);
	grid_number(g, 1 / t->tokens_per_s[i], "%.3f", 1e3 / t->tokens_per_s[i]);
	grid_number(g, t->tokens_per_s[i] / t->tokens_per_s[0], "%.2f",
		t->tokens_per_s[i] / t->tokens_per_s[0]);
	grid_number(g, t->bytes[i], isfinite(t->bytes[i]) ? "%.2f" : "-", t->bytes[i] / 1048576);
}

int bench_generate(struct bench_command *m, const char *spec)
{
	struct bench *b = &m->bench;
	struct generate_times t;
	struct grid g;
	int ret = m->kept ? generate_times_kept(&t, b, spec, m->lab.path) : generate_times_measure(&t, b, spec);

	if (ret)
		return ret;
	grid_init(&g, "bench_generate");
	grid_title(&g, "%s, one text as it grows", bench_name(b, spec));
	grid_column(&g, "context", "context", COLUMN_NUMBER);
	grid_column(&g, "tokens_per_s", "tokens/s", COLUMN_NUMBER);
	grid_column(&g, "token_s", "ms per token", COLUMN_NUMBER);
	grid_column(&g, "of_shortest", "of the shortest", COLUMN_NUMBER);
	grid_column(&g, "bytes", "MiB read per token", COLUMN_NUMBER);
	for (int i = 0; i < t.n; i++)
		add_row(&g, &t, i);
	if (t.reason[0])
		notes_add(&g.notes, NOTE_WARNING, "no longer text: %s", t.reason);
	notes_add(&g.notes, NOTE_PLAIN, "context: tokens in front of those timed; medians of rounds of %d tokens; MiB: "
		"active weights and what is carried from token to token; %s, threads: %lld", GENERATE_TOKENS,
		b->report.cpu, b->report.threads);
	return lab_print(&m->lab, &g);
}

/* ---- the figure ----------------------------------------------------------------------------- */

static bool is_point(const struct measure *m, int i)
{
	return !strcmp(m->kind, "generate") && !strcmp(m->metric, "tokens_per_s") &&
		(i == 0 || !strcmp(m[0].name, m[-1].name));
}

/* "mamba" of "experiments/micro/mamba.yaml", with the keys that follow. */
static const char *label_of(struct chart *c, const char *name)
{
	const char *end = strchr(name, ' ');
	size_t n = end ? (size_t)(end - name) : strlen(name);
	const char *spec = arena_printf(&c->arena, "%.*s", (int)n, name), *file = path_name(spec);

	n = strlen(file);
	if (str_ends(file, ".yaml"))
		n -= strlen(".yaml");
	return arena_printf(&c->arena, "%.*s%s", (int)n, file, end ? end : "");
}

/* The report has the points of one spec behind each other. */
static void add_series(struct chart *c, struct panel *p, const struct bench_report *r)
{
	for (int i = 0, style = 0; i < r->n_measures;) {
		int n = 0;
		while (i + n < r->n_measures && is_point(&r->measures[i + n], n))
			n++;
		if (!n) {
			i++;
			continue;
		}
		struct series *s = chart_series(c, p, label_of(c, r->measures[i].name), style++, n);
		s->points = true;
		for (int k = 0; k < n; k++) {
			s->x[k] = strtod(r->measures[i + k].shape + strlen("context "), NULL);
			s->y[k] = r->measures[i + k].value;
		}
		i += n;
	}
}

int bench_generate_plot(const struct bench_command *m)
{
	const struct bench_report *r = &m->bench.report;
	struct chart c;
	int ret;

	chart_init(&c, "generate");
	c.title = "generated tokens per second by length of the text";
	c.subtitle = arena_printf(&c.arena, "one sequence on %s, threads: %lld, %s", r->device, r->threads, r->cpu);
	c.x_title = "tokens in front";
	c.x_log = true;
	c.ordered = true;
	struct panel *p = chart_panel(&c, "tokens/s");
	p->y_log = true;
	add_series(&c, p, r);
	ret = chart_dress(&c, &LOOK_USUAL) ? EXIT_USAGE : chart_write(&c, chart_format_of(m->plot), m->plot);
	chart_release(&c);
	return ret;
}
