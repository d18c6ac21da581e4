/*
 * Mamba-2 (Dao and Gu 2024, arXiv:2405.21060): n_blocks Mamba-2 layers, x <- x + Mamba2(norm(x)).
 */
#include "arch/arch.h"
#include "arch/fields.h"

struct mamba2_arch {
	struct skeleton base;
	struct mamba2_spec mamba2;
};

static void record(struct net *net, const void *spec)
{
	const struct mamba2_arch *s = spec;

	for (long i = 0; i < s->base.n_blocks; i++)
		residual(net, mamba2, &s->mamba2);
}

const struct arch arch_mamba2 = {
	.name = "mamba2",
	.help = "Mamba-2 layers alone",
	.semantics = 1,
	.spec_bytes = sizeof(struct mamba2_arch),
	.parts = {{&skeleton_fields, offsetof(struct mamba2_arch, base)},
		{&mamba2_fields, offsetof(struct mamba2_arch, mamba2)}},
	.record = record,
};
