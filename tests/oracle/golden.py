#!/usr/bin/python3 -B
"""golden.py [CASE...]: write the golden traces in tests/oracle/golden/, which `make check` holds moelab against
(tests/trace/test_trace.c): those that are not there, and the cases named once more. Everything in them, weights
and moments too, is made here, in float64, from random numbers of numpy; files hold float32. Their last bits
depend on torch and processor, so that those of other cases stay as they are."""
import argparse
import json
import os

import numpy as np
import torch

import model
import shapes as shapes_of
import tensors
import update

STEP = 7
COMMON = {
    "model.d_model": 8, "model.n_blocks": 2, "model.norm": "layernorm", "model.norm_eps": 1e-5,
    "model.final_norm": False, "train.batch": 2, "train.context": 9, "train.tokens": 18 * 20,
    "train.warmup": 0.2, "train.lr": 0.01, "train.lr_final": 0.1, "train.clip": 0.5,
    "train.weight_decay": 0.1, "train.decay": "all", "train.beta1": 0.9, "train.beta2": 0.999,
    "train.eps": 1e-8, "train.micro_batch": 0, "data.path": "none", "data.vocab": 13,
}
SSM = {"model.ssm.d_state": 3, "model.ssm.d_conv": 4, "model.ssm.expand": 2, "model.ssm.dt_rank": 2}
ATTN = {"model.attn.n_heads": 2, "model.attn.rope_base": 10000}
FFN = {"model.ffn.d_hidden": 12, "model.ffn.bias": True, "model.ffn.activation": "relu"}
MOE = {"model.moe.n_experts": 3, "model.moe.d_expert": 6, "model.moe.capacity_factor": 1,
       "model.moe.group_tokens": 0, "model.moe.balance": 0.01, "model.moe.z_loss": 0,
       "model.moe.aux_reduce": "mean", "model.moe.activation": "relu"}
INNER = {"model.inner.conv": True, "model.inner.gate": True, "model.inner.out": True,
         "model.inner.every": 2}
MODERN = {"model.norm": "rmsnorm", "model.final_norm": True, "train.decay": "matrices",
          "train.beta2": 0.95}

