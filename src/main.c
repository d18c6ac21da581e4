/* moelab COMMAND ...: the commands are the files in src/cmd. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/error.h"
#include "base/str.h"
#include "cmd/cmd.h"
#include "cmd/lab.h"
#include "train/build_info.h"

#define X(name) extern const struct cmd cmd_##name;
#include "cmd.inc"
#undef X

static const struct cmd *const commands[] = {
#define X(name) &cmd_##name,
#include "cmd.inc"
#undef X
};

static const struct cmd *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!strcmp(commands[i]->name, name))
			return commands[i];
	return NULL;
}

/* Further lines of a help stand below its first. */
static void print_command(const struct cmd *c)
{
	printf("  %-12s ", c->name);
	for (const char *at = c->help; *at; at++) {
		putchar(*at);
		if (*at == '\n')
			printf("%15s", "");
	}
	putchar('\n');
}

static int print_commands(void)
{
	printf("moelab trains Mamba, Transformer and mixture-of-experts language models and compares\n"
		"how fast they learn.\n\nusage: moelab COMMAND [arguments]; moelab help COMMAND\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i]->help)
			print_command(commands[i]);
	return EXIT_DONE;
}

static int unknown(const char *name)
{
	const char *names[ARRAY_SIZE(commands)], *nearest;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		names[i] = commands[i]->name;
	nearest = str_nearest(name, names, ARRAY_SIZE(commands));
	if (nearest)
		error("no command \"%s\" (did you mean \"%s\"?)", name, nearest);
	else
		error("no command \"%s\"; \"moelab --help\" lists them", name);
	return EXIT_USAGE;
}

/* "help COMMAND" is "COMMAND --help". */
static void ask_command(int argc, char **argv)
{
	static char help[] = "--help";

	memmove(argv + 1, argv + 2, (size_t)(argc - 2) * sizeof *argv);
	argv[argc - 1] = help;
}

static int dispatch(int argc, char **argv)
{
	const struct cmd *cmd;

	if (argc < 2) {
		print_commands();
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
		(argc == 2 && !strcmp(argv[1], "help")))
		return print_commands();
	if (!strcmp(argv[1], "--version")) {
		printf("moelab %s\n", build_commit);
		return EXIT_DONE;
	}
	if (argc > 2 && !strcmp(argv[1], "help") && strcmp(argv[2], "spec") && argv[2][0] != '-')
		ask_command(argc, argv);
	cmd = find(argv[1]);
	if (!cmd)
		return unknown(argv[1]);
	cpu_wait_briefly(argv);
	blas_start(argv);
	return cmd->run(argc - 1, argv + 1);
}

/* A closed descriptor must not become that of a file which is opened later: a database, say. */
static void hold_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			open("/dev/null", O_RDONLY);
}

/* Whoever read the log may be gone: lines that fail stop no work. Data that fail are told. */
int main(int argc, char **argv)
{
	int code, flushed;

	hold_descriptors();
	signal(SIGPIPE, SIG_IGN);
	code = dispatch(argc, argv);
	flushed = lab_flush();
	return flushed ? flushed : code;
}
