/*
 * What lies below a folder of results and is not in the database: found by a look at the times and sizes
 * of files, two calls of stat() a run, whatever they have told.
 */
#ifndef STORE_NEWS_H
#define STORE_NEWS_H

#include "store/intake.h"

struct news {
	struct arena arena;
	struct intake_run *runs;
	const char **sweeps;		/* paths of ROOT/sweeps/NAME.json */
	int n_runs, n_sweeps;
	int n_others;			/* folders of ROOT/runs that hold no run */
	int n_second;			/* that hold one that the database follows elsewhere */
	const char *second;		/* the first of these */
	/* private */
	int size_runs, size_sweeps;
};

/*
 * Runs that the database knows, wherever their directories are, and with a root also the runs and sweeps
 * below it that it does not know. A second directory of a run that it knows is left alone, unless the run is over
 * there and not over in the first. Reads only.
 * 0, or -1 after a message.
 */
int news_find(struct news *news, struct db *db, const char *root);
void news_release(struct news *news);	/* also after a failed news_find() */

#endif