CASES = {
    "mamba": {**SSM, "model.n_blocks": 1},
    "mamba2": {"model.n_blocks": 1, "model.mamba2.d_state": 3, "model.mamba2.d_conv": 4,
               "model.mamba2.expand": 2, "model.mamba2.d_head": 4, "model.mamba2.n_groups": 2,
               "model.mamba2.norm_eps": 1e-5, "data.vocab": 4, "data.reset_at_eot": True},
    "mamba3": {"model.arch": "stack", "model.n_blocks": 1, "model.pattern": ["mamba3"], "model.mamba3.d_state": 5,
               "model.mamba3.d_head": 4, "model.mamba3.n_groups": 2, "model.mamba3.expand": 2,
               "model.mamba3.turned": 0.9, "model.mamba3.norm_eps": 1e-5, "data.vocab": 4,
               "data.reset_at_eot": True},
    "gdn": {"model.arch": "stack", "model.n_blocks": 1, "model.pattern": ["gdn"], "model.gdn.n_heads": 2,
            "model.gdn.d_key": 5, "model.gdn.d_value": 4, "model.gdn.d_conv": 3, "model.gdn.norm_eps": 1e-5,
            "data.vocab": 4, "data.reset_at_eot": True},
    # an attention and a dense layer for picked tokens, with too few rows for them
    "mod": {**ATTN, **FFN, "model.arch": "stack", "model.n_blocks": 1,
            "model.pattern": [{"mod": ["attn", "ffn"]}], "model.mod.share": 0.3, "model.mod.capacity_factor": 1,
            "model.mod.rate": 0.1, "data.vocab": 6, "data.reset_at_eot": True},
    "mamba_mlp": {**SSM, **FFN, **MODERN, "model.n_blocks": 1, "model.ffn.bias": False,
                  "model.ffn.activation": "gelu"},
    "transformer": {**ATTN, **FFN, "model.n_blocks": 1},
    # drops, two routing groups, two mixtures, both auxiliary losses, as micro-batches
    "moe_mamba": {**SSM, **MOE, "model.moe.capacity_factor": 0.8, "model.moe.group_tokens": 9,
                  "model.moe.z_loss": 0.02, "train.micro_batch": 1},
    # two choices a token, drops, sigmoids, all losses
    "top_k": {**SSM, **MOE, "model.arch": "moe_mamba", "model.n_blocks": 1, "model.moe.n_experts": 4,
              "model.moe.top_k": 2, "model.moe.score": "sigmoid", "model.moe.weight": "renorm",
              "model.moe.weight_scale": 2.5, "model.moe.capacity_factor": 0.8, "model.moe.z_loss": 0.02,
              "model.moe.importance": 0.1, "model.moe.mean_entropy": 0.1, "model.moe.token_entropy": 0.1},
    # routers: two choices by p and by their share of it, sigmoids with biases, experts that choose, a draw
    "routers": {**MOE, "model.arch": "stack", "model.n_blocks": 1, "model.moe.n_experts": 4,
                "model.moe.capacity_factor": 0, "train.batch": 4, "train.context": 6, "seed": 5, "model.pattern": [
                    {"moe": {"top_k": 2}}, {"moe": {"top_k": 2, "weight": "renorm"}},
                    {"moe": {"top_k": 2, "score": "sigmoid", "weight": "renorm", "bias_rate": 0.02, "balance": 0}},
                    {"moe": {"select": "expert_choice_batch", "capacity_factor": 2, "group_sequences": 0,
                             "cutoff_rate": 0.05, "balance": 0}},
                    {"moe": {"noise": "gumbel", "noise_scale": 0, "weight": "straight_through"}}]},
    "parallel_moe_mamba": {**SSM, **MOE, "model.n_blocks": 1, "model.moe.aux_reduce": "sum"},
    "transformer_moe": {**ATTN, **MOE, **MODERN, "model.moe.activation": "silu"},
    "inner_moe_mamba": {**SSM, **MOE, **INNER},
    "stack": {**SSM, **ATTN, **FFN, **MOE, **INNER, "model.n_blocks": 1, "model.pattern": [
        {"mamba": {"d_state": 2, "d_conv": 2}}, {"parallel": ["attn", {"moe": {"n_experts": 2}}]},
        {"inner": {"conv": False, "out": False}}, {"ffn": {"activation": "silu"}}]},
    "window": {**ATTN, **FFN, "model.arch": "transformer", "model.n_blocks": 1, "model.attn.n_heads": 4,
               "model.attn.n_kv_heads": 2, "model.attn.window": 3, "data.vocab": 6,
               "data.reset_at_eot": True},
    "segments": {**ATTN, **FFN, "model.arch": "transformer", "model.n_blocks": 1, "model.attn.n_heads": 4,
                 "model.attn.n_kv_heads": 2, "model.attn.segment": 2, "model.attn.chosen": 2, "data.vocab": 6},
    "summaries": {**ATTN, **FFN, "model.arch": "transformer", "model.n_blocks": 1, "model.attn.n_heads": 4,
                  "model.attn.n_kv_heads": 2, "model.attn.segment": 2, "model.attn.earlier": "summary", "data.vocab": 6,
                  "data.reset_at_eot": True},
    # attention and Mamba in one layer, in every way; the shared block twice
    "hybrids": {**SSM, **ATTN, **FFN, "model.arch": "stack", "model.n_blocks": 1, "model.mix.alpha": "learned",
                "model.mix.weights": False, "model.xattn.queries": "state", "model.local.width": 0,
                "model.local.place": "input", "model.pattern": [
                    {"hymba": {"window": 4}}, {"mix": ["attn", "mamba"]}, "shared", "xattn",
                    {"local": {"window": 3}}, "shared",
                    {"mix": {"of": ["attn", "ffn"], "alpha": "fixed", "weights": True}}]},
    # the next token by the vocabulary and by a pointer, in documents of a few tokens
    "copy": {**ATTN, **FFN, "model.arch": "transformer", "model.n_blocks": 1, "model.head": "copy",
             "model.copy_width": 5, "data.vocab": 4, "data.reset_at_eot": True},
    # classes of images, three bytes a position; values of a series, the same
    "patches": {**SSM, "model.arch": "mamba", "model.n_blocks": 1, "model.patch": 3, "model.pool": "mean",
                "data.vocab": 263},
    "forecast": {**SSM, "model.arch": "mamba", "model.n_blocks": 1, "model.patch": 3, "model.head": "forecast",
                 "data.vocab": 65536},
    # all that mixes tokens, in documents of a few tokens
    "documents": {**SSM, **ATTN, "model.arch": "stack", "model.n_blocks": 1, "data.vocab": 4,
                  "data.reset_at_eot": True, "model.pattern": ["mamba", "attn"]},
}


