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


def band(basis: Basis, name: Literal["low", "high"]) -> Band:
    """`high`: periods <= 10.4; `low`: longer. The constant is in neither."""
    is_high = basis.period <= HIGH_PERIOD + 1e-9
    return Band(name, basis.frequency[is_high if name == "high" else ~is_high])


def rows_of(basis: Basis, frequency: Int[np.ndarray, " k"]) -> Int[np.ndarray, " f"]:
    """Rows of the basis that belong to these frequencies."""
    chosen = np.isin(basis.frequency, frequency)
    rows = np.concatenate([basis.cosine[chosen], basis.sine[chosen]])
    return np.sort(rows[rows >= 0])


def keep(table: Table, basis: Basis, frequency: Int[np.ndarray, " k"]) -> Float[np.ndarray, "p channels"]:
    """The part of a table at these frequencies; no constant."""
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    rows = basis.rows[rows_of(basis, frequency)]
    return rows.T @ (rows @ flat)


def remove(table: Table, basis: Basis, frequency: Int[np.ndarray, " k"]) -> Float[np.ndarray, "p channels"]:
    """The table without these frequencies; the constant stays."""
    return np.asarray(table, np.float64).reshape(len(table), -1) - keep(table, basis, frequency)
