/*
 * Parallel MoE-Mamba (Pioro et al. 2024, arXiv:2401.04081, figure 3): one norm, both layers read it:
 *
 *	x <- x + Mamba(norm(x)) + MoE(norm(x))
 */
#include "arch/arch.h"
#include "arch/fields.h"

struct parallel_moe_mamba {
	struct skeleton base;
	struct ssm_spec ssm;
	struct moe_spec moe;
};

static void record(struct net *net, const void *spec)
{
	const struct parallel_moe_mamba *s = spec;

	for (long i = 0; i < s->base.n_blocks; i++)
		residual2(net, mamba, &s->ssm, moe, &s->moe);
}

const struct arch arch_parallel_moe_mamba = {
	.name = "parallel_moe_mamba",
	.help = "Mamba and mixture of experts side by side in each layer",
	.semantics = 1,
	.spec_bytes = sizeof(struct parallel_moe_mamba),
	.parts = {{&skeleton_fields, offsetof(struct parallel_moe_mamba, base)},
		{&ssm_fields, offsetof(struct parallel_moe_mamba, ssm)},
		{&moe_fields, offsetof(struct parallel_moe_mamba, moe)}},
	.record = record,
};
