/* Routing groups of a mixture as it is recorded, and what an expert takes of one. */
#ifndef NN_MOE_GROUP_H
#define NN_MOE_GROUP_H

#include "nn/moe.h"

/* Tokens of a routing group. needed: something is dropped, or a loss a mean, by group. */
long moe_group(struct net *net, const struct moe_spec *s, bool needed);
/* Over which tokens the losses' means are taken; where groups lie across sequences, all of a group's sequences. */
long moe_loss_group(struct net *net, const struct moe_spec *s);
/* int(x) choices that an expert takes of a group; at least one, which is told. */
long moe_whole(struct net *net, double x);
/* Choices an expert takes of a group: int(factor * k * tokens / E), as the paper has it for k = 1. 0: all. */
long moe_capacity(struct net *net, const struct moe_spec *s, long group_tokens);

#endif
