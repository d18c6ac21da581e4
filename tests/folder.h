/* A folder of the test program's own: path_tmp_folder(folder, sizeof folder, "what") before all tests, and behind them
   remove_folder(), wherever they have gone meanwhile. */
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include <unistd.h>

#include "base/path.h"

static char folder[256];

static inline int remove_folder(void **state)
{
	(void)state;
	return chdir("/") || path_remove_tree(folder);
}

#endif
