"""moelab's models as a user of PyTorch writes them to train on a CPU: nn.Modules with the names of a trace,
built from the spec in its metadata. Formulas and their sources: tests/oracle/model.py, which is slow and
plain; here everything is done the fast way that PyTorch offers.

B sequences, T tokens, D channels, I inner channels, N states, H heads, E experts, V words."""
import math

import torch
import torch.nn.functional as F
from torch import nn

from model import default_width, residual_layers, section

ACTIVATIONS = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu}


def empty(*shape):
    return nn.Parameter(torch.empty(shape))


class RMSNorm(nn.Module):
    def __init__(self, D, eps):
        super().__init__()
        self.weight, self.eps = empty(D), eps

    def forward(self, x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def norm(spec, D):
    eps = spec["model.norm_eps"]
    return RMSNorm(D, eps) if spec["model.norm"] == "rmsnorm" else nn.LayerNorm(D, eps)


class FeedForward(nn.Module):
    def __init__(self, D, keys):
        super().__init__()
        hidden = default_width(keys["d_hidden"], 4 * D)
        self.add_module("in", nn.Linear(D, hidden, keys["bias"]))
        self.out = nn.Linear(hidden, D, keys["bias"])
        self.activation = ACTIVATIONS[keys["activation"]]

    def forward(self, x):
        return self.out(self.activation(getattr(self, "in")(x)))


def attend(q, k, v):
    """[B, H, T, D / H] each; causal."""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)
    T, width = q.shape[-2:]
    score = q @ k.transpose(-2, -1) / math.sqrt(width)
    future = torch.ones(T, T, dtype=torch.bool).triu(1)
    return score.masked_fill(future, -math.inf).softmax(-1) @ v


