"""tests/peer/run.sh [--threads T] [--cores LIST] [--steps N] [--budget S] [--scan NAME] [--json FILE]
                  [MODEL...]

Training steps of moelab and of PyTorch in turn, on the same cores, the same models and batch sizes: a
table of tokens per second and peak memory. MODEL: a file of experiments/ without .yaml, as micro/mamba."""
import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.append(os.path.join(HERE, "../oracle"))

import tensors

# Shares of the budget: a step of the large ones takes so much longer.
MODELS = {"micro/mamba": 1, "micro/moe_mamba": 1, "micro/transformer": 1, "micro/transformer_moe": 1,
          "25m/transformer": 2, "25m/moe_mamba": 4}
TURN_S = 2      # length of a turn; at least one step


class OutOfTime(Exception):
    pass


def steps_of_a_turn(seconds):
    return max(1, min(5, int(TURN_S / seconds)))


# --- the two sides -------------------------------------------------------------------------------

def call(deadline, *words):
    """What a program prints; it is ended at the deadline."""
    try:
        return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT,
                              timeout=max(1, deadline - time.monotonic())).stdout
    except subprocess.TimeoutExpired:
        raise OutOfTime(" ".join(os.path.basename(w) for w in words[:3])) from None


class Moelab:
    def __init__(self, a, model, deadline):
        self.a, self.deadline = a, deadline
        self.spec = f"experiments/{model}.yaml"
        self.keys = [f"train.batch={a.batch25m}"] if model.startswith("25m/") else []
        self.rates, self.peak, self.steps = [], 0, 1

    def trace(self, path):
        call(self.deadline, self.a.moelab, "trace", self.spec, "-o", path, "--random", "--logits", "none",
             "-q", *self.keys)

    def turn(self, tokens):
        out = json.loads(call(self.deadline, self.a.moelab, "bench", "step", self.spec, *self.keys, "-n",
                              str(self.steps), "--threads", str(self.a.threads), "--json"))
        self.rates.append(out["tokens_per_s"])
        self.peak = max(self.peak, out["peak_rss_bytes"])
        self.steps = steps_of_a_turn(tokens / out["tokens_per_s"])


class Peer:
    """A process of peer.py, which waits while it is not its turn."""

    def __init__(self, a, trace, scan, deadline):
        self.deadline, self.rates, self.peak, self.steps = deadline, [], 0, 1
        words = [sys.executable, "-B", os.path.join(HERE, "peer.py"), trace, "--threads", str(a.threads)]
        self.process = subprocess.Popen(words + (["--scan", scan] if scan != "none" else []), text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            self.facts = self.answer()
        except BaseException:
            self.stop()
            raise

    def answer(self):
        ready, _, _ = select.select([self.process.stdout], [], [], max(1, self.deadline - time.monotonic()))
        if not ready:
            raise OutOfTime("peer.py")
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"peer.py ended with status {self.process.wait()}")
        return json.loads(line)

    def turn(self, tokens):
        print(self.steps, file=self.process.stdin, flush=True)
        seconds = self.answer()["seconds"]
        self.rates += [tokens / s for s in seconds]
        self.steps = steps_of_a_turn(statistics.median(seconds))

    def finish(self):
        self.process.stdin.close()
        self.peak = self.answer()["peak_rss_bytes"]
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


# --- one model -----------------------------------------------------------------------------------

def sizes(trace):
    """(tokens of a step, what the choice of a scan depends on: None without Mamba)."""
    entries, meta = tensors.index(trace)
    spec = json.loads(meta["spec"])
    batch, context = entries["tokens"][1]
    mixers = {str(e[1]) for name, e in entries.items() if name.endswith(".A_log")}
    return batch * context, (batch, context, *mixers, spec.get("model.ssm.d_state")) if mixers else None


def choose_scan(a, trace, key, known, deadline):
    """{"scan": the one asked for, or the fastest, "report": seconds of each}, found once for each size, in a
    process of its own: the others' memory is not counted."""
    if a.scan or not key:
        return {"scan": a.scan if key else "none", "report": {}}
    if key not in known:
        known[key] = json.loads(call(deadline, sys.executable, "-B", os.path.join(HERE, "peer.py"), trace,
                                     "--threads", str(a.threads), "--choose"))
    return known[key]


def take_turns(a, sides, tokens, limit):
    """At least one turn each; no further ones that would end behind the limit."""
    longest = 0
    for i in range(a.steps):
        start = time.monotonic()
        if i and start + longest > limit:
            return
        for side in sides:
            side.turn(tokens)
        longest = max(longest, time.monotonic() - start)


def compare(a, model, known, limit, deadline):
    moelab = Moelab(a, model, deadline)
    with tempfile.TemporaryDirectory() as folder:
        trace = os.path.join(folder, "trace.safetensors")
        moelab.trace(trace)
        tokens, key = sizes(trace)
        choice = choose_scan(a, trace, key, known, deadline)
        peer = Peer(a, trace, choice["scan"], deadline)
        os.unlink(trace)
    try:
        if not peer.facts["same"]:
            raise RuntimeError(f"not the same model: {peer.facts}")
        take_turns(a, (moelab, peer), tokens, limit)
        peer.finish()
    finally:
        peer.stop()
    return result(model, tokens, moelab, peer, choice)


