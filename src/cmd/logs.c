/* moelab logs RUN: what its workers printed. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cmd/lab.h"
#include "store/run_dir.h"

extern const struct cmd cmd_logs;

enum { LOOK_US = 500000 };

static void copy_rest(FILE *f)
{
	char bytes[65536];
	size_t n;

	clearerr(f);		/* the end of the file is not the end for ever */
	while ((n = fread(bytes, 1, sizeof bytes, f)) > 0)
		fwrite(bytes, 1, n, stdout);
	fflush(stdout);
}

/* The place where the last n lines begin. */
static long tail_begin(FILE *f, long n)
{
	char *line = NULL;
	size_t size = 0;
	long *begin = xcalloc((size_t)n, sizeof *begin), lines = 0, at = 0, first;
	ssize_t length;

	while ((length = getline(&line, &size, f)) > 0) {
		begin[lines++ % n] = at;
		at += length;
	}
	first = lines > n ? begin[lines % n] : 0;
	free(begin);
	free(line);
	return first;
}

static bool is_running(const char *dir)
{
	struct arena a = {0};
	struct run_status status;

	run_dir_status(dir, &a, &status);
	arena_release(&a);
	return status.state == RUN_RUNNING;
}

static int print_log(const char *dir, long lines, bool follow)
{
	char *path = xasprintf("%s/log.txt", dir);
	FILE *f = fopen(path, "re");
	bool running;

	if (!f) {
		error_errno("cannot read %s", path);
		free(path);
		return EXIT_ENVIRONMENT;
	}
	fseek(f, lines ? tail_begin(f, lines) : 0, SEEK_SET);
	copy_rest(f);
	do {
		running = follow && is_running(dir);	/* asked before the last look */
		if (running)
			usleep(LOOK_US);
		copy_rest(f);
	} while (running && !ferror(stdout));
	fclose(f);
	free(path);
	return lab_flush();
}

static int run(int argc, char **argv)
{
	struct lab lab = LAB_NEW;
	bool follow = false;
	long lines = 0;
	const struct option_row rows[] = {
		{"follow", 'f', NULL, "go on while the run is running", .flag = &follow},
		{"lines", 'n', "N", "only the last N lines", .number = &lines},
		LAB_DB(lab), {0},
	};
	struct run_row run_row;
	struct arguments a;
	int ret = lab_begin(&lab, &cmd_logs, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	struct selection selection = lab_selection(&lab, &a, NULL);
	ret = EXIT_USAGE;
	if (!selection.n)
		error("logs takes one run: " RUN_WORDS);
	else if (!query_one(&lab.db, &selection, &lab.arena, &run_row))
		ret = print_log(run_row.dir, lines, follow);
	lab_end(&lab);
	return ret;
}

const struct cmd cmd_logs = {
	.name = "logs",
	.arguments = "RUN [KEY=VALUE...] [-f] [-n N]",
	.help = "what the workers of a run printed",
	.run = run,
};
