"""The models that are checked: {name: keys of the spec}, on top of SMALL or LARGE."""
from itertools import product

SMALL = {"model.d_model": 16, "model.n_blocks": 2, "train.batch": 4, "train.context": 24,
         "train.tokens": 96 * 40, "train.lr": 0.02, "train.warmup": 0.1, "data.path": "none",
         "data.vocab": 29}
# Beyond the borders of tiles, chunks of time and blocks of attention; lengths that divide nothing.
LARGE = {"model.d_model": 72, "model.n_blocks": 2, "train.batch": 2, "train.context": 150,
         "train.tokens": 300 * 40, "train.lr": 0.005, "train.warmup": 0.1, "data.path": "none",
         "data.vocab": 611}

HEADS = {"model.attn.n_heads": 2}
EXPERTS = {"model.moe.n_experts": 4, "model.moe.d_expert": 20}
ARCHITECTURES = {
    "mamba": {},
    "mamba2": {"model.mamba2.d_head": 8, "model.mamba2.d_state": 10},
    "mamba_mlp": {"model.ffn.d_hidden": 40},
    "transformer": {**HEADS, "model.ffn.d_hidden": 40},
    "moe_mamba": EXPERTS,
    "parallel_moe_mamba": EXPERTS,
    "transformer_moe": {**HEADS, **EXPERTS},
    "inner_moe_mamba": {**EXPERTS, "model.inner.out": True},
    "stack": {**HEADS, **EXPERTS, "model.ffn.d_hidden": 24, "model.pattern": [
        "mamba", "attn", {"moe": {"n_experts": 3, "z_loss": 0.01}},
        {"parallel": [{"mamba": {"d_state": 5, "expand": 1.5}}, {"moe": {"activation": "silu"}}]},
        {"inner": {"gate": True, "n_experts": 2}}, {"ffn": {"bias": False, "activation": "gelu"}}]},
}


def moe(**keys):
    return {"model.arch": "moe_mamba", **EXPERTS,
            **{("train." if k in ("micro_batch", "recompute") else "model.moe.") + k: v
               for k, v in keys.items()}}


def rom(**keys):
    """Routing Mamba."""
    return {**moe(**{"expert": "linear", "d_expert": 0, "capacity_factor": 0, **keys}), "model.arch": "inner_moe_mamba",
            "model.inner.conv": True, "model.inner.gate": True, "model.inner.out": True,
            "model.inner.every": 1, "model.inner.router": "shared"}


# Attention and Mamba in one layer, in several ways.
HYBRIDS = {
    "hymba": [{"hymba": {"n_heads": 4, "n_kv_heads": 2}}, {"hymba": {"window": 6, "expand": 1.5, "n_heads": 2}}],
    "mix": [{"mix": ["mamba", {"attn": {"window": 7}}]}, {"mix": {"of": ["attn", "ffn"], "weights": True}}],
    "mean": [{"mix": {"of": ["attn", "mamba"], "alpha": "fixed", "weights": True}}, "moe"],
    "channels": [{"mix": {"of": ["attn", "mamba"], "alpha": "channel"}},
                 {"mix": {"of": ["ffn", "mamba"], "alpha": "channel", "weights": True}}],
    "xattn": ["xattn", {"xattn": {"queries": "input", "n_kv_heads": 1, "window": 9}}],
    "local": [{"local": {"window": 5}}, {"local": {"place": "output", "width": 12}}],
    "local_conv": [{"local": {"place": "conv", "window": 5}}, "mamba"],
    "shared": ["mamba", {"shared": {"d_state": 5}}],
    "mod": ["mamba", {"mod": ["attn", "ffn"]}, {"mod": ["ffn"]},
            {"mod": {"of": [{"attn": {"window": 3, "rope": False}}], "share": 0.4, "capacity_factor": 1}}],
    "mamba3": [{"mamba3": {"d_head": 8, "d_state": 10}}, "moe",
               {"mamba3": {"d_head": 3, "n_groups": 4, "d_state": 7, "turned": 1, "expand": 1.5, "norm_eps": 0.01}}],
    "gdn": [{"gdn": {"d_key": 20}}, "moe",
            {"gdn": {"n_heads": 3, "d_key": 16, "d_value": 4, "d_conv": 2, "norm_eps": 0.01}}],
}


