/*
 * A run made ready: its spec bound, its graphs recorded and planned, then memory and first weights.
 * setup_open() allocates nothing on the device, so `params`, `plan` and the identity of a run come
 * from the same code that trains.
 */
#ifndef TRAIN_SETUP_H
#define TRAIN_SETUP_H

#include "arch/arch.h"
#include "data/dataset.h"
#include "graph/graph.h"
#include "op/kit/units.h"
#include "spec/run_spec.h"
#include "train/control.h"

/* The graphs of a set-up. */
enum setup_graph {
	GRAPH_TRAIN,			/* a micro-batch forward and backward */
	GRAPH_EVAL,			/* forward with the capacity of training, masked targets allowed */
	GRAPH_EVAL_DROPLESS,		/* the same without capacity; NULL without routers */
	GRAPH_LOGITS,			/* forward of a micro-batch, for a trace; else NULL */
	GRAPH_WINDOW,			/* decoding: WINDOW_TOKENS that go on from the replay before */
	GRAPH_STEP,			/* decoding: one token, and the logits behind it */
	GRAPH_UPDATE,			/* clipping and AdamW */
	GRAPH_INIT,			/* the first weights; runs on the host */
	GRAPH_ROUND,			/* working copy = rounded master copy; NULL where they are one */
	N_SETUP_GRAPHS,			/* from here on: forward without capacity, of rows of data.tests */
	MAX_SETUP_GRAPHS = N_SETUP_GRAPHS + MAX_TESTS
};

/* What a dataset says about graphs. */
struct setup_data {
	long n_vocab;			/* 0: the spec's data.vocab */
	bool rows;			/* of examples */
	bool series;			/* of these: values, not ids */
	struct setup_test {
		long context, batch;	/* tokens of a row of test sets, rows of one replay */
	} tests[MAX_TESTS];		/* each length once; batch: after setup_open_for() */
	int n_tests;
};

struct setup_data setup_data_of(const struct dataset *d);
/* The mean over the answers of a batch is one of its micro-batches' only if there is one: -1 after a
   message. */
int setup_check_rows(const struct run_spec *s);

enum { WINDOW_TOKENS = 64 };
/* What a router tells of its scores as means over groups or tokens (op/router_loss.h, op/noisy_load.h). */
enum { MEAN_OF_ENTROPY, MEAN_OF_IMPORTANCE, MEAN_OF_LOAD, MEAN_OF_MEAN_ENTROPY, N_ROUTER_MEANS };
/* States of streams: those that are trained on, and others for evaluation. */
enum setup_streams { STREAMS_TRAIN, STREAMS_EVAL, N_SETUP_STREAMS };

struct setup {
	struct arena arena;
	const struct config *config;	/* not owned */
	struct run_spec spec;
	struct model model;
	const struct device *device;
	struct setup_data data;
	long n_vocab;
	long micro_batches;		/* replays per step */
	struct params params, carried;	/* carried: what decoding leaves for the next replay */
	struct params streamed;		/* what windows of streams do (data.sampling: stream) */
	struct graph *graphs[MAX_SETUP_GRAPHS];
	struct net_trace trace;		/* what GRAPH_TRAIN keeps readable; nothing in a run */
	struct router_names {		/* metrics of each router, the same in all graphs */
		const char *const *balance, *const *z, *const *dropped, *const *load;
		const char *const *means[N_ROUTER_MEANS];	/* NULL: the router has it not */
		/* those of training and evaluation: choices dropped and all, where "dropped" is of tokens; tokens
		   that an expert computed, NULL: as many as choices */
		const char *const *choices[GRAPH_EVAL_DROPLESS + 1], *const *served[GRAPH_EVAL_DROPLESS + 1];
		/* choices that each expert computed, and the widths; NULL: experts are of one width */
		const char *const *computed;
		const struct units *const *units;
		int n;
		double planned;		/* choices of a replay as costs count them, of all of them */
	} routers;
	const char *depends;		/* of the model in training: struct model */
	double raised;			/* likewise */
	long scarce;			/* likewise */
	struct net_rule rules[GRAPH_EVAL_DROPLESS + 1];	/* of the evaluations */
	const char *const *shares;	/* metrics of each mix of two paths, the share of the first (of channels
					   mean and deviation), and of each layer of picked tokens, theirs */
	int n_shares;
	struct control control;		/* states that change by what a step counted */
	struct model_memory memory;	/* after setup_allocate() */
	struct model_memory streams[N_SETUP_STREAMS];	/* the same, but for what is carried */
};

/* n_vocab: the dataset's; 0: the spec's data.vocab, or where that is 0 that of the dataset it names. 0, or -1
   after a message; then nothing is left. */
