"""Names and shapes of the parameters of the models in model.py, by the formulas of its papers."""
import math

from layout import heads_of, kv_heads, mix_entry, part_keys, pattern_entry, residual_layers
from recurrences import default_width, expert_borders, gdn_sizes


def parameter_shapes(spec, V):
    """{name: shape} of a vocabulary of V words, in the order of the forward pass."""
    D = spec["model.d_model"]
    norm = ["weight", "bias"] if spec["model.norm"] == "layernorm" else ["weight"]
    P, forecasts = spec.get("model.patch", 0), spec.get("model.head") == "forecast"
    shapes = {"embedding.weight": (D, 2 * P if forecasts else P), "embedding.bias": (D,)} if P else {
        "embedding.weight": (V, D)}
    for i, branches in enumerate(residual_layers(spec)):
        shapes.update({f"layers.{i}.norm.{part}": (D,) for part in norm})
        for kind, own in branches:
            shapes.update(layer_shapes(spec, f"layers.{i}", D, kind, own, norm))
    if spec["model.final_norm"]:
        shapes.update({f"final_norm.{part}": (D,) for part in norm})
    if forecasts:
        return {**shapes, "lm_head.weight": (P, D), "lm_head.bias": (P,)}
    shapes["lm_head.weight"] = (V, D)
    if spec.get("model.head") == "copy":
        C = spec["model.copy_width"]
        shapes.update({"lm_head.copy_q.weight": (C, D), "lm_head.copy_k.weight": (C, D),
                       "lm_head.gate.weight": (1, D), "lm_head.gate.bias": (1,)})
    return shapes


