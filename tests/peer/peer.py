#!/usr/bin/env -S python3 -B
"""peer.py TRACE [--threads T] [--scan NAME]: train the model of a trace with PyTorch, on the CPU.

The first step is the one of the trace: loss, gradients and their norm must be moelab's, else the exit
status is 1, for then these are two models. After it each line read, a number N, has N further steps made
on random tokens and timed, and is answered by a line of JSON; at the end comes one with the peak memory.

    echo 5 | tests/peer/peer.py TRACE

--choose prints which scan is fastest at the sizes of the trace, and trains nothing."""
import argparse
import json
import math
import os
import resource
import sys
import time

import torch

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../oracle"))

import nets
import scan
import tensors
from model import decays, default_width, learning_rate

# A token whose two best experts are nearly equal may go either way, and moves its experts' gradients.
LIMITS = {"loss": 1e-3, "grad_norm": 1e-2, "gradient": 0.1}


def say(**answer):
    print(json.dumps(answer), flush=True)


# --- the optimiser -------------------------------------------------------------------------------

KINDS = ({"fused": True}, {"foreach": True}, {"foreach": False})


def update_seconds(kind):
    weights = [torch.nn.Parameter(torch.zeros(512, 512)) for _ in range(16)]
    for w in weights:
        w.grad = torch.ones_like(w)
    optimiser = torch.optim.AdamW(weights, **kind)
    seconds = []
    for _ in range(4):
        start = time.perf_counter()
        optimiser.step()
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def fastest_kind():
    """The keyword of the fastest AdamW that this PyTorch has for a CPU."""
    report = {}
    for i, kind in enumerate(KINDS):
        try:
            report[i] = update_seconds(kind)
        except (TypeError, RuntimeError):       # unknown, or for GPUs alone
            pass
    return KINDS[min(report, key=report.get)]


def adamw(spec, model):
    yes = [p for n, p in model.named_parameters() if decays(spec, n)]
    no = [p for n, p in model.named_parameters() if not decays(spec, n)]
    groups = [{"params": yes, "weight_decay": spec["train.weight_decay"]}]
    groups += [{"params": no, "weight_decay": 0}] if no else []
    kind = fastest_kind()
    return torch.optim.AdamW(groups, betas=(spec["train.beta1"], spec["train.beta2"]),
                             eps=spec["train.eps"], **kind), "/".join(f"{k}={v}" for k, v in kind.items())


# --- the trace -----------------------------------------------------------------------------------

class Trace:
    def __init__(self, path):
        self.path = path
        self.entries, self.meta = tensors.index(path)
        self.spec = json.loads(self.meta["spec"])
        self.vocabulary = self.entries["param.lm_head.weight"][1][0]
        batch, context = self.entries["tokens"][1]
        if self.spec["train.micro_batch"] not in (0, batch) or int(self.meta["step"]):
            raise ValueError("the peer takes traces of the first step, without micro-batches")
        self.shape = batch, context

    def tensor(self, name):
        return torch.from_numpy(tensors.read(self.path, self.entries[name]))

    def batch(self):
        return self.tensor("tokens").long(), self.tensor("targets").long()

    def parts(self, kind, model):
        """Yields (name, [(parameter, its tensor in the file)]); experts are parts of one tensor."""
        groups = {}
        for name, p in model.named_parameters():
            stem, last = name.rsplit(".", 1)
            groups.setdefault(stem if last.isdigit() else name, []).append(p)
        for name, ps in groups.items():
            whole = self.tensor(f"{kind}.{name}")
            yield name, list(zip(ps, whole if len(ps) > 1 or ps[0].ndim < whole.ndim else [whole]))


def load(trace, model):
    with torch.no_grad():
        for _, parts in trace.parts("param", model):
            for p, value in parts:
                p.copy_(value)


def gradient_errors(trace, model):
    """{tensor: relative L2 error of the gradient}."""
    errors = {}
    for name, parts in trace.parts("grad", model):
        apart = sum(float(((0 if p.grad is None else p.grad) - g).norm()) ** 2 for p, g in parts)
        size = sum(float(g.norm()) ** 2 for _, g in parts)
        errors[name] = math.sqrt(apart / size) if size else math.inf if apart else 0.0
    return errors


# --- training ------------------------------------------------------------------------------------

class Trainer:
    def __init__(self, trace, model):
        self.spec, self.model, self.done = trace.spec, model, 0
        self.optimiser, self.kind = adamw(self.spec, model)

    def gradients(self, tokens, targets):
        """The loss; gradients are in the parameters."""
        self.optimiser.zero_grad(set_to_none=True)
        loss = sum(self.model.losses(tokens, targets))
        loss.backward()
        return loss.item()

    def update(self):
        """The norm of the gradients before clipping; None if there is none."""
        clip = self.spec["train.clip"]
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), clip) if clip else None
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(self.spec, self.done)
        self.optimiser.step()
        self.done += 1
        return norm

    def timed_step(self, tokens, targets):
        start = time.perf_counter()
        self.gradients(tokens, targets)
        self.update()
        return time.perf_counter() - start


def check(trace, trainer):
    """Makes the step of the trace, says how far apart the two are; True if they are the same."""
    loss = trainer.gradients(*trace.batch())
    errors = gradient_errors(trace, trainer.model)
    norm = trainer.update()
    worst = max(errors, key=errors.get)
    theirs, their_norm = (float(trace.meta[k]) for k in ("loss", "grad_norm"))
    apart = {"loss": abs(loss - theirs), "gradient": errors[worst],
             "grad_norm": abs(float(norm) / their_norm - 1) if norm is not None else 0.0}
    same = all(apart[k] <= LIMITS[k] for k in LIMITS)
    say(loss=loss, moelab=theirs, apart=apart, worst=worst, same=same, adamw=trainer.kind,
        torch=torch.__version__, threads=torch.get_num_threads())
    return same


def random_batch(trace):
    return (torch.randint(trace.vocabulary, trace.shape) for _ in range(2))


def scan_sizes(trace):
    """(B, T, I, N), or None if there is no Mamba."""
    if not any(n.endswith(".A_log") for n in trace.entries):
        return None
    spec = trace.spec
    return *trace.shape, round(spec["model.ssm.expand"] * spec["model.d_model"]), spec["model.ssm.d_state"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scan", default="parallel", choices=list(scan.MAKERS))
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("trace")
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    trace = Trace(a.trace)
    if a.choose:
        sizes = scan_sizes(trace)
        name, report = scan.choose(*sizes) if sizes else ("none", {})
        return say(scan=name, report=report)
    model = nets.Model(trace.spec, trace.vocabulary, scan.MAKERS[a.scan]())
    load(trace, model)
    trainer = Trainer(trace, model)
    if not check(trace, trainer):
        return 1
    for line in sys.stdin:
        say(seconds=[trainer.timed_step(*random_batch(trace)) for _ in range(int(line))])
    say(peak_rss_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    sys.exit(main())
