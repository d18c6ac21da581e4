/*
 * A model as data. Layers record operators once; graph_plan() differentiates, decides which gradient
 * is written and which added, which tensors share storage, and where each one lies in one arena;
 * after graph_bind() the same list of kernel calls is replayed every step.
 *
 * Recording and planning allocate nothing on the device, so cost and memory of a model are known
 * without building it. Shapes are fixed; nothing is decided from values.
 *
 * Files: record.c (this page's first part), program.c (the list of calls, backward included),
 * add.c (write or add), alias.c (storage shared in place), pack.c (lifetimes to addresses), run.c, look.c.
 */
#ifndef GRAPH_GRAPH_H
#define GRAPH_GRAPH_H

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "graph/params.h"
#include "op/op.h"

struct graph;

/* ---- recording ------------------------------------------------------------------------------ */

/* All memory comes from the arena and lives as long as it. params: shared by the graphs of a model. */
struct graph *graph_new(struct arena *a, struct params *params, const struct device *device,
	bool training);
void graph_release(struct graph *g);	/* device memory for inputs and metrics; the rest is the arena's */

bool graph_trains(const struct graph *g);	/* `training` of graph_new() */
struct arena *graph_arena(struct graph *g);	/* for what must live as long as the graph */

/* Names of parameters, nodes and metrics get the prefix "scope." of all scopes entered. */
void graph_enter(struct graph *g, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, but until it is left names of parameters begin with "name.", whatever is around it: layers
   that do this with one name share their parameters, whose gradients are sums over all uses. */
void graph_enter_shared(struct graph *g, const char *name);
void graph_leave(struct graph *g);
/* The present scope with its last dot removed, "layers.0.mixer"; lives as long as the graph. */
const char *graph_scope(struct graph *g);

/* Data from outside, written by graph_set_input() before each replay. */
struct tensor *graph_input(struct graph *g, const char *name, struct tensor shape);
/* A parameter of the model, registered at its first use. Operators that ask for the master copy get
   it; all others see the working copy. Its gradient goes to the gradient blob. */
struct tensor *graph_param(struct graph *g, const char *name, struct tensor shape,
	const struct param_rule *rule);
/* A whole blob as one row of blob_size elements: optimiser graphs. */
enum blob { BLOB_WEIGHTS, BLOB_WORKING, BLOB_GRADIENTS, BLOB_MOMENT1, BLOB_MOMENT2, N_BLOBS };
struct tensor *graph_blob(struct graph *g, enum blob blob);
/* What a replay leaves for the next one, under scope.name: an operand that operators update in place.
   Graphs that are given the same `carried` share them by name; the second of a name in one graph, of a
   layer that is used twice, is another. Zeros at first, and after model_memory_forget(). Their elements
   take the room of masters, whatever their kind. */
void graph_carry(struct graph *g, struct params *carried);	/* before the first graph_carried() */
struct tensor *graph_carried(struct graph *g, const char *name, struct tensor shape);
/* A parameter as an operand that is written (fill): its master copy in the weight blob. */
struct tensor *graph_param_storage(struct graph *g, int param);

/* Apply an operator; attr (attr_bytes of it) is copied. in: op->n_in tensors, NULL for absent ones.
   Gives the op->n_out outputs, valid as long as the graph. */
struct tensor *const *graph_apply(struct graph *g, const struct op *op, const void *attr,
	size_t attr_bytes, struct tensor *const *in);
/* Columns [column, column + width) of every row of t: a view. */
struct tensor *graph_slice(struct graph *g, struct tensor *t, long column, long width);

/* What follows, up to the next call, is one block: with recomputation, only what leaves a block is
   kept for backward. graph_block_end: what follows belongs to no block. */
void graph_block(struct graph *g);
void graph_block_end(struct graph *g);

/* weight * scalar is part of the loss; weight 0: not part of it. A metric under that name. */
void graph_loss(struct graph *g, struct tensor *scalar, double weight, const char *name);
/* Keep t readable after a replay, under scope.name. Values stay those of the last replay. */
void graph_metric(struct graph *g, struct tensor *t, const char *name);

/* ---- planning ------------------------------------------------------------------------------- */

struct graph_options {
	bool recompute;		/* of blocks, in backward */
	int micro_batches;	/* per step; losses are divided by it */
};

/* 0, or -1 after a message (an operator without a kernel for the device). */
int graph_plan(struct graph *g, const struct graph_options *options);

struct graph_memory {
	size_t arena_bytes;		/* one packed block: activations, gradients, workspace */
	size_t kept_bytes;		/* of it, alive between forward and backward */
	size_t unshared_bytes;		/* what it would be without sharing: for the report */
	size_t metric_bytes, input_bytes;
};
struct graph_memory graph_memory(const struct graph *g);

/* ---- running -------------------------------------------------------------------------------- */

/* Device memory of a model: blobs, step state, arena; shared by its graphs. */
struct model_memory {
	const struct device *device;
	struct queue *queue;		/* the device's; NULL on hosts */
	void *blob[N_BLOBS];		/* BLOB_WORKING is BLOB_WEIGHTS where the types are equal */
	size_t blob_bytes[N_BLOBS];
	void *arena;
	size_t arena_bytes;
	struct step_state *state;	/* device memory */
	void *carried;			/* graph_carried(); NULL: none */
	size_t carried_bytes;
};

/* Blobs for the parameters (moments and gradients only if training) and an arena of this size. */
void model_memory_alloc(struct model_memory *m, const struct params *p, const struct device *d,
	size_t arena_bytes, bool training);
/* What graphs carry from replay to replay; before graph_bind(). */
void model_memory_carry(struct model_memory *m, const struct params *carried);
void model_memory_forget(struct model_memory *m);	/* all of it becomes 0 */
void model_memory_release(struct model_memory *m);
size_t model_memory_bytes(const struct params *p, const struct device *d, bool training);

/* Fixes all addresses, once. The memory must outlive the graph. */
void graph_bind(struct graph *g, const struct model_memory *m);
void graph_set_input(struct graph *g, const char *name, const void *host);
/* On a GPU the replays return before they are done; graph_fetch_metrics() waits. */
void graph_forward(struct graph *g);
/* first: first micro-batch of a step; gradients of parameters are written, afterwards added. */
void graph_backward(struct graph *g, bool first);
/* On a GPU: call by call at every replay instead of as one recording. For tests: the bits are equal. */
void graph_unrecorded(struct graph *g);
/* Copies metrics to the host once; call after a replay and before graph_read*. */
void graph_fetch_metrics(struct graph *g);
/* Element i of the metric, from the last fetch. Unknown names are a fault of ours. */
double graph_read(const struct graph *g, const char *name, long i);
const struct tensor *graph_metric_shape(const struct graph *g, const char *name);
/* All elements of a metric, from the last fetch, in order. */
void graph_read_all(const struct graph *g, const char *name, double *out);
/* Weighted sum of all losses, from the last fetch. */
double graph_loss_total(const struct graph *g);
/* Names of metrics that end in ".suffix" or equal it, in order of recording; n of them. NULL: all. */
const char *const *graph_metrics_named(struct graph *g, const char *suffix, int *n);

/* Seconds per node since profiling began (bench step); NULL ends it. */
struct graph_profile {
	double *forward_s, *backward_s;		/* by node; recomputation counts as backward */
};
void graph_profile(struct graph *g, struct graph_profile *p);

/* ---- looking -------------------------------------------------------------------------------- */

struct graph_node_info {
	const char *name;		/* "layers.0.mixer.scan" */
	const struct op *op;
	const struct op_shapes *shapes;
	struct op_cost cost;		/* zero where the op states none */
	bool has_backward;
};
int graph_n_nodes(const struct graph *g);
struct graph_node_info graph_node_info(const struct graph *g, int node);
/* What input i of a node is: the name of a parameter or of the graph's input, else "y_BTD of 7": an
   output of node 7, of a slice with its columns. The input must not be absent. */
const char *graph_operand(struct graph *g, int node, int i);
bool graph_operand_is_param(const struct graph *g, int node, int i);
/* On hosts: called behind each kernel of a replay, whose outputs are still whole then (inputs may
   lie on the same storage). node -1: a constant. NULL ends it. */
typedef void graph_watcher(void *data, int node, bool backward, const struct op_run *r);
void graph_watch(struct graph *g, graph_watcher *watcher, void *data);
/* The planned program, one call a line with operands, sharing and addresses: for people and tests. */
void graph_print(const struct graph *g, FILE *f);

#endif
