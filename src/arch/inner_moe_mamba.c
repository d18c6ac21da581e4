/*
 * Inner MoE (Pioro et al. 2024, arXiv:2401.04081, section 4.5 and table 3): Mamba layers in which
 * some of the three projections are mixtures of experts, each with its own router: in every layer,
 * or in every other one, beginning with the second. With model.inner.router shared, all three, experts of
 * one matrix and every layer: Routing Mamba (Zhan et al. 2025, arXiv:2506.18145).
 */
#include "arch/arch.h"
#include "arch/check.h"
#include "arch/fields.h"

struct inner_moe_mamba {
	struct skeleton base;
	struct ssm_spec ssm;
	struct moe_spec moe;
	struct inner_spec inner;
};

static void record(struct net *net, const void *spec)
{
	const struct inner_moe_mamba *s = spec;
	struct mamba_inner layer = {&s->ssm, &s->inner, &s->moe};

	for (long i = 0; i < s->base.n_blocks; i++)
		if (s->inner.every == 1 || i % 2 == 1)
			residual(net, mamba_with_inner_moe, &layer);
		else
			residual(net, mamba, &s->ssm);
}

static int check(void *spec, const struct config *c, struct arena *a)
{
	const struct inner_moe_mamba *s = spec;

	(void)a;
	return check_inner(c, &s->inner, &s->moe);
}

const struct arch arch_inner_moe_mamba = {
	.name = "inner_moe_mamba",
	.help = "Mamba layers with mixtures of experts in place of projections",
	.semantics = 1,
	.spec_bytes = sizeof(struct inner_moe_mamba),
	.parts = {{&skeleton_fields, offsetof(struct inner_moe_mamba, base)},
		{&ssm_fields, offsetof(struct inner_moe_mamba, ssm)},
		{&moe_fields, offsetof(struct inner_moe_mamba, moe)},
		{&inner_fields, offsetof(struct inner_moe_mamba, inner)}},
	.record = record,
	.check = check,
};
