/*
 * MoE-Mamba (Pioro et al. 2024, arXiv:2401.04081): n_blocks times a Mamba layer and a mixture of
 * experts in place of every second one, each with its own norm:
 *
 *	x <- x + Mamba(norm(x));   x <- x + MoE(norm(x))
 */
#include "arch/arch.h"
#include "arch/fields.h"

struct moe_mamba {
	struct skeleton base;
	struct ssm_spec ssm;
	struct moe_spec moe;
};

static void record(struct net *net, const void *spec)
{
	const struct moe_mamba *s = spec;

	for (long i = 0; i < s->base.n_blocks; i++) {
		residual(net, mamba, &s->ssm);
		residual(net, moe, &s->moe);
	}
}

const struct arch arch_moe_mamba = {
	.name = "moe_mamba",
	.help = "Mamba and mixture-of-experts layers in turn",
	.semantics = 1,
	.spec_bytes = sizeof(struct moe_mamba),
	.parts = {{&skeleton_fields, offsetof(struct moe_mamba, base)},
		{&ssm_fields, offsetof(struct moe_mamba, ssm)},
		{&moe_fields, offsetof(struct moe_mamba, moe)}},
	.record = record,
};