int setup_open(struct setup *s, const struct config *c, const struct device *d, long n_vocab);
/* The same for data that may be rows of examples, with graphs for their test sets. */
int setup_open_for(struct setup *s, const struct config *c, const struct device *d,
	const struct setup_data *data);
/* The same for a trace (trace/trace.h): routes and outputs are kept by GRAPH_TRAIN, logits have a graph. */
int setup_open_traced(struct setup *s, const struct config *c, const struct device *d, long n_vocab,
	struct net_trace trace);
/* A model that is run but not trained, its weights those of the seed until others are read; memory for
   weights alone. For decoding (train/decode.h), one sequence of at most `longest` tokens. */
int setup_open_decoding(struct setup *s, const struct config *c, const struct device *d, long n_vocab,
	long longest);
/* For losses: GRAPH_EVAL on `batch` sequences of `context` tokens, experts without capacity. carry 0: each
   replay by itself; else it goes on from the one before, and attention sees `carry` tokens in front. */
int setup_open_losses(struct setup *s, const struct config *c, const struct device *d, long n_vocab,
	long batch, long context, long carry);
/* For scores on the test sets of a dataset of examples alone. */
int setup_open_tests(struct setup *s, const struct config *c, const struct device *d,
	const struct setup_data *data);
/* As for losses, each replay by itself, with the routes of its mixtures as metrics (struct net_trace). */
int setup_open_routes(struct setup *s, const struct config *c, const struct device *d, long n_vocab,
	long batch, long context);
void setup_close(struct setup *s);
/* Of what its spec asks for and does not get; NULL: nothing. In the arena. */
const char *setup_warning(struct setup *s);

/* Bytes of blobs, arena, inputs and metrics that setup_allocate() will take. */
double setup_bytes(const struct setup *s);
/* Memory, addresses, and the initial weights of the run's seed. -1 after a message: too little. */
int setup_allocate(struct setup *s);

/* After anything but GRAPH_UPDATE has written master weights. */
void setup_weights_changed(struct setup *s);

/* Semantics of the architecture and of each operator in use; *n of them, in the arena. */
const struct semantics *setup_semantics(struct setup *s, int *n);
void setup_identity(struct setup *s, const char *data_hash, char hex[HASH_HEX]);

/* One update: micro_batches times forward and backward, then clipping and AdamW. read fills tokens
   and targets [micro_batch, context] of micro-batch i; non-zero ends the step with that value. */
struct step_input {
	int (*read)(void *from, long step, long micro, int *tokens_BT, int *targets_BT);
	void *from;
	int *tokens_BT, *targets_BT;	/* room for one micro-batch */
	bool (*begins)(void *from, long step);	/* optional: streams begin, with states of 0 */
	void (*seen)(void *from, long micro);	/* optional: after each, its metrics fetched */
};

struct step_result {		/* of one update; means over its micro-batches */
	double ce, aux;		/* nats per token; weighted auxiliary losses */
	double balance, z;	/* means over routers (and micro-batches) that chose; NAN without */
	double drop;		/* share over all of them */
	double idle;		/* share of the choices that costs count for which no expert was computed, by
				   width (below 0: wide experts had more than the mean); NAN without routers */
	double grad_norm;
};

/* Forward on these tokens and targets of a graph's own batch, with its metrics fetched. */
void setup_replay(struct graph *g, const int *tokens_BT, const int *targets_BT);
/* What kernels find of a micro-batch of a step; setup_step() sets it by itself. */
void setup_state(struct setup *s, long step, long micro);
/* Streams begin: their states become 0. Nothing happens where there are none. */
void setup_begin_streams(struct setup *s, enum setup_streams which);

/* Targets of a row of T tokens to which a model says something: one of each position, of a forecast all. */
long setup_asked(const struct setup *s, long T);
/* What of the targets of n rows of T that is, in place. */
void setup_keep_asked(const struct setup *s, long n, long T, int *targets);

/* What routers did, as sums over replays and routers. */
struct routed {
	double dropped, all;	/* choices, or tokens where experts choose */
	double computed;	/* choices */
	double wide;		/* the same, each times the width of its expert over the mean of all */
	double served;		/* tokens with a computed choice */
};

/* Adds router i in the last fetched replay of a graph up to GRAPH_EVAL_DROPLESS. */
void setup_add_routed(const struct setup *s, enum setup_graph g, int i, struct routed *sum);
/* 0 where there was nothing to drop. */
double routed_drop_share(const struct routed *r);
/* The same of all routers in the last fetched replay of GRAPH_TRAIN; NAN without routers. */
double setup_drop_share(const struct setup *s);

/* step: updates done before. A gradient norm that is not finite leaves the weights as they are. */
int setup_step(struct setup *s, long step, const struct step_input *in, struct step_result *result);

#endif