def result(model, tokens, moelab, peer, choice):
    ours, theirs = statistics.median(moelab.rates), statistics.median(peer.rates)
    return {"model": model, "tokens": tokens, "moelab_tokens_per_s": ours, "peer_tokens_per_s": theirs,
            "speed_ratio": ours / theirs, "moelab_peak_bytes": moelab.peak, "peer_peak_bytes": peer.peak,
            "memory_ratio": peer.peak / moelab.peak, "moelab_turns": moelab.rates,
            "peer_steps": peer.rates, "scan": choice["scan"], "scan_seconds": choice["report"],
            "check": peer.facts}


# --- what is printed -----------------------------------------------------------------------------

def cpu_name():
    with open("/proc/cpuinfo") as f:
        names = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return names[0] if names else "unknown processor"


COLUMNS = (f"{'model':<24}{'tokens':>7}{'moelab t/s':>12}{'peer t/s':>10}{'ratio':>8}{'moelab MiB':>12}"
           f"{'peer MiB':>10}{'ratio':>7}{'turns':>7}  {'scan':<10}{'loss apart':>10}{'gradient':>10}")


def line(r):
    mib, apart = 2 ** 20, r["check"]["apart"]
    turns = f"{len(r['moelab_turns'])}+{len(r['peer_steps'])}"
    return (f"{r['model']:<24}{r['tokens']:>7}{r['moelab_tokens_per_s']:>12.0f}{r['peer_tokens_per_s']:>10.0f}"
            f"{r['speed_ratio']:>8.2f}{r['moelab_peak_bytes'] / mib:>12.0f}{r['peer_peak_bytes'] / mib:>10.0f}"
            f"{r['memory_ratio']:>7.2f}{turns:>7}  {r['scan']:<10}{apart['loss']:>10.1e}"
            f"{apart['gradient']:>10.1e}")


def notes(rows, machine):
    facts = rows[0]["check"]
    print(f"\n{machine['cpu']}, cores {machine['cores']}, {machine['threads']} threads; PyTorch "
          f"{facts['torch']}, AdamW {', '.join(sorted({r['check']['adamw'] for r in rows}))}")
    for report in {json.dumps(r["scan_seconds"]): r["scan_seconds"] for r in rows}.values():
        if report:
            print("scan, forward and backward: " + "; ".join(
                f"{n} {v if isinstance(v, str) else f'{1e3 * v:.0f} ms'}" for n, v in report.items()))
    print("medians of interleaved turns (turns of moelab + steps of the peer); ratios: moelab's speed by the "
          "peer's,\nthe peer's peak memory by moelab's")


# --- the whole -----------------------------------------------------------------------------------

def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2, help="of each side (default 2)")
    parser.add_argument("--cores", help="as 2,3: bind to these (default: the first that are allowed)")
    parser.add_argument("--steps", type=int, default=5, help="turns of each side at most (default 5)")
    parser.add_argument("--batch25m", type=int, default=4, help="sequences in a step of 25m models")
    parser.add_argument("--budget", type=float, default=240, help="seconds for everything (default 240)")
    parser.add_argument("--scan", metavar="NAME",
                        help="of the peer: parallel, chunked or compiled (default: the fastest)")
    parser.add_argument("--json", metavar="FILE", help="write the results there, too")
    parser.add_argument("models", nargs="*", metavar="MODEL", default=list(MODELS))
    a = parser.parse_args()
    a.moelab = os.path.abspath(os.environ.get("MOELAB", os.path.join(ROOT, "moelab")))
    return a


def bind(a):
    """Cores and threads of this process, which those it starts inherit."""
    allowed = sorted(os.sched_getaffinity(0))
    cores = [int(c) for c in a.cores.split(",")] if a.cores else allowed[:a.threads]
    os.sched_setaffinity(0, cores)
    os.environ["OMP_NUM_THREADS"] = str(a.threads)
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    return {"cpu": cpu_name(), "cores": ",".join(map(str, cores)), "threads": a.threads}


def main():
    a = arguments()
    machine, start, known, rows, failed = bind(a), time.monotonic(), {}, [], 0
    print(COLUMNS, flush=True)
    for i, model in enumerate(a.models):
        now, left = time.monotonic(), [MODELS.get(m, 1) for m in a.models[i:]]
        share = (start + a.budget - now) * left[0] / sum(left)
        try:
            rows.append(compare(a, model, known, now + share, start + a.budget))
            print(line(rows[-1]), flush=True)
        except (OutOfTime, RuntimeError, subprocess.CalledProcessError) as e:
            failed += 1
            print(f"{model:<24}no result: {'out of time in ' if isinstance(e, OutOfTime) else ''}{e}",
                  flush=True)
    if rows:
        notes(rows, machine)
    if a.json:
        with open(a.json, "w") as f:
            json.dump({**machine, "rows": rows}, f, indent=1)
    return 1 if failed else 0


sys.exit(main())
