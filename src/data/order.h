/*
 * Order of training and evaluation: which tokens make sequence number i.
 *
 * Sampling `shuffle`, the default. A split of n tokens holds W = (n - 1) / T sequences of T tokens,
 * the context; number w has the T inputs from token w T on, and the T tokens after each as targets.
 * So each token is predicted once per epoch, but for the first of the split and the last
 * (n - 1) mod T. Epoch e reads the W sequences in an order that is a function of (seed, e) alone: a
 * run needs no state to resume, batch size and architecture cannot change what is read, and variants
 * of one seed see the same tokens.
 *
 * The permutation is a Feistel network over the pairs of a rectangle that just covers [0, W), with
 * cycle walking (Black and Rogaway 2002, "Ciphers with arbitrary finite domains", methods 2 and 3).
 * Its round function is Philox, so there is no table: W may be of any size.
 *
 * Rows of examples (data/dataset.h) are sequences as they stand; T must be their length.
 *
 * Sampling `stream`: B streams side by side, for models that carry their state from window to window.
 * Of the W' = (n - T) / T windows that an epoch can count on, stream b has the L = W' / B from
 * number b L on; sequence i is window (i / B) mod L of stream i mod B, so that sequence i + B goes on
 * where sequence i ends. Windows lie at multiples of T from a place below T on that (seed, epoch)
 * draws, for else all epochs and seeds would cut the text at the same places. What is left over,
 * less than T (B + 1) tokens, is not read in that epoch.
 *
 * Sampling `paper`: data/packing.h. There are no epochs; what is called so is the number of
 * sequences that have as many tokens as the split.
 */
#ifndef DATA_ORDER_H
#define DATA_ORDER_H

#include <stdint.h>

#include "base/hash.h"
#include "data/dataset.h"
#include "data/packing.h"

struct permutation {
	uint64_t n, rows, columns;	/* rows x columns >= n, and less than n + rows */
	uint64_t seed, stream;
	uint32_t epoch;
};

/* Of 0 .. n - 1, n > 0. */
void permutation_init(struct permutation *p, uint64_t n, uint64_t seed, uint32_t epoch);
uint64_t permutation_at(const struct permutation *p, uint64_t i);	/* i < n */

enum sampling { SAMPLING_SHUFFLE, SAMPLING_PAPER, SAMPLING_STREAM };

/* "shuffle", "paper", "stream". 0, or -1 after a message. */
int sampling_parse(enum sampling *sampling, const char *name);

/* The sequences of a split in one order. Keeps a pointer to the dataset. */
struct sequences {
	const struct dataset *dataset;
	enum split split;
	int context;		/* T */
	uint64_t seed;
	long per_epoch;		/* W: sequence i is in epoch i / W */
	enum sampling sampling;
	struct packing packing;	/* of SAMPLING_PAPER */
	long streams, length;	/* of SAMPLING_STREAM: B, and L windows of each */
};

/* Shuffled. -1 after a message if the split has no sequence of this length, or rows of another. */
int sequences_init(struct sequences *s, const struct dataset *d, enum split split, int context,
	uint64_t seed);
/* Sample otherwise from now on. SAMPLING_PAPER reads the whole split once and takes 8 bytes a
   document; release it. SAMPLING_STREAM has so many streams. 0, or -1 after a message: rows are no
   documents, or there are more streams than windows. */
int sequences_sample(struct sequences *s, enum sampling sampling, long streams);
void sequences_release(struct sequences *s);

/* Sequences first .. first + n - 1, counted from 0 over all epochs, one row of T = context each;
   targets_BT[b][t] follows tokens_BT[b][t]; of a row of examples it is what is asked there, -1 where
   nothing is. 0, or -1 after a message (damaged file). */
int sequences_read(const struct sequences *s, long first, int n, int32_t *tokens_BT,
	int32_t *targets_BT);

/*
 * The windows of every evaluation: the first min(n_tokens / context, all) sequences of one fixed
 * shuffled order of the split. They are spread over the whole split (a held-out split may be
 * sorted), do not depend on the run's seed, and a larger budget holds the windows of a smaller one.
 * Returns their number (at least 1), or -1 after a message; read them with sequences_read(s, 0 ..).
 */
long sequences_eval(struct sequences *s, const struct dataset *d, enum split split, int context,
	long n_tokens);

/*
 * The same of streams, as many as asked for where the split has a window for each: the first windows of all
 * of them, as many as the budget has, at least one of each. s->streams says how many streams there are.
 */
long sequences_eval_streams(struct sequences *s, const struct dataset *d, enum split split, int context,
	long n_tokens, long streams);

/* Names the first n sequences in a record: hash of context and tokens. 0, or -1 after a message. */
int sequences_hash(const struct sequences *s, long n, char hex[HASH_HEX]);

#endif
