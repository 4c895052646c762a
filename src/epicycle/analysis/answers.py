"""What kind of wrong: the differences between answers given and right ones."""

from typing import Any

import numpy as np
from jaxtyping import Int


def error_types(given: Int[np.ndarray, " b"], right: Int[np.ndarray, " b"]) -> dict[str, Any]:
    """How wrong answers differ from right ones; shares are of the wrong answers, None if there are none.

    Args:
        given: Answers given, numbers.
        right: Answers expected.

    Returns:
        `wrong` counts; `multiples_of_10`, `below_6`, `below_3` and `off_by_one` are shares of the errors e; `mean_size` is the mean of
        |e|; `expected_multiples_of_10` is the share of multiples of ten among errors of the same answers paired at random,
        which is what errors without any structure would give.

    Source:
        Zhou et al. 2024, section 3.3 and App. E; Kantamneni and Tegmark 2025 for -10 and +10 apart.
        A correct units digit alone makes all errors multiples of ten: it does not show how the digit was computed.
    """
    error = np.asarray(given, np.int64) - np.asarray(right, np.int64)
    wrong = error[error != 0]
    if not len(wrong):
        return {"wrong": 0, "multiples_of_10": None, "below_6": None, "below_3": None, "off_by_one": None, "mean_size": None, "minus_10": None,
                "plus_10": None, "expected_multiples_of_10": None}  # fmt: skip
    missed = error != 0
    expected = _share_by_chance(np.asarray(given, np.int64)[missed], np.asarray(right, np.int64)[missed])
    size = np.abs(wrong)
    return {
        "wrong": len(wrong),
        "multiples_of_10": float((wrong % 10 == 0).mean()),
        "below_6": float((size < 6).mean()),
        "below_3": float((size < 3).mean()),
        "off_by_one": float((size == 1).mean()),
        "mean_size": float(size.mean()),
        "minus_10": float((wrong == -10).mean()),
        "plus_10": float((wrong == 10).mean()),
        "expected_multiples_of_10": expected,
    }


def _share_by_chance(given: Int[np.ndarray, " b"], right: Int[np.ndarray, " b"]) -> float | None:
    """Share of multiples of ten among given_i - right_j over all i and j, zero differences left out."""
    residues = np.bincount(given % 10, minlength=10), np.bincount(right % 10, minlength=10)
    values, counts = np.unique(given, return_counts=True)
    others, other_counts = np.unique(right, return_counts=True)
    _, i, j = np.intersect1d(values, others, return_indices=True)
    equal = int(counts[i] @ other_counts[j])
    pairs = len(given) * len(right) - equal
    return float((residues[0] @ residues[1] - equal) / pairs) if pairs else None
