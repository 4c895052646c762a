"""What chance alone puts at each frequency. Every spectral claim names one of these.

To add a null: a function (table, generator) -> table of the same shape, and one line in NULLS.
p = (1 + b) / (B + 1), with b the number of draws at least as large as what was measured.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from epicycle.axes import Table
from epicycle.errors import DataError
from epicycle.fourier.bases import Basis

NullDraw = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def permuted(table: Table, generator: np.random.Generator) -> Table:
    """Rows in random order: the same vectors, no order of the numbers. Misses peaks beside a strong trend."""
    return table[generator.permutation(len(table))]


def permuted_within_decades(
    table: Table, generator: np.random.Generator, numbers: Int[np.ndarray, " p"] | None = None
) -> Table:
    """Rows shuffled inside each decade: keeps the trend, destroys every period up to ten. Rows are 0, 1, ... or the `numbers` given."""
    decade = (np.arange(len(table)) if numbers is None else numbers) // 10
    order = np.concatenate([generator.permutation(np.flatnonzero(decade == i)) for i in np.unique(decade)])
    return table[order]


def white_noise(table: Table, generator: np.random.Generator) -> Table:
    """Gaussian noise of the same shape: the floor of every statistic at this width."""
    return generator.standard_normal(table.shape)


def _kept_fit(table: Table, covariate: Float[np.ndarray, " p"], generator: np.random.Generator) -> Table:
    """The part of each channel that is linear in the covariate, plus the residuals in random order."""
    x = covariate - covariate.mean()
    fit = np.outer(x, x @ table / (x @ x)) + table.mean(0)
    return fit + (table - fit)[generator.permutation(len(table))]


def ramp(table: Table, generator: np.random.Generator, numbers: Int[np.ndarray, " p"] | None = None) -> Table:
    """Each channel's own best straight line in the number plus its residuals in random order: a trend and nothing else."""
    return _kept_fit(table, np.asarray(np.arange(len(table)) if numbers is None else numbers, float), generator)


NULLS: dict[str, NullDraw] = {
    "permuted": permuted,
    "within decades": permuted_within_decades,
    "ramp": ramp,
    "white noise": white_noise,
}
"""Name -> how one draw is made. `token_frequency` makes one more where the counts of the numbers are known."""


