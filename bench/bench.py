"""Prints every performance bar as a table, and as JSON with --json FILE. Ratios are of medians, measured in turn in one run.

python bench/bench.py [--threads N] [--json FILE] [--quick]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

import numpy as np
import torch

from epicycle.models import plain
from epicycle.models.config import ModelConfig
from epicycle.models.weights import initial_weights
from epicycle.tasks.modular import TaskConfig, modular_task
from epicycle.training.build import library
from epicycle.training.config import OptimiserConfig
from epicycle.training.examples import example_set, row_map
from epicycle.training.fused import FusedStep
from epicycle.training.tables import TableStep

MODEL, VOCABULARY = ModelConfig(), 102


def timed(action: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


class PlainLoop:
    """The usual loop: three positions, autograd, torch's AdamW, float64 log-softmax."""

    def __init__(self, weights: dict, tokens: np.ndarray, labels: np.ndarray):
        self.weights = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
        self.tokens, self.labels = torch.from_numpy(tokens), torch.from_numpy(labels)
        self.optimiser = torch.optim.AdamW(self.weights.values(), lr=1e-3, weight_decay=1.0, betas=(0.9, 0.98))

    def loss(self) -> torch.Tensor:
        """Mean cross-entropy at the last position."""
        logits = plain.forward(self.weights, self.tokens).logits[:, -1]
        return torch.nn.functional.cross_entropy(logits.double(), self.labels)

    def step(self) -> float:
        """One update."""
        self.optimiser.zero_grad()
        loss = self.loss()
        loss.backward()
        self.optimiser.step()
        return loss.item()


