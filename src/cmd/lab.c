#include "cmd/lab.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>

#include "store/refresh.h"

int lab_begin(struct lab *lab, const struct cmd *cmd, const struct option_row *rows, int argc,
	char **argv, struct arguments *a)
{
	int ret = options_parse(cmd, rows, argc, argv, a);

	if (ret != GO_ON)
		return ret;
	if (!grid_format_find(lab->format))
		return EXIT_USAGE;
	return refresh_open(&lab->db, lab->path) ? EXIT_ENVIRONMENT : GO_ON;
}

void lab_end(struct lab *lab)
{
	db_close(&lab->db);
	arena_release(&lab->arena);
}

struct selection lab_selection(struct lab *lab, const struct arguments *a, const char *where)
{
	int n = a->n_words + a->n_overrides;
	const char **all = ARENA_ARRAY(&lab->arena, const char *, n);

	for (int i = 0; i < n; i++)
		all[i] = i < a->n_words ? a->words[i] : a->overrides[i - a->n_words];
	return (struct selection){.selectors = all, .n = n, .where = where};
}

int lab_flush(void)
{
	if (!fflush(stdout) && !ferror(stdout))
		return EXIT_DONE;
	if (errno == EPIPE) {		/* nobody reads any more: end as programs do then */
		signal(SIGPIPE, SIG_DFL);
		raise(SIGPIPE);
	}
	error_errno("cannot write to standard output");
	__fpurge(stdout);
	clearerr(stdout);
	return EXIT_ENVIRONMENT;
}

int lab_print(const struct lab *lab, struct grid *g)
{
	const struct grid_format *format = grid_format_find(lab->json ? "json" : lab->format);
	struct str text;

	str_init(&text);
	format->render(g, &text);
	fwrite(text.text, 1, text.length, stdout);
	str_release(&text);
	grid_release(g);
	return lab_flush();
}
