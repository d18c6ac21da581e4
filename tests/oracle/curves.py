#!/usr/bin/python3 -B
"""tests/oracle/curves.py [--double] [--moelab PATH] [--data DIR] [--out DIR] [ARCH...]: train each architecture for
200 steps with moelab and with the PyTorch oracle, side by side: the same weights to begin with (a trace),
the same batches (moelab data batches --ids), float32 in both. Prints by how far the losses of a step are
apart; with --out, writes the two curves of each as CSV.

Dense models must agree to 2e-3 in every step. A mixture's route is a decision: once rounding has turned
one, the runs are two runs, so there it is 2e-3 for 50 steps and 1e-2 after. With --double both are
computed in float64 (moelab on device ref: slow), and every step must agree to 1e-6.

Without --data, the text is moelab's own source."""
import argparse
import csv
import glob
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import torch

import model
import tensors
import update
from cases import ARCHITECTURES

STEPS, BATCH, CONTEXT, EARLY = 200, 8, 64, 50
SPEC = {"model.d_model": 64, "model.n_blocks": 2, "train.batch": BATCH, "train.context": CONTEXT,
        "train.tokens": STEPS * BATCH * CONTEXT, "train.lr": 2e-3, "train.warmup": 0.1,
        "eval.tokens": 1, "eval.every": STEPS}


def run(*words):
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def import_sources(moelab, folder):
    here = os.path.dirname(os.path.abspath(__file__))
    files = sorted(glob.glob(os.path.join(here, "../../src/*/*.[ch]")))
    run(moelab, "data", "import", *files, "--tokenizer", "byte", "-q", "-o", folder)
    return folder


def train_moelab(a, spec, folder):
    """Losses of each step, from the run's own records."""
    run(a.moelab, "run", spec, "--results", folder, "--device", "ref" if a.double else "cpu", "-q")
    (metrics,) = glob.glob(os.path.join(folder, "runs", "*", "metrics.jsonl"))
    with open(metrics) as f:
        records = [json.loads(text) for text in f]
    return [r["ce"] for r in records if r["t"] == "step"]


def batches(moelab, data):
    text = run(moelab, "data", "batches", data, "--ids", "-n", str(STEPS * BATCH), "--context",
               str(CONTEXT))
    rows = [[int(n) for n in row.split("\t")[1].split()] for row in text.splitlines()]
    return torch.tensor(rows).reshape(STEPS, BATCH, CONTEXT + 1)


def train_torch(start, words):
    """In the precision of the file."""
    file, meta = tensors.load(start)
    spec = json.loads(meta["spec"])
    w = {n[6:]: torch.from_numpy(a.copy()) for n, a in file.items() if n.startswith("param.")}
    m, v = ({n: torch.zeros_like(p) for n, p in w.items()} for _ in range(2))
    losses = []
    for step, batch in enumerate(words):
        leaves = {n: p.requires_grad_() for n, p in w.items()}
        ce, aux, _ = model.Model(spec, leaves).losses(batch[:, :-1], batch[:, 1:])
        (ce + aux).backward()
        grads = {n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in leaves.items()}
        plain = {n: p.detach() for n, p in leaves.items()}
        w = update.adamw(spec, step, plain, grads, update.gradient_norm(grads), m, v)
        losses.append(ce.item())
    return losses


def compare(arch, keys, a, folder, data):
    spec, start = os.path.join(folder, arch + ".yaml"), os.path.join(folder, arch + ".safetensors")
    with open(spec, "w") as f:
        json.dump({**SPEC, **keys, "model.arch": arch, "data.path": data}, f)
    run(a.moelab, "trace", spec, "-o", start, "--logits", "none", "-q", "--device",
        "ref" if a.double else "cpu")
    ours = np.array(train_moelab(a, spec, os.path.join(folder, arch)))
    theirs = np.array(train_torch(start, batches(a.moelab, data)))
    if a.out:
        with open(os.path.join(a.out, arch + ".csv"), "w", newline="") as f:
            csv.writer(f).writerows([("step", "moelab", "pytorch"), *zip(range(1, STEPS + 1), ours, theirs)])
    return ours, theirs


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moelab", default="./moelab")
    parser.add_argument("--data")
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--out")
    parser.add_argument("archs", nargs="*")
    a = parser.parse_args()
    torch.set_num_threads(1)
    failed = []
    print(f"{'architecture':<20}{'first':>8}{'moelab':>9}{'pytorch':>9}{f'apart to {EARLY}':>13}"
          f"{'after':>10}")
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.abspath(a.data or import_sources(a.moelab, os.path.join(folder, "data")))
        for arch, keys in ARCHITECTURES.items():
            if a.archs and arch not in a.archs:
                continue
            ours, theirs = compare(arch, keys, a, folder, data)
            apart = abs(ours - theirs)
            early, late = 2e-3, 1e-2 if "model.moe.n_experts" in keys else 2e-3
            if a.double:
                early = late = 1e-6
            good = len(ours) == STEPS and apart[:EARLY].max() <= early and apart[EARLY:].max() <= late
            failed += [] if good else [arch]
            print(f"{arch:<20}{theirs[0]:>8.4f}{ours[-1]:>9.4f}{theirs[-1]:>9.4f}"
                  f"{apart[:EARLY].max():>13.1e}{apart[EARLY:].max():>10.1e}"
                  f"{'' if good else '   PARTS'}", flush=True)
    return bool(failed)


sys.exit(main())
