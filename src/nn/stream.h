/*
 * Training on streams (net->env.stream): a replay goes on with the sequences of the one before, and
 * gradients end where it begins. An operator that sees n tokens back is given the n rows of the replay
 * before in front of its own, and what it makes of those is left out again.
 */
#ifndef NN_STREAM_H
#define NN_STREAM_H

#include "nn/net.h"
#include "op/extend_start.h"

/* x with its last n rows of the replay before in front, which are kept under this name; NULL: with zeros. */
struct tensor *stream_extend(struct net *net, const char *name, struct tensor *x_BTC, long n);
/* The model's tokens with those of the last n rows in front. */
struct tensor *stream_tokens(struct net *net, const char *name, long n);
/* Where documents begin, for n rows more. */
struct tensor *stream_start(struct net *net, long n, enum extend_places places);
/* All but the first n rows. */
struct tensor *stream_latest(struct net *net, struct tensor *y_BSC, long n);

#endif
