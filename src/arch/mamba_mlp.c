/*
 * Mamba-MLP (Pioro et al. 2024, arXiv:2401.04081v1): MoE-Mamba with one dense channel mixer in place
 * of the mixture: no router, and no biases by default.
 */
#include "arch/arch.h"
#include "arch/fields.h"

struct mamba_mlp {
	struct skeleton base;
	struct ssm_spec ssm;
	struct ffn_spec ffn;
};

static void record(struct net *net, const void *spec)
{
	const struct mamba_mlp *s = spec;

	for (long i = 0; i < s->base.n_blocks; i++) {
		residual(net, mamba, &s->ssm);
		residual(net, ffn, &s->ffn);
	}
}

const struct arch arch_mamba_mlp = {
	.name = "mamba_mlp",
	.help = "Mamba layers and dense channel mixers in turn",
	.semantics = 1,
	.spec_bytes = sizeof(struct mamba_mlp),
	.parts = {{&skeleton_fields, offsetof(struct mamba_mlp, base)},
		{&ssm_fields, offsetof(struct mamba_mlp, ssm)},
		{&ffn_fields, offsetof(struct mamba_mlp, ffn)}},
	.record = record,
};
