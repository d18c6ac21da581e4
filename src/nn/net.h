/*
 * A network under construction: what all layers of a model share. Layers are functions that record
 * operators and give back a tensor; residual() puts one into the stream:
 *
 *	x <- x + layer(norm(x))                              (pre-norm)
 *
 * so a model is a few lines of residual() calls (src/arch/moe_mamba.c). The sum is not made on the
 * spot: the layer's output stays pending and is added by the next norm, in one pass (op/add_norm.h).
 *
 * Letters of shapes: tensor/tensor.h.
 */
#ifndef NN_NET_H
#define NN_NET_H

#include "graph/graph.h"

/* Keys model.*, init.*, train.decay that every architecture has. */
struct skeleton {
	long d_model, n_blocks;
	const char *norm;		/* "layernorm" | "rmsnorm" */
	double norm_eps;
	bool final_norm;
	double init_scale, init_cut;	/* std = sqrt(scale / fan_in), |w| <= cut */
	const char *decay;		/* weight decay on "all" parameters or on "matrices" alone */
	const char *head;		/* "linear" | "copy": nn/copy_head.h | "forecast": nn/values.h */
	long copy_width;		/* C: of queries and keys of a copy head */
	long patch;			/* values of a position (nn/values.h); 0: tokens are embedded */
	const char *pool;		/* what the head reads: the "last" position, or the "mean" so far */
};

/* Tensors of a replay that stay readable as metrics (src/trace/trace.h); nothing in training. */
struct net_trace {
	bool routes;			/* "route", "slot", "gate" of each router (op/route.h) */
	bool outputs;			/* "output" of embedding, norms and layers */
	bool logits;			/* "logits" [B, T, n_vocab] */
};

/* What stands behind the last layer. */
enum net_head {
	HEAD_LOSS,			/* loss, with targets as an input */
	HEAD_LOGITS,			/* metric "lm_head.logits" [B, T, n_vocab] alone */
	HEAD_NONE,			/* nothing: a replay for what it carries on */
};

/* What the model is run on; not part of the spec of an architecture. */
struct net_env {
	long batch, context;		/* sequences and tokens of one replay (a micro-batch) */
	long group_tokens;		/* a routing group where model.moe.group_tokens is 0 */
	long n_vocab;			/* true size; matrices are padded to tiles of products */
	bool masked;			/* targets < 0 mark tokens that are not there (evaluation) */
	bool rows;			/* of examples: targets < 0 are tokens of which nothing is asked;
					   masked, an input "present" < 0 marks those not there */
	double position_gain;		/* op/position_weight.h, with position_from; both 0: the loss */
	long position_from;		/* is the plain mean */
	bool noise;			/* routers draw the noise of their specs: in training alone */
	bool dropless;			/* experts take all tokens, whatever capacity factor and groups */
	bool reset_at_eot;		/* state, convolution, attention do not cross documents; end
					   of text is the last token of the vocabulary */
	enum net_head head;
	/* Above 0: a replay goes on with the sequences of the one before (graph_carried()); attention
	   sees this many tokens in front of each, and experts take all tokens. */
	long carry;
	bool stream;			/* the same for training, in windows: nn/stream.h */
	struct net_trace trace;
};

enum { NET_ROUTERS_MAX = 512, ROUTER_PARTS_MAX = 7 };

/* How a replay gives tokens to experts. */
struct net_rule {
	const char *name;		/* "all", "capacity", "rank", "cutoff" (nn/moe.h); NULL: it has no routers */
	double factor;			/* capacity factor of "capacity" and "rank" */
	bool moved;			/* training moves it (nn/moe.h) */
};

/* A scalar that is part of the loss with this weight, and its name as a metric. */
struct weighted {
	struct tensor *scalar;
	double weight;
	const char *name;
};