def with_gaps(draw: NullDraw, known: Int[np.ndarray, " n"], size: int) -> NullDraw:
    """A null for a table in which rows are missing and were filled in from their neighbours.

    Rows that were there are drawn, and the gaps filled anew in the same way: a filled row is smoother than any that was there, and a null without that
    smoothness would make periods out of it.

    Args:
        draw: A null of the rows that were there.
        known: Which these are, ascending.
        size: Rows of the filled table.
    """

    def fill(table: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        drawn = draw(table[known], generator)
        return np.stack([np.interp(np.arange(size), known, column) for column in drawn.T], 1)

    return fill


def token_frequency(frequency: Float[np.ndarray, " p"]) -> NullDraw:
    """A null that keeps what is linear in log frequency: spikes that come from how often numbers occur are no news.

    Args:
        frequency: Occurrences of each number, non-negative, not all equal.

    Raises:
        DataError: Negative, not finite, or all equal.
    """
    counts = np.asarray(frequency, np.float64).reshape(-1)
    if not (np.isfinite(counts).all() and (counts >= 0).all() and np.ptp(counts) > 0):
        raise DataError(
            f"got token frequencies between {counts.min():g} and {counts.max():g}; expected finite counts of zero or "
            "more that are not all equal. Mend them."
        )
    covariate = np.log(counts + 1)
    return lambda table, generator: _kept_fit(table, covariate, generator)


def frequency_table(frequency: Float[np.ndarray, " p"], width: int) -> Table:
    """A table that knows only how often each number occurs: log frequency along one direction of `width`."""
    return np.outer(np.log(np.asarray(frequency, np.float64) + 1), np.ones(width) / width**0.5)


def without_frequency(table: Table, frequency: Float[np.ndarray, " p"]) -> Table:
    """The table with log token frequency regressed out of every channel."""
    x = np.log(np.asarray(frequency, np.float64) + 1)
    x = x - x.mean()
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    return flat - np.outer(x, x @ flat / (x @ x))


def detrended(table: Table) -> Table:
    """The table without its straight line in the number, per channel (the mean goes too)."""
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    n = np.arange(len(flat)) - (len(flat) - 1) / 2
    centred = flat - flat.mean(0)
    return centred - np.outer(n, n @ centred / (n @ n))


class NullTest(NamedTuple):
    """A spectrum against one null.

    `p_value` is for one frequency named beforehand; `p_family` allows for having looked at all of them.
    `level` is the share at each frequency that only 5 % of null tables exceed, `median` the typical share.
    """

    null: str
    draws: int
    p_value: Float[np.ndarray, " k"]
    p_family: Float[np.ndarray, " k"]
    level: Float[np.ndarray, " k"]
    median: Float[np.ndarray, " k"]


def _shares(table: np.ndarray, basis: Basis) -> np.ndarray:
    square = ((basis.rows @ table) ** 2).sum(1)
    power = square[basis.cosine] + np.where(basis.sine >= 0, square[basis.sine], 0.0)
    return power / power.sum()


def null_test(
    table: Table, basis: Basis, null: str, draws: int = 999, seed: int = 0, draw: NullDraw | None = None
) -> NullTest:
    """Compare the share of power at each frequency with that of `draws` null tables.

    Args:
        table: One row per number, finite, not constant.
        basis: From `fourier.bases`.
        null: A key of NULLS, or the name of `draw`.
        draws: Number B of null tables; the smallest possible p is 1/(B+1).
        seed: Seed of the draws.
        draw: How a null table is made, if it is not in NULLS.

    Rows on which the basis has no waves (0, which has no logarithm) stay as they are, and null tables are made of the others alone:
    whether 0 is longer than they are would decide otherwise. `draw` gets these others.

    Returns:
        p-values per frequency, alone and family-wise.

    Raises:
        DataError: The table is constant or not finite.

    Source:
        Monte-Carlo test with the usual +1 correction. Family-wise level by the maximum over frequencies of the share
        standardised with mean and spread at that frequency over the null tables and the measured one together (after
        Westfall and Young 1993), so that a null that keeps a strong trend does not drown every other frequency. Treating
        all B+1 tables alike is what makes the level exact for any number of draws.
    """
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    size = np.abs(flat - flat.mean(0)).max()
    if not (np.isfinite(size) and size > 0):
        raise DataError(
            f"got a table of shape {flat.shape} without variance over its rows, or not finite; a null test needs some. "
            "Choose another table."
        )
    flat = flat / size  # shares do not change, and squares neither overflow nor vanish
    if flat.shape[1] > len(flat) and null != "white noise":
        # rotating the channels changes no share, and a table has at most as many directions as rows
        u, s, _ = np.linalg.svd(flat, full_matrices=False)
        flat = u * s
    measured = _shares(flat, basis)
    make = draw or NULLS[null]
    generator = np.random.default_rng(seed)

    def drawn_table() -> np.ndarray:
        found = flat.copy()
        found[basis.support] = make(flat[basis.support], generator)
        return found

    drawn = np.stack([_shares(drawn_table(), basis) for _ in range(draws)])
    larger = (drawn >= measured * (1 - 1e-12)).sum(0)
    pool = np.concatenate(
        [measured[None], drawn]
    )  # the measured table among them, or its score alone would be unbounded
    mean, spread = pool.mean(0), np.maximum(pool.std(0), 1e-300)
    top = ((drawn - mean) / spread).max(1)
    family = (top[:, None] >= (measured - mean) / spread - 1e-9).sum(0)
    return NullTest(null, draws, (1 + larger) / (draws + 1), (1 + family) / (draws + 1),
                    np.quantile(drawn, 0.95, axis=0), np.median(drawn, 0))  # fmt: skip