def step_rows(threads: int, rounds: int) -> list[dict]:
    """The exact step beside the plain loop and the three products, and their agreement."""
    torch.set_num_threads(threads)
    task = modular_task(TaskConfig())
    tokens, labels, which = task.examples("train")
    rows = row_map(task.examples("all").tokens, has_positions=False)
    examples = example_set(tokens, labels, which, 1, rows)
    weights = initial_weights(MODEL, VOCABULARY, 3, 0)
    loop = PlainLoop(weights, tokens, labels)
    tables = TableStep(MODEL, rows, [weights], OptimiserConfig())
    stacked = tables.stack([examples])
    neurons, map_, error = (
        torch.randn(len(labels), 512),
        torch.randn(512, VOCABULARY),
        torch.randn(len(labels), VOCABULARY),
    )

    def products() -> None:
        neurons @ map_
        neurons.T @ error
        error @ map_.T

    def agreement(dtype: torch.dtype) -> tuple[float, float]:
        first = initial_weights(MODEL, VOCABULARY, 3, 0, dtype)
        reference = PlainLoop(first, tokens, labels)
        own = FusedStep(MODEL, rows, first, OptimiserConfig(), threads=threads)
        own.loss_and_gradient(examples)
        logits = plain.forward(reference.weights, reference.tokens).logits[:, -1].detach().numpy()
        reference.loss().backward()
        worst = max(
            float((g - reference.weights[k].grad).norm() / reference.weights[k].grad.norm())
            for k, g in own.gradients().items()
        )
        return float(np.abs(own.logits(examples) - logits).max() / np.abs(logits).max()), worst

    found = []
    times: dict[str, list[float]] = {name: [] for name in ("plain", "tables", "products", "exact")}
    fused = FusedStep(MODEL, rows, weights, OptimiserConfig(), threads=threads) if library() is not None else None
    for _ in range(rounds):
        times["plain"].append(timed(lambda: [loop.step() for _ in range(3)]) / 3)
        times["tables"].append(timed(lambda: tables.train(stacked, 3)) / 3)
        times["products"].append(timed(lambda: [products() for _ in range(20)]) / 20)
        if fused:
            times["exact"].append(timed(lambda: fused.train(examples, 20)) / 20)
    median = {name: statistics.median(values) for name, values in times.items() if values}

    def row(what: str, value: float, bar: str, passed: bool | None, note: str = "") -> None:
        found.append({"what": what, "value": value, "bar": bar, "passed": passed, "note": note})

    row("PyTorch step (no compiler) vs plain loop, times faster", median["plain"] / median["tables"], "", None)
    if fused is None:
        return found
    ratio = median["plain"] / median["exact"]
    row("exact step vs plain loop, times faster", ratio, ">= 8", ratio >= 8,
        f"{1e3 * median['exact']:.2f} ms against {1e3 * median['plain']:.1f} ms, {threads} threads")  # fmt: skip
    found[-1]["seconds"] = median["exact"]
    floor = median["exact"] / median["products"]
    row("exact step vs three products of torch", floor, "<= 2.0", floor <= 2,
        f"the products alone: {1e3 * median['products']:.2f} ms; below 1 where our products beat torch's BLAS")  # fmt: skip
    logits, gradient = agreement(torch.float64)
    row("logits vs plain, float64, relative", logits, "<= 1e-10", logits <= 1e-10)
    row("worst gradient vs plain, float64, relative", gradient, "<= 1e-10", gradient <= 1e-10)

    def trajectory(dtype: torch.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Losses of 100 steps: the plain loop, ours, and the plain loop with its pairs in another order."""
        first = {name: tensor.to(dtype) for name, tensor in weights.items()}
        order = np.random.default_rng(0).permutation(len(labels))
        loops = PlainLoop(first, tokens, labels), PlainLoop(first, tokens[order], labels[order])
        own = FusedStep(MODEL, rows, first, OptimiserConfig(), threads=threads).train(examples, 100)[:, 0]
        plain_losses, shuffled = (np.array([loop_.step() for _ in range(100)]) for loop_ in loops)
        return plain_losses, own, shuffled

    reference, own, shuffled = trajectory(torch.float32)
    apart, itself = (float(np.linalg.norm(x - reference) / np.linalg.norm(reference)) for x in (own, shuffled))
    row("losses of 100 float32 steps vs plain, relative norm", apart, "<= 1e-3", apart <= 1e-3,
        f"the plain loop against itself with its pairs in another order: {itself:.1e}")  # fmt: skip
    worst, itself = (float(np.abs(x / reference - 1).max()) for x in (own, shuffled))
    row("the same, largest of any single step", worst, "", None, f"the plain loop against itself: {itself:.1e}")
    reference, own, _ = trajectory(torch.float64)
    exact = float(np.abs(own / reference - 1).max())
    row("the same in float64, largest of any single step", exact, "<= 1e-10", exact <= 1e-10)
    return found


def command_rows(threads: int, quick: bool) -> list[dict]:
    """Whole commands: help, self-test, a run with its measures, its memory and its report."""
    found = []

    def run(*arguments: str) -> tuple[float, subprocess.CompletedProcess]:
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "epicycle", *arguments], capture_output=True, text=True, check=True
        )
        return time.perf_counter() - began, done

    seconds = statistics.median(run("--help")[0] for _ in range(5))
    found.append({"what": "epicycle --help, seconds", "value": seconds, "bar": "< 1", "passed": seconds < 1})
    seconds, _ = run("selftest", "--json")
    found.append({"what": "epicycle selftest, seconds", "value": seconds, "bar": "< 30", "passed": seconds < 30})
    if quick:
        return found
    with tempfile.TemporaryDirectory() as out:
        seconds, done = run("grok", "a+b", "--out", out, "--json", "--threads", str(threads))
        run_ = json.loads(done.stdout)["runs"][0]
        record = json.loads((Path(run_["directory"]) / "run.json").read_text())
        size = Path(run_["report"]).stat().st_size / 2**20
    found.append({"what": "epicycle grok a+b, seconds", "value": seconds, "bar": "<= 90", "passed": seconds <= 90,
                  "note": f"grokked at step {run_['steps']['first']}, {run_['steps_per_second']:.0f} steps/s with measures"})  # fmt: skip
    share = record["measuring_seconds"] / record["seconds"]
    found.append(
        {"what": "evaluation and measures, share of training", "value": share, "bar": "<= 0.10", "passed": share <= 0.1}
    )
    found.append({"what": "report, MiB", "value": size, "bar": "<= 2", "passed": size <= 2})
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
    found.append({"what": "peak memory of it, MiB", "value": peak, "bar": "<= 600", "passed": peak <= 600})
    with tempfile.TemporaryDirectory() as out:
        seconds, _ = run("demo", "--out", out, "--json", "--threads", str(threads))
    found.append(
        {"what": "epicycle demo, both tracks, seconds", "value": seconds, "bar": "<= 180", "passed": seconds <= 180}
    )
    return found


def language_rows(threads: int, peers: str | None, prompts: int | None) -> list[dict]:
    """The pass of `explain` on GPT-2 small's shape against bare forward passes, plain hooks and peers, each in its own process."""
    import language

    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as directory:
        language.make_model(Path(directory))
        for method in ("bare", "bare-lean", "hooks", "ours", *(("transformer-lens", "nnsight") if peers else ())):
            interpreter = peers if peers and method in ("transformer-lens", "nnsight") else sys.executable
            command = [
                interpreter,
                str(Path(__file__).with_name("language.py")),
                method,
                directory,
                "--threads",
                str(threads),
            ]
            command += ["--prompts", str(prompts)] if prompts else []
            path = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent / "src")}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=path)
            found[method] = json.loads(done.stdout.strip().split("\n")[-1])
    own, more = found["ours"], found["ours"]["peak_mib"] - found["ours"]["loaded_mib"]
    rows = [{"what": f"explain's pass, seconds / those of {name}", "value": own["seconds"] / found[method]["seconds"], "bar": bar,
             "passed": None if not bar else own["seconds"] <= limit * found[method]["seconds"],
             "note": f"{own['seconds']:.1f} s / {found[method]['seconds']:.1f} s"}
            for method, name, bar, limit in (("bare", "bare forward passes", "<= 1.10", 1.1), ("bare-lean", "them, last logits only", "<= 1.10", 1.1),
                                             ("hooks", "plain hooks", "<= 1", 1.0), ("transformer-lens", "TransformerLens", "<= 1", 1.0),
                                             ("nnsight", "nnsight", "<= 1", 1.0)) if method in found]  # fmt: skip
    rows.append({"what": "its memory beyond the model, MiB", "value": more, "bar": "<= 400", "passed": more <= 400})
    worst = max(
        abs(found[m]["checksum"] / own["checksum"] - 1)
        for m in found
        if found[m]["checksum"] and m != "transformer-lens"
    )
    rows.append(
        {
            "what": "its lens and spectra against plain hooks', relative",
            "value": worst,
            "bar": "<= 1e-4",
            "passed": worst <= 1e-4,
        }
    )
    return rows


