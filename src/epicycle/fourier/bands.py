"""A band: a set of frequencies that can be kept or removed, cut by period so that it means the same for every length."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from epicycle.axes import Table
from epicycle.fourier.bases import Basis

HIGH_PERIOD = 10.4
"""Periods up to this are the high band: component 50 and above of 520, as in Zhou et al. 2024, section 3.3."""


class Band(NamedTuple):
    """A named set of frequencies of one basis."""

    name: str
    frequency: Int[np.ndarray, " k"]


def band(basis: Basis, name: Literal["low", "high"], high_period: float = HIGH_PERIOD) -> Band:
    """The frequencies of a band: `high` has periods <= 10.4 numbers, `low` longer ones; the constant is in neither.

    Args:
        basis: From `fourier.bases`; periods are in numbers (or logarithms) per cycle.
        name: `low` or `high`.
        high_period: Longest period of the high band, for sweeps of the cut.

    Source: Zhou et al. 2024, section 3.3, where component 50 of 520 begins the high band; cut by period so that it
    means the same for every length.
    """
    is_high = basis.period <= high_period + 1e-9
    return Band(name, basis.frequency[is_high if name == "high" else ~is_high])


def rows_of(basis: Basis, frequency: Int[np.ndarray, " k"]) -> Int[np.ndarray, " f"]:
    """Rows of the basis, ascending, that belong to these frequencies; an unknown frequency has none."""
    chosen = np.isin(basis.frequency, frequency)
    rows = np.concatenate([basis.cosine[chosen], basis.sine[chosen]])
    return np.sort(rows[rows >= 0])


def keep(table: Table, basis: Basis, frequency: Int[np.ndarray, " k"]) -> Float[np.ndarray, "p channels"]:
    """The part of a table at these frequencies, (p, channels); no constant.

    Args:
        table: One row per number; other axes are flattened.
        basis: A basis over as many numbers.
        frequency: Cycles per modulus.

    Keeping a band of a table does not show that a model uses it; for that remove it inside the model.
    """
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    rows = basis.rows[rows_of(basis, frequency)]
    return rows.T @ (rows @ flat)


def remove(table: Table, basis: Basis, frequency: Int[np.ndarray, " k"]) -> Float[np.ndarray, "p channels"]:
    """The table without these frequencies, (p, channels); the constant stays. Arguments as for `keep`."""
    return np.asarray(table, np.float64).reshape(len(table), -1) - keep(table, basis, frequency)
