"""Whether residues can be told apart: what a spectrum alone does not show.

A table may carry all the power one likes at the harmonics of a period T and yet no hyperplane separates the residues modulo T,
because the spread inside each residue class is larger still.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from epicycle.axes import Table
from epicycle.errors import DataError


class Scatter(NamedTuple):
    """Scatter of a table by residue modulo a period.

    phi: Power at the harmonics of the period, sum over l = 1 .. T-1 of |F_(l/T)|^2 with F_v = N^(-1/2) sum_n e(n) exp(-2 pi i v n).
    between_trace: Tr S_B, with S_B the scatter of the class means; equal to phi / N if T divides N.
    within_condition: Condition number of S_W, the scatter inside the classes.
    fisher: Largest eigenvalue of S_W^-1 S_B: how well the best single direction tells the residues apart; infinite where S_W is
    singular along S_B.
    fisher_low, fisher_high: phi / (N (T-1) cond(S_W) lambda_min(S_W)) <= fisher <= phi / (N lambda_min(S_W)).
    numbers, dimensions: Rows used (the largest multiple of T) and principal dimensions kept, so that S_W has full rank.
    """

    period: int
    numbers: int
    dimensions: int
    phi: float
    between_trace: float
    within_condition: float
    fisher: float
    fisher_low: float
    fisher_high: float


def harmonic_power(table: Table, period: int) -> float:
    """Phi_T: power of the table at all harmonics l / T of a whole period, the constant left out.

    Args:
        table: One row per number, (N, d).
        period: T, from 2 to N.
    """
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    angle = np.outer(np.arange(1, period), np.arange(len(flat))) % period * (2 * np.pi / period)
    parts = np.exp(-1j * angle) @ flat
    return float((np.abs(parts) ** 2).sum() / len(flat))


def scatter_matrices(table: Table, period: int) -> tuple[Float[np.ndarray, "d d"], Float[np.ndarray, "d d"]]:
    """S_B, the scatter of the class means with every class weighted alike, and S_W, the mean scatter inside the classes."""
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    label = np.arange(len(flat)) % period
    means = np.stack([flat[label == r].mean(0) for r in range(period)])
    spread = means - means.mean(0)
    inside = flat - means[label]
    return spread.T @ spread / period, inside.T @ inside / len(flat)


def scatter(table: Table, period: int, dimensions: int | None = None) -> Scatter:
    """Spectral and geometric strength of a period, in the same table.

    Args:
        table: One row per number, (N, d). Rows beyond the largest multiple of T are left out.
        period: T, a whole number of at least 2.
        dimensions: Principal dimensions kept; as many as leave four numbers for each if not given. The identity and the bounds
            hold in any of them.

    Raises:
        DataError: Fewer than three numbers per class, or no variance.

    Source:
        Fu et al. 2026 (arXiv 2604.20817): Phi_T, Tr S_B = Phi_T / N, Theorem 1 and the bounds on the Fisher ratio.
    """
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    numbers = len(flat) // period * period
    if period < 2 or numbers < 3 * period:
        raise DataError(f"got {len(flat)} numbers for residues modulo {period}; expected a period of at least 2 and three numbers per class. "
                        "Use more numbers or a shorter period.")  # fmt: skip
    centred = flat[:numbers] - flat[:numbers].mean(0)
    size = np.abs(centred).max()
    if not (np.isfinite(size) and size > 0):
        raise DataError(
            "got a table without variance over its rows, or not finite; expected some. Choose another table."
        )
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    rank = int((s > 1e-10 * s[0]).sum())
    kept = min(rank, dimensions or max(1, numbers // 4))
    small = u[:, :kept] * s[:kept]
    between, within = scatter_matrices(small, period)
    values, vectors = np.linalg.eigh(within)
    phi = harmonic_power(small, period)
    if values[0] <= 1e-12 * max(
        values[-1], float(np.trace(between))
    ):  # classes without any spread along some direction
        return Scatter(period, numbers, kept, phi, float(np.trace(between)), np.inf, np.inf, 0.0, np.inf)
    white = vectors / np.sqrt(values)
    fisher = float(np.linalg.eigvalsh(white.T @ between @ white)[-1])
    condition = float(values[-1] / values[0])
    high = phi / (numbers * float(values[0]))
    return Scatter(
        period, numbers, kept, phi, float(np.trace(between)), condition, fisher, high / ((period - 1) * condition), high
    )


def unreadable(numbers: int, period: int, strength: float = 1.0, stride: float = 1000.0) -> Table:
    """A table with as much power at a period as one likes and no linear read-out: e(r + mT) = strength (r + stride m), one direction.

    Phi_T is N strength^2 (T^2 - 1) / 12 if T divides N.

    Source: Fu et al. 2026, the example after Theorem 1.
    """
    n = np.arange(numbers)
    return (strength * (n % period + stride * (n // period)))[:, None].astype(np.float64)
