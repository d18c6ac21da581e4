"""Attention, for model.py: rotary positions, grouped queries, windows, chosen segments, summaries. Sources stand
there."""
import math

import torch

from layout import heads_of, kv_heads


class Attention:
    """Of a model: self.p are its parameters, self.document the number of each token's document. H heads of
    queries, S of keys and values; RoPE turns the pair of channels (i, i + dh/2) of a head at place t by the
    angle t base^(-2 i / dh); q, k turned, v not."""

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
        if keys.get("segment") and keys.get("earlier") == "summary":
            return self.summarised(q, k, v, keys["segment"])
        score = torch.einsum("bthc,bshc->bhts", q, k) / math.sqrt(q.shape[-1])
        back = torch.arange(T)[:, None] - torch.arange(T)[None, :]
        hidden = (back < 0) | (back >= (keys.get("window") or T))
        other = self.document[:, None, :, None] != self.document[:, None, None, :]
        if keys.get("segment"):
            other = other | ~self.chosen_segments(q, k, keys)
        weight = torch.softmax(score.masked_fill(hidden | other, -math.inf), dim=-1)
        return torch.einsum("bhts,bshc->bthc", weight, v).reshape(B, T, -1)

    def summarised(self, q, k, v, S):
        """Each query alone: the mean key and value of every earlier segment of its document, then the tokens of its
        own up to itself, all in one softmax."""
        B, T, H, dh = q.shape
        y = []
        for b in range(B):
            for t in range(T):
                first = int((self.document[b] == self.document[b, t]).int().argmax())
                own = first + (t - first) // S * S
                rows = [[x[b, s:s + S].mean(0) for s in range(first, own, S)] + list(x[b, own:t + 1]) for x in (k, v)]
                K, V = (torch.stack(r) for r in rows)       # [rows, H, dh]
                weight = torch.softmax((K * q[b, t]).sum(-1) / math.sqrt(dh), dim=0)
                y.append((weight[..., None] * V).sum(0))
        return torch.stack(y).reshape(B, T, -1)

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