class Attention(nn.Module):
    def __init__(self, D, T, keys):
        super().__init__()
        self.H = default_width(keys["n_heads"], max(1, D // 64))
        self.qkv = nn.Linear(D, 3 * D, bias=False)
        self.out = nn.Linear(D, D, bias=False)
        half = D // self.H // 2
        rate = keys["rope_base"] ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.arange(T, dtype=torch.float64)[:, None] * rate
        self.cos, self.sin = angle.cos().float(), angle.sin().float()

    def rotate(self, x):
        a, b = x.chunk(2, -1)
        return torch.cat([a * self.cos - b * self.sin, a * self.sin + b * self.cos], -1)

    def forward(self, x):
        B, T, D = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.H, D // self.H).permute(2, 0, 3, 1, 4)
        y = attend(self.rotate(q), self.rotate(k), v)
        return self.out(y.transpose(1, 2).reshape(B, T, D))


class Mamba(nn.Module):
    def __init__(self, D, keys, scan):
        super().__init__()
        I, self.N, K = round(keys["expand"] * D), keys["d_state"], keys["d_conv"]
        self.R, self.scan = default_width(keys["dt_rank"], math.ceil(D / 16)), scan
        self.in_proj = nn.Linear(D, 2 * I, bias=False)
        self.conv1d = nn.Conv1d(I, I, K, groups=I, padding=K - 1)
        self.x_proj = nn.Linear(I, self.R + 2 * self.N, bias=False)
        self.dt_proj = nn.Linear(self.R, I)
        self.A_log, self.D = empty(I, self.N), empty(I)
        self.out_proj = nn.Linear(I, D, bias=False)

    def forward(self, x):
        u, z = self.in_proj(x).chunk(2, -1)
        u = F.silu(self.conv1d(u.transpose(1, 2))[..., :x.shape[1]].transpose(1, 2))
        dt, B, C = self.x_proj(u).split([self.R, self.N, self.N], -1)
        dt = F.softplus(self.dt_proj(dt))
        y = self.scan(u, dt, -torch.exp(self.A_log), B, C)
        return self.out_proj((y + self.D * u) * F.silu(z))


class Mixture(nn.Module):
    """Switch routing. An expert takes the first `capacity` tokens that chose it, gathers them by index and
    works on them alone; each has weights of its own, so no gradient is summed into a stack of all."""

    def __init__(self, D, tokens, keys):
        super().__init__()
        E, hidden = keys["n_experts"], default_width(keys["d_expert"], 3 * D)
        if keys["group_tokens"] not in (0, tokens):
            raise ValueError("the peer routes a batch as one group: leave model.moe.group_tokens at 0")
        self.router = nn.Linear(D, E, bias=False)
        self.w1 = nn.ParameterList(empty(hidden, D) for _ in range(E))
        self.w2 = nn.ParameterList(empty(D, hidden) for _ in range(E))
        self.capacity = max(1, int(keys["capacity_factor"] * tokens / E))
        self.activation, self.keys = ACTIVATIONS[keys["activation"]], keys

    def losses(self, logits, prob, counts):
        """The weighted balance and z losses."""
        tokens, E = prob.shape
        balance = E / tokens * (counts * prob.mean(0)).sum()
        z = self.keys["z_loss"]
        return self.keys["balance"] * balance + (z * logits.logsumexp(-1).square().mean() if z else 0)

    def forward(self, x):
        flat = x.flatten(0, 1)
        logits = self.router(flat)
        prob = logits.softmax(-1)
        gate, choice = prob.max(-1)
        counts = torch.bincount(choice, minlength=len(self.w1))
        self.loss = self.losses(logits, prob, counts)
        queues = torch.sort(choice, stable=True)[1].split(counts.tolist())
        takes = [queue[:self.capacity] for queue in queues]
        taken = torch.cat(takes)
        rows = flat.index_select(0, taken).split([len(t) for t in takes])
        out = torch.cat([F.linear(self.activation(F.linear(r, w1)), w2)
                         for r, w1, w2 in zip(rows, self.w1, self.w2)])
        out = out * gate.index_select(0, taken)[:, None]
        return torch.zeros_like(flat).index_copy(0, taken, out).view_as(x)


NAMES = {"mamba": "mixer"}      # of a branch in a trace, where it is not its kind


class Layer(nn.Module):
    """x + the sum of branches of norm(x)."""

    def __init__(self, spec, branches, scan):
        super().__init__()
        D, T = spec["model.d_model"], spec["train.context"]
        self.norm = norm(spec, D)
        self.branches = []
        for kind, own in branches:
            part = {"mamba": "ssm"}.get(kind, kind)
            keys = {**section(spec, f"model.{part}."), **own}
            module = {"mamba": lambda: Mamba(D, keys, scan), "attn": lambda: Attention(D, T, keys),
                      "ffn": lambda: FeedForward(D, keys),
                      "moe": lambda: Mixture(D, T * spec["train.batch"], keys)}[kind]()
            self.add_module(NAMES.get(kind, kind), module)
            self.branches.append(module)

    def forward(self, x):
        n = self.norm(x)
        for branch in self.branches:
            x = x + branch(n)
        return x


class Model(nn.Module):
    def __init__(self, spec, V, scan):
        super().__init__()
        D = spec["model.d_model"]
        self.spec = spec
        self.embedding = nn.Embedding(V, D)
        self.layers = nn.ModuleList(Layer(spec, b, scan) for b in residual_layers(spec))
        self.final_norm = norm(spec, D) if spec["model.final_norm"] else nn.Identity()
        self.lm_head = nn.Linear(D, V, bias=False)
        self.mixtures = [m for m in self.modules() if isinstance(m, Mixture)]

    def losses(self, tokens, targets):
        """(cross entropy, weighted auxiliary losses)."""
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        logits = self.lm_head(self.final_norm(x))
        ce = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        shares = [m.loss / (len(self.mixtures) if m.keys["aux_reduce"] == "mean" else 1)
                  for m in self.mixtures]
        return ce, sum(shares, torch.zeros(()))
