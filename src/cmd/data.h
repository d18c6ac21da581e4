/* moelab data: its subcommands that have a file of their own. */
#ifndef CMD_DATA_H
#define CMD_DATA_H

#include "cmd/cmd.h"

int data_make_run(const struct cmd *cmd, int argc, char **argv);
int data_images_run(const struct cmd *cmd, int argc, char **argv);
int data_series_run(const struct cmd *cmd, int argc, char **argv);
int data_ask_run(const struct cmd *cmd, int argc, char **argv);

/* The share that an option was given, from 0 to below 1; left as it is where it was not. 0, or -1 after a message. */
int data_read_share(const struct cmd *cmd, const char *option, const char *text, double *share);
/* The exit code where making a dataset gave `ret`: 0, -1 or DATASET_UNWRITTEN. */
int data_exit(int ret);

#endif
