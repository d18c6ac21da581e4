"""Which layers a spec has, with which keys and widths: for model.py and shapes.py."""
from recurrences import default_width


def section(spec, prefix):
    """The keys below a prefix: section(spec, "model.moe.")["n_experts"]."""
    return {key[len(prefix):]: value for key, value in spec.items() if key.startswith(prefix)}


def residual_layers(spec):
    """One entry for each residual layer x <- x + sum of branches(norm(x)): a list of branches, each a
    pair (kind, keys that differ from those of the spec)."""
    arch, n = spec["model.arch"], spec["model.n_blocks"]
    if arch == "mamba":
        return [[("mamba", {})]] * n
    if arch == "mamba2":
        return [[("mamba2", {})]] * n
    if arch == "mamba_mlp":
        return [[("mamba", {})], [("ffn", {})]] * n
    if arch == "moe_mamba":
        return [[("mamba", {})], [("moe", {})]] * n
    if arch == "parallel_moe_mamba":
        return [[("mamba", {}), ("moe", {})]] * n
    if arch == "transformer":
        return [[("attn", {})], [("ffn", {})]] * n
    if arch == "transformer_moe":
        return [[("attn", {})], [("moe", {})]] * n
    if arch == "inner_moe_mamba":
        every = spec["model.inner.every"]
        return [[("inner" if (i + 1) % every == 0 else "mamba", {})] for i in range(n)]
    if arch == "stack":
        return [pattern_entry(entry) for entry in spec["model.pattern"]] * n
    raise ValueError(arch)


def pattern_entry(entry):
    if isinstance(entry, str):
        return [(entry, {})]
    (word, value), = entry.items()
    if word == "parallel":
        return [pattern_entry(e)[0] for e in value]
    return [(word, value)]


def mix_entry(value):
    """The layers of a mix or mod, and its own keys."""
    if isinstance(value, list):
        return value, {}
    return value["of"], {k: v for k, v in value.items() if k != "of"}


def part_keys(spec, part, own):
    return {**section(spec, f"model.{part}."), **own}


def heads_of(width, keys):
    return default_width(keys["n_heads"], max(1, width // 64))


def kv_heads(width, keys):
    return keys.get("n_kv_heads") or heads_of(width, keys)
