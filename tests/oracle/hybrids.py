"""Layers made of others, for model.py: attention with Mamba in one layer, a block shared by several, layers for
picked tokens alone. Sources stand there."""
import math

import torch

from layout import heads_of, kv_heads, pattern_entry
from recurrences import activation, default_width


class Hybrids:
    """Of a model: self.p are its parameters, self.stream what its residual layers have added up, self.document
    the number of each token's document."""

    # --- hybrids of attention and Mamba

    def mean_of_paths(self, a, b, name, keys):
        """s a / rms(a) + (1 - s) b / rms(b), each times weights of its channels if there are any; s: a number, or one
        for each channel."""
        root = lambda x: torch.sqrt((x ** 2).mean(-1, keepdim=True) + self.spec["model.norm_eps"])
        a, b = a / root(a), b / root(b)
        if keys["weights"]:
            a, b = a * self.p[name + ".weight_a"], b * self.p[name + ".weight_b"]
        s = 0.5 if keys["alpha"] == "fixed" else torch.sigmoid(self.p[name + ".alpha"])
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
        """Mamba with attention of the convolved stream added to input or output of the scan, or with attention of
        the stream in place of the convolution."""
        width = default_width(keys["width"], self.D // 2)
        H, S = heads_of(width, attn), kv_heads(width, attn)
        u, z = (x @ self.p[mixer + ".in_proj.weight"].T).chunk(2, dim=-1)
        if keys["place"] != "conv":
            u = activation("silu", self.convolution(u, mixer))
        q, k, v = (u @ self.p[name + ".qkv.weight"].T).split([width] + [width // H * S] * 2, dim=-1)
        more = self.attend(q, k, v, H, S, attn) @ self.p[name + ".out.weight"].T
        if keys["place"] == "input":
            y = self.ssm(u + more, z, mixer, ssm)
        elif keys["place"] == "conv":
            y = self.ssm(activation("silu", u + more), z, mixer, ssm)
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
