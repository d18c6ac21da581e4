"""Mixtures of experts, for model.py: routers, experts, losses, and what moves by counts. Sources stand there."""
import math

import torch
import torch.nn.functional as F

import noise
from recurrences import default_width, expert_borders


def even_loads(bias, count, rate):
    """Wang et al. 2024, arXiv:2408.15664, algorithm 1: up where an expert was wanted less than the mean,
    down elsewhere; centred, which changes no choice."""
    count = count.to(bias.dtype)
    sign = torch.sign(count.mean() - count)
    return bias + rate * (sign - sign.mean())


class Mixtures:
    """Of a model: self.p are its parameters, self.routes, self.routers, self.states, self.policies and self.margin
    what its mixtures leave (Model.__call__). N tokens, E experts, K choices of a token."""

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
        keys["borders"] = expert_borders(keys, keys["n_experts"],
                                         default_width(keys["d_expert"], 3 * self.spec["model.d_model"]) // G)
        y = (self.mixed if keys.get("select", "topk") == "tokens" else self.routed)(x, name, keys)
        if keys.get("n_shared", 0):
            up, down = (self.p[f"{name}.shared.{part}.weight"] for part in ("in", "out"))
            y = y + self.units(x @ up.T, keys, keys.get("expert") == "gated") @ down.T
        self.outputs[name] = y
        return y

    def routed(self, x, name, keys, send=True):
        B, T, _ = x.shape
        flat, select, E = x.reshape(B * T, -1), keys.get("select", "topk"), keys["n_experts"]
        group = default_width(keys["group_tokens"] or keys.get("group_sequences", 0) * T, B * T)
        assigned = select in ("hash", "place")
        if assigned:
            choice = self.assigned(select, name, keys)
            score = torch.zeros(B * T, E).scatter(1, choice, 1 / choice.shape[1])
        else:
            logits = self.jittered(flat, name, keys) @ self.p[name + ".router.weight"].T
            noisy, sigma = self.noisy(logits, flat, name, keys)
            score = self.score(logits if select == "sample" else noisy, name, keys)
        if select.startswith("expert_choice"):
            keep, cutoff = self.taken(score.detach(), B, T, keys)
            self.move(name + ".router.cutoff", lambda old: old + keys["cutoff_rate"] * (cutoff - old))
            choice = taken = torch.where(keep, torch.arange(E), -1)
        else:
            if not assigned:
                choice = self.chosen((noisy if select == "sample" else score).detach(), name, keys)
            moved = keys.get("drop_target") or keys.get("capacity_decay")
            share = self.p[name + ".router.capacity"].item() if moved else 1
            taken = self.passed_on(choice, score.detach(), name, E, group, keys, share)
            keep = self.first_come(taken, score.detach(), E, group, keys, share)
        K = choice.shape[1]
        gate = self.weights(score, taken, keys) * keep
        y = self.sent(flat, name, keys, taken, keep, gate) if send else None
        losses = {} if assigned else self.router_losses(logits, score, choice, keys, group, T)
        if keys.get("load"):
            losses["load"] = self.load_loss(logits, noisy, sigma, keys, group, T)
        self.controlled(losses, choice, keep, name, keys)
        self.routers.append((keys, losses))
        if select == "sample":
            self.policies.append((keys, name, score.gather(1, choice)[:, 0]))
        shape = (B, T) if K == 1 else (B, T, K)
        self.routes[name] = tuple(t.reshape(shape) for t in (taken, keep, gate))
        return y.reshape(B, T, -1) if send else (taken, keep, gate)

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
        up, down = self.p[name + ".w1"], self.p[name + ".w2"]
        if keys.get("borders"):     # HMoE: Wang et al. 2024, arXiv:2408.10681
            twice, (begin, end) = 2 if kind == "gated" else 1, keys["borders"][e:e + 2]
            return self.units(x @ up[twice * begin:twice * end].T, keys, kind == "gated") @ down[:, begin:end].T
        return self.units(x @ up[e].T, keys, kind == "gated") @ down[e].T

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
        if keys.get("capacity_decay"):
            least = keys["capacity_least"] / keys["capacity_factor"]
            self.move(name + ".router.capacity", lambda old: (old * math.exp(-keys["capacity_decay"])).clamp(least, 1))

    def chosen(self, score, name, keys):
        """[N, K]: the experts of each token, best first, and the lowest of equal ones; -1: none."""
        (N, E), k, select, choice = score.shape, keys.get("top_k", 1), keys.get("select", "topk"), None
        own = score
        if keys.get("bias_rate"):
            score = score + self.p[name + ".router.bias"].detach()
        width = min(keys["max_k"], E) if select == "threshold" else k
        value, choice = torch.sort(score, dim=-1, descending=True, stable=True)
        if width < E:
            self.watch_margin(score, width)
        value, choice = value[:, :width], choice[:, :width].clone()
        if select == "topp":        # Huang et al. 2024, arXiv:2403.07652: up to the one that exceeds the sum
            value = own.gather(1, choice)       # a bias orders experts and is no part of the sum
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
            w = w / (w.sum(-1, keepdim=True) + 1e-20)   # a token may have no expert
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
    def first_come(choice, score, E, group, keys, share=1):
        """In each routing group an expert takes the first int(factor * K * tokens / E) choices, at least
        one; 0: all. Token by token, and of a token the better choice first; or all firsts before any second
        (GShard: Lepikhin et al. 2020, arXiv:2006.16668, algorithm 1), where tokens may come by the score of their
        first (Riquelme et al. 2021, arXiv:2106.05974, algorithm 2)."""
        (N, K), order, capacity = choice.shape, keys.get("order", "token"), Mixtures.capacity(E, group, keys, share)
        first = score.gather(1, choice[:, :1].clamp(min=0))[:, 0].masked_fill(choice[:, 0] < 0, -math.inf).tolist()
        keep = torch.zeros(N, K, dtype=torch.bool)
        for begin in range(0, N, group):
            own, taken = range(begin, begin + group), [0] * E
            if order == "gate":
                own = sorted(own, key=lambda t: -first[t])
            by_token = order == "token"
            turns = [(t, k) for t in own for k in range(K)] if by_token else [(t, k) for k in range(K) for t in own]
            for t, k in turns:
                e = choice[t, k].item()
                keep[t, k] = e >= 0 and taken[e] < capacity
                taken[e] += e >= 0
        return keep

    @staticmethod
    def capacity(E, group, keys, share):
        if not keys["capacity_factor"]:
            return math.inf
        whole = max(1, int(keys["capacity_factor"] * keys.get("top_k", 1) * group / E))
        return max(1, int(share * whole))

    def passed_on(self, choice, score, name, E, group, keys, share):
        """Where choices go, token by token: one of a full expert to the best that has room and that the token has
        neither named nor got; it stays where there is none."""
        if keys.get("overflow", "drop") == "drop":
            return choice
        if keys.get("bias_rate"):
            score = score + self.p[name + ".router.bias"].detach()
        taken = choice.clone()
        for t, k in ((t, k) for t in range(len(choice)) for k in range(choice.shape[1])):
            if t % group == 0 and k == 0:
                left = torch.full((E,), self.capacity(E, group, keys, share))
            e = choice[t, k].item()
            if e >= 0 and left[e] <= 0:
                free = left > 0
                free[[i for i in choice[t].tolist() + taken[t, :k].tolist() if i >= 0]] = False
                e = score[t].masked_fill(~free, -math.inf).argmax().item() if free.any() else -1
                taken[t, k] = e if e >= 0 else choice[t, k]
            if e >= 0:
                left[e] -= 1
        return taken

    def assigned(self, select, name, keys):
        """[N, K]: experts by a hash of the token's id (Roller et al. 2021, arXiv:2106.04426), drawn as src/op/assign.h
        has it, or by its place in the document."""
        E, k = keys["n_experts"], torch.arange(keys.get("top_k", 1))
        if select == "place":
            before = (self.document[:, None, :] < self.document[:, :, None]).sum(-1)
            return ((torch.arange(before.shape[1]) - before).flatten()[:, None] + k) % E
        first, by = zip(*(noise.walk(name, token, E) for token in self.tokens.flatten().tolist()))
        return (torch.tensor(first)[:, None] + torch.tensor(by)[:, None] * k) % E

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
            if keys.get("balance_by") == "width" and keys.get("borders"):      # HMoE, eq. 5
                widths = torch.tensor(keys["borders"], dtype=p.dtype).diff()
                f = f * widths / widths.mean()
            mean = p[own].mean(0)
            each.append(torch.stack([E * (f * mean).sum(), (torch.logsumexp(logits[own], -1) ** 2).mean(),
                                     mean.var(unbiased=False) / mean.mean() ** 2, -entropy(mean),
                                     entropy(p[own]).mean()]))
        names = ("balance", "z_loss", "importance", "mean_entropy", "token_entropy")
        return dict(zip(names, torch.stack(each).mean(0)))
