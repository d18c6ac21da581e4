/* What commands that use the model of a run share. */
#ifndef CMD_RUN_MODEL_H
#define CMD_RUN_MODEL_H

#include "store/query.h"

/* The directory of a run: a path, a name in results/runs, else whatever `show` takes, by the database. NULL after a
   message. */
const char *run_model_dir(const char *run, const char *database, struct arena *a);
/* The directory of a run that the database has, where anything is written of it; NULL after a message. */
const char *run_model_of_row(const struct run_row *run, struct arena *a);
/* RUN@STEP with the run's directory in place of RUN; what is something else, as it is. NULL after a message. */
const char *run_model_at(const char *what, const char *database, struct arena *a);

#endif
