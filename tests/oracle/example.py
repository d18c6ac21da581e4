#!/usr/bin/python3 -B
"""example.py TRACE OWN: the whole way of README.md with a Mamba of one's own: modules named as in a trace,
weights and tokens from TRACE, its own logits, outputs, gradients and losses to OWN. Then:

    moelab trace compare TRACE OWN"""
import json
import sys

import torch
import torch.nn.functional as F
from torch import nn

import tensors


class Mixer(nn.Module):
    def __init__(self, D, I, N, R, K):
        super().__init__()
        self.in_proj = nn.Linear(D, 2 * I, bias=False)
        self.conv1d = nn.Conv1d(I, I, K, groups=I, padding=K - 1)
        self.x_proj = nn.Linear(I, R + 2 * N, bias=False)
        self.dt_proj = nn.Linear(R, I)
        self.A_log = nn.Parameter(torch.empty(I, N))
        self.D = nn.Parameter(torch.empty(I))
        self.out_proj = nn.Linear(I, D, bias=False)
        self.sizes = [R, N, N]

    def forward(self, x):
        T = x.shape[1]
        u, z = self.in_proj(x).chunk(2, dim=-1)
        u = F.silu(self.conv1d(u.transpose(1, 2))[..., :T].transpose(1, 2))
        dt, B, C = self.x_proj(u).split(self.sizes, dim=-1)
        dt, A = F.softplus(self.dt_proj(dt)), -self.A_log.exp()
        h, ys = torch.zeros(x.shape[0], *A.shape), []
        for t in range(T):
            h = torch.exp(dt[:, t, :, None] * A) * h + (dt * u)[:, t, :, None] * B[:, t, None]
            ys.append((h @ C[:, t, :, None])[..., 0] + self.D * u[:, t])
        return self.out_proj(torch.stack(ys, 1) * F.silu(z))


class Layer(nn.Module):
    def __init__(self, D, *sizes):
        super().__init__()
        self.norm = nn.LayerNorm(D)
        self.mixer = Mixer(D, *sizes)

    def forward(self, x):
        return x + self.mixer(self.norm(x))


class Mamba(nn.Module):
    def __init__(self, V, D, n_layers, *sizes):
        super().__init__()
        self.embedding = nn.Embedding(V, D)
        self.layers = nn.ModuleList(Layer(D, *sizes) for _ in range(n_layers))
        self.lm_head = nn.Linear(D, V, bias=False)

    def forward(self, tokens):
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.lm_head(x)


def main(trace, own):
    file, meta = tensors.load(trace)
    spec = json.loads(meta["spec"])
    assert spec["model.arch"] == "mamba" and spec["model.norm"] == "layernorm"
    V, D = file["param.embedding.weight"].shape
    I, N = file["param.layers.0.mixer.A_log"].shape
    R = file["param.layers.0.mixer.dt_proj.weight"].shape[1]
    model = Mamba(V, D, spec["model.n_blocks"], I, N, R, spec["model.ssm.d_conv"])
    model.load_state_dict({n[6:]: torch.tensor(a) for n, a in file.items() if n.startswith("param.")})

    out = {}
    for name, module in model.named_modules():      # outputs of modules carry the module's name
        if name.endswith(("embedding", "norm", "mixer")):
            module.register_forward_hook(
                lambda _, __, y, name="output." + name: out.update({name: y.detach().numpy()}))
    logits = model(torch.tensor(file["tokens"].astype("int64")))
    loss = F.cross_entropy(logits.flatten(0, 1), torch.tensor(file["targets"].astype("int64")).flatten())
    loss.backward()
    out["logits"] = logits.detach().numpy()
    out.update({"grad." + n: p.grad.numpy() for n, p in model.named_parameters()})
    tensors.save(own, out, {"ce": str(loss.item())})


main(*sys.argv[1:])
