#include "cmd/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"
#include "cmd/lab.h"

static void add_option(struct str *line, const char *option, const char *value)
{
	str_printf(line, " %s", option);
	str_add_word(line, value);
}

/* What tells the run from all others of the sweep. A variant's label is a plain word. */
static void add_restricts(struct str *line, const struct sweep_run *run)
{
	struct str text;

	str_printf(line, " --restrict variant=%s", run->variant);
	str_init(&text);
	for (int i = 0; i < run->n_axes; i++) {
		str_clear(&text);
		str_printf(&text, "%s=%s", run->axes[i].key, run->axes[i].text);
		add_option(line, "--restrict", text.text);
	}
	str_release(&text);
	str_printf(line, " --restrict seed=%ld", run->seed);
}

static void add_command(struct str *line, const struct commands *c, const struct sweep_run *run)
{
	char *here = getcwd(NULL, 0), *program = realpath("/proc/self/exe", NULL);

	str_add(line, "cd");
	str_add_word(line, here ? here : ".");
	str_add(line, " &&");
	str_add_word(line, program ? program : "moelab");
	str_add(line, " run");
	str_add_word(line, c->sweep);
	add_restricts(line, run);
	str_printf(line, " --shared -j 1 --threads %d", c->threads);
	if (strcmp(c->device, "cpu"))
		add_option(line, "--device", c->device);
	if (strcmp(c->root, "results"))
		add_option(line, "--results", c->root);
	for (int i = 0; i < c->n_overrides; i++)
		str_add_word(line, c->overrides[i]);
	free(program);
	free(here);
}

static int check_plan(const struct plan *p, const struct commands *c)
{
	struct stat st;

	if (stat(c->sweep, &st) || !S_ISREG(st.st_mode))
		return error("%s: commands read the sweep again, so it must be a file", c->sweep);
	if (!device_is_built(p->device))
		return error("--device %s: %s", p->device->name, device_missing(p->device));
	if (p->trials_left)
		return error("%s: %d trials of its `tune` come first, and what they choose is not known: "
			"`moelab run` does them", c->sweep, p->trials_left);
	return plan_check_data(p);
}

int commands_print(const struct plan *p, const struct commands *c, bool check)
{
	struct str line;
	int n = 0, ret;

	if (check_plan(p, c))
		return EXIT_USAGE;
	str_init(&line);
	for (int i = 0; i < p->sweep.n_runs; i++) {
		if (!job_is_work(&p->jobs[i]))
			continue;
		str_clear(&line);
		add_command(&line, c, &p->sweep.runs[i]);
		puts(line.text);
		n++;
	}
	str_release(&line);
	if (n)
		info("%d runs to do; `moelab ingest --results %s` then takes them into the database", n, c->root);
	ret = lab_flush();
	return ret ? ret : check && n ? EXIT_PENDING : EXIT_DONE;
}