def layer_shapes(spec, name, D, kind, own, norm):
    keys = lambda part: part_keys(spec, part, own)
    if kind == "attn":
        return attention_shapes(name + ".attn", D, D, keys("attn"))
    if kind == "ffn":
        return ffn_shapes(name + ".ffn", D, keys("ffn"))
    if kind == "moe":
        behind = {f"{name}.moe.norm.{part}": (D,) for part in norm} if keys("moe").get("out_norm") else {}
        return {**moe_shapes(name + ".moe", D, D, D, keys("moe")), **behind}
    if kind == "mamba2":
        return mamba2_shapes(name + ".mixer", D, keys("mamba2"))
    if kind == "mamba3":
        return mamba3_shapes(name + ".mixer", D, keys("mamba3"))
    if kind == "gdn":
        return gdn_shapes(name + ".mixer", D, keys("gdn"))
    if kind == "mix":
        return mix_shapes(spec, name, D, own, norm)
    if kind == "mod":
        return mod_shapes(spec, name + ".mod", D, own, norm)
    if kind == "hymba":
        I = round(keys("ssm")["expand"] * D)
        shapes = {**mamba_shapes(name + ".hymba", D, keys("ssm"), {}),
                  **attention_shapes(name + ".hymba", D, I, keys("attn")),
                  name + ".hymba.weight_a": (I,), name + ".hymba.weight_b": (I,)}
        return {n: s for n, s in shapes.items() if not n.endswith(".hymba.out.weight")}
    inner = {**keys("moe"), **keys("inner")} if kind == "inner" else {}
    shapes = mamba_shapes(name + ".mixer", D, keys("ssm"), inner)
    if kind == "xattn":
        q, kv = D, 2 * D // heads_of(D, keys("attn")) * kv_heads(D, keys("attn"))
        shapes.update({name + ".attn.q.weight": (q, D), name + ".attn.kv.weight": (kv, D),
                       name + ".attn.out.weight": (D, D)})
    if kind == "local":
        I, width = round(keys("ssm")["expand"] * D), default_width(keys("local")["width"], D // 2)
        shapes.update(attention_shapes(name + ".attn", I, width, keys("attn")))
        if keys("local")["place"] == "conv":
            shapes = {n: s for n, s in shapes.items() if ".conv1d." not in n}
    if kind == "shared":
        block = attention_shapes("shared", D, 2 * D, keys("attn"))
        shapes.update({**block, **ffn_shapes("shared.ffn", D, keys("ffn")), name + ".map.weight": (D, D),
                       "shared.out.weight": (D, 2 * D),
                       "shared.qkv_embedding.weight": block["shared.qkv.weight"]})
        shapes.update({f"{n}.{part}": (D,) for part in norm for n in
                       (name + ".norm_mixer", "shared.norm", "shared.norm_embedding")})
    return shapes


def mix_shapes(spec, name, D, own, norm):
    paths, own = mix_entry(own)
    shapes, keys = {}, part_keys(spec, "mix", own)
    for kind, of_path in (pattern_entry(path)[0] for path in paths):
        shapes.update(layer_shapes(spec, name, D, kind, of_path, norm))
    if keys["alpha"] != "fixed":
        shapes[name + ".mix.alpha"] = (D if keys["alpha"] == "channel" else 1,)
    if keys["weights"]:
        shapes.update({name + ".mix.weight_a": (D,), name + ".mix.weight_b": (D,)})
    return shapes


def mod_shapes(spec, name, D, own, norm):
    paths, _ = mix_entry(own)
    shapes = {name + ".router.weight": (1, D), name + ".router.threshold": (1,)}
    for kind, of_path in (pattern_entry(path)[0] for path in paths):
        shapes.update(layer_shapes(spec, name, D, kind, of_path, norm))
    if len(paths) > 1:
        shapes.update({f"{name}.norm.{part}": (D,) for part in norm})
    return shapes


def attention_shapes(name, D, width, keys):
    """Of queries that are `width` channels wide, from D channels and back."""
    kv = width // heads_of(width, keys) * kv_heads(width, keys)
    return {name + ".qkv.weight": (width + 2 * kv, D), name + ".out.weight": (D, width)}


def ffn_shapes(name, D, keys):
    hidden = default_width(keys["d_hidden"], 4 * D)
    rows = 2 * hidden if keys.get("gated") else hidden
    shapes = {name + ".in.weight": (rows, D), name + ".in.bias": (rows,),
              name + ".out.weight": (D, hidden), name + ".out.bias": (D,)}
    return {n: s for n, s in shapes.items() if keys["bias"] or n.endswith("weight")}


def moe_shapes(name, D, width_in, width_out, keys, router=True):
    G = keys.get("granularity", 1)
    E, hidden = keys["n_experts"] * G, default_width(keys["d_expert"], 3 * D) // G
    shared, dense = {}, keys.get("n_shared", 0) * hidden
    twice = 2 if keys.get("expert") == "gated" else 1
    if dense:
        shared = {name + ".shared.in.weight": (twice * dense, width_in),
                  name + ".shared.out.weight": (width_out, dense)}
    experts = {name + ".w1": (E, twice * hidden, width_in), name + ".w2": (E, width_out, hidden)}
    if expert_borders(keys, E, hidden):
        experts = {name + ".w1": (twice * E * hidden, width_in), name + ".w2": (width_out, E * hidden)}
    if keys.get("expert") == "linear":
        experts = {name + ".w": (E, width_out, width_in)}
    return {**(router_shapes(name, E, width_in, keys) if router else {}), **shared, **experts}


def router_shapes(name, E, width_in, keys):
    bias = {name + ".router.bias": (E,)} if keys.get("bias_rate") else {}
    noise = {name + ".router.noise": (E, width_in)} if keys.get("noise") == "learned" else {}
    if keys.get("drop_target") or keys.get("capacity_decay"):
        noise[name + ".router.capacity"] = (1,)
    if keys.get("balance_target"):
        noise[name + ".router.balance"] = (1,)
    if keys.get("temperature_decay"):
        noise[name + ".router.temperature"] = (1,)
    if keys.get("select", "topk").startswith("expert_choice"):
        bias = {name + ".router.cutoff": (E,)}
    elif keys.get("select") == "sample":
        bias = {name + ".router.baseline": (1,)}
    elif keys.get("select") == "threshold":
        bias = {name + ".router.threshold": (E,)}
    weight = {} if keys.get("select") in ("hash", "place") else {name + ".router.weight": (E, width_in)}
    return {**weight, **noise, **bias}


def mamba2_shapes(name, D, keys):
    I, mixed = round(keys["expand"] * D), 2 * keys["n_groups"] * keys["d_state"]
    H = I // keys["d_head"]
    return {name + ".in_proj.weight": (2 * I + mixed + H, D),
            name + ".conv1d.weight": (I + mixed, 1, keys["d_conv"]), name + ".conv1d.bias": (I + mixed,),
            name + ".A_log": (H,), name + ".D": (H,), name + ".dt_bias": (H,),
            name + ".norm.weight": (I,), name + ".out_proj.weight": (D, I)}


def mamba3_shapes(name, D, keys):
    I, N = round(keys["expand"] * D), keys["d_state"]
    H, S = I // keys["d_head"], int(keys["turned"] * N / 2)
    return {name + ".in_proj.weight": (2 * I + 2 * keys["n_groups"] * N + 3 * H + S, D),
            name + ".dt_bias": (H,), name + ".B_norm.weight": (N,), name + ".C_norm.weight": (N,),
            name + ".B_bias": (H, N), name + ".C_bias": (H, N), name + ".D": (H,),
            name + ".out_proj.weight": (D, I)}


def gdn_shapes(name, D, keys):
    H, K, V = gdn_sizes(D, keys)
    return {name + ".in_proj.weight": (H * (2 * K + 2 * V + 2), D),
            name + ".conv1d.weight": (H * (2 * K + V), 1, keys["d_conv"]),
            name + ".A_log": (H,), name + ".dt_bias": (H,),
            name + ".norm.weight": (V,), name + ".out_proj.weight": (D, H * V)}


def mamba_shapes(name, D, keys, inner):
    I, N, K = round(keys["expand"] * D), keys["d_state"], keys["d_conv"]
    R = default_width(keys["dt_rank"], math.ceil(D / 16))
    shapes, halves, own = {}, 2, inner.get("router") != "shared"
    if not own:
        shapes.update(router_shapes(name, inner["n_experts"], D, inner))
    for half in ("conv", "gate"):
        if inner.get(half):
            shapes.update(moe_shapes(f"{name}.{half}_moe", D, D, I, inner, own))
            halves -= 1
    if halves:
        shapes[name + ".in_proj.weight"] = (halves * I, D)
    shapes.update({name + ".conv1d.weight": (I, 1, K), name + ".conv1d.bias": (I,),
                   name + ".x_proj.weight": (R + 2 * N, I), name + ".dt_proj.weight": (I, R),
                   name + ".A_log": (I, N), name + ".D": (I,), name + ".dt_proj.bias": (I,)})
    if keys.get("norm"):
        shapes.update({name + ".dt_layernorm.weight": (R,), name + ".b_layernorm.weight": (N,),
                       name + ".c_layernorm.weight": (N,)})
    if inner.get("out"):
        shapes.update(moe_shapes(f"{name}.out_moe", D, I, D, inner, own))
    else:
        shapes[name + ".out_proj.weight"] = (D, I)
    return shapes
