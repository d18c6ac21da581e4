/* moelab data: its subcommands that have a file of their own. */
#ifndef CMD_DATA_H
#define CMD_DATA_H

#include "cmd/cmd.h"

int data_make_run(const struct cmd *cmd, int argc, char **argv);
int data_images_run(const struct cmd *cmd, int argc, char **argv);
int data_series_run(const struct cmd *cmd, int argc, char **argv);
int data_ask_run(const struct cmd *cmd, int argc, char **argv);

#endif