# Layers, and the keys of the model that are theirs: of none that a pattern has not (moelab refuses them).
OWN_KEYS = ((("attn", "hymba", "local", "shared"), HEADS), (("moe",), EXPERTS),
            (("ffn", "shared"), {"model.ffn.d_hidden": 24}))


def hybrid(pattern):
    keys = {"model.arch": "stack", "model.pattern": pattern}
    for layers, own in OWN_KEYS:
        if any(layer in str(pattern) for layer in layers):
            keys.update(own)
    return keys


def attention(**keys):
    return {"model.arch": "transformer", **ARCHITECTURES["transformer"],
            **{"model.attn." + k: v for k, v in keys.items()}}


def cases():
    """Yields (name, keys, thorough): a thorough case is computed in float64 by moelab, too."""
    for arch, keys in ARCHITECTURES.items():
        own = {"model.arch": arch, **keys}
        yield arch, {**SMALL, **own}, True
        yield arch + " modern", {**SMALL, **own, "recipe": "modern"}, True
        yield arch + " large", {**LARGE, **own}, False
    for conv, gate, out in list(product((False, True), repeat=3))[1:]:
        name = "+".join(n for n, on in (("conv", conv), ("gate", gate), ("out", out)) if on)
        for every in (1, 2):
            yield f"inner {name} every {every}", {
                **SMALL, "model.arch": "inner_moe_mamba", **EXPERTS, "model.inner.conv": conv,
                "model.inner.gate": gate, "model.inner.out": out, "model.inner.every": every}, True
    for arch, keys in ARCHITECTURES.items():
        own = {"model.arch": arch, **keys, "data.reset_at_eot": True}
        yield arch + " documents", {**SMALL, **own, "data.vocab": 7}, True
        yield arch + " documents large", {**LARGE, **own, "data.vocab": 40}, False
    for name, pattern in HYBRIDS.items():
        own = hybrid(pattern)
        yield name, {**SMALL, **own}, True
        yield name + " modern, documents", {**SMALL, **own, "recipe": "modern", "data.reset_at_eot": True,
                                            "data.vocab": 7}, True
        yield name + " large", {**LARGE, **own}, False
    banded = attention(window=40, n_heads=6, n_kv_heads=2)
    yield "grouped queries in a window, large", {**LARGE, **banded}, False
    yield "chosen segments, large", {**LARGE, **attention(segment=16, chosen=3, n_heads=6, n_kv_heads=2)}, False
    yield "summaries of segments, large", {
        **LARGE, **attention(segment=16, earlier="summary", n_heads=6, n_kv_heads=2)}, False
    yield "grouped queries in a window, documents large", {
        **LARGE, **banded, "data.vocab": 40, "data.reset_at_eot": True}, False
    for name, keys in {
        "capacity 0.5": moe(capacity_factor=0.5),
        "capacity 0.1, groups": moe(capacity_factor=0.1, group_tokens=24),
        "capacity 8": moe(capacity_factor=8),
        "groups of a sequence": moe(group_tokens=24),
        "groups of 16": moe(group_tokens=16, capacity_factor=0.75),
        "micro-batches of groups": moe(group_tokens=24, micro_batch=1),
        "micro-batches, 2 groups": moe(group_tokens=24, micro_batch=2, capacity_factor=0.8),
        "recompute": moe(recompute="block"),
        "one expert": moe(n_experts=1),
        "aux sum": moe(aux_reduce="sum"),
        "z-loss": moe(z_loss=0.1),
        "z-loss, sum, groups": moe(z_loss=0.1, aux_reduce="sum", group_tokens=48),
        "no balance loss": moe(balance=0),
        "silu experts": moe(activation="silu"),
        "gelu experts": moe(activation="gelu"),
        "two choices": moe(top_k=2),
        "two choices, renorm": moe(top_k=2, weight="renorm"),
        "three choices, drops, groups": moe(top_k=3, weight="renorm", capacity_factor=0.5, group_tokens=24),
        "two choices, dropless": moe(top_k=2, capacity_factor=0, weight_scale=1.5),
        "two choices, micro-batches": moe(top_k=2, group_tokens=24, micro_batch=1, capacity_factor=0.8),
        "two choices, recompute": moe(top_k=2, recompute="block"),
        "straight-through": moe(weight="straight_through"),
        "two choices, weight one": moe(top_k=2, weight="one"),
        "temperature": moe(top_k=2, temperature=0.3),
        "sigmoid": moe(top_k=2, score="sigmoid", weight="renorm", weight_scale=2.5, balance=0.1),
        "sigmoid, one choice": moe(score="sigmoid", z_loss=0.1),
        "sigmoid, bias": moe(top_k=2, score="sigmoid", weight="renorm", bias_rate=0.01, balance=0),
        "bias, drops, recompute": moe(top_k=3, bias_rate=0.02, group_tokens=24, capacity_factor=0.7,
                                      recompute="block"),
        "jitter": moe(noise="jitter", noise_scale=0.2),
        "Gaussian noise": moe(top_k=2, noise="gaussian", noise_scale=0.5, micro_batch=1, group_tokens=24),
        "noisy": moe(router="noisy", balance=0.05),
        "noisy, recompute, micro-batches": moe(router="noisy", top_k=3, micro_batch=2, group_tokens=24,
                                               recompute="block", weight="raw"),
        "Gaussian noise, loads, sequences": moe(top_k=2, noise="gaussian", noise_scale=0.5, load=0.3, balance=0,
                                                balance_scope="sequence", micro_batch=2, group_tokens=24),
        "controlled weight of balance": moe(top_k=2, balance=0.1, balance_target=0.1, control_rate=0.2),
        "controlled capacity, micro-batches": moe(drop_target=0.3, control_rate=0.5, micro_batch=1, group_tokens=24),
        "falling capacity": moe(capacity_factor=1.2, capacity_decay=0.3, capacity_least=0.4),
        "reinforce": moe(router="reinforce"),
        "reinforce, temperature, micro-batches": moe(router="reinforce", temperature=0.6, reinforce=0.3,
                                                     micro_batch=1, group_tokens=24, recompute="block"),
        "Gumbel": moe(router="gumbel", temperature=0.7, balance=0.1),
        "Gumbel, falling temperature": moe(router="gumbel", temperature_decay=0.05, weight="raw"),
        "top-p": moe(router="topp", n_experts=6, top_p=0.5, top_k=4),
        "top-p, renorm, drops": moe(router="topp", n_experts=6, weight="renorm", top_k=3, capacity_factor=0.4,
                                    group_tokens=24, micro_batch=1),
        "top-p, bias": moe(router="topp", n_experts=6, top_p=0.5, top_k=4, bias_rate=0.05, balance=0),
        "threshold": moe(router="threshold", threshold_rate=0.3),
        "threshold, renorm": moe(router="threshold", weight="renorm", threshold_rate=0.3, max_k=2),
        "threshold, two of four, micro-batches": moe(router="threshold", top_k=2, max_k=3, micro_batch=1,
                                                     group_tokens=24, recompute="block"),
        "firsts before seconds": moe(router="gshard", allow_future=True, capacity_factor=0.6, group_tokens=24),
        "by score": moe(order="gate", allow_future=True, capacity_factor=0.6),
        "by score, two choices, micro-batches": moe(order="gate", allow_future=True, capacity_factor=0.5, top_k=2,
                                                    weight="renorm", group_tokens=24, micro_batch=1,
                                                    recompute="block"),
        "next best": moe(overflow="next", capacity_factor=0.8),
        "next best, two choices, bias, micro-batches": moe(overflow="next", top_k=2, weight="renorm", bias_rate=0.02,
                                                           score="sigmoid", balance=0, capacity_factor=0.9,
                                                           group_tokens=24, micro_batch=1, recompute="block"),
        "next best, controlled capacity": moe(overflow="next", router="topp", n_experts=6, top_k=3, capacity_factor=1,
                                              drop_target=0.2, control_rate=0.5),
        "hash, two choices": moe(router="hash", n_experts=6, top_k=2),
        "hash, drops, micro-batches": moe(router="hash", granularity=2, capacity_factor=0.7, group_tokens=24,
                                          micro_batch=2),
        "by place in documents": {**moe(router="fixed", n_experts=3, top_k=2), "data.reset_at_eot": True,
                                  "data.vocab": 7},
        "frozen router": moe(router="random", top_k=2, bias_rate=0.02),
        "expert choice": moe(router="expert_choice", allow_future=True),
        "expert choice in time, micro-batches": moe(
            router="expert_choice", allow_future=True, group_tokens=24, micro_batch=1, capacity_factor=1.3,
            z_loss=0.1, token_entropy=0.1, mean_entropy=0.1),
        "expert choice over the batch": moe(router="expert_choice_batch", recompute="block"),
        "expert choice over halves": moe(router="expert_choice_batch", group_sequences=2, micro_batch=2,
                                         score="sigmoid", weight_scale=0.5),
        "expert choice over halves, losses": moe(router="expert_choice_batch", group_sequences=2, z_loss=0.1,
                                                 importance=0.1, mean_entropy=0.1),
        "mixed tokens": moe(router="tokens", group_sequences=4),
        "mixed tokens of halves, micro-batches": moe(router="tokens", group_sequences=2, micro_batch=2,
                                                     temperature=0.3, n_experts=7),
        "granularity": moe(granularity=4, weight="renorm"),
        "granularity, expert choice": moe(router="expert_choice_batch", granularity=2),
        "granularity, mixed tokens": moe(router="tokens", group_sequences=4, granularity=2),
        "shared experts": moe(n_shared=1, top_k=2),
        "shared experts, granularity, drops": moe(n_shared=3, granularity=2, group_tokens=24, micro_batch=1,
                                                  capacity_factor=0.5, recompute="block"),
        "gated experts": moe(expert="gated", activation="silu", top_k=2, group_tokens=24),
        "gated experts, relu, mixed tokens": moe(expert="gated", router="tokens", group_sequences=4),
        "unequal experts": moe(router="hmoe", d_expert=16, n_experts=8),
        "unequal experts, drops, micro-batches": moe(expert_sizes="1:4:3", n_experts=6, d_expert=7, top_k=2,
                                                     weight="renorm", group_tokens=24, micro_batch=1,
                                                     capacity_factor=0.6, balance_by="width", balance=0.3),
        "unequal gated experts, granular, shared": moe(expert_sizes="2:5", expert="gated", activation="silu",
                                                       n_shared=1, granularity=2, weight="renorm", recompute="block"),
        "unequal experts choose, sigmoid": moe(router="expert_choice_batch", expert_sizes="1:2:3:4", score="sigmoid"),
        "unequal experts of mixed tokens": moe(router="tokens", group_sequences=4, expert_sizes="1:3"),
        "norm behind": moe(out_norm=True, granularity=2, n_shared=1, recompute="block"),
        "gated and shared experts": moe(expert="gated", n_shared=2, granularity=2, activation="gelu"),
        "gated dense layers": {"model.arch": "transformer", **ARCHITECTURES["transformer"],
                               "model.ffn.gated": True, "model.ffn.activation": "silu"},
        "linear experts": moe(expert="linear", d_expert=0, top_k=3),
        "one router": rom(top_k=1),
        "one router, two choices": rom(top_k=2, weight="renorm", group_tokens=24, micro_batch=2),
        "one router, gate and out": {**rom(expert="ffn", d_expert=11), "model.inner.conv": False},
        "all losses": moe(top_k=2, balance=0.1, z_loss=0.1, importance=0.1, mean_entropy=0.1,
                          token_entropy=0.1),
        "all losses, sigmoid, sequences": moe(
            top_k=2, score="sigmoid", balance=0.1, z_loss=0.1, importance=0.1, mean_entropy=0.1,
            token_entropy=-0.1, balance_scope="sequence"),
        "all losses, groups, the step's": moe(top_k=2, group_tokens=24, balance=0.1, importance=0.1,
                                              mean_entropy=0.1, balance_scope="step"),
        "copy head": {"model.arch": "mamba", "model.head": "copy", "model.copy_width": 12},
        "copy head, documents, modern": {
            "model.arch": "transformer", **ARCHITECTURES["transformer"], "model.head": "copy", "recipe": "modern",
            "model.copy_width": 7, "data.reset_at_eot": True, "data.vocab": 7, "train.micro_batch": 2},
        "pooled": {"model.arch": "mamba", "model.pool": "mean"},
        "pooled, documents": {"model.arch": "mamba", "model.pool": "mean", "data.reset_at_eot": True, "data.vocab": 7},
        "patches of bytes": {"model.arch": "mamba", "model.patch": 4, "data.vocab": 300},
        "patches of bytes, pooled, mixtures": {**moe(top_k=2, group_tokens=8), "model.patch": 3, "model.pool": "mean",
                                               "data.vocab": 263, "recipe": "modern"},
        "forecast": {"model.arch": "mamba", "model.patch": 4, "model.head": "forecast", "data.vocab": 65536},
        "forecast, attention, modern": {"model.arch": "transformer", **ARCHITECTURES["transformer"], "model.patch": 2,
                                        "model.head": "forecast", "data.vocab": 65536, "recipe": "modern"},
        "forecast, mixtures": {**moe(group_tokens=4, capacity_factor=0.6), "model.patch": 6, "model.head": "forecast",
                               "data.vocab": 65536},
        "mamba micro-batches": {"model.arch": "mamba", "train.micro_batch": 1},
        "mamba sizes": {"model.arch": "mamba", "model.ssm.d_state": 3, "model.ssm.d_conv": 2,
                        "model.ssm.expand": 1.5, "model.ssm.dt_rank": 3},
        "mamba normed": {"model.arch": "mamba", "model.ssm.norm": True, "model.ssm.dt_rank": 2,
                         "data.reset_at_eot": True, "data.vocab": 7},
        "stack, normed": {"model.arch": "stack", "model.ssm.norm": True, "model.ssm.dt_rank": 2,
                          "model.attn.n_heads": 2, "recipe": "modern",
                          "model.pattern": ["mamba", {"hymba": {"n_heads": 2}}, {"local": {"n_heads": 2, "norm": False}}]},
        "mamba2 sizes": {"model.arch": "mamba2", "model.mamba2.d_head": 3, "model.mamba2.n_groups": 4,
                         "model.mamba2.d_state": 5, "model.mamba2.d_conv": 3,
                         "model.mamba2.expand": 1.5, "model.mamba2.norm_eps": 0.01},
        "mamba2 with mixtures": {"model.arch": "stack", **EXPERTS, "model.mamba2.d_head": 4,
                                 "model.pattern": ["mamba2", "moe", {"mamba2": {"n_groups": 2}}]},
        "mamba d_conv 1": {"model.arch": "mamba", "model.ssm.d_conv": 1},
        "transformer silu, no bias": {**ARCHITECTURES["transformer"], "model.arch": "transformer",
                                      "model.ffn.activation": "silu", "model.ffn.bias": False},
        "rope base": {**ARCHITECTURES["transformer"], "model.arch": "transformer",
                      "model.attn.rope_base": 500},
        "attention window": attention(window=5),
        "attention window of one": attention(window=1),
        "chosen segments": attention(segment=5, chosen=2),
        "chosen segments, grouped queries, documents": {**attention(segment=2, chosen=3, n_heads=4, n_kv_heads=2),
                                                        "data.vocab": 7, "data.reset_at_eot": True},
        "own segment alone": attention(segment=7, chosen=1),
        "summaries of segments": attention(segment=5, earlier="summary"),
        "summaries of segments, grouped queries, documents": {
            **attention(segment=2, earlier="summary", n_heads=4, n_kv_heads=2), "data.vocab": 7,
            "data.reset_at_eot": True},
        "grouped queries": attention(n_heads=4, n_kv_heads=2),
        "one head of keys, no rope": attention(n_heads=4, n_kv_heads=1, rope=False),
        "no clipping, no decay": {"model.arch": "mamba", "train.clip": 0, "train.weight_decay": 0},
        "betas, eps, eps of norm": {"model.arch": "mamba", "train.beta1": 0.8, "train.beta2": 0.9,
                                    "train.eps": 1e-4, "model.norm_eps": 0.1},
        "rmsnorm, no final norm": {"model.arch": "mamba", "model.norm": "rmsnorm"},
        "many layers, mean": {**moe(), "model.n_blocks": 5},
        "inner, 12 mixtures, z, sum": {"model.arch": "inner_moe_mamba", **EXPERTS,
                                       "model.n_blocks": 4, "model.inner.every": 1,
                                       "model.inner.conv": True, "model.inner.gate": True,
                                       "model.inner.out": True, "model.moe.z_loss": 0.01,
                                       "model.moe.aux_reduce": "sum", "model.moe.group_tokens": 24},
    }.items():
        yield name, {**SMALL, **keys}, True
