/* Routers by name: what model.moe.router stands for. */
#ifndef ARCH_ROUTERS_H
#define ARCH_ROUTERS_H

#include "spec/field.h"

#define ROUTER_CHOICES "switch|topk|hmoe|gshard|sigmoid_bias|noisy|gumbel|topp|threshold|expert_choice|" \
	"expert_choice_batch|tokens|reinforce|hash|fixed|random"

/* Defaults of other keys of model.moe while model.moe.router has a name. */
extern const struct preset router_presets[];
extern const int n_router_presets;

#endif
