/*
 * Evaluation: the mean loss over fixed windows of the validation split, read in micro-batches
 * of training, which hold whole routing groups. The last one is filled up with masked tokens, which
 * take no capacity.
 *
 * Of a run on streams (data.sampling: stream) the windows are streams, too, as many as in training, from
 * states of 0 on: each of them is evaluated with what the windows in front of it left.
 *
 * Of rows of examples only the answers count: loss and accuracy are means over the targets that ask for
 * something, there are no repeated bigrams and no classes by frequency, and whole answers are scored too. Of
 * forecasts the loss is the mean squared error, and there is no accuracy.
 */
#ifndef TRAIN_EVALUATE_H
#define TRAIN_EVALUATE_H

#include "data/order.h"
#include "data/slice.h"
#include "train/recall.h"
#include "train/setup.h"

struct loss_slice {		/* the loss by classes of targets, as sums; classes: the evaluator's */
	const struct token_classes *classes;
	double nll[MAX_CLASSES], tokens[MAX_CLASSES];
};

enum { SLICE_POSITION, SLICE_FREQUENCY, SLICE_RECALL, N_SLICES };

struct evaluation {
	double loss, bpb, accuracy;	/* nats per token, bits per byte, share of tokens */
	double loss_bigram, share_bigram;	/* of targets whose bigram occurred before in its window */
	double drop;			/* share of routed tokens; NAN without routers */
	double choices, unserved;	/* experts computed for a token, tokens without any; means over routers, NAN
					   without */
	long n_tokens;
	struct loss_slice slices[N_SLICES];
	struct recall_score answers;	/* of rows of examples; else empty */
};

struct evaluator {
	struct sequences windows;
	long n_windows;
	bool rows;			/* of examples */
	long at_once;			/* windows of a replay: of a micro-batch, or one of each stream */
	char hash[HASH_HEX];
	double bits_per_nat;
	int *tokens_BT, *targets_BT, *present_BT;	/* one replay */
	double *nll_BT, *correct_BT;
	unsigned char *bigram_BT;
	unsigned char *recall_BT;	/* repeats in their document of bigrams that are not in `known` */
	int document_end;		/* end of text where documents are apart, else -1 */
	uint32_t *known;		/* sorted: those that training has more often than the limit */
	long n_known;
	struct token_classes classes[N_SLICES];	/* of rows: by position alone */
};

/* Of a split, spec.eval_tokens of it; by frequency in the training split. 0, or -1 after a message. */
int evaluator_open(struct evaluator *e, const struct setup *s, const struct dataset *d,
	enum split split);
void evaluator_close(struct evaluator *e);
/* which: GRAPH_EVAL or GRAPH_EVAL_DROPLESS of s. 0, EVALUATION_STOPPED if the worker is asked to stop (nothing in
   *result counts), or -1 after a message (damaged file). */
int evaluator_run(struct evaluator *e, struct setup *s, enum setup_graph which,
	struct evaluation *result);

#endif
