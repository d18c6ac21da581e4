/*
 * Transformer-MoE, a Switch Transformer (Fedus, Zoph, Shazeer 2022, arXiv:2101.03961) with a mixture
 * in every block: n_blocks times x <- x + Attn(norm(x)); x <- x + MoE(norm(x)).
 */
#include "arch/arch.h"
#include "arch/fields.h"

struct transformer_moe {
	struct skeleton base;
	struct attn_spec attn;
	struct moe_spec moe;
};

static void record(struct net *net, const void *spec)
{
	const struct transformer_moe *s = spec;

	for (long i = 0; i < s->base.n_blocks; i++) {
		residual(net, attn, &s->attn);
		residual(net, moe, &s->moe);
	}
}

const struct arch arch_transformer_moe = {
	.name = "transformer_moe",
	.help = "attention and mixture-of-experts layers in turn",
	.semantics = 1,
	.spec_bytes = sizeof(struct transformer_moe),
	.parts = {{&skeleton_fields, offsetof(struct transformer_moe, base)},
		{&attn_fields, offsetof(struct transformer_moe, attn)},
		{&moe_fields, offsetof(struct transformer_moe, moe)}},
	.record = record,
};
