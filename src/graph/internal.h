/* Inside of src/graph: the recorded values and nodes, the program, and the storage of operands. */
#ifndef GRAPH_INTERNAL_H
#define GRAPH_INTERNAL_H

#include "graph/graph.h"
#include "tensor/queue.h"

enum place {
	PLACE_ARENA,	/* made by an operator, storage planned */
	PLACE_METRIC,	/* made by an operator, kept for the host */
	PLACE_INPUT,
	PLACE_PARAM,
	PLACE_BLOB,
	PLACE_CARRIED,	/* graph_carried() */
};

struct value {
	struct tensor t;	/* what layers hold; t.id is this value's number */
	enum place place;
	int slice_of;		/* value whose columns these are; -1 */
	long column;
	int param;		/* PLACE_PARAM; PLACE_CARRIED: among those */
	enum blob blob;		/* PLACE_BLOB, or where a written parameter lies */
	int producer, output;	/* node and number of its output; -1: none */
	const char *name;	/* inputs and metrics */
	size_t offset;		/* PLACE_INPUT, PLACE_METRIC: bytes into that region */
	bool wants_gradient;	/* a parameter takes part in it */
};

struct node {
	const struct op *op;
	const char *name;
	int block;		/* -1: none */
	int in[OP_MAX_IN], out[OP_MAX_OUT];	/* values; -1: absent */
	struct op_shapes shapes;
	const struct tensor *in_shape[OP_MAX_IN];
};

struct loss {
	int value;
	double weight;
};

/* Storage of one operand: a value of the forward pass, its second life in recomputation, its
   gradient, a saved buffer or a workspace. A cell with a parent lies inside it, from `column` on. */
struct cell {
	int parent;
	long column;		/* elements */
	int first, last;	/* calls between which it must live; first > last: unused */
	size_t bytes;		/* roots only */
	size_t offset;		/* roots only: into the arena */
};

enum { CELL_VALUE, CELL_AGAIN, CELL_GRADIENT, N_CELL_CLASSES };

/* One kernel call. Operands are cells until graph_bind() makes addresses of them. */
struct call {
	int node;		/* -1: a constant (seed of a loss, cleared gradient) */
	bool backward, again;	/* again: forward repeated for backward */
	int in[OP_MAX_IN], out[OP_MAX_OUT], saved[OP_MAX_SAVED];	/* cells; -1 absent */
	int d_in[OP_MAX_IN], d_out[OP_MAX_OUT];
	int workspace;
	unsigned add;		/* d_in that are added, on every micro-batch */
	size_t plan;		/* bytes of run.plan */
	unsigned param_gradients;	/* d_in that go to the gradient blob: added from the second on */
	int constant_value;	/* node -1: value whose gradient is set */
	struct op_run run;
	struct tensor *tensors;	/* operands of run */
};

/* What is replayed as a whole. */
enum program {
	PROGRAM_FORWARD,
	PROGRAM_BACKWARD_FIRST,		/* writes gradients of parameters */
	PROGRAM_BACKWARD_FURTHER,	/* adds to them */
	N_PROGRAMS,
};

struct graph {
	struct arena *arena;
	struct params *params, *carried;	/* carried: NULL without */
	const struct device *device;
	bool training;
	struct str *scope;	/* "layers.0.mixer." */
	size_t scope_marks[16];	/* its length at each graph_enter() */
	int n_scopes;
	size_t param_from;	/* where in it names of parameters begin: 0 but in shared scopes */
	struct value **values;
	int n_values, values_capacity;
	int *param_values;	/* value of each parameter; -1: none here */
	int param_values_capacity;
	struct node **nodes;
	int n_nodes, nodes_capacity;
	struct loss *losses;
	int n_losses, losses_capacity;
	int block, n_blocks;
	int *metrics;		/* values */
	int n_metrics, metrics_capacity;
	/* planned */
	struct graph_options options;
	struct call *calls;
	int n_calls, n_forward, calls_capacity;
	struct cell *cells;
	int n_cells, cells_capacity;
	struct graph_memory memory;
	/* bound */
	const struct model_memory *model;
	char *inputs, *metric_memory;
	char *input_host, *metric_host;		/* device_host_alloc(); inputs twice, in turn */
	int half, ahead;	/* of input_host, the next; forward replays since the queue was waited for */
	bool unrecorded;
	/* On a device with a queue: each program runs call by call once, is recorded the second time,
	   and replayed from then on. */
	bool warm[N_PROGRAMS];
	struct queue_recording *recorded[N_PROGRAMS];
	struct queue_mark **marks;	/* one in front of each call and one behind, while profiled */
	struct graph_profile *profile;
	graph_watcher *watcher;		/* NULL: none */
	void *watched;
};

static inline int cell_of(const struct graph *g, int class, int value)
{
	return class * g->n_values + value;
}

static inline bool in_arena(const struct graph *g, int value)
{
	return g->values[value]->place == PLACE_ARENA;
}

/* In whole units of the device. */
static inline size_t graph_aligned(const struct graph *g, size_t bytes)
{
	return (bytes + g->device->align - 1) / g->device->align * g->device->align;
}

/* Value at the root of a chain of slices. */
int graph_slice_root(const struct graph *g, int value);
/* Cell at the root of a chain of shared storage; *column (may be NULL) is where `cell` begins in it. */
int graph_cell_root(const struct graph *g, int cell, long *column);
int graph_cell_value(const struct graph *g, int cell);	/* value of a value cell, else -1 */
/* Slice root whose gradient, or a part of it, the call writes as that of input i; -1: none. */
int graph_written_root(const struct graph *g, const struct call *c, int i);
bool graph_cell_planned(const struct graph *g, int cell);	/* lies in the arena */

void graph_build_program(struct graph *g);	/* calls and cells; program.c */
void graph_write_or_add(struct graph *g);	/* add.c */
void graph_share_storage(struct graph *g);	/* alias.c */
void graph_pack(struct graph *g);		/* pack.c */

#endif
