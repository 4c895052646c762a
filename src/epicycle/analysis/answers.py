"""What kind of wrong: the differences between answers given and right ones."""

from typing import Any

import numpy as np
from jaxtyping import Int
from scipy.stats import chi2_contingency


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


def carries(a: Int[np.ndarray, " b"], b: Int[np.ndarray, " b"], digits: int = 18) -> Int[np.ndarray, "b k"]:
    """Whether a carry goes into each digit of a sum of two numbers that are not negative; digit 0 is the last and never has one."""
    found, carry = np.zeros((len(a), digits + 1), np.int64), np.zeros(len(a), np.int64)
    for k in range(digits):
        carry = ((a // 10**k % 10) + (b // 10**k % 10) + carry >= 10).astype(np.int64)
        found[:, k + 1] = carry
    return found


def carry_errors(a: Int[np.ndarray, " b"], b: Int[np.ndarray, " b"], given: Int[np.ndarray, " b"]) -> dict[str, Any]:
    """Errors of sums that a carry would explain, and whether errors of ten go with carries at all.

    Args:
        a: First operands, 0 or more.
        b: Second operands, 0 or more.
        given: Answers given.

    Returns:
        `dropped`: share of errors that are a carry left out (-10^k where one goes into digit k); `added`: one too many (+10^k where none
        does); `without_any`: share equal to the sum digit by digit without carrying. `minus_10_with_carry`, `minus_10_without`: rate of the error
        -10 among questions with and without a carry into the tens; `p_value`: of their being equal (chi-squared, one degree of freedom),
        None where either is empty.

    Source: Kantamneni and Tegmark 2025 reject the carry hypothesis for GPT-J in this way.
    """
    a, b, given = (np.asarray(x, np.int64) for x in (a, b, given))
    error = given - (a + b)
    wrong = error != 0
    into = carries(a, b)
    powers = 10 ** np.arange(into.shape[1], dtype=np.int64)
    dropped = ((error[:, None] == -powers) & (into == 1))[:, 1:].any(1)
    added = ((error[:, None] == powers) & (into == 0))[:, 1:].any(1)
    digitwise = sum((a // 10**k % 10 + b // 10**k % 10) % 10 * 10**k for k in range(18))
    share = lambda mask: float(mask[wrong].mean()) if wrong.any() else None  # noqa: E731
    with_carry = into[:, 1] == 1
    counts = np.array(
        [[int((error[side] == -10).sum()), int((error[side] != -10).sum())] for side in (with_carry, ~with_carry)]
    )
    p = None
    if (counts.sum(0) > 0).all() and (counts.sum(1) > 0).all():
        p = float(chi2_contingency(counts, correction=False).pvalue)  # type: ignore[union-attr]
    rate = [float(row[0] / row.sum()) if row.sum() else None for row in counts]
    return {"dropped": share(dropped), "added": share(added), "without_any": share(given == digitwise), "minus_10_with_carry": rate[0], "minus_10_without": rate[1],
            "p_value": p}  # fmt: skip


def digit_accuracy(given: Int[np.ndarray, " b"], right: Int[np.ndarray, " b"]) -> list[dict[str, Any]]:
    """Per digit from the last on: questions whose right answer has it, and the share of them with that digit right."""
    found = []
    for k in range(18):
        has = (np.abs(right) >= 10**k) | (k == 0)
        if not has.any():
            break
        same = np.abs(given[has]) // 10**k % 10 == np.abs(right[has]) // 10**k % 10
        found.append({"digit": k, "questions": int(has.sum()), "right": float(same.mean())})
    return found
