"""When a run memorised and when it grokked, read off its history. Times are steps of evaluations."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from epicycle.training.config import ScheduleConfig

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
    """Milestones of a history (dicts with step, train_accuracy, test_accuracy); a mixture has grokked once all its tasks have.

    The resolution is the evaluation interval: an event is dated at the first evaluation that sees it.

    Source: threshold 0.99 and the three criteria are conventions of ours; Furuta et al. 2024 give none.
    """
    memorised = next((h["step"] for h in history if h["train_accuracy"] >= threshold), None)
    good = [test_accuracy(h) >= threshold for h in history]
    first = next((h["step"] for h, ok in zip(history, good, strict=True) if ok), None)
    sustained = next(
        (history[i]["step"] for i in range(len(good) - SUSTAINED + 1) if all(good[i : i + SUSTAINED])), None
    )
    stable = None
    if good and good[-1]:
        bad = [i for i, ok in enumerate(good) if not ok]
        stable = history[bad[-1] + 1 if bad else 0]["step"]
    if history and _is_lost(history[-1]):
        outcome = "diverged"
    elif sustained is not None:
        outcome = "grokked"
    elif first is not None:
        outcome = "grokked briefly"
    else:
        outcome = "memorised" if memorised is not None else "not learned"
    return Milestones(memorised, first, sustained, stable, outcome)


def test_accuracy(line: dict[str, Any]) -> float:
    """Test accuracy of one evaluation; of a mixture that of its worst task."""
    return min((each["test_accuracy"] for each in line.get("tasks", {}).values()), default=line["test_accuracy"])


def streak(history: Sequence[dict[str, Any]], threshold: float) -> int:
    """Number of evaluations up to the last that all reached the threshold."""
    return next((i for i, h in enumerate(reversed(history)) if test_accuracy(h) < threshold), len(history))


def end_of(history: Sequence[dict[str, Any]], schedule: ScheduleConfig) -> int | None:
    """Step at which training is over: the grok was held and min_steps are done, or max_steps are, or the loss is not finite.

    None if it goes on after the last line. `max_steps`, `min_steps`, `hold_evaluations` and `grok_accuracy` enter training here and
    nowhere else.
    """
    held = 0
    for line in history:
        held = held + 1 if test_accuracy(line) >= schedule.grok_accuracy else 0
        has_held = 0 < schedule.hold_evaluations <= held and line["step"] >= schedule.min_steps
        if has_held or line["step"] >= schedule.max_steps or _is_lost(line):
            return line["step"]
    return None


def _is_lost(line: dict[str, Any]) -> bool:
    loss = line.get("train_loss", 0.0)
    return loss is None or not math.isfinite(loss)
