/* moelab train SPEC: one model. The same as `run` with a spec that is no sweep. */
#include "cmd/cmd.h"

extern const struct cmd cmd_run, cmd_train;

static int run(int argc, char **argv)
{
	return cmd_run.run(argc, argv);
}

const struct cmd cmd_train = {
	.name = "train",
	.arguments = "SPEC [key=value...]",
	.help = "train one model; takes up an unfinished run where it stands",
	.run = run,
};
