#!/usr/bin/python3 -B
"""check.py TRACE...: recompute the step of a trace in float64 and say how far apart the two are.

Exit status 1 if one parts: logits by more than 1e-4, a gradient by more than 1e-3 (relative L2), a
number of the metadata by more than 1e-5, the change of a parameter by more than 1e-4; in traces of
float64, anything by more than 1e-9. Routes must be the same."""
import json
import sys

import numpy as np
import torch

import model
import shapes as shapes_of
import tensors
import update

LIMITS = {"logits": 1e-4, "outputs": 1e-4, "numbers": 1e-5, "gate": 1e-4, "grad": 1e-3, "update": 1e-4}
EXACT = 1e-9


def relative(ours, theirs):
    """L2 error of theirs against ours."""
    difference, norm = np.linalg.norm(ours - theirs), np.linalg.norm(ours)
    return 0.0 if difference == 0 else float(difference / norm) if norm else float("inf")


class Check:
    """One trace against the oracle: self.errors {what: (error, tensor)}, the worst of each kind."""

    def __init__(self, path, strict=1):
        self.strict = strict            # part of the limits that is allowed
        self.file, meta = tensors.load(path)
        self.spec, self.step = json.loads(meta["spec"]), int(meta["step"])
        self.numbers = {k: float(meta[k]) for k in ("ce", "aux", "loss", "grad_norm", "lr")}
        self.double = self.file["param.lm_head.weight"].dtype == np.float64
        self.errors = {}
        self.parts = []
        self.compute()
        self.compare()

    def blob(self, prefix):
        return {name[len(prefix):]: torch.from_numpy(a.astype(np.float64))
                for name, a in self.file.items() if name.startswith(prefix)}

    def compute(self):
        torch.set_default_dtype(torch.float64)
        self.params = self.blob("param.")
        leaves = {name: p.clone().requires_grad_() for name, p in self.params.items()}
        self.net = model.Model(self.spec, leaves, self.step)
        tokens, targets = (torch.from_numpy(self.file[n].astype(np.int64)) for n in ("tokens", "targets"))
        ce, aux, self.logits = self.net.losses(tokens, targets)
        (ce + aux).backward()
        self.grads = {name: p.grad if p.grad is not None else torch.zeros_like(p)
                      for name, p in leaves.items()}
        self.norm = update.gradient_norm(self.grads)
        self.expected = {"ce": ce.item(), "aux": aux.item(), "loss": (ce + aux).item(),
                         "grad_norm": self.norm, "lr": update.learning_rate(self.spec, self.step)}

    def note(self, kind, name, error, limit):
        limit = min(limit, EXACT) if self.double else limit * self.strict
        if not error <= limit:
            self.parts.append(f"{name}: {error:.3g}")
        if kind not in self.errors or not error <= self.errors[kind][0]:
            self.errors[kind] = (error, name)

    def compare(self):
        shapes = shapes_of.parameter_shapes(self.spec, self.logits.shape[-1])
        if {n: tuple(p.shape) for n, p in self.params.items()} != shapes:
            self.parts.append("names or shapes of parameters")
        for name, value in self.expected.items():
            scale = max(abs(value), 1e-30) if value else 1
            if name == "aux" and self.net.policies:     # a sum of advantages of either sign, as large as losses
                scale = self.expected["ce"]
            self.note("numbers", name, abs(value - self.numbers[name]) / scale, LIMITS["numbers"])
        self.compare_forward()
        for name, grad in self.grads.items():
            self.note("grad", "grad." + name, relative(grad.numpy(), self.file["grad." + name]),
                      LIMITS["grad"])
        self.compare_update()

    def compare_forward(self):
        for name, routes in self.net.routes.items():
            route, keep, gate = (t.reshape(self.file[name + ".gate"].shape) for t in routes)
            for what, ours in (("route", route), ("keep", keep)):
                wrong = (ours.numpy() != self.file[f"{name}.{what}"]).sum()
                self.note("routes", f"{name}.{what}", float(wrong), 0)
            self.note("gate", name + ".gate",
                      relative(gate.detach().numpy(), self.file[name + ".gate"]), LIMITS["gate"])
        for name, ours in self.net.outputs.items():
            if "output." + name in self.file:
                self.note("outputs", "output." + name,
                          relative(ours.detach().numpy(), self.file["output." + name]), LIMITS["outputs"])
        if "logits" in self.file:
            theirs = self.file["logits"]
            ours = self.logits.detach().numpy()[:, -theirs.shape[1]:]
            self.note("logits", "logits", float(abs(ours - theirs).max()), LIMITS["logits"])

    def compare_update(self):
        """From the trace's own gradients: Adam divides by their size, which would blow up rounding."""
        zero = {n: torch.zeros_like(p) for n, p in self.params.items()}
        m, v = (self.blob(prefix) or dict(zero) for prefix in ("moment1.", "moment2."))
        new = update.adamw(self.spec, self.step, self.params, self.blob("grad."),
                          self.numbers["grad_norm"], m, v)
        new.update(self.net.states)
        for name, theirs in self.blob("new.").items():
            old = self.params[name]
            slack = 0 if self.double else 2.0 ** -23 * abs(theirs)      # a float32 weight is rounded
            apart = torch.clamp(abs(theirs - new[name]) - slack, min=0).norm()
            change = (new[name] - old).norm()
            self.note("update", "new." + name, (apart / change).item() if apart else 0.0,
                      LIMITS["update"])

    def dropped(self):
        kept = [keep for _, keep, _ in self.net.routes.values()]
        return 1 - float(torch.cat(kept).double().mean()) if kept else None


COLUMNS = ("logits", "numbers", "routes", "gate", "outputs", "grad", "update")


def header():
    return (f"{'trace':<36}" + "".join(f"{c:>10}" for c in COLUMNS) + f"{'dropped':>9}{'margin':>9}"
            "  worst gradient")


def line(name, c):
    cells = "".join(f"{c.errors[k][0]:>10.1e}" if k in c.errors else f"{'-':>10}" for k in COLUMNS)
    drop = c.dropped()
    drop, margin = ("-", "-") if drop is None else (f"{drop:.3f}", f"{c.net.margin:.0e}")
    verdict = c.errors["grad"][1][5:] + ("   PARTS: " + "; ".join(c.parts[:3]) if c.parts else "")
    return f"{name:<36}{cells}{drop:>9}{margin:>9}  {verdict}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(header())
    failed = False
    for path in sys.argv[1:]:
        result = Check(path)
        failed |= bool(result.parts)
        print(line(path.rsplit("/", 1)[-1], result))
    sys.exit(failed)
