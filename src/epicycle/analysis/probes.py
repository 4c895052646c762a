"""Probes: can the residue of a number be read from its row, and better than chance on numbers never seen?

Numbers are split, never prompts, so that no number is in both parts. Accuracy is scored by Cohen's kappa: 0 is chance, 1 is
right throughout.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from epicycle.axes import Table
from epicycle.errors import DataError

FOLDS = 10
STRENGTHS = 10.0 ** np.arange(-7, 1.01, 1.0)
"""Ridge strengths tried, times the largest squared singular value of the training part."""


def cohens_kappa(given: Int[np.ndarray, " n"], right: Int[np.ndarray, " n"], classes: int) -> float:
    """Agreement beyond chance: (observed - expected) / (1 - expected), expected from how often each label is given and right.

    Negative: worse than chance. 0 where both are one and the same class throughout, which tells nothing.
    """
    counts = np.zeros((classes, classes))
    np.add.at(counts, (given, right), 1)
    counts /= counts.sum()
    expected = float(counts.sum(0) @ counts.sum(1))
    return 0.0 if expected >= 1 else float((np.trace(counts) - expected) / (1 - expected))


class Fold(NamedTuple):
    """One training part: singular vectors, test rows in the same coordinates. What is costly, and the same for all labels."""

    train: np.ndarray
    test: np.ndarray
    u: np.ndarray  # (n, r)
    s: np.ndarray  # (r,)
    ahead: np.ndarray  # test rows times right singular vectors


def _fold(table: np.ndarray, train: np.ndarray, test: np.ndarray) -> Fold:
    mean = table[train].mean(0)
    u, s, vt = np.linalg.svd(table[train] - mean, full_matrices=False)
    keep = s > 1e-12 * max(s[0], 1e-300)
    return Fold(train, test, u[:, keep], s[keep], (table[test] - mean) @ vt[keep].T)


def decompose(table: Table, splits: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[Fold]:
    """Every split (train, test) of a table's rows, ready for any number of labels; rows in no test part are never answered for."""
    return [_fold(table, train, test) for train, test in splits]


def _predict(fold: Fold, targets: np.ndarray) -> np.ndarray:
    """Ridge predictions for the test rows; strength by leave-one-out error inside the training part, one for all targets of a group.

    Args:
        fold: The split.
        targets: (N, groups, outputs); each group has its own strength.
    """
    mean = targets[fold.train].mean(0)
    y = targets[fold.train] - mean
    n, groups, outputs = y.shape
    flat = y.reshape(n, -1)
    projected = fold.u.T @ flat
    best, chosen = np.full(groups, np.inf), np.zeros(groups, int)
    shrinks = [fold.s**2 / (fold.s**2 + strength) for strength in STRENGTHS * float(fold.s[0] ** 2)]
    for i, shrink in enumerate(shrinks):
        left = flat - fold.u @ (shrink[:, None] * projected)
        left /= np.maximum(1 - (fold.u**2) @ shrink - 1 / n, 1e-9)[:, None]
        error = np.einsum("nc,nc->c", left, left).reshape(groups, outputs).sum(1)
        better = error < best
        best[better], chosen[better] = error[better], i
    weights = np.stack(shrinks)[chosen].T / fold.s[:, None]  # (r, groups)
    found = fold.ahead @ (projected * np.repeat(weights, outputs, axis=1))
    return found.reshape(-1, groups, outputs) + mean


