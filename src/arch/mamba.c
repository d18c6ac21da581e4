/*
 * Mamba (Gu and Dao 2023, arXiv:2312.00752): n_blocks Mamba layers, x <- x + Mamba(norm(x)).
 */
#include "arch/arch.h"
#include "arch/fields.h"

struct mamba_spec {
	struct skeleton base;
	struct ssm_spec ssm;
};

static void record(struct net *net, const void *spec)
{
	const struct mamba_spec *s = spec;

	for (long i = 0; i < s->base.n_blocks; i++)
		residual(net, mamba, &s->ssm);
}

const struct arch arch_mamba = {
	.name = "mamba",
	.help = "Mamba layers alone",
	.semantics = 1,
	.spec_bytes = sizeof(struct mamba_spec),
	.parts = {{&skeleton_fields, offsetof(struct mamba_spec, base)},
		{&ssm_fields, offsetof(struct mamba_spec, ssm)}},
	.record = record,
};