struct net {
	struct graph *g;
	const struct skeleton *s;
	struct net_env env;
	struct tensor *tokens_BT, *targets_BT;	/* targets: NULL without a loss */
	struct tensor *mask_BT;			/* < 0: not there; NULL: all are */
	struct tensor *start_BT;		/* op/document_start.h; NULL: all is one document and one
						   replay. A layer that mixes tokens must hand it on */
	struct tensor *scale_B2;		/* of values: each row's mean and deviation (op/patch.h) */
	struct tensor *embedding_BTD;		/* the stream as it begins */
	struct tensor *shared_BTC;		/* of layers that share weights (nn/shared.h) */
	struct tensor *stream_BTD;		/* residual stream, without the pending branches */
	struct tensor *pending[2];		/* outputs of layers not yet added; NULL */
	bool gaps;				/* rows at a replay's end are no tokens where start_BT is NOT_THERE */
	int layer;				/* number of the residual layer, from 0 */
	struct router_loss {
		struct weighted parts[ROUTER_PARTS_MAX];
		int n_parts;
		bool mean;			/* over all routers; else sum */
		const char *scope;
		/* Where choices are drawn (op/reinforce.h); s NULL: they are not. */
		struct router_policy {
			struct tensor *s_BTE, *expert_BTK, *baseline;
			double weight;
		} policy;
	} routers[NET_ROUTERS_MAX];
	struct net_rule rule;			/* of all routers; "mixed" where they differ */
	int depends;				/* enum moe_class (nn/moe.h), the worst of all mixtures */
	int n_routers;				/* more than there is room for: refused by model_record() */
	bool untaught;				/* a router draws, and there is no loss of tokens to teach it */
	long crowded;				/* tokens of more segments than one can choose among (nn/attn.c);
						   0: none */
	double raised;				/* choices of a group that an expert's capacity would be, which is at
						   least 1; 0: none is less */
	long scarce;				/* tokens of the largest routing group in which a capacity can run out or
						   tokens are mixed; 0: there is none */
	long misfit;				/* a routing group that does not divide a replay; 0: none */
	long split;				/* tokens of a step over which a router takes losses, and of which a
						   replay has a part; 0: none */
	long alone;				/* sequences of a group of mixed tokens that a replay does not
						   hold whole; 0: none */
};

/* A layer: records what it does to x_BTD and gives its output, same shape. */
typedef struct tensor *layer_fn(struct net *net, const void *spec, struct tensor *x_BTD);

bool net_forecasts(const struct skeleton *s);	/* model.head=forecast */

/* Embedding, body, head with loss. Inputs of the graph: "tokens", "targets", int [B, T], and "present", of
   positions. Metrics: "loss" (of the head), "ce" (the same without weights), and per position "nll" and
   "correct"; of a forecast per value "nll", a square, and "error". */
void net_begin(struct net *net, struct graph *g, const struct skeleton *s, struct net_env env);
void net_end(struct net *net);

/* x <- x + layer(norm(x)); one recompute block. */
void residual(struct net *net, layer_fn *layer, const void *spec);
/* x <- x + a(norm(x)) + b(norm(x)): one norm, two branches. */
void residual2(struct net *net, layer_fn *a, const void *spec_a, layer_fn *b, const void *spec_b);

/* ---- how parameters begin ------------------------------------------------------------------- */

/* Truncated normal of the paper's recipe: std sqrt(scale / fan_in). */
struct param_rule rule_normal(const struct net *net, double fan_in, const char *group);
/* Uniform in +-bound: PyTorch's default for a linear layer has bound 1 / sqrt(fan_in). */
struct param_rule rule_uniform(const struct net *net, double bound, bool matrix, const char *group);
/* A matrix of zeros: what a layer adds to another begins as nothing. */
struct param_rule rule_zero(const char *group);
/* What is no matrix of a product, by any rule of op/fill.h; and by the first of them. */
struct param_rule rule_vector(const struct net *net, enum fill_rule fill, double a, double b, const char *group);
struct param_rule rule_constant(const struct net *net, double value, const char *group);

/* ---- operators as layers write them: y = op(g, x, ...) -------------------------------------- */

/* y_BTO = x W^T (+ b): W is the parameter "name.weight" [O, I], b "name.bias". bias may be NULL. */
struct tensor *linear(struct net *net, const char *name, struct tensor *x, long out,
	const struct param_rule *weight, const struct param_rule *bias);
/* norm(x + branch), with the model's norm and the parameters "name.weight" and "name.bias"; branch may be
   NULL. */
struct tensor *norm_of(struct net *net, const char *name, struct tensor *x, struct tensor *branch);
/* x / sqrt(mean(x^2) + eps) * "name.weight", whatever the model's norm and x's width. */
struct tensor *rms_norm_of(struct net *net, const char *name, struct tensor *x);
struct tensor *plus(struct net *net, struct tensor *a, struct tensor *b);	/* a + b */
/* f(x), or where gated f(g) u of the halves [g; u] of x (op/glu.h). */
struct tensor *activation(struct net *net, const char *name, bool gated, struct tensor *x);
/* The losses of a router, under the present scope. What they weigh is known at the model's end: with
   `mean` they are divided by the number of routers. "balance" and "z" come first. */
void net_router_loss(struct net *net, bool mean, const struct weighted *parts, int n);
/* Of the router whose losses were told last: its draws are taught by what came of them. */
void net_router_policy(struct net *net, const struct router_policy *policy);
/* y itself; where a trace wants outputs, it stays readable as that of the module. */
struct tensor *net_output(struct net *net, const char *module, struct tensor *y);

#endif
