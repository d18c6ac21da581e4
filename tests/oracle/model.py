"""The architectures of moelab once more, in plain PyTorch: an oracle, so it is written to be read
against the papers and not to be fast. Nothing here is translated from the C code.

  Mamba         Gu and Dao 2023, arXiv:2312.00752
  Mamba-2       Dao and Gu 2024, arXiv:2405.21060
  Mamba-3       Lahoti et al. 2026, arXiv:2603.15569
  DeltaNet      gated: Yang, Kautz, Hatamizadeh 2024, arXiv:2412.06464
  MoE           Fedus, Zoph, Shazeer 2022 (Switch), arXiv:2101.03961
  MoE-Mamba     Pioro et al. 2024, arXiv:2401.04081: wiring, recipe, inner and parallel MoE
  attention     Vaswani et al. 2017, arXiv:1706.03762; rotary positions: Su et al. 2021, arXiv:2104.09864;
                windows: Beltagy et al. 2020, arXiv:2004.05150; chosen segments: Lu et al. 2025,
                arXiv:2502.13189; grouped queries: Ainslie et al. 2023, arXiv:2305.13245
  hybrids       Hymba's mean: Dong et al. 2024, arXiv:2411.13676; a shared attention block, as in Zamba:
                Glorioso et al. 2024, arXiv:2405.16712; tokens picked by a threshold, after Raposo et al. 2024,
                arXiv:2404.02258
  z-loss        Zoph et al. 2022, arXiv:2202.08906

A model is a dict of parameters {name: tensor} and a spec, the dict of dotted keys that a trace carries
in its metadata. B sequences, T tokens, D channels, I inner channels, N states, E experts, V words.
"""
import math

import torch
import torch.nn.functional as F

import noise
from recurrences import Recurrences, activation, default_width


def section(spec, prefix):
    """The keys below a prefix: section(spec, "model.moe.")["n_experts"]."""
    return {key[len(prefix):]: value for key, value in spec.items() if key.startswith(prefix)}


# --- which layers there are ----------------------------------------------------------------------

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


# --- small parts ---------------------------------------------------------------------------------

