#include "nn/moe_group.h"

#include <string.h>

#include "base/num.h"

/* A group that does not divide a replay is told by model_record(). misfit: of net; NULL: nothing depends on it. */
static long checked_group(struct net *net, long group, long *misfit)
{
	long tokens = net->env.batch * net->env.context;

	if (tokens % group == 0)
		return group;
	if (misfit && !net->env.dropless)
		*misfit = group;
	return tokens;
}

long moe_group(struct net *net, const struct moe_spec *s, bool needed)
{
	long group = s->group_sequences ? s->group_sequences * net->env.context : s->group_tokens;

	return checked_group(net, group ? group : net->env.group_tokens, needed ? &net->misfit : NULL);
}

long moe_loss_group(struct net *net, const struct moe_spec *s)
{
	if (!strcmp(s->balance_scope, "sequence"))
		return net->env.context;
	return !strcmp(s->balance_scope, "step") ? checked_group(net, net->env.group_tokens, &net->split)
		: moe_group(net, s, moe_has_losses(s));
}

long moe_whole(struct net *net, double x)
{
	if (x < 1)
		net->raised = x;
	return x < 1 ? 1 : (long)x;
}

long moe_capacity(struct net *net, const struct moe_spec *s, long group_tokens)
{
	double choices = (double)(s->top_k * group_tokens);

	if (net->env.dropless || s->capacity_factor == 0)
		return 0;
	if (!moe_holds_all(s))
		net->scarce = max_long(net->scarce, group_tokens);
	return moe_whole(net, s->capacity_factor * choices / (double)s->n_experts);
}
