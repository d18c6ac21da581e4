/* Running gnuplot: a child process with a time limit; what it says on stderr is shown. */
#ifndef SHOW_GNUPLOT_H
#define SHOW_GNUPLOT_H

/* Runs the script, named relative to the folder it runs in. 0, or -1 after one message. */
int gnuplot_run(const char *folder, const char *script, double limit_s);

#endif
