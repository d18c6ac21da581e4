/* On the emulator: models that say of graphs what others have said before. */
#ifndef TESTS_ARCH_RIG_SEEN_H
#define TESTS_ARCH_RIG_SEEN_H

#include "rig.h"

/* Operators, each with the inputs that it has, of the models that a test had so far. */
struct rig_seen {
	struct {
		const struct op *op;
		unsigned in;
	} list[256];
	int n;
};

static inline bool rig_sees(struct rig_seen *seen, const struct graph_node_info *node)
{
	unsigned in = 0;

	for (int i = 0; i < node->op->n_in; i++)
		in |= (unsigned)(node->shapes->in[i] != NULL) << i;
	for (int k = 0; k < seen->n; k++)
		if (seen->list[k].op == node->op && seen->list[k].in == in)
			return false;
	assert_true(seen->n < (int)ARRAY_SIZE(seen->list));
	seen->list[seen->n].op = node->op;
	seen->list[seen->n++].in = in;
	return true;
}

/* On the emulator what a test says of graphs is said by the first model that has an operator: is this one made of
   operators that former ones had? Each model's values are held against the reference's for all that (test_arch.c). */
static inline bool rig_is_known(struct rig_seen *seen, const struct graph *g, enum device_id id)
{
	bool new = false;

	for (int node = 0; rig_spares(id) && node < graph_n_nodes(g); node++) {
		struct graph_node_info info = graph_node_info(g, node);
		new |= rig_sees(seen, &info);
	}
	return rig_spares(id) && !new;
}

#endif
