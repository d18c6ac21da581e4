/* A sweep file as read, before it becomes runs. */
#ifndef SPEC_SWEEP_FILE_H
#define SPEC_SWEEP_FILE_H

#include "spec/settings.h"
#include "spec/sweep.h"

enum { MAX_LABEL = 48 };	/* of a variant, and of an axis's value in a label */

/* What the sweep and each of its variants may have. The values of grid and zip are lists. */
struct block {
	const char *label;		/* of a variant */
	const struct node *node;	/* its map, for messages */
	struct settings base, set, grid, zip;
};

/* Criteria that must all hold; each value one of a list. */
struct filter {
	const struct node *node;	/* for messages; NULL: from the command line */
	const struct node *variant;	/* a label or a list of them; NULL: any */
	struct settings keys;
};

struct included {
	struct block *variant;
	const struct node *node;
	struct settings keys;
};

struct sweep_file {
	struct spec_reader reader;
	const char *path;
	const struct node *root;
	struct block wide, *variants;
	int n_variants;
	struct filter *exclude;
	int n_exclude;
	struct included *include;
	int n_include;
	struct settings given;		/* the command line's */
	struct settings trial;		/* what is set in all trials; none in the sweep itself */
	const struct node *seeds;	/* NULL: those of the specs */
	struct sweep_tune tune;
	struct settings tuned;		/* its key, with the values to try */
	bool is_trials;
};

/* One configuration: a run but for the seed. */
struct point {
	struct block *variant;
	const struct node *node;	/* where it comes from, for messages */
	struct settings axes;
	struct config config;
	const char *label;
	int n_same;			/* combinations that are this configuration */
};

struct points {
	struct point *at;
	int n;
};

/* sweep_file.c. trials as in struct sweep_options. 0, or -1 after a message. */
int sweep_file_read(struct sweep_file *f, struct arena *a, const char *path,
	const struct sweep_trials *trials, const struct schema *schema);
/* Lists of values, not empty. */
int check_axis(const struct setting *axis);
/* Are the entries of a map among these names? rows (or NULL): keys of specs, for messages. */
int check_entries(const struct node *map, const char *const *names, int n_names,
	const struct field_rows *rows);
int filter_add(struct sweep_file *f, struct filter *filter, const char *key_value);
/* 1: the config of this variant fulfils all criteria, 0: not, -1: a value of the filter is bad. */
int filter_matches(struct sweep_file *f, const struct filter *filter, const struct block *variant,
	const struct config *config);
/* The setting that sweeps the key, in whatever part of the file; NULL: none. */
const struct setting *swept(const struct sweep_file *f, const char *key);

/* sweep_tune.c: reads `tune`; for trials makes the file that of the trials. */
int sweep_tune_read(struct sweep_file *f, const struct node *map, const struct sweep_trials *trials);

/* sweep_points.c: all configurations, labelled, excluded ones left out, equal ones merged. */
int sweep_points(struct sweep_file *f, struct sweep *sweep, struct points *points);
bool is_dropped(const struct point *p, const struct setting *s);	/* it does not apply to p */
/* sweep_label.c: the label "LABEL[-key=value...]" and the axes it names. */
const char *point_label(const struct sweep_file *f, const struct point *p);
int point_axes(const struct sweep_file *f, const struct point *p, struct sweep_axis **axes);
/* text fit as part of a file's name: other characters become "_", the first `most` are kept. */
const char *file_label(struct arena *a, const char *text, int most);

/* sweep_goals.c: what the file says about its results: baseline, targets, published, limits. */
int sweep_goals(struct sweep_file *f, const struct points *points, struct sweep *sweep);

#endif
