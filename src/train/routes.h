/*
 * Where tokens go: the choices of each router by a checkpoint of a run, on windows of the training length,
 * without capacity.
 */
#ifndef TRAIN_ROUTES_H
#define TRAIN_ROUTES_H

#include "train/protocol.h"

struct routes {
	struct arena arena;
	long n_tokens;			/* seen: whole segments */
	int *token;			/* [n_tokens] */
	struct router_routes {
		const char *name;	/* "layers.1.moe" */
		long n_experts, k;	/* k: choices of a token at most */
		int *expert;		/* [n_tokens, k]; -1: none */
		long *width;		/* hidden units of each expert; 0: it has none */
		bool takes;		/* experts choose: here by cutoff (nn/moe.h) */
	} *routers;
	int n;
};

/* Segments of the training length. 0, or -1 after a message: also where the model has no router. */
int routes_open(struct routes *r, const struct trained *t, const struct device *d, const struct segments *s);
void routes_close(struct routes *r);

/* How often each token is a choice of an expert of a router: [n_vocab] counts. */
void routes_count(const struct routes *r, int router, int expert, long n_vocab, long *count);
/* Share of the choices of a router in `from` that the same tokens make in `to`, another checkpoint's on the
   same segments; NAN: there are none. */
double routes_kept(const struct routes *from, const struct routes *to, int router);

/* Share of the tokens that are no choice of any expert of a router. */
double routes_unserved(const struct routes *r, int router);

#endif
