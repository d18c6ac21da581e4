"""What goes through a sequence token by token, for model.py: convolution, Mamba's scan, Mamba-2, Mamba-3, the
gated delta rule. Sources stand there."""
import math

import torch
import torch.nn.functional as F


def activation(name, x):
    if name == "relu":
        return torch.clamp(x, min=0)
    if name == "silu":
        return x * torch.sigmoid(x)
    if name == "gelu":
        return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    raise ValueError(name)


def default_width(value, otherwise):
    return value if value else otherwise


def expert_borders(keys, E, hidden):
    """Where the units of E experts, `hidden` wide in the mean, begin and end: [E + 1]; None: all are as wide."""
    parts = [int(n) for n in keys.get("expert_sizes", "").split(":") if n]
    if len(set(parts)) < 2:
        return None
    turn = [len(parts) * hidden * sum(parts[:i]) // sum(parts) for i in range(len(parts))]
    return [turn[e % len(parts)] + e // len(parts) * len(parts) * hidden for e in range(E)] + [E * hidden]


def gdn_sizes(D, keys):
    """Heads, channels of a key and of a value."""
    K = keys["d_key"]
    return default_width(keys["n_heads"], max(1, D * 3 // 4 // K)), K, default_width(keys["d_value"], 2 * K)


class Recurrences:
    """Of a model: self.p are its parameters, self.document the number of each token's document."""

    def convolution(self, x, name):
        """Causal, one filter a channel; the last tap is the present token. Tokens of other documents
        count as zeros."""
        w, b = self.p[name + ".conv1d.weight"], self.p.get(name + ".conv1d.bias", 0)
        K, T = w.shape[-1], x.shape[1]
        past, document = F.pad(x, (0, 0, K - 1, 0)), F.pad(self.document, (K - 1, 0), value=-1)
        own = [(document[:, k:k + T] == self.document)[..., None] for k in range(K)]
        return sum(own[k] * past[:, k:k + T] * w[:, 0, k] for k in range(K)) + b

    def selective_scan(self, u, dt, B, C, name):
        """h_t = exp(dt A) h_{t-1} + dt B u_t;  y_t = C h_t + D u_t, token by token; in front of a
        document h is 0."""
        A = -torch.exp(self.p[name + ".A_log"])
        h = torch.zeros(u.shape[0], *A.shape, dtype=u.dtype)
        ys = []
        for t in range(u.shape[1]):
            if t:
                h = h * (self.document[:, t] == self.document[:, t - 1])[:, None, None]
            step = dt[:, t, :, None]
            h = torch.exp(step * A) * h + step * B[:, t, None, :] * u[:, t, :, None]
            ys.append((h * C[:, t, None, :]).sum(-1))
        return torch.stack(ys, dim=1) + self.p[name + ".D"] * u

    def ssm(self, u, z, name, keys):
        """From the convolved u and the gate z to what the output projection reads."""
        N, R = keys["d_state"], default_width(keys["dt_rank"], math.ceil(self.D / 16))
        dt, B, C = (u @ self.p[name + ".x_proj.weight"].T).split([R, N, N], dim=-1)
        if keys.get("norm"):
            dt, B, C = (v / torch.sqrt((v ** 2).mean(-1, keepdim=True) + self.spec["model.norm_eps"]) *
                        self.p[f"{name}.{which}_layernorm.weight"] for v, which in ((dt, "dt"), (B, "b"), (C, "c")))
        dt = torch.log1p(torch.exp(dt @ self.p[name + ".dt_proj.weight"].T +
                                   self.p[name + ".dt_proj.bias"]))
        return self.selective_scan(u, dt, B, C, name) * activation("silu", z)

    # --- Mamba-2: the state of a head is a matrix [P, N] that one number decays

    def mamba2(self, x, name, keys):
        I, P, G, N = round(keys["expand"] * self.D), keys["d_head"], keys["n_groups"], keys["d_state"]
        z, mixed, dt = (x @ self.p[name + ".in_proj.weight"].T).split(
            [I, I + 2 * G * N, I // P], dim=-1)
        u, B, C = activation("silu", self.convolution(mixed, name)).split([I, G * N, G * N], dim=-1)
        dt = torch.log1p(torch.exp(dt + self.p[name + ".dt_bias"]))
        y = self.ssd(u.unflatten(-1, (-1, P)), dt, B.unflatten(-1, (G, N)), C.unflatten(-1, (G, N)), name)
        y = (y.flatten(2) * activation("silu", z)).unflatten(-1, (G, -1))
        y = y / torch.sqrt((y ** 2).mean(-1, keepdim=True) + keys["norm_eps"])
        return (y.flatten(2) * self.p[name + ".norm.weight"]) @ self.p[name + ".out_proj.weight"].T

    def ssd(self, u, dt, B, C, name):
        """h_t = exp(dt A) h_{t-1} + dt u_t B_t^T;  y_t = h_t C_t + D u_t, token by token; in front of a
        document h is 0. B and C serve the heads of their group."""
        A, D = -torch.exp(self.p[name + ".A_log"]), self.p[name + ".D"]
        heads = u.shape[2] // B.shape[2]
        B, C = B.repeat_interleave(heads, dim=2), C.repeat_interleave(heads, dim=2)
        h = torch.zeros(*u[:, 0].shape, B.shape[-1], dtype=u.dtype)
        ys = []
        for t in range(u.shape[1]):
            if t:
                h = h * (self.document[:, t] == self.document[:, t - 1])[:, None, None, None]
            left = torch.exp(dt[:, t] * A)[..., None, None]
            h = left * h + (dt[:, t, :, None] * u[:, t])[..., None] * B[:, t, :, None, :]
            ys.append((h * C[:, t, :, None, :]).sum(-1))
        return torch.stack(ys, dim=1) + D[:, None] * u

    # --- Mamba-3: a state takes in the token in front once more, and turns by an angle of each token

    def mamba3(self, x, name, keys):
        I, P, G, N = round(keys["expand"] * self.D), keys["d_head"], keys["n_groups"], keys["d_state"]
        H, S = I // P, int(keys["turned"] * N / 2)
        z, u, B, C, dt, a, l, angle = (x @ self.p[name + ".in_proj.weight"].T).split(
            [I, I, G * N, G * N, H, H, H, S], dim=-1)
        dt = torch.log1p(torch.exp(dt + self.p[name + ".dt_bias"]))
        rate = torch.clamp(torch.where(a >= 0, 1 + a, 1 / (1 - torch.clamp(a, max=0))), min=1e-4)
        phi = self.phases(math.pi * torch.tanh(angle)[:, :, None, :] * dt[..., None])
        B, C = (self.turned(v.unflatten(-1, (G, N)), f"{name}.{letter}", phi, keys["norm_eps"])
                for v, letter in ((B, "B"), (C, "C")))
        y = self.trapezoid(u.unflatten(-1, (H, P)), dt, torch.exp(-dt * rate), torch.sigmoid(l), B, C)
        y = (y + self.p[name + ".D"][:, None] * u.unflatten(-1, (H, P))).flatten(2)
        return (y * activation("silu", z)) @ self.p[name + ".out_proj.weight"].T

    def same_document(self, t):
        """Is token t in the document of the one in front?"""
        return (self.document[:, t] == self.document[:, t - 1]) & (t > 0)

    def phases(self, step):
        """Sums of the steps [B, T, H, S] within documents."""
        phi, each = torch.zeros_like(step[:, 0]), []
        for t in range(step.shape[1]):
            phi = phi * self.same_document(t)[:, None, None] + step[:, t]
            each.append(phi)
        return torch.stack(each, dim=1)

    def turned(self, v, name, phi, eps):
        """Of the groups' v [B, T, G, N] the heads' [B, T, H, N]: neighbouring columns are a complex number."""
        v = v / torch.sqrt((v ** 2).mean(-1, keepdim=True) + eps) * self.p[name + "_norm.weight"]
        v = v.repeat_interleave(phi.shape[2] // v.shape[2], dim=2) + self.p[name + "_bias"]
        S = phi.shape[-1]
        pair = torch.view_as_complex(v[..., :2 * S].unflatten(-1, (S, 2)).contiguous())
        pair = torch.view_as_real(pair * torch.polar(torch.ones_like(phi), phi)).flatten(-2)
        return torch.cat([pair, v[..., 2 * S:]], dim=-1)

    def trapezoid(self, u, dt, left, l, B, C):
        """h_t = left h_{t-1} + (1 - l) dt left u_{t-1} B_{t-1}^T + l dt u_t B_t^T;  y_t = h_t C_t, token by
        token; a document has nothing in front."""
        outer = torch.einsum("bthp,bthn->bthpn", u, B)
        h, ys = torch.zeros_like(outer[:, 0]), []
        for t in range(u.shape[1]):
            d, e, lam = (a[:, t, :, None, None] for a in (dt, left, l))
            before = self.same_document(t)[:, None, None, None] * (h + (1 - lam) * d * outer[:, t - 1])
            h = e * before + lam * d * outer[:, t]
            ys.append(torch.einsum("bhpn,bhn->bhp", h, C[:, t]))
        return torch.stack(ys, dim=1)

    # --- Gated DeltaNet: a memory [K, V] a head; what a key recalls is erased before its value is written

    def gdn(self, x, name, keys):
        H, K, V = gdn_sizes(self.D, keys)
        mixed, z, b, dt = (x @ self.p[name + ".in_proj.weight"].T).split([H * (2 * K + V), H * V, H, H], dim=-1)
        mixed = activation("silu", self.convolution(mixed, name))
        q, k, v = (a.unflatten(-1, (H, -1)) for a in mixed.split([H * K, H * K, H * V], dim=-1))
        q, k = (a / torch.sqrt((a ** 2).sum(-1, keepdim=True) + 1e-6) for a in (q, k))
        dt = torch.log1p(torch.exp(dt + self.p[name + ".dt_bias"]))
        left = torch.exp(-dt * torch.exp(self.p[name + ".A_log"]))
        y = self.delta_rule(q / math.sqrt(K), k, v, torch.sigmoid(b), left)
        y = y / torch.sqrt((y ** 2).mean(-1, keepdim=True) + keys["norm_eps"]) * self.p[name + ".norm.weight"]
        return (y.flatten(2) * activation("silu", z)) @ self.p[name + ".out_proj.weight"].T

    def delta_rule(self, q, k, v, beta, left):
        """S <- left S;  S <- S + beta k (v - S^T k)^T;  y = S^T q, token by token; in front of a document
        S is 0."""
        S = torch.zeros(*k[:, 0].shape, v.shape[-1], dtype=v.dtype)
        ys = []
        for t in range(q.shape[1]):
            if t:
                S = S * (self.document[:, t] == self.document[:, t - 1])[:, None, None, None]
            S = left[:, t, :, None, None] * S
            error = v[:, t] - torch.einsum("bhkv,bhk->bhv", S, k[:, t])
            S = S + torch.einsum("bh,bhk,bhv->bhkv", beta[:, t], k[:, t], error)
            ys.append(torch.einsum("bhkv,bhk->bhv", S, q[:, t]))
        return torch.stack(ys, dim=1)
