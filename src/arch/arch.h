/*
 * An architecture: one file in this folder. It says which keys of a spec apply to it (parts: a field
 * table and where its struct lies in the architecture's own) and records the body of the model, all
 * between embedding and head. Start with moe_mamba.c.
 */
#ifndef ARCH_ARCH_H
#define ARCH_ARCH_H

#include "nn/net.h"
#include "spec/config.h"

struct arch_part {
	const struct field_table *table;
	size_t offset;
};

enum { ARCH_MAX_PARTS = 16 };

struct arch {
	const char *name, *help;
	int semantics;			/* raised when results change beyond rounding */
	size_t spec_bytes;		/* of its struct, which begins with a struct skeleton */
	struct arch_part parts[ARCH_MAX_PARTS];	/* ended by a NULL table */
	void (*record)(struct net *net, const void *spec);
	/* Optional: checks what ranges cannot say ("n_heads must divide d_model") and makes what record
	   needs besides, in the arena. 0, or -1 after a message that names the file c->file. */
	int (*check)(void *spec, const struct config *c, struct arena *a);
};

extern const struct arch *const arch_list[];	/* all architectures, ended by NULL */

/* The schema of all specs: keys of every run (src/spec/run_spec.h) and those of each architecture. */
const struct schema *spec_schema(void);

/* A model as its spec says it. */
struct model {
	const struct arch *arch;
	void *spec;
	/* "A", "B" or "F": what a token's output depends on beside its own past, other sequences or its own
	   future (nn/moe.h); as recorded last. */
	const char *depends;
	struct net_rule rule;		/* likewise */
	/* A capacity of an expert below 1 choice of a routing group, which is taken as 1; 0: none is. As recorded
	   last. */
	double raised;
	/* Tokens of the largest routing group in which a capacity can run out or tokens are mixed; 0: there is none.
	   Likewise. */
	long scarce;
	long patch;			/* tokens of a position */
	bool forecasts;			/* values, so that something is said to each token, else to each position */
};

/* Binds and checks; memory from the arena. 0, or -1 after a message. */
int model_open(struct model *m, const struct config *c, struct arena *a);
/* Records embedding, body and head into g. -1 after a message that says where c, whose model it is, sets the keys
   it names: routing groups that a micro-batch does not hold whole, or with env.carry a layer that has no form for it. */
int model_record(struct model *m, struct graph *g, struct net_env env, const struct config *c);

#endif
