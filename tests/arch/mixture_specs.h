/* How specs of small models with mixtures begin; their keys follow, and as many brackets as are open. */
#ifndef TESTS_ARCH_MIXTURE_SPECS_H
#define TESTS_ARCH_MIXTURE_SPECS_H

#define MIXTURE "{model: {arch: transformer_moe, d_model: 8, n_blocks: 2, attn: {n_heads: 2}, moe: {" \
	"n_experts: 4, d_expert: 6, "

#define INNER "{model: {arch: inner_moe_mamba, d_model: 6, n_blocks: 2, inner: {router: shared, every: 1, "

#endif
