/*
 * What is to be run: sweeps, their runs, the configs of these. From the same JSON that lies beside
 * the run directories, so that a rebuilt database has it too.
 *
 * ROOT/sweeps/NAME.json, written when a sweep is run:
 *   {"name", "file", "question", "baseline", "planned",
 *    "targets": [{"kind", "loss"}], "published": [{"label", "quantity", "value", "text"}],
 *    "runs": [{"run", "dir", "label", "variant", "seed", "steps",
 *              "axes": [{"key", "short_key", "value"}]}]}
 * Columns of the same names in schema.sql; "run" is the identity, "dir" the run directory's name.
 *
 * ROOT is the folder of results; functions give 0, or -1 after a message.
 */
#ifndef STORE_CATALOG_H
#define STORE_CATALOG_H

#include <jansson.h>

#include "base/arena.h"
#include "store/db.h"
#include "store/run_dir.h"

/* ROOT/sweeps/NAME.json as a whole. */
int catalog_write(const char *root, const json_t *sweep);

/* The same again, from its path, or by its name. NULL: it is not there, or after a warning. The caller calls
   json_decref(). */
json_t *catalog_load(const char *path);
json_t *catalog_read(const char *root, const char *name);

/* take() for the path of each ROOT/sweeps/NAME.json, by name, until one gives not 0; that, or 0. */
int catalog_each_sweep(const char *root, int (*take)(void *data, const char *path), void *data);

/*
 * The sweep and its runs, new ones as queued; replaces what the sweep consisted of before (its runs
 * stay, as runs of no sweep or of others). In a transaction of its own.
 */
int catalog_add_sweep(struct db *db, const char *root, const json_t *sweep);

/*
 * A run by itself: from run.json. It joins the sweep it names, unless that has a file: it consists of the runs that
 * its file names, and of foreign ones. Others may be of an older version of it, under the same labels.
 */
int catalog_add_run(struct db *db, const char *root, const char *dir, const struct run_info *info);
int catalog_join(struct db *db, long long run_id, const struct run_info *info);	/* the same of a known run */

/* config.yaml as text, and the same as a JSON object of dotted keys; replaces earlier ones. */
int catalog_set_config(struct db *db, long long run_id, const char *yaml, const char *json);

int catalog_set_state(struct db *db, long long run_id, enum run_state state, const char *reason);

/* Removes the run with all it told. In sweeps whose files name it, it is queued again, as in a database
   made anew; one without a file goes with its last run. */
int catalog_forget_run(struct db *db, const char *root, const char *identity);

long long catalog_run_id(struct db *db, const char *identity);	/* -1: not known */

/* A run directory as the column run.dir has it: relative to the database's folder if below it. */
const char *catalog_dir(const struct db *db, const char *root, const char *dir, struct arena *a);

#endif
