"""Which test questions a run of a symmetric formula answers: those whose swapped or negated pair it was trained on, and the others.

epicycle grok "a^2 + a*b + b^2"
python examples/answers_by_symmetry.py runs/a2+ab+b2-p97-seed0-XXXXXXXX
The formula of the run has to stay the same when both operands are exchanged or negated. Beside it: how even the embedding is, and its FCR with that of
its rows in random order.
"""

import sys

import numpy as np
import torch

from epicycle.analysis.grok import config_of
from epicycle.analysis.progress import pair_grid
from epicycle.fourier.bases import additive
from epicycle.fourier.measures import fcr, phase_bias
from epicycle.fourier.spectra import fourier_norms
from epicycle.models.readout import read_out
from epicycle.models.sites import embedding
from epicycle.runs.directory import open_run
from epicycle.tasks.modular import modular_task


def main() -> None:
    """Print a table for every run named."""
    for path in sys.argv[1:]:
        run = open_run(path)
        config, weights = config_of(run), run.weights()
        p = config.task.modulus
        tokens, labels, known = pair_grid(modular_task(config.task), config)
        logits = read_out(weights, torch.from_numpy(tokens), config.model.attention).logits[:, :p]
        right = logits.argmax(1).numpy() == labels.reshape(-1)
        a, b = np.divmod(np.arange(p * p), p)
        by_swap, by_sign, by_both = known[b, a], known[-a % p, -b % p], known[-b % p, -a % p]
        table = embedding(weights, p)
        shuffled = [
            fcr(fourier_norms(np.random.default_rng(i).permutation(table), additive(p))).value for i in range(99)
        ]
        rows = np.asarray(table, float) - np.mean(table, 0)
        even = np.linalg.norm(rows + rows[-np.arange(p) % p]) ** 2 / (4 * np.linalg.norm(rows) ** 2)
        norms = fourier_norms(table, additive(p))
        print(f"{run.id}: FCR(W_E) {fcr(norms).value:.3f} (rows shuffled {np.mean(shuffled):.3f}, 99 of them at least {min(shuffled):.3f}), "
              f"log of cosine over sine power {phase_bias(norms):.2f}, even part {even:.0%} of the power")  # fmt: skip
        for name, asked in (("swapped pair trained", by_swap), ("negated pair trained, swapped not", ~by_swap & by_sign),
                            ("only both trained", ~by_swap & ~by_sign & by_both), ("none trained", ~(by_swap | by_sign | by_both))):  # fmt: skip
            own = right[asked & ~known[a, b]]
            print(f"  {name}: {own.mean():.1%} of {len(own):,}")


if __name__ == "__main__":
    main()
