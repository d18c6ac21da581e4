/*
 * Foreign curves: what another program measured, taken into the results as a run directory that is
 * done from the start. It has run.json, config.yaml (`foreign`: the file, `foreign_hash`: its
 * content), metrics.jsonl and DONE, but never had a process; nothing runs or resumes it. Tables and
 * figures know it by the key `foreign`.
 *
 * The file ("-": standard input; gzip, xz and zstd are taken off) is a CSV with a line of names, or JSON
 * lines (flat objects); a number may stand in quotes. A row with a step and a loss is a point; other rows tell
 * what the points of their step lack. Training and validation may stand in rows of their own, in turn or one behind
 * the other.
 * Losses are in nats per token; tokens, seconds and flops are cumulative. Values that are not finite
 * may be written as C and Python do ("nan", "-inf", "Infinity"); absent ones are "", null, none, na.
 *
 * A loss that is not finite at its end makes the run a diverged one. Whatever cannot be read for
 * certain is an error at its line and column: blank lines are skipped, all others must have the
 * cells of the line of names.
 */
#ifndef STORE_FOREIGN_H
#define STORE_FOREIGN_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/hash.h"

enum foreign_form {
	FOREIGN_BY_CONTENT,	/* JSON lines begin with "{", or are called .jsonl or .ndjson; else CSV */
	FOREIGN_CSV, FOREIGN_JSONL
};

/* In a file, unless said otherwise, "step", "tokens", ... "loss", "train_loss". */
enum foreign_column {
	FOREIGN_STEP, FOREIGN_TOKENS, FOREIGN_SECONDS, FOREIGN_FLOPS,
	FOREIGN_LOSS,		/* validation */
	FOREIGN_TRAIN_LOSS,	/* of a step's own batch */
	N_FOREIGN_COLUMNS
};

struct foreign {
	const char *path, *label, *sweep;
	const char *variant;		/* NULL: the label */
	long seed;
	enum foreign_form form;
	const char *columns;		/* step=iteration,loss="val, loss"; NULL: all as above */
	double tokens_per_step;		/* where the file has no tokens; 0: it must have them */
};

/*
 * In order of step, two of one step where the file has two rows for it. A value that is absent is
 * NaN; the losses of a diverged curve are infinite from where they are not finite.
 */
struct foreign_points {
	int n, cap;
	bool diverged;
	char hash[HASH_HEX];	/* of the file's content */
	double (*at)[N_FOREIGN_COLUMNS];	/* freed by the caller */
};

/* 0, or -1 after a message that names file, line and column. */
int foreign_read(const struct foreign *f, struct foreign_points *p);

/*
 * Makes the run directory below ROOT/runs; *name, in the arena, is what it is called there. The
 * same curve again gives the same directory; a diverged one is told by a warning. 0, or -1 after a
 * message: also if another run has this label and seed already.
 */
int foreign_import(const struct foreign *f, const char *root, struct arena *a, const char **name);

#endif
