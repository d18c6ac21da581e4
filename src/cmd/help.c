/* moelab help spec: every key of a spec. `moelab help` alone is `moelab --help`, `moelab help COMMAND` is
   `moelab COMMAND --help` (main.c). */
#include <stdio.h>
#include <string.h>

#include "arch/arch.h"
#include "base/error.h"
#include "cmd/options.h"

extern const struct cmd cmd_help;

static int run(int argc, char **argv)
{
	const struct option_row rows[] = {{0}};
	struct arguments a;
	int ret = options_parse(&cmd_help, rows, argc, argv, &a);

	if (ret != GO_ON)
		return ret;
	if (a.n_words != 1 || strcmp(a.words[0], "spec"))
		return error("\"moelab help spec\" prints the keys of a spec; \"moelab help\" lists the "
			"commands, \"moelab help COMMAND\" explains one"), EXIT_USAGE;
	spec_help(spec_schema(), stdout);
	return EXIT_DONE;
}

const struct cmd cmd_help = {
	.name = "help",
	.arguments = "spec|COMMAND",
	.help = "every key of a spec with type, default, range and meaning; or what a command takes",
	.run = run,
};
