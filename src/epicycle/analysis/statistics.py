"""Statistics of grokking over seeds: rates, times of runs of which some never got there, paired comparisons.

A run that has not grokked by its last step is censored there: it might have later. Three seeds give wide intervals; that is
what three seeds are worth.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import CensoredData, binomtest, ecdf, rankdata

from epicycle.errors import DataError


class Rate(NamedTuple):
    """How many of how many, with the 95 % Wilson interval of the probability."""

    count: int
    total: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """Count / total."""
        return self.count / self.total


class Time(NamedTuple):
    """Kaplan-Meier estimate of a time to an event, in steps.

    median: First step at which the survival curve is at one half or below; None if it never gets there.
    restricted_mean: Mean of min(time, horizon), the area under the survival curve up to `horizon`.
    standard_error: Of the restricted mean, by Greenwood's formula; None if no run, or only one, has had the event.
    steps, survival: Survival curve: from each step on, the share that has not had it.
    """

    events: int
    censored: int
    horizon: float
    median: float | None
    restricted_mean: float
    standard_error: float | None
    steps: np.ndarray
    survival: np.ndarray


class Paired(NamedTuple):
    """The same seeds under two conditions, a against b.

    undecided: Seeds left out, since one run was stopped before the other's event. only_a, only_b: Seeds where the event happened
    under one condition alone, the other's run being trained at least as long. p_outcome: exact McNemar test of these two counts. earlier_a, earlier_b: Seeds where it came first under
    one condition (a seed without it is later than one with it). p_time: two-sided sign test of these. median_ratio: median of time b /
    time a over seeds with both, None without any.
    """

    pairs: int
    undecided: int
    only_a: int
    only_b: int
    p_outcome: float
    earlier_a: int
    earlier_b: int
    p_time: float
    median_ratio: float | None


def rate(count: int, total: int) -> Rate:
    """Share of runs with its 95 % Wilson interval.

    Raises:
        DataError: There is no run, or the count is beyond the total.
    """
    if not 0 <= count <= total or total < 1:
        raise DataError(f"got {count} of {total} runs; expected at least one run and no more than all. Count again.")
    interval = binomtest(count, total).proportion_ci(confidence_level=0.95, method="wilson")
    return Rate(count, total, float(interval.low), float(interval.high))


def time_to_event(times: Sequence[float | None], trained: Sequence[float], horizon: float | None = None) -> Time:
    """Kaplan-Meier estimate from runs of which some never had the event.

    Args:
        times: Step of the event per run, None where it did not happen.
        trained: Steps each run was trained; one without the event is censored there.
        horizon: End of the restricted mean; the longest time looked at if not given. It must not lie beyond that.

    Raises:
        DataError: No run, unequal lengths, or a horizon beyond what was looked at.
    """
    if not times or len(times) != len(trained):
        raise DataError(
            f"got {len(times)} times and {len(trained)} lengths of training; expected one each per run. Give both."
        )
    seen = [t for t in times if t is not None]
    right = [end for t, end in zip(times, trained, strict=True) if t is None]
    longest = float(max([*seen, *right]))
    horizon = longest if horizon is None else float(horizon)
    if horizon > longest:
        raise DataError(
            f"got horizon {horizon:g} with no run looked at beyond {longest:g}; expected at most that. Lower it."
        )
    if not seen:
        return Time(0, len(right), horizon, None, horizon, None, np.array([0.0]), np.array([1.0]))
    survival = ecdf(CensoredData(uncensored=np.array(seen, float), right=np.array(right, float))).sf
    steps = np.concatenate([[0.0], survival.quantiles])
    left = np.concatenate([[1.0], survival.probabilities])
    drops = np.flatnonzero(np.diff(left, prepend=1.0) < 0)
    half = np.flatnonzero(left <= 0.5 + 1e-12)
    mean = _area(steps, left, 0.0, horizon)
    return Time(len(seen), len(right), horizon, float(steps[half[0]]) if len(half) else None, mean,
                _greenwood(steps[drops], np.array(seen), np.array(right), steps, left, horizon), steps, left)  # fmt: skip


def _area(steps: np.ndarray, left: np.ndarray, begin: float, end: float) -> float:
    """Area under the step curve between two steps."""
    edges = np.clip(np.append(steps, np.inf), begin, end)
    return float((np.diff(edges) * left).sum())


def _greenwood(
    at: np.ndarray, seen: np.ndarray, right: np.ndarray, steps: np.ndarray, left: np.ndarray, horizon: float
) -> float | None:
    """Standard error of the restricted mean: sqrt(sum over events of (area after)^2 d / (n (n - d))).

    The last term is left out where every run still at risk has the event (its area is zero at the end of the curve).
    """
    if len(seen) < 2:
        return None
    total = 0.0
    for t in at[at < horizon]:
        d = int((seen == t).sum())
        n = int((seen >= t).sum() + (right >= t).sum())
        if n > d:
            total += _area(steps, left, float(t), horizon) ** 2 * d / (n * (n - d))
    return total**0.5


def paired(
    a: Sequence[float | None], b: Sequence[float | None], trained_a: Sequence[float], trained_b: Sequence[float]
) -> Paired:
    """Compare the same seeds under two conditions.

    Args:
        a: Step of the event per seed under the first condition, None where it did not happen.
        b: Under the second.
        trained_a: Steps each run of the first was trained for: one that was stopped before the other's event tells nothing.
        trained_b: Of the second.

    Raises:
        DataError: No pair, or unequal lengths.
    """
    if not a or len({len(a), len(b), len(trained_a), len(trained_b)}) > 1:
        raise DataError(
            f"got {len(a)} and {len(b)} runs with {len(trained_a)} and {len(trained_b)} lengths; expected the same seeds under both conditions. "
            "Pair them by seed."
        )
    told = [not ((x is None and y is not None and end_x < y) or (y is None and x is not None and end_y < x))
            for x, y, end_x, end_y in zip(a, b, trained_a, trained_b, strict=True)]  # fmt: skip
    pairs = [pair for pair, is_told in zip(zip(a, b, strict=True), told, strict=True) if is_told]
    runs = list(zip(a, b, trained_a, trained_b, strict=True))
    only_a = sum(x is not None and y is None and end_y >= end_x for x, y, end_x, end_y in runs)
    only_b = sum(x is None and y is not None and end_x >= end_y for x, y, end_x, end_y in runs)
    later = lambda t: np.inf if t is None else t  # noqa: E731
    earlier_a = sum(later(x) < later(y) for x, y in pairs)
    earlier_b = sum(later(x) > later(y) for x, y in pairs)
    ratios = [y / x for x, y in pairs if x and y]
    return Paired(len(pairs), len(told) - len(pairs), only_a, only_b, _sign(only_a, only_b), earlier_a, earlier_b, _sign(earlier_a, earlier_b),
                  float(np.median(ratios)) if ratios else None)  # fmt: skip


def _sign(a: int, b: int) -> float:
    return float(binomtest(a, a + b).pvalue) if a + b else 1.0


def rank_correlation(a: Sequence[float] | np.ndarray, b: Sequence[float] | np.ndarray) -> float:
    """Spearman's; 0 where one side does not vary."""
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