def peer_rows(interpreter: str, threads: int, own_seconds: float) -> list[dict]:
    """The same task in other packages, as times our step; printed by bench/peers.py itself."""
    script = str(Path(__file__).with_name("peers.py"))
    command = [interpreter, script, repr(own_seconds), "--threads", str(threads)]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip().split("\n")
    print("\n".join(lines[:-1]))
    return [{"what": f"step of {r['peer']} {r['version']}, times ours", "value": r["times_slower"], "bar": "", "passed": None}
            for r in json.loads(lines[-1])]  # fmt: skip


def sweep_rows() -> list[dict]:
    """Bars of sweeps, measured in a process of their own: two workers, Ray, listing."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("sweeps.py"))],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return [
        {"what": "many runs on two cores, share of two single-run speeds", "value": found["two_workers"], "bar": ">= 0.90",
         "passed": found["two_workers"] >= 0.9, "note": f"6 runs with two workers {found['two_seconds']:.1f} s, 3 with one {found['one_seconds']:.1f} s"},
        {"what": "50 short runs on a Ray cluster, seconds / on the local pool", "value": found["ray"], "bar": "<= 1.15", "passed": found["ray"] <= 1.15,
         "note": f"{found['ray_seconds']:.1f} s / {found['pool_seconds']:.1f} s; starting the cluster {found['ray_start']:.1f} s more, {found['ray_with_start']:.2f} with it"},
        {"what": "listing and filtering 2,000 runs, seconds", "value": found["listing"], "bar": "< 1", "passed": found["listing"] < 1},
    ]  # fmt: skip


def main() -> int:
    """Measure, print, write; exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parser.add_argument("--threads", type=int, default=min(cores, 2))
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--quick", action="store_true", help="leave out the demo and the sweeps")
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter that has the peers installed")
    options = parser.parse_args()
    rows = command_rows(options.threads, options.quick) + step_rows(options.threads, 5 if options.quick else 15)
    rows += [] if options.quick else sweep_rows()
    rows += language_rows(options.threads, options.peers, 256 if options.quick else None)
    for row in rows:
        mark = {True: "ok", False: "MISSED", None: ""}[row["passed"]]
        print(f"{row['what']:<58} {row['value']:>12.4g}  {row['bar']:<9} {mark:<7} {row.get('note', '')}")
    if options.peers:
        rows += peer_rows(options.peers, options.threads, next(r["seconds"] for r in rows if "seconds" in r))
    if options.json:
        Path(options.json).write_text(json.dumps({"threads": options.threads, "rows": rows}, indent=1) + "\n")
    return int(any(row["passed"] is False for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
