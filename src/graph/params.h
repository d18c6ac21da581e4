/*
 * Parameters of a model: names, shapes, how they begin, how they are treated. Values live in equal
 * blobs (weights, gradients, first and second moments), so optimiser, clipping and checkpoint are
 * loops over one array. The layout of a blob is the order of registration; the training and the
 * evaluation graph of a model share one set and find parameters by name.
 */
#ifndef GRAPH_PARAMS_H
#define GRAPH_PARAMS_H

#include <stdbool.h>

#include "base/arena.h"
#include "op/fill.h"
#include "op/grad_norm.h"
#include "tensor/tensor.h"

/* A state that training moves once a step by what it counted, without gradient (train/control.h). */
struct param_control {
	const char *rule;		/* its name there; NULL: no state but a weight */
	double rate, target, least, most;	/* as the rule reads them */
};

/* How a parameter begins (op/fill.h) and how the recipe treats it. */
struct param_rule {
	enum fill_rule fill;
	double a, b;
	bool decay;			/* weight decay applies */
	const char *group;		/* group of the log: "embedding", "mixer", "norm", ... */
	long active, of;		/* share used per token: active / of (0 / 0 means all) */
	long used_rows;			/* true rows of a padded matrix; 0: all */
	struct param_control control;
};

struct param {
	const char *name;		/* as in files: "layers.3.mixer.in_proj.weight" */
	struct tensor shape;		/* without address */
	struct param_rule rule;
	long offset;			/* in elements, from the start of each blob */
};

enum { PARAM_GROUPS_MAX = 16 };

struct params {
	struct arena *arena;		/* names live here; not owned */
	long align;			/* elements: where a parameter may begin in a blob */
	struct param *list;
	int n, capacity;
	int *places;			/* by the hash of a name: number in the list + 1; 0: free */
	int n_places;			/* a power of two, above twice n; or 0 */
	long blob_size;			/* elements of a blob, alignment included */
	const char *groups[PARAM_GROUPS_MAX];
	int n_groups;
};

void params_init(struct params *p, struct arena *a, const struct device *d);
void params_release(struct params *p);
/* The parameter of this name; registered if it is new, else its shape must be the same (CHECK). */
int params_add(struct params *p, const char *name, const struct tensor *shape,
	const struct param_rule *rule);
int params_find(const struct params *p, const char *name);	/* -1: none */
long param_elements(const struct param *p);			/* without padding rows */
/* Elements used by one token: share of the whole, exact for experts (1/E) and embedding (1 row). */
double param_active(const struct param *p);
/* Segments of the blob for grad_norm and adamw; *n of them, made in the arena. */
const struct grad_norm_segment *params_segments(const struct params *p, int *n);

#endif
