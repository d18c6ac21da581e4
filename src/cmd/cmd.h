/* A command of moelab: src/cmd/NAME.c defines `const struct cmd cmd_NAME`. */
#ifndef CMD_CMD_H
#define CMD_CMD_H

struct cmd {
	const char *name, *arguments;	/* arguments: as the usage line shows them */
	const char *help;		/* of one or more lines; NULL: not listed */
	int (*run)(int argc, char **argv);	/* argv[0] is the command's name; returns an exit code */
};

#endif
