"""When a run memorised and when it grokked, read off its history. Times are steps of evaluations."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

SUSTAINED = 3


class Milestones(NamedTuple):
    """Steps, None where it did not happen.

    memorised: first evaluation with train accuracy >= the threshold.
    first: first evaluation with test accuracy >= the threshold.
    sustained: first of three such evaluations in a row.
    stable: first evaluation from which test accuracy never fell below the threshold again.
    outcome: `grokked` (sustained), `grokked briefly` (first only), `memorised`, `not learned`, or
        `diverged` (the training loss is no longer finite).
    """

    memorised: int | None
    first: int | None
    sustained: int | None
    stable: int | None
    outcome: str


def milestones(history: Sequence[dict[str, Any]], threshold: float = 0.99) -> Milestones:
    """Milestones of a history (dicts with step, train_accuracy, test_accuracy).

    The resolution is the evaluation interval: an event is dated at the first evaluation that sees it.

    Source: threshold 0.99 and the three criteria are conventions of ours; Furuta et al. 2024 give none.
    """
    memorised = next((h["step"] for h in history if h["train_accuracy"] >= threshold), None)
    good = [h["test_accuracy"] >= threshold for h in history]
    first = next((h["step"] for h, ok in zip(history, good, strict=True) if ok), None)
    sustained = next(
        (history[i]["step"] for i in range(len(good) - SUSTAINED + 1) if all(good[i : i + SUSTAINED])), None
    )
    stable = None
    if good and good[-1]:
        bad = [i for i, ok in enumerate(good) if not ok]
        stable = history[bad[-1] + 1 if bad else 0]["step"]
    last_loss = history[-1].get("train_loss", 0.0) if history else 0.0
    if last_loss is None or not math.isfinite(last_loss):
        outcome = "diverged"
    elif sustained is not None:
        outcome = "grokked"
    elif first is not None:
        outcome = "grokked briefly"
    else:
        outcome = "memorised" if memorised is not None else "not learned"
    return Milestones(memorised, first, sustained, stable, outcome)


def streak(history: Sequence[dict[str, Any]], threshold: float) -> int:
    """Number of evaluations up to the last that all reached the threshold."""
    return next((i for i, h in enumerate(reversed(history)) if h["test_accuracy"] < threshold), len(history))


def has_held(history: Sequence[dict[str, Any]], threshold: float, evaluations: int) -> bool:
    """True if the last `evaluations` evaluations all reached the threshold (never for 0)."""
    return 0 < evaluations <= streak(history, threshold)