def folds_of(labels: Int[np.ndarray, " n"], seed: int = 0, folds: int = FOLDS) -> list[tuple[np.ndarray, np.ndarray]]:
    """Numbers in random parts with every class in each part as evenly as possible: (train, test) for each.

    The i-th number of every class is in the same part; for residues these are whole cycles. Without that, a class that is rare in
    the training part is common in the test part, and chance has a negative kappa.
    """
    order = np.argsort(labels, kind="stable")
    _, counts = np.unique(labels, return_counts=True)
    occurrence = np.empty(len(labels), int)
    occurrence[order] = np.concatenate([np.arange(count) for count in counts])
    parts = min(folds, max(2, int(counts.min())))
    part = (np.random.default_rng(seed).permutation(int(counts.max())) % parts)[occurrence]
    return [(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(parts)]


def shuffled_inside(
    labels: Int[np.ndarray, " n"], splits: Sequence[tuple[np.ndarray, np.ndarray]], generator: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Labels in random order inside every test part, so that each part keeps its classes."""
    found = labels.copy()
    for _, test in splits:
        found[test] = generator.permutation(labels[test])
    return found


def linear_answers(folds: Sequence[Fold], labels: Int[np.ndarray, "n g"], classes: int) -> Int[np.ndarray, "n g"]:
    """Class that a ridge classifier on one-hot targets gives to every number while it is held out; -1 where it never is.

    Args:
        folds: Splits of the numbers' table, from `decompose`.
        labels: Groups of labels, 0..classes-1; each group is a probe of its own.
        classes: Number of classes.
    """
    targets = (labels[:, :, None] == np.arange(classes)).astype(np.float64)
    answers = np.full(labels.shape, -1)
    for fold in folds:
        answers[fold.test] = _predict(fold, targets).argmax(2)
    return answers


def circular_answers(
    folds: Sequence[Fold], labels: Sequence[Int[np.ndarray, " n"]], classes: Sequence[int]
) -> list[Int[np.ndarray, " n"]]:
    """The same with the place on a circle as target, for labels of different classes: (cos, sin) of 2 pi label / classes, answered by the nearest angle.

    Source: Levy and Geva 2024 (arXiv 2410.11781).
    """
    angles = [2 * np.pi * label / c for label, c in zip(labels, classes, strict=True)]
    targets = np.stack([np.stack([np.cos(angle), np.sin(angle)], 1) for angle in angles], 1)  # (n, labels, 2)
    answers = [np.full(len(label), -1) for label in labels]
    for fold in folds:
        found = _predict(fold, targets)
        for j, c in enumerate(classes):
            turn = np.arctan2(found[:, j, 1], found[:, j, 0]) / (2 * np.pi)
            answers[j][fold.test] = np.round(turn * c).astype(int) % c
    return answers


def frequency_matched(
    counts: Shaped[np.ndarray, " n"], labels: Int[np.ndarray, " n"], classes: int, seed: int = 0
) -> Int[np.ndarray, " m"]:
    """Rows among which every class is as often as every other within each factor of two of the counts.

    In each such stratum the scarcest class keeps all of its numbers, and of the others as many are drawn; a stratum that lacks a class is
    dropped. What is left cannot be told apart by how often its numbers occur, but for what differs within a factor of two.

    Args:
        counts: How often each number occurs.
        labels: Its class, 0..classes-1.
        classes: How many there are.
        seed: Seed of the draw.

    Returns:
        Sorted rows; none where no stratum has every class.
    """
    generator = np.random.default_rng(seed)
    stratum = np.floor(np.log2(np.maximum(counts, 0.5))).astype(int)
    kept = []
    for level in np.unique(stratum):
        members = [np.flatnonzero((stratum == level) & (labels == c)) for c in range(classes)]
        count = min(map(len, members))
        kept += [generator.permutation(rows)[:count] for rows in members]
    return np.sort(np.concatenate(kept))


class Probe(NamedTuple):
    """A residue read from the rows of numbers, held-out numbers only.

    linear, circular: Kappa of the two probes. control: Kappa of the linear probe, over labels shuffled inside every held-out part (mean), and
    what 5 % of them exceed. p_value: of the linear kappa among those. beyond: Kappa of the linear probe trained on the lower half
    of the numbers and asked about the upper half.
    """

    classes: int
    linear: float
    circular: float
    control: float
    control_level: float
    p_value: float
    beyond: float


def probe(table: Table, labels: Int[np.ndarray, " n"], classes: int, *, controls: int = 99, seed: int = 0) -> Probe:
    """Probe a table for one label per number.

    Args:
        table: One row per number, (N, d).
        labels: 0..classes-1, such as n mod T.
        classes: How many there are.
        controls: Relabellings for the control; NaN stands for it without any.
        seed: Seed of folds and relabellings.

    Raises:
        DataError: Fewer than two numbers per class and fold would be left to learn from.

    Source:
        Fu et al. 2026: ridge on one-hot targets, strength by leave-one-out, Cohen's kappa; control labels after Hewitt and Liang 2019.
    """
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    flat = flat / max(np.abs(flat).max(), 1e-300)
    n = len(flat)
    if n < 3 * classes or classes < 2:
        raise DataError(f"got {n} numbers for {classes} classes; expected at least two classes and three numbers in each. Use more numbers or fewer "
                        "classes.")  # fmt: skip
    generator = np.random.default_rng(seed)
    splits = folds_of(labels, seed)
    shuffled = np.stack([labels, *(shuffled_inside(labels, splits, generator) for _ in range(controls))], 1)
    folds = decompose(flat, splits)
    answers = linear_answers(folds, shuffled, classes)
    kappas = np.array([cohens_kappa(answers[:, i], shuffled[:, i], classes) for i in range(shuffled.shape[1])])
    [circular] = circular_answers(folds, [labels], [classes])
    half = (n + 1) // 2
    ahead = linear_answers(decompose(flat, [(np.arange(half), np.arange(half, n))]), labels[:, None], classes)[half:, 0]
    return Probe(
        classes=classes, linear=float(kappas[0]), circular=cohens_kappa(circular, labels, classes), control=float(kappas[1:].mean()) if controls else np.nan,
        control_level=float(np.quantile(kappas[1:], 0.95)) if controls else np.nan, p_value=float((1 + (kappas[1:] >= kappas[0] - 1e-12).sum()) / (controls + 1)),
        beyond=cohens_kappa(ahead, labels[half:], classes),
    )  # fmt: skip
