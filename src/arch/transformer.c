/*
 * Transformer (Vaswani et al. 2017, arXiv:1706.03762) as the MoE-Mamba paper trains it: pre-norm,
 * rotary positions, n_blocks times x <- x + Attn(norm(x)); x <- x + FFN(norm(x)).
 */
#include "arch/arch.h"
#include "arch/fields.h"

struct transformer {
	struct skeleton base;
	struct attn_spec attn;
	struct ffn_spec ffn;
};

static void record(struct net *net, const void *spec)
{
	const struct transformer *s = spec;

	for (long i = 0; i < s->base.n_blocks; i++) {
		residual(net, attn, &s->attn);
		residual(net, ffn, &s->ffn);
	}
}

const struct arch arch_transformer = {
	.name = "transformer",
	.help = "attention and dense channel mixers in turn",
	.semantics = 1,
	.spec_bytes = sizeof(struct transformer),
	.parts = {{&skeleton_fields, offsetof(struct transformer, base)},
		{&attn_fields, offsetof(struct transformer, attn)},
		{&ffn_fields, offsetof(struct transformer, ffn)}},
	.record = record,
};
