#include "train/cost.h"

#include <math.h>
#include <string.h>

#include "base/error.h"
#include "base/str.h"
#include "op/experts.h"

static void count_params(const struct setup *s, struct cost_params *c)
{
	for (int i = 0; i < s->params.n; i++) {
		const struct param *p = &s->params.list[i];
		double n = (double)param_elements(p);
		if (!strcmp(p->rule.group, "embedding")) {
			c->embedding += n;
		} else if (!strcmp(p->rule.group, "head")) {
			c->head += n;
		} else {
			c->total += n;
			c->active += param_active(p);
			if (strcmp(p->rule.group, "router"))
				c->active_without_routers += param_active(p);
		}
	}
}

/* The part a node belongs to: "layers.3.mixer.scan" is "mixer", "layers.3.add_norm" is "norm". */
static const char *part_name(const char *node, struct arena *a)
{
	const char *at = node;
	char *name, *dot;

	if (str_starts(at, "layers.")) {
		at = strchr(at + strlen("layers."), '.');
		at = at ? at + 1 : node;
	}
	if (!strcmp(at, "add_norm"))
		return "norm";
	name = arena_strdup(a, at);
	dot = strchr(name, '.');
	if (dot)
		*dot = '\0';
	return name;
}

static struct cost_part *part_find(struct cost *c, const char *name)
{
	for (int i = 0; i < c->n_parts; i++)
		if (!strcmp(c->parts[i].name, name))
			return &c->parts[i];
	CHECK(c->n_parts < COST_MAX_PARTS);
	c->parts[c->n_parts] = (struct cost_part){.name = name};
	return &c->parts[c->n_parts++];
}

static void count_parts(const struct setup *s, struct cost *c)
{
	for (int i = 0; i < s->params.n; i++) {
		const struct param *p = &s->params.list[i];
		struct cost_part *part = part_find(c, part_name(p->name, (struct arena *)&s->arena));
		part->params += (double)param_elements(p);
		part->active += param_active(p);
	}
}

static void count_flops(const struct setup *s, struct cost *c)
{
	double tokens = (double)(s->spec.micro_batch * s->spec.context);
	const struct graph *train = s->graphs[GRAPH_TRAIN], *update = s->graphs[GRAPH_UPDATE];

	for (int i = 0; i < graph_n_nodes(train); i++) {
		struct graph_node_info n = graph_node_info(train, i);
		struct cost_part *part = part_find(c, part_name(n.name, (struct arena *)&s->arena));
		part->forward += n.cost.forward_flops / tokens;
		part->backward += n.has_backward ? n.cost.backward_flops / tokens : 0;
		c->executed_per_token += n.cost.executed_flops / tokens;
		if (n.op == &op_experts)
			c->routed_per_token += (n.cost.forward_flops + n.cost.backward_flops) / tokens;
	}
	for (int i = 0; i < c->n_parts; i++) {
		double flops = c->parts[i].forward + c->parts[i].backward;
		c->flops_per_token += flops;
		if (!strcmp(c->parts[i].name, "lm_head"))
			c->head_per_token = flops;
	}
	for (int i = 0; i < graph_n_nodes(update); i++)
		c->optimiser_per_step += graph_node_info(update, i).cost.executed_flops;
}

double cost_flops(const struct cost *c, double tokens, double idle)
{
	return tokens * (c->flops_per_token - (isnan(idle) ? 0 : idle * c->routed_per_token));
}

void cost_of(const struct setup *s, struct cost *c)
{
	double blob = (double)s->params.blob_size * (double)s->device->bytes[MASTER];
	struct graph_memory m = graph_memory(s->graphs[GRAPH_TRAIN]);

	*c = (struct cost){0};
	count_params(s, &c->params);
	count_flops(s, c);
	count_parts(s, c);
	c->weight_bytes = blob;
	c->optimiser_bytes = (double)model_memory_bytes(&s->params, s->device, true) - blob;
	c->activation_bytes = (double)m.arena_bytes;
	c->kept_bytes = (double)m.kept_bytes;
	c->total_bytes = setup_bytes(s);
}
