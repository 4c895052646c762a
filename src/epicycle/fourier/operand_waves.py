"""Which waves of the operands a wave of the answer is made of, where a formula is linear in them.

cos 2 pi k (alpha a + beta b) / p is made of waves of a at alpha k and of b at beta k. So the key waves of 2a + 3b at k need an
embedding that holds 2k and 3k, and not k. Logarithms of a product of powers are linear, too.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Int

from epicycle.fourier.bases import Basis
from epicycle.numbers.residues import discrete_logarithms

Multipliers = tuple[int, int]


def multipliers(labels: Int[np.ndarray, "p p"], basis: Basis) -> Multipliers | None:
    """Alpha and beta of f(a, b) = alpha a + beta b + c, decided from the table; in the multiplicative basis of their logarithms.

    Args:
        labels: Answers, row a, column b; -1 where a pair has none.
        basis: Additive or multiplicative, of as many numbers.

    Returns:
        None where the formula is not of this form: then no such pair of waves exists.
    """
    log = np.arange(len(labels)) if basis.support.all() else discrete_logarithms(len(labels))
    order = np.argsort(log)[np.sort(log) >= 0]  # the numbers along the waves
    n = len(order)
    answers = labels[np.ix_(order, order)]
    places = log[answers]
    if n < 2 or (answers < 0).any() or (places < 0).any():
        return None
    alpha, beta = int(places[1, 0] - places[0, 0]) % n, int(places[0, 1] - places[0, 0]) % n
    i = np.arange(n)
    is_linear = (places == (places[0, 0] + alpha * i[:, None] + beta * i) % n).all()
    return (alpha, beta) if is_linear else None


def folded(k: int, n: int) -> int:
    """The frequency in 0 to n // 2 that a wave over n numbers has at k."""
    return min(k % n, -k % n)


def operand_frequencies(keys: Iterable[int], found: Multipliers | None, n: int) -> tuple[int, ...]:
    """Frequencies of both operands that key waves of the answer need; the keys themselves where the formula is not linear.

    Args:
        keys: Frequencies of the answer.
        found: From `multipliers`.
        n: Numbers along the waves: p, or p - 1 logarithms.
    """
    return tuple(sorted({folded(m * int(k), n) for k in keys for m in found or (1, 1)} - {0}))
