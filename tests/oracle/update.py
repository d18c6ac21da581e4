"""The update of a step: schedule, clipping, AdamW."""
import math

import torch


def learning_rate(spec, step):
    """Of the update after `step` others: linear warm-up, then half a cosine down to lr_final."""
    peak, final = spec["train.lr"], spec["train.lr_final"]
    steps = math.ceil(spec["train.tokens"] / (spec["train.batch"] * spec["train.context"]))
    warmup = max(1, math.floor(spec["train.warmup"] * steps + 0.5))
    if step < warmup:
        return peak * (step + 1) / warmup
    done = min(1, (step - warmup) / (steps - warmup)) if steps > warmup else 1
    return peak * (final + (1 - final) * (1 + math.cos(math.pi * done)) / 2)


def decays(spec, name):
    if name.endswith(".alpha") or (name.endswith(".router.weight") and spec.get("model.moe.frozen")):
        return False
    if spec["train.decay"] == "all":
        return True
    of, last = name.split(".")[-2:]
    return not (last in ("bias", "A_log", "D", "dt_bias", "weight_a", "weight_b", "B_bias", "C_bias") or "norm" in of)


def gradient_norm(grads):
    return math.sqrt(sum((g.double() ** 2).sum().item() for g in grads.values()))


def adamw(spec, step, params, grads, norm, m, v):
    """The new parameters; moments are changed in place. Loshchilov and Hutter 2019, arXiv:1711.05101."""
    lr, clip = learning_rate(spec, step), spec["train.clip"]
    b1, b2, eps = spec["train.beta1"], spec["train.beta2"], spec["train.eps"]
    scale = min(1, clip / norm) if clip > 0 and norm > 0 else 1
    new = {}
    for name, w in params.items():
        g = scale * grads[name]
        m[name] = b1 * m[name] + (1 - b1) * g
        v[name] = b2 * v[name] + (1 - b2) * g ** 2
        m_hat, v_hat = m[name] / (1 - b1 ** (step + 1)), v[name] / (1 - b2 ** (step + 1))
        decay = spec["train.weight_decay"] if decays(spec, name) else 0
        new[name] = w - lr * (m_hat / (torch.sqrt(v_hat) + eps) + decay * w)
    return new