def begin(name, shape, random):
    """A weight as it may be in the middle of a training."""
    x = random.standard_normal(shape)
    if "norm.weight" in name or name.endswith(".D"):
        return 1 + 0.3 * x
    if name.endswith("A_log"):
        return np.log(1 + np.arange(shape[-1])) + 0.3 * x
    if name.endswith(("dt_proj.bias", "dt_bias")):
        return -2 + x
    return 0.4 * x


def rounded(values):
    """What float32 keeps of it, in float64: the file and the oracle then begin with the same."""
    return torch.from_numpy(np.asarray(values, np.float32).astype(np.float64))


def series(random, shape):
    """Values of ordinary size as the bits of float16; some are missing."""
    bits = random.standard_normal(shape).astype(np.float16).view(np.uint16).astype(np.int64)
    return np.where(random.uniform(size=shape) < 0.2, 65535, bits)


def make(arch, keys, seed):
    spec, random = {**COMMON, **keys}, np.random.RandomState(seed)
    spec.setdefault("model.arch", arch)
    shapes = shapes_of.parameter_shapes(spec, spec["data.vocab"])
    params = {n: rounded(begin(n, s, random)) for n, s in shapes.items()}
    m = {n: rounded(0.01 * random.standard_normal(s)) for n, s in shapes.items()}
    v = {n: rounded(1e-4 * random.uniform(0.1, 1, s)) for n, s in shapes.items()}
    for n in shapes:
        if n.endswith(("router.threshold", "router.bias", "router.cutoff")):    # no gradient, so never had one
            m[n], v[n] = torch.zeros_like(m[n]), torch.zeros_like(v[n])
    words = random.randint(spec["data.vocab"], size=(spec["train.batch"], spec["train.context"] + 1))
    if spec.get("model.head") == "forecast":
        words = series(random, words.shape)
    tensor = {"tokens": words[:, :-1], "targets": words[:, 1:]}
    for prefix, blob in (("param.", params), ("moment1.", m), ("moment2.", v)):
        tensor.update({prefix + n: t.numpy() for n, t in blob.items()})

    leaves = {n: t.clone().requires_grad_() for n, t in params.items()}
    net = model.Model(spec, leaves, STEP)
    ce, aux, logits = net.losses(*(torch.from_numpy(np.ascontiguousarray(tensor[n])) for n in ("tokens", "targets")))
    (ce + aux).backward()
    grads = {n: t.grad if t.grad is not None else torch.zeros_like(t) for n, t in leaves.items()}
    norm = update.gradient_norm(grads)
    new = update.adamw(spec, STEP, params, grads, norm, dict(m), dict(v))
    new.update(net.states)
    for name, route in net.routes.items():
        for what, t in zip(("route", "keep", "gate"), route):
            tensor[f"{name}.{what}"] = t.detach().numpy()
    tensor["logits"] = logits.detach().numpy()
    for prefix, blob in (("grad.", grads), ("new.", new)):
        tensor.update({prefix + n: t.numpy() for n, t in blob.items()})
    numbers = {"ce": ce.item(), "aux": aux.item(), "loss": (ce + aux).item(), "grad_norm": norm,
               "lr": update.learning_rate(spec, STEP)}
    meta = {"format": "moelab trace 1", "spec": json.dumps(spec), "step": str(STEP), "device": "oracle",
            **{k: repr(x) for k, x in numbers.items()}}
    return tensor, meta, net


def write(arch, keys, path):
    for seed in range(100):         # a token between two experts would be a matter of rounding
        tensor, meta, net = make(arch, keys, seed)
        if net.margin > 0.01:
            break
    kept = [keep.double().mean().item() for _, keep, _ in net.routes.values()]
    dtype = lambda a: np.float32 if a.dtype == np.float64 else np.int32
    tensors.save(path, {n: a.astype(dtype(a)) for n, a in tensor.items()}, meta)
    print(f"{arch}: seed {seed}, {os.path.getsize(path)} bytes, margin {net.margin:.3f}, kept",
          [round(k, 2) for k in kept])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--folder", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden"))
    a = parser.parse_args()
    unknown = [name for name in a.cases if name not in CASES]
    if unknown:
        parser.error(f"no case {', '.join(unknown)} (there is: {', '.join(CASES)})")
    torch.set_default_dtype(torch.float64)
    os.makedirs(a.folder, exist_ok=True)
    for arch, keys in CASES.items():
        path = os.path.join(a.folder, arch + ".safetensors")
        if arch in a.cases or not os.path.exists(path):
            write(arch, keys, path)


main()
