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
                arXiv:2502.13189; grouped queries: Ainslie et al. 2023, arXiv:2305.13245; summaries of
                segments: ours, the formula is that of src/op/summary.h
  hybrids       Hymba's mean: Dong et al. 2024, arXiv:2411.13676; a shared attention block, as in Zamba:
                Glorioso et al. 2024, arXiv:2405.16712; tokens picked by a threshold, after Raposo et al. 2024,
                arXiv:2404.02258
  z-loss        Zoph et al. 2022, arXiv:2202.08906
  values        rows normalised by mean and deviation: Kim et al. 2022 (RevIN); patches: Nie et al. 2023,
                arXiv:2211.14730

A model is a dict of parameters {name: tensor} and a spec, the dict of dotted keys that a trace carries
in its metadata. B sequences, T tokens, D channels, I inner channels, N states, E experts, V words.
"""
import math

import numpy as np
import torch
import torch.nn.functional as F

from attention import Attention
from hybrids import Hybrids
from layout import mix_entry, part_keys, pattern_entry, residual_layers
from mixtures import Mixtures
from recurrences import Recurrences, activation


class Model(Recurrences, Attention, Hybrids, Mixtures):
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
        self.states, self.policies, self.tokens = {}, [], tokens
        if self.spec.get("model.patch"):
            x = self.patches(tokens) @ self.p["embedding.weight"].T + self.p["embedding.bias"]
            self.document = torch.zeros(x.shape[:2], dtype=torch.long)
        else:
            self.document = self.documents(tokens)
            x = self.p["embedding.weight"][tokens]
        self.outputs["embedding"] = self.embedding = x
        for i, branches in enumerate(self.layers):
            n, self.stream = self.norm(x, f"layers.{i}.norm"), x
            x = x + sum(self.branch(n, i, kind, own) for kind, own in branches)
        if self.spec["model.final_norm"]:
            x = self.norm(x, "final_norm")
        if self.spec.get("model.pool") == "mean":       # of the document so far, this position included
            same = torch.ones(x.shape[1], x.shape[1]).tril() * (
                self.document[:, :, None] == self.document[:, None, :])
            x = same.to(x.dtype) @ x / same.sum(-1, keepdim=True)
        self.read = x
        if self.spec.get("model.head") == "forecast":
            return x @ self.p["lm_head.weight"].T + self.p["lm_head.bias"]
        return x @ self.p["lm_head.weight"].T

    # --- values in place of tokens

    @staticmethod
    def halves(ids):
        """Numbers by the bits of float16; what is none of finite size is missing, NaN."""
        v = torch.from_numpy(ids.numpy().astype(np.uint16).view(np.float16).astype(np.float64))
        return torch.where(torch.isfinite(v), v, torch.nan)

    def patches(self, tokens):
        """[B, N, P] of bytes from -1 to 1; of a series [B, N, 2 P]: values normalised by row, then flags."""
        B, P = tokens.shape[0], self.spec["model.patch"]
        if self.spec.get("model.head") != "forecast":
            v = torch.where(tokens > 255, 0.0, tokens.double() / 127.5 - 1)
            return v.reshape(B, -1, P)
        v = self.halves(tokens)
        missing, self.mean = torch.isnan(v), v.nanmean(1, keepdim=True).nan_to_num()
        spread = ((v - self.mean) ** 2).nanmean(1, keepdim=True)
        self.deviation = torch.where(torch.isnan(spread), 1.0, torch.sqrt(spread + 1e-5))
        x = torch.where(missing, 0.0, (v - self.mean) / self.deviation)
        return torch.cat([x.reshape(B, -1, P), missing.double().reshape(B, -1, P)], dim=-1)

    def squared_error(self, said, targets):
        v = self.halves(targets)
        asked = ~torch.isnan(v)
        error = self.mean + self.deviation * said.reshape(targets.shape) - v.nan_to_num()
        return (error ** 2 * asked).sum() / asked.sum()

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
        if self.spec.get("model.head") == "forecast":
            ce, nll = self.squared_error(logits, targets), None
        else:
            p = torch.softmax(logits, -1)
            if self.spec.get("model.head") == "copy":
                p = self.with_copies(p, tokens)
            P = self.spec.get("model.patch") or 1       # a position answers what its last token is asked
            nll = -p.gather(-1, targets[:, P - 1::P, None]).log()
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