def heads_of(width, keys):
    return default_width(keys["n_heads"], max(1, width // 64))


def kv_heads(width, keys):
    return keys.get("n_kv_heads") or heads_of(width, keys)


class Model(Recurrences):
    def __init__(self, spec, params, step=0):
        self.spec, self.p, self.step = spec, params, step
        self.D = spec["model.d_model"]
        self.layers = residual_layers(spec)

    # --- norm: paper LN, arXiv:1607.06450; RMSNorm, arXiv:1910.07467

    def norm(self, x, name):
        eps = self.spec["model.norm_eps"]
        if self.spec["model.norm"] == "rmsnorm":
            y = x / torch.sqrt((x ** 2).mean(-1, keepdim=True) + eps) * self.p[name + ".weight"]
        else:
            centred = x - x.mean(-1, keepdim=True)
            y = centred / torch.sqrt((centred ** 2).mean(-1, keepdim=True) + eps)
            y = y * self.p[name + ".weight"] + self.p[name + ".bias"]
        self.outputs[name] = y
        return y

    # --- dense feed-forward

    def ffn(self, x, name, keys):
        h = x @ self.p[name + ".in.weight"].T
        if keys["bias"]:
            h = h + self.p[name + ".in.bias"]
        y = self.units(h, keys, keys.get("gated")) @ self.p[name + ".out.weight"].T
        if keys["bias"]:
            y = y + self.p[name + ".out.bias"]
        return y

    @staticmethod
    def units(h, keys, gated):
        """The activation, gated by the second half (SwiGLU, Shazeer 2020, arXiv:2002.05202)."""
        if not gated:
            return activation(keys["activation"], h)
        g, u = h.chunk(2, dim=-1)
        return activation(keys["activation"], g) * u

    # --- attention: RoPE turns the pair of channels (i, i + dh/2) of a head at place t by the angle
    # --- t base^(-2 i / dh); q, k turned, v not

    def rotary(self, x, base):
        B, T, H, dh = x.shape
        i = torch.arange(dh // 2, dtype=torch.float64)
        angle = torch.arange(T, dtype=torch.float64)[:, None] * base ** (-2 * i / dh)
        turn = torch.polar(torch.ones_like(angle), angle)[None, :, None, :]
        pair = torch.complex(x[..., :dh // 2], x[..., dh // 2:]) * turn.to(
            torch.complex128 if x.dtype == torch.float64 else torch.complex64)
        return torch.cat([pair.real, pair.imag], dim=-1)

    def attention(self, x, name, keys):
        B, T, D = x.shape
        H = heads_of(D, keys)
        S = kv_heads(D, keys)
        dh = D // H
        q, k, v = (x @ self.p[name + ".qkv.weight"].T).split([H * dh, S * dh, S * dh], dim=-1)
        y = self.attend(q, k, v, H, S, keys)
        return y @ self.p[name + ".out.weight"].T

    def attend(self, q, k, v, H, S, keys):
        """H heads of queries, S of keys and values: query head h has those of h // (H / S)."""
        B, T, _ = q.shape
        q, k, v = (a.reshape(B, T, n, -1) for a, n in ((q, H), (k, S), (v, S)))
        if keys.get("rope", True):
            q, k = self.rotary(q, keys["rope_base"]), self.rotary(k, keys["rope_base"])
        k, v = (a.repeat_interleave(H // S, dim=2) for a in (k, v))
        score = torch.einsum("bthc,bshc->bhts", q, k) / math.sqrt(q.shape[-1])
        back = torch.arange(T)[:, None] - torch.arange(T)[None, :]
        hidden = (back < 0) | (back >= (keys.get("window") or T))
        other = self.document[:, None, :, None] != self.document[:, None, None, :]
        if keys.get("segment"):
            other = other | ~self.chosen_segments(q, k, keys)
        weight = torch.softmax(score.masked_fill(hidden | other, -math.inf), dim=-1)
        return torch.einsum("bhts,bshc->bthc", weight, v).reshape(B, T, -1)

    def chosen_segments(self, q, k, keys):
        """[B, H, T, T]: does the query (row) see the segment of the key, of its document or not?"""
        B, T, H, _ = q.shape
        S, seen = keys["segment"], torch.zeros(B, H, T, T, dtype=torch.bool)
        for b in range(B):
            first = (self.document[b][:, None] == self.document[b][None, :]).int().argmax(-1)
            segment = (torch.arange(T) - first) // S
            for t in range(T):
                own = (self.document[b] == self.document[b, t])
                means = [k[b, own & (segment == i)].mean(0) for i in range(segment[t])]
                seen[b, :, t] = segment == segment[t]
                if not means or keys["chosen"] == 1:
                    continue
                score = (torch.stack(means) * q[b, t]).sum(-1).detach()        # [segments, H]
                best = torch.sort(score, dim=0, descending=True, stable=True).indices[:keys["chosen"] - 1]
                for h in range(H):
                    seen[b, h, t] |= torch.isin(segment, best[:, h])
        return seen

    # --- Mamba

    def mamba(self, x, name, keys, inner):
        """inner: which projections are mixtures, with the keys of the mixtures; {} for none."""
        I = round(keys["expand"] * self.D)
        mixture, weighted = self.moe, self.moe
        if inner.get("router") == "shared":
            mixture, weighted = self.one_router(x, name, inner)
        if inner.get("conv") and inner.get("gate"):
            u, z = mixture(x, name + ".conv_moe", inner), mixture(x, name + ".gate_moe", inner)
        elif inner.get("conv"):
            u, z = mixture(x, name + ".conv_moe", inner), x @ self.p[name + ".in_proj.weight"].T
        elif inner.get("gate"):
            u, z = x @ self.p[name + ".in_proj.weight"].T, mixture(x, name + ".gate_moe", inner)
        else:
            u, z = (x @ self.p[name + ".in_proj.weight"].T).split(I, dim=-1)
        y = self.ssm(activation("silu", self.convolution(u, name)), z, name, keys)
        if inner.get("out"):
            return weighted(y, name + ".out_moe", inner)
        return y @ self.p[name + ".out_proj.weight"].T

    # --- hybrids of attention and Mamba

    def mean_of_paths(self, a, b, name, keys):
        """s a / rms(a) + (1 - s) b / rms(b), each times weights of its channels if there are any."""
        root = lambda x: torch.sqrt((x ** 2).mean(-1, keepdim=True) + self.spec["model.norm_eps"])
        a, b = a / root(a), b / root(b)
        if keys["weights"]:
            a, b = a * self.p[name + ".weight_a"], b * self.p[name + ".weight_b"]
        s = torch.sigmoid(self.p[name + ".alpha"]) if keys["alpha"] == "learned" else 0.5
        return s * a + (1 - s) * b

    def hymba(self, x, name, attn, ssm):
        I = round(ssm["expand"] * self.D)
        heads, groups = heads_of(I, attn), kv_heads(I, attn)
        kv = I // heads * groups
        q, k, v = (x @ self.p[name + ".qkv.weight"].T).split([I, kv, kv], dim=-1)
        a = self.attend(q, k, v, heads, groups, attn)
        u, z = (x @ self.p[name + ".in_proj.weight"].T).split(I, dim=-1)
        m = self.ssm(activation("silu", self.convolution(u, name)), z, name, ssm)
        y = self.mean_of_paths(a, m, name, {"alpha": "fixed", "weights": True})
        return y @ self.p[name + ".out_proj.weight"].T

    def cross_attention(self, state, x, name, keys, attn):
        """Queries from a Mamba layer's output (or its input), keys and values from its input."""
        H, S = heads_of(self.D, attn), kv_heads(self.D, attn)
        k, v = (x @ self.p[name + ".kv.weight"].T).chunk(2, dim=-1)
        q = (state if keys["queries"] == "state" else x) @ self.p[name + ".q.weight"].T
        return self.attend(q, k, v, H, S, attn) @ self.p[name + ".out.weight"].T

    def local(self, x, mixer, name, keys, attn, ssm):
        """Mamba with attention of the convolved stream added to input or output of the scan."""
        width = default_width(keys["width"], self.D // 2)
        H, S = heads_of(width, attn), kv_heads(width, attn)
        u, z = (x @ self.p[mixer + ".in_proj.weight"].T).chunk(2, dim=-1)
        u = activation("silu", self.convolution(u, mixer))
        q, k, v = (u @ self.p[name + ".qkv.weight"].T).split([width] + [width // H * S] * 2, dim=-1)
        more = self.attend(q, k, v, H, S, attn) @ self.p[name + ".out.weight"].T
        if keys["place"] == "input":
            y = self.ssm(u + more, z, mixer, ssm)
        else:
            y = self.ssm(u, z, mixer, ssm) + more
        return y @ self.p[mixer + ".out_proj.weight"].T

    def shared(self, x, layer, attn, ffn, ssm):
        """x: the normed stream. The block's parameters are the same in all such layers."""
        D, name = self.D, f"layers.{layer}"
        H, S = heads_of(2 * D, attn), kv_heads(2 * D, attn)
        e = self.norm(self.embedding, "shared.norm_embedding")
        both = torch.cat([self.p["shared.qkv.weight"], self.p["shared.qkv_embedding.weight"]], dim=1)
        qkv = torch.cat([x, e], dim=-1) @ both.T
        q, k, v = qkv.split([2 * D] + [2 * D // H * S] * 2, dim=-1)
        y = self.attend(q, k, v, H, S, attn) @ self.p["shared.out.weight"].T
        f = self.ffn(self.norm(y, "shared.norm"), "shared.ffn", ffn) @ self.p[name + ".map.weight"].T
        return self.mamba(self.norm(self.stream + f, name + ".norm_mixer"), name + ".mixer", ssm, {})

    # --- layers for picked tokens alone, which see no others

    def mod(self, x, layer, paths, keys):
        name, B, T = f"layers.{layer}.mod", *x.shape[:2]
        r = (x @ self.p[name + ".router.weight"].T)[..., 0]
        picked = r.detach() > self.p[name + ".router.threshold"].detach()
        kept = picked & (picked.cumsum(1) <= math.ceil(keys["capacity_factor"] * keys["share"] * T))
        self.move(name + ".router.threshold",
                  lambda old: old + keys["rate"] * (picked.sum() / (B * T) - keys["share"]))
        outputs, document, stream, y = dict(self.outputs), self.document, self.stream, torch.zeros_like(x)
        for b in range(B):
            rows = kept[b].nonzero()[:, 0]
            if len(rows):
                self.document, self.stream = document[b:b + 1, rows], stream[b:b + 1, rows]
                f = self.block(x[b:b + 1, rows], f"{layer}.mod", paths)[0]
                y = y.index_put((torch.tensor(b), rows), torch.sigmoid(r[b, rows])[:, None] * f)
        self.outputs, self.document, self.stream = outputs, document, stream
        return y

    def block(self, x, layer, paths):
        """One layer, or two of which the second reads the norm of the stream and what the first gave."""
        a = self.branch(x, layer, *pattern_entry(paths[0])[0])
        if len(paths) == 1:
            return a
        return a + self.branch(self.norm(self.stream + a, f"layers.{layer}.norm"), layer,
                               *pattern_entry(paths[1])[0])

    # --- mixture of experts

    def mixed(self, x, name, keys):
        """Mixtures of tokens (Antoniak et al. 2023, arXiv:2310.15961): experts see sums over the tokens at
        one position of group_sequences sequences, by a softmax over these, and give back by it."""
        u, ys = self.p[name + ".router.weight"], []
        for some in x.split(keys["group_sequences"]):
            share = torch.softmax(some @ u.T / keys.get("temperature", 1), 0)
            z = torch.einsum("bte,btd->etd", share, some)
            out = torch.stack([self.expert(z[e], name, keys, e) for e in range(len(z))])
            ys.append(torch.einsum("bte,etd->btd", share, out))
        return torch.cat(ys)

    def moe(self, x, name, keys):
        """The mixture, and experts that all tokens go to beside it (Dai et al. 2024, arXiv:2401.06066)."""
        G = keys.get("granularity", 1)
        taking = keys.get("select", "topk").startswith("expert_choice")
        keys = {**keys, **{k: keys.get(k, 1) * G for k in ("n_experts", "top_k", "max_k")},
                "capacity_factor": keys["capacity_factor"] * (G if taking else 1)}
        y = (self.mixed if keys.get("select", "topk") == "tokens" else self.routed)(x, name, keys)
        if keys.get("n_shared", 0):
            up, down = (self.p[f"{name}.shared.{part}.weight"] for part in ("in", "out"))
            y = y + self.units(x @ up.T, keys, keys.get("expert") == "gated") @ down.T
        self.outputs[name] = y
        return y

    def routed(self, x, name, keys, send=True):
        B, T, _ = x.shape
        flat, select = x.reshape(B * T, -1), keys.get("select", "topk")
        logits = self.jittered(flat, name, keys) @ self.p[name + ".router.weight"].T
        noisy, sigma = self.noisy(logits, flat, name, keys)
        score = self.score(logits if select == "sample" else noisy, name, keys)
        E, group = score.shape[1], default_width(keys["group_tokens"], B * T)
        if select.startswith("expert_choice"):
            keep, cutoff = self.taken(score.detach(), B, T, keys)
            self.move(name + ".router.cutoff", lambda old: old + keys["cutoff_rate"] * (cutoff - old))
            choice = torch.where(keep, torch.arange(E), -1)
        else:
            choice = self.chosen((noisy if select == "sample" else score).detach(), name, keys)
            share = self.p[name + ".router.capacity"].item() if keys.get("drop_target") else 1
            keep = self.first_come(choice, E, group, keys.get("top_k", 1), keys["capacity_factor"], share)
        K = choice.shape[1]
        gate = self.weights(score, choice, keys) * keep
        y = self.sent(flat, name, keys, choice, keep, gate) if send else None
        losses = self.router_losses(logits, score, choice, keys, group, T)
        if keys.get("load"):
            losses["load"] = self.load_loss(logits, noisy, sigma, keys, group, T)
        self.controlled(losses, choice, keep, name, keys)
        self.routers.append((keys, losses))
        if select == "sample":
            self.policies.append((keys, name, score.gather(1, choice)[:, 0]))
        shape = (B, T) if K == 1 else (B, T, K)
        self.routes[name] = tuple(t.reshape(shape) for t in (choice, keep, gate))
        return y.reshape(B, T, -1) if send else (choice, keep, gate)

    def sent(self, flat, name, keys, choice, keep, gate):
        """The sum over its experts for each token of [N, width]."""
        y = 0
        for e in range(keys["n_experts"]):
            mine, place = ((choice == e) & keep).nonzero(as_tuple=True)
            out = gate[mine, place, None] * self.expert(flat[mine], name, keys, e)
            y = y + torch.zeros(len(flat), out.shape[1], dtype=flat.dtype).index_add(0, mine, out)
        return y

    def expert(self, x, name, keys, e):
        """Two layers, gated or not; or one matrix."""
        kind = keys.get("expert", "ffn")
        if kind == "linear":
            return x @ self.p[name + ".w"][e].T
        return self.units(x @ self.p[name + ".w1"][e].T, keys, kind == "gated") @ self.p[name + ".w2"][e].T

    def one_router(self, x, name, keys):
        """Routing Mamba (Zhan et al. 2025, arXiv:2506.18145): mixtures whose tokens go where the router of x
        sends them; unweighted, and weighted."""
        choice, keep, gate = self.routed(x, name, keys, send=False)

        def there(gate):
            def mixture(y, name, keys):
                self.outputs[name] = self.sent(y.flatten(0, 1), name, keys, choice, keep, gate).reshape(
                    *y.shape[:2], -1)
                return self.outputs[name]
            return mixture
        return there(keep.to(gate.dtype)), there(gate)

    def move(self, name, rule):
        """What a state becomes behind the step, by what was counted in it (src/train/control.h)."""
        self.states[name] = rule(self.p[name].detach())

    def controlled(self, losses, choice, keep, name, keys):
        """A weight of the balance loss that follows the spread of loads; a capacity that follows drops."""
        by = lambda excess, least, most: lambda old: (old * math.exp(keys["control_rate"] * excess)).clamp(least, most)
        if keys.get("balance_target"):
            losses["balance"] = losses["balance"] * self.p[name + ".router.balance"].detach()[0]
            count = torch.bincount(choice[choice >= 0], minlength=keys["n_experts"]).double()
            self.move(name + ".router.balance",
                      by((count.max() / count.mean() - 1 - keys["balance_target"]).item(), 0.01, 100))
        if keys.get("drop_target"):
            dropped = 1 - keep.sum().item() / (choice >= 0).sum().item()
            self.move(name + ".router.capacity", by(dropped - keys["drop_target"], 0.05, 1))

    def chosen(self, score, name, keys):
        """[N, K]: the experts of each token, best first, and the lowest of equal ones; -1: none."""
        (N, E), k, select, choice = score.shape, keys.get("top_k", 1), keys.get("select", "topk"), None
        if keys.get("bias_rate"):
            score = score + self.p[name + ".router.bias"].detach()
        width = min(keys["max_k"], E) if select == "threshold" else k
        value, choice = torch.sort(score, dim=-1, descending=True, stable=True)
        if width < E:
            self.watch_margin(score, width)
        value, choice = value[:, :width], choice[:, :width].clone()
        if select == "topp":        # Huang et al. 2024, arXiv:2403.07652: up to the one that exceeds the sum
            choice[value.cumsum(-1) - value > keys["top_p"]] = -1
        if select == "threshold":
            choice[value < self.p[name + ".router.threshold"].detach()[choice]] = -1
        count = torch.bincount(choice[choice >= 0], minlength=E).to(score.dtype)
        if keys.get("bias_rate"):
            self.move(name + ".router.bias", lambda old: even_loads(old, count, keys["bias_rate"]))
        if select == "threshold":
            self.move(name + ".router.threshold",
                      lambda old: old + keys["threshold_rate"] * (count / N - k / E))
        return choice

    def jittered(self, x, name, keys):
        """Switch Transformers, arXiv:2101.03961, section 2.4."""
        if keys.get("noise", "none") != "jitter":
            return x
        u = noise.jitter(self.spec["seed"], self.step, name, x.shape)
        return x * (1 + (keys["noise_scale"] or 0.01) * u)

    def noisy(self, logits, x, name, keys):
        """Shazeer et al. 2017, arXiv:1701.06538, eq. 4, and Gumbel's (arXiv:1611.01144): logits, and how
        wide their noise is. The best of logits with Gumbel noise is a draw from softmax(logits / scale)."""
        kind = keys.get("noise", "none")
        if keys.get("select") == "sample":
            scale = keys.get("temperature", 1)
            return logits + scale * noise.draws("gumbel", self.spec["seed"], self.step, name, logits.shape), scale
        if kind in ("none", "jitter"):
            return logits, None
        scale = keys["noise_scale"] or (1 / logits.shape[1] if kind == "gaussian" else 1)
        if kind == "learned":
            scale = scale * F.softplus(x @ self.p[name + ".router.noise"].T)
        return logits + scale * noise.draws(kind, self.spec["seed"], self.step, name, logits.shape), scale

    @staticmethod
    def load_loss(logits, noisy, sigma, keys, group, T):
        """CV^2 of the loads that noise makes likely, Shazeer et al. 2017, eq. 8-11; the bound of an expert is
        the k-th greatest noisy logit of the others."""
        (N, E), k = logits.shape, keys["top_k"]
        size, each = {"sequence": T, "step": N}.get(keys.get("balance_scope"), group), []
        for own in (slice(begin, begin + size) for begin in range(0, N, size)):
            others = noisy[own][:, None, :].expand(-1, E, -1).masked_fill(torch.eye(E, dtype=bool), -math.inf)
            bound = others.sort(-1, descending=True).values[..., k - 1]
            wide = sigma[own] if torch.is_tensor(sigma) else sigma
            load = torch.special.ndtr((logits[own] - bound) / wide).sum(0)
            each.append(load.var(unbiased=False) / load.mean() ** 2)
        return torch.stack(each).mean()

    def score(self, logits, name, keys):
        """Softmax over the experts, or the sigmoid of each (DeepSeek-V3, arXiv:2412.19437, eq. 15)."""
        decay, least = keys.get("temperature_decay", 0), keys.get("temperature_least", 0)
        if decay:                   # Jang, Gu, Poole 2017, arXiv:1611.01144
            logits = logits / self.p[name + ".router.temperature"].detach()
            self.move(name + ".router.temperature",
                      lambda old: torch.clamp(old * math.exp(-decay), min=least))
        else:
            logits = logits / keys.get("temperature", 1)
        return torch.sigmoid(logits) if keys.get("score") == "sigmoid" else torch.softmax(logits, -1)

    @staticmethod
    def weights(score, choice, keys):
        """Of the chosen experts, [N, K]; renorm: divided by the sum over the choices."""
        w, rule = score.gather(1, choice.clamp(min=0)) * (choice >= 0), keys.get("weight", "raw")
        if rule == "renorm":
            w = w / w.sum(-1, keepdim=True)
        elif rule == "one":
            w = torch.ones_like(w)
        elif rule == "straight_through":
            w = 1 + w - w.detach()
        return keys.get("weight_scale", 1) * w

    def watch_margin(self, score, K):
        """Without exact ties, which no rounding decides: where x is 0, all experts are equal."""
        top = score.sort(-1, descending=True).values[:, :K + 1]
        lead = top[:, :-1] - top[:, 1:]
        self.margin = min([self.margin] + lead[lead > 0].tolist())

    @staticmethod
    def first_come(choice, E, group, top_k, factor, share=1):
        """In each routing group an expert takes the first int(factor * K * tokens / E) choices, at least
        one; 0: all. Token by token, and of a token the better choice first."""
        N, K = choice.shape
        capacity = max(1, int(share * max(1, int(factor * top_k * group / E)))) if factor else N * K
        keep = torch.zeros(N, K, dtype=torch.bool)
        for t in range(N):
            if t % group == 0:
                taken = [0] * E
            for k, e in enumerate(choice[t].tolist()):
                keep[t, k] = e >= 0 and taken[e] < capacity
                taken[e] += e >= 0
        return keep

    @staticmethod
    def taken(score, B, T, keys):
        """[N, E]: of each group an expert takes the int(factor * tokens / E) best tokens, at least one, and
        of equals the earlier (expert choice, Zhou et al. 2022, arXiv:2202.09368). [E]: the least score it
        took, in the mean over groups."""
        N, E = score.shape
        tokens = torch.arange(N)
        if keys["select"] == "expert_choice":
            groups = tokens.split(default_width(keys["group_tokens"], N))
        else:
            groups = [g for some in tokens.reshape(B, T).split(default_width(keys["group_sequences"], B))
                      for g in some.T]
        keep, least = torch.zeros(N, E, dtype=torch.bool), torch.zeros(E, dtype=score.dtype)
        for g in groups:
            n = min(len(g), max(1, int(keys["capacity_factor"] * len(g) / E)))
            value, best = torch.sort(score[g], dim=0, descending=True, stable=True)
            least += value[n - 1] / len(groups)
            for e in range(E):
                keep[g[best[:n, e]], e] = True
        return keep, least

    @staticmethod
    def router_losses(logits, score, choice, keys, group, T):
        """{key of the weight: loss}, each in the mean over groups of tokens. f counts before dropping and
        has no gradient; entropies as the loss takes them: that of the mean is subtracted."""
        N, E = score.shape
        size = {"sequence": T, "step": N}.get(keys.get("balance_scope"), group)
        p = score / score.sum(-1, keepdim=True)
        entropy = lambda q: -(q * torch.log(q)).sum(-1)
        each = []
        for begin in range(0, N, size):
            own = slice(begin, begin + size)
            chosen = choice[own][choice[own] >= 0]
            f = torch.bincount(chosen, minlength=E).to(p.dtype) / chosen.numel()
            mean = p[own].mean(0)
            each.append(torch.stack([E * (f * mean).sum(), (torch.logsumexp(logits[own], -1) ** 2).mean(),
                                     mean.var(unbiased=False) / mean.mean() ** 2, -entropy(mean),
                                     entropy(p[own]).mean()]))
        names = ("balance", "z_loss", "importance", "mean_entropy", "token_entropy")
        return dict(zip(names, torch.stack(each).mean(0)))

    # --- the whole

    def documents(self, tokens):
        """The number of its document for each token, [B, T]: ends of text (the last token of the
        vocabulary) in front of it. Without data.reset_at_eot all is one document."""
        end = tokens == self.p["lm_head.weight"].shape[0] - 1
        if not self.spec.get("data.reset_at_eot"):
            end = torch.zeros_like(end)
        return end.cumsum(1) - end.long()

    def branch(self, x, layer, kind, own):
        mixer, attention = f"layers.{layer}.mixer", f"layers.{layer}.attn"
        mixers = ("mamba", "mamba2", "mamba3", "gdn", "inner", "local", "shared")
        name = f"layers.{layer}." + ("mixer" if kind in mixers else "attn" if kind == "xattn" else kind)
        keys = lambda part: part_keys(self.spec, part, own)
        if kind == "attn":
            y = self.attention(x, name, keys("attn"))
        elif kind == "ffn":
            y = self.ffn(x, name, keys("ffn"))
        elif kind == "mamba2":
            y = self.mamba2(x, name, keys("mamba2"))
        elif kind == "mamba3":
            y = self.mamba3(x, name, keys("mamba3"))
        elif kind == "gdn":
            y = self.gdn(x, name, keys("gdn"))
        elif kind == "moe":
            y = self.moe(x, name, keys("moe"))
            return self.norm(y, name + ".norm") if keys("moe").get("out_norm") else y
        elif kind == "inner":
            y = self.mamba(x, name, keys("ssm"), {**keys("moe"), **keys("inner")})
        elif kind == "mix":
            paths, own = mix_entry(own)
            a, b = (self.branch(x, layer, *pattern_entry(path)[0]) for path in paths)
            y = self.mean_of_paths(a, b, name, part_keys(self.spec, "mix", own))
        elif kind == "mod":
            paths, own = mix_entry(own)
            y = self.mod(x, layer, paths, part_keys(self.spec, "mod", own))
        elif kind == "hymba":
            y = self.hymba(x, name, keys("attn"), keys("ssm"))
        elif kind == "xattn":
            s = self.mamba(x, mixer, keys("ssm"), {})
            y = s + self.cross_attention(s, x, attention, keys("xattn"), keys("attn"))
        elif kind == "local":
            y = self.local(x, mixer, attention, keys("local"), keys("attn"), keys("ssm"))
        elif kind == "shared":
            y = self.shared(x, layer, keys("attn"), keys("ffn"), keys("ssm"))
        else:
            y = self.mamba(x, name, keys("ssm"), {})
        self.outputs[name] = y
        return y

    def __call__(self, tokens):
        """Logits [B, T, V]; besides them self.outputs, self.routes {mixture: (route, keep, gate)},
        self.routers [(keys, losses)], self.margin: the least lead of a chosen expert
        over the next one, in p."""
        self.outputs, self.routes, self.routers, self.margin = {}, {}, [], math.inf
        self.states, self.policies = {}, []
        self.document = self.documents(tokens)
        x = self.p["embedding.weight"][tokens]
        self.outputs["embedding"] = self.embedding = x
        for i, branches in enumerate(self.layers):
            n, self.stream = self.norm(x, f"layers.{i}.norm"), x
            x = x + sum(self.branch(n, i, kind, own) for kind, own in branches)
        if self.spec["model.final_norm"]:
            x = self.norm(x, "final_norm")
        self.read = x
        return x @ self.p["lm_head.weight"].T

    def with_copies(self, p, tokens):
        """The vocabulary's distribution, [B, T, V], mixed with what followed earlier tokens of the document:
        token t points at s < t, and copies token s + 1."""
        x, V, T = self.read, p.shape[-1], tokens.shape[1]
        q, k = x @ self.p["lm_head.copy_q.weight"].T, x @ self.p["lm_head.copy_k.weight"].T
        seen = torch.ones(T, T, dtype=torch.bool).tril(-1) & (
            self.document[:, :, None] == self.document[:, None, :])
        score = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).masked_fill(~seen, -math.inf)
        any_seen = seen.any(-1, keepdim=True)
        a = torch.softmax(score.masked_fill(~any_seen, 0), -1) * any_seen
        followed = F.one_hot(tokens[:, 1:], V).to(p.dtype)
        copied = a[:, :, :-1] @ followed
        gate = x @ self.p["lm_head.gate.weight"].T + self.p["lm_head.gate.bias"]
        g = torch.where(any_seen, torch.sigmoid(gate), torch.ones_like(gate))
        return g * p + (1 - g) * copied

    def losses(self, tokens, targets):
        """(cross entropy in nats per token, weighted auxiliary losses, logits)."""
        logits = self(tokens)
        p = torch.softmax(logits, -1)
        if self.spec.get("model.head") == "copy":
            p = self.with_copies(p, tokens)
        nll = -p.gather(-1, targets[..., None]).log()
        ce = nll.mean()
        aux = torch.zeros((), dtype=ce.dtype)
        for keys, router_losses in self.routers:
            share = 1 / len(self.routers) if keys["aux_reduce"] == "mean" else 1
            aux = aux + share * sum(keys.get(name, 0) * loss for name, loss in router_losses.items()
                                    if keys.get(name, 0))
        for keys, name, chosen in self.policies:        # Clark et al. 2022, arXiv:2202.01169, RL-R
            advantage = nll.detach().flatten() - self.p[name + ".router.baseline"].detach()
            aux = aux + keys["reinforce"] * (advantage * chosen.log()).mean()
            self.move(name + ".router.baseline", lambda old: old + 0.01 * (ce.detach() - old))
        return ce, aux, logits


# --- training ------------------------------------------------------------------------------------

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
    if name.endswith(".alpha"):
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


def even_loads(bias, count, rate):
    """Wang et al. 2024, arXiv:2408.15664, algorithm 1: up where an expert was wanted less than the mean,
    down elsewhere; centred, which changes no choice."""
    count = count.to(bias.dtype)
    sign = torch.sign(count.mean() - count)
    return bias + rate * (sign - sign.mean())
