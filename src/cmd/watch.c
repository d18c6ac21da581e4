/* moelab watch: the status of sweeps while another process runs them, until all is over. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/status.h"
#include "store/refresh.h"

extern const struct cmd cmd_watch;

struct watch {
	struct lab *lab;
	const char *const *names;
	int n_names;
	bool tty;
	struct str shown;	/* what was printed last */
	struct str tasks;	/* what Slurm said, */
	double asked_s;		/* when it was asked; 0: never */
};

#define ASK_S 15.0	/* Slurm's controller has others to serve */

static void ask(struct watch *w, const struct sweep_status *list, int n)
{
	if (w->asked_s && clock_s() - w->asked_s < ASK_S)
		return;
	str_clear(&w->tasks);
	status_tasks(w->lab, list, n, &w->tasks);
	w->asked_s = clock_s();
}

/* The table of `status`, and the runs at work: what a terminal shows. */
static int frame(struct watch *w, const struct sweep_status *list, int n, struct str *out)
{
	struct grid g;

	grid_init(&g, "status");
	status_grid(list, n, NULL, &g);
	grid_format_find("md")->render(&g, out);
	grid_release(&g);
	if (status_running(w->lab, out))
		return -1;
	ask(w, list, n);
	str_add(out, w->tasks.text);
	return 0;
}

/* "demo: 3 of 7 done, 1 failed, 2 running, 41 % of the steps": what a file or pipe gets. */
static void lines(const struct sweep_status *list, int n, struct str *out)
{
	for (int i = 0; i < n; i++) {
		const struct sweep_status *s = &list[i];
		str_printf(out, "%s: %d of %d done", s->name, s->count[RUN_DONE], s->n);
		for (int k = 0; k < N_RUN_STATES; k++)
			if (k != RUN_DONE && s->count[k])
				str_printf(out, ", %d %s", s->count[k], run_state_name[k]);
		if (!isnan(s->share))
			str_printf(out, ", %.0f %% of the steps", 100 * s->share);
		str_add(out, "\n");
	}
}

/* A terminal's picture is written over line by line, each cut at the edge and its rest erased. */
static void redraw(const struct str *text, bool first)
{
	const char *line = text->text, *end;

	fputs(first ? "\033[?7l\033[2J\033[H" : "\033[?7l\033[H", stdout);
	for (; (end = strchr(line, '\n')); line = end + 1)
		printf("%.*s\033[K\n", (int)(end - line), line);
	fputs("\033[J\033[?7h", stdout);
}

/* One look. An exit code; *over: no run will change without another `run`. */
static int look(struct watch *w, bool *over, int *failed)
{
	struct sweep_status *list;
	struct str text;
	int n, n_open = 0;

	arena_release(&w->lab->arena);
	if (refresh(&w->lab->db))
		return EXIT_ENVIRONMENT;
	if (status_read(w->lab, w->names, w->n_names, &list, &n))
		return EXIT_USAGE;
	*failed = 0;
	for (int i = 0; i < n; i++) {
		n_open += list[i].n - status_over(&list[i]);
		*failed += list[i].count[RUN_FAILED] + list[i].count[RUN_DIVERGED];
	}
	*over = n_open == 0;
	str_init(&text);
	if (!w->tty)
		lines(list, n, &text);
	else if (frame(w, list, n, &text))
		return str_release(&text), EXIT_ENVIRONMENT;
	if (w->tty)
		redraw(&text, !w->shown.length);
	else if (strcmp(text.text, w->shown.text))
		fputs(text.text, stdout);
	str_release(&w->shown);
	w->shown = text;
	return lab_flush();
}

/* every_s: 0: by what is looked at. */
static int watch(struct lab *lab, const char *const *names, int n_names, double every_s)
{
	const char *term = getenv("TERM");
	struct watch w = {.lab = lab, .names = names, .n_names = n_names,
		.tty = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb")};
	struct timespec pause;
	int ret, failed = 0;
	bool over = false;

	every_s = every_s > 0 ? fmin(every_s, 86400) : w.tty ? 2 : 15;
	pause = (struct timespec){(time_t)every_s, (long)(fmod(every_s, 1) * 1e9)};
	str_init(&w.shown);
	str_init(&w.tasks);
	while (!(ret = look(&w, &over, &failed)) && !over)
		nanosleep(&pause, NULL);
	str_release(&w.shown);
	str_release(&w.tasks);
	return ret ? ret : failed ? EXIT_RUN_FAILED : EXIT_DONE;
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	const char *sweep = NULL;
	double every_s = 0;
	const struct option_row rows[] = {
		{"sweep", 0, "NAME", "this sweep alone", .text = &sweep},
		{"seconds", 'n', "S", "between looks (default 2, and 15 where it is no terminal)", .real = &every_s},
		LAB_DB(lab),
		{0},
	};
	struct arguments a;
	int ret = lab_begin(&lab, &cmd_watch, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	ret = watch(&lab, sweep ? &sweep : a.words, sweep ? 1 : a.n_words, every_s);
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_watch = {
	.name = "watch",
	.arguments = "[SWEEP...] [-n SECONDS]",
	.help = "the status of sweeps as it changes, until all their runs are over",
	.run = run,
};
