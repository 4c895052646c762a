"""Whether the labels of a split give a task away: entropies and divergence of the label histograms.

Source: Furuta et al. 2024, App. K.
"""

from typing import NamedTuple

import numpy as np

from epicycle.tasks.modular import Task


class LabelStatistics(NamedTuple):
    """In nats. `divergence` is KL(train || test), infinite if a label is trained on and never tested."""

    divergence: float
    train_entropy: float
    test_entropy: float


def label_statistics(task: Task, index: int = 0, sides: tuple[np.ndarray, np.ndarray] | None = None) -> LabelStatistics:
    """Label histograms of the two sides of a split.

    Args:
        task: Any task.
        index: Which formula of a mixture.
        sides: Rows to train on and to test on; the task's own split if not given.
    """
    counts = []
    for part in (task.train[index], task.test[index]) if sides is None else sides:
        rows = part[task.defined[index, part]]
        counts.append(np.bincount(task.labels[index, rows], minlength=task.config.modulus))
    p, q = (count / count.sum() for count in counts)
    seen = p > 0
    with np.errstate(divide="ignore"):
        divergence = float((p[seen] * (np.log(p[seen]) - np.log(q[seen]))).sum())
    return LabelStatistics(divergence, _entropy(p), _entropy(q))


def _entropy(p: np.ndarray) -> float:
    p = p[p > 0]
    return float(0.0 - (p * np.log(p)).sum())  # not -0.0 for one label
