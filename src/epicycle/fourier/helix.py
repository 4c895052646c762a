"""Numbers as points of a generalised helix: a straight line plus a circle for every period."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from epicycle.axes import Table
from epicycle.errors import ConfigError

HELIX_PERIODS = (2.0, 5.0, 10.0, 100.0)
"""Periods of Kantamneni and Tegmark 2025."""
COMPONENTS = 100
"""Principal components that the helix is fitted in, as there."""


class Design(NamedTuple):
    """Columns that a number is described by, centred: (N, c), their names, and those left out because they are zero on whole numbers."""

    columns: Float[np.ndarray, "n c"]
    names: tuple[str, ...]
    unidentifiable: tuple[str, ...]


def helix_design(
    numbers: Int[np.ndarray, " n"], periods: Sequence[float] = HELIX_PERIODS, *, linear: bool = True
) -> Design:
    """[a, cos(2 pi a / T), sin(2 pi a / T) for every period T], centred.

    The sine of period 2 is zero at every whole number: its coefficient cannot be identified and is left out and named. With
    T = 2, 5, 10, 100 there are eight columns, not nine.

    Args:
        numbers: Whole numbers.
        periods: In numbers.
        linear: With the straight line; without it the design is that of circles.

    Raises:
        ConfigError: A period is below 2, or longer than the range of the numbers.

    Source: Kantamneni and Tegmark 2025 (arXiv 2502.00873).
    """
    n = np.asarray(numbers, np.float64)
    span = int(n.max() - n.min()) + 1
    for period in periods:
        if period < 2:
            raise ConfigError(f"got period {period:g} for a helix; expected at least 2 numbers. Use 2 or longer.")
        if period > span:
            raise ConfigError(f"got period {period:g} for a helix over {span} numbers; expected a range at least as long as the period. Use more numbers or "
                              "leave that period out.")  # fmt: skip
    columns, names, gone = ([n] if linear else []), (["a"] if linear else []), []
    for period in periods:
        for name, wave in (("cos", np.cos), ("sin", np.sin)):
            column = wave(2 * np.pi * n / period)
            label = f"{name} {period:g}"
            if np.abs(column).max() < 1e-9:
                gone.append(label)
            else:
                columns.append(column)
                names.append(label)
    table = np.stack(columns, 1)
    return Design(table - table.mean(0), tuple(names), tuple(gone))


def polynomial_design(numbers: Int[np.ndarray, " n"], degree: int) -> Design:
    """Polynomials of the number up to a degree, orthonormal and centred: the control of equal capacity."""
    n = np.asarray(numbers, np.float64)
    x = 2 * (n - n.min()) / max(n.max() - n.min(), 1) - 1
    return Design(
        np.linalg.qr(np.vander(x, degree + 1, increasing=True))[0][:, 1:],
        tuple(f"a^{i}" for i in range(1, degree + 1)),
        (),
    )


class Fit(NamedTuple):
    """A least-squares fit of a table on a design: coefficients (c, d), centre (d,), share of variance explained, and by chance."""

    coefficients: Float[np.ndarray, "c d"]
    centre: Float[np.ndarray, " d"]
    explained: float
    chance: float


def fit(table: Table, design: Design, components: int | None = COMPONENTS) -> Fit:
    """Fit the rows of a table by a design, in the table's largest principal components.

    Args:
        table: One row per number, (N, d).
        design: Of the same numbers.
        components: Principal components kept; all if None.

    Returns:
        Coefficients in the table's own coordinates. `explained` is of the variance of the whole table; `chance` is what white rows
        give when all components are kept, rank of the design over N - 1.

    Source: Kantamneni and Tegmark 2025: principal components, least squares, back to the stream.
    """
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    centre = flat.mean(0)
    centred = flat - centre
    kept = centred
    if components is not None and components < min(len(flat) - 1, flat.shape[1]):
        _, _, vt = np.linalg.svd(centred, full_matrices=False)
        kept = centred @ vt[:components].T @ vt[:components]
    coefficients, _, rank, _ = np.linalg.lstsq(design.columns, kept, rcond=None)
    predicted = design.columns @ coefficients
    whole = float((centred**2).sum())
    explained = 1 - float(((centred - predicted) ** 2).sum()) / whole if whole > 0 else 0.0
    return Fit(coefficients, centre, explained, int(rank) / (len(flat) - 1))


def held_out(table: Table, design: Design, folds: int = 5, seed: int = 0) -> Float[np.ndarray, "n d"]:
    """For every number, its row as predicted by a fit that did not see it: no capacity, however large, can copy rows."""
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    parts = np.array_split(np.random.default_rng(seed).permutation(len(flat)), folds)
    predicted = np.empty_like(flat)
    for part in parts:
        rest = np.setdiff1d(np.arange(len(flat)), part)
        mean, offset = flat[rest].mean(0), design.columns[rest].mean(0)
        coefficients = np.linalg.lstsq(design.columns[rest] - offset, flat[rest] - mean, rcond=None)[0]
        predicted[part] = mean + (design.columns[part] - offset) @ coefficients
    return predicted


def levels(values: Int[np.ndarray, " b"]) -> Float[np.ndarray, "b c"]:
    """One column per value that occurs: any function of the values is a combination of them."""
    _, index = np.unique(values, return_inverse=True)
    return np.eye(int(index.max()) + 1)[index.reshape(-1)]


class Nested(NamedTuple):
    """Orthonormal bases of a first set of columns (b, r) and of what a second set adds to it (b, q), all centred."""

    first: Float[np.ndarray, "b r"]
    added: Float[np.ndarray, "b q"]

    def shares(self, table: Float[np.ndarray, "b d"]) -> tuple[float, float]:
        """Share of the variance of the rows that the first set explains, and that the second adds; both adjusted: 0 is chance.

        NaN where more than half of the rows' freedom is spent on columns: such a share would say nothing.
        """
        flat = np.asarray(table, np.float64)
        centred = flat - flat.mean(0)
        whole, free = float((centred**2).sum()), len(flat) - 1
        used = self.first.shape[1] + self.added.shape[1]
        if whole <= 0 or 2 * used > free:
            return (0.0, 0.0) if whole <= 0 else (np.nan, np.nan)
        left = 1 - float(((self.first.T @ centred) ** 2).sum()) / whole
        rest = left - float(((self.added.T @ centred) ** 2).sum()) / whole
        one = 1 - left * free / (free - self.first.shape[1])
        return one, 1 - rest * free / (free - used) - one


def nested(first: Float[np.ndarray, "b c"], second: Float[np.ndarray, "b e"]) -> Nested:
    """Bases for `Nested.shares`: columns may depend on each other."""

    def basis(columns: np.ndarray) -> np.ndarray:
        u, s, _ = np.linalg.svd(columns, full_matrices=False)
        return u[:, s > 1e-9 * max(float(s[0]), 1e-300)] if s[0] > 1e-9 else u[:, :0]

    one = basis(first - first.mean(0))
    centred = second - second.mean(0)
    return Nested(one, basis(centred - one @ (one.T @ centred)))
