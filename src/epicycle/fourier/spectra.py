"""What a table carries at each frequency: norms, shares, two-dimensional spectra."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from epicycle.axes import Table
from epicycle.errors import DataError
from epicycle.fourier.bases import Basis


class FourierNorms(NamedTuple):
    """Norm over all channels of the cosine and the sine coefficient at each frequency.

    `sine` is NaN where the basis has no sine. `constant` is the norm of the constant coefficient, `other` of the rows
    that belong to no frequency.
    """

    frequency: Int[np.ndarray, " k"]
    period: Float[np.ndarray, " k"]
    cosine: Float[np.ndarray, " k"]
    sine: Float[np.ndarray, " k"]
    constant: float
    other: float

    @property
    def power(self) -> Float[np.ndarray, " k"]:
        """Squared norm, cosine and sine together."""
        return self.cosine**2 + np.nan_to_num(self.sine) ** 2

    @property
    def share(self) -> Float[np.ndarray, " k"]:
        """Share of the squared norm that is not constant; sums to 1 (all zero for a constant table)."""
        total = self.power.sum()
        return self.power / total if total > 0 else self.power


def coefficients(table: Table, basis: Basis) -> Float[np.ndarray, "f channels"]:
    """Coefficient of every basis row in every channel: rows @ table, trailing axes flattened.

    Raises:
        DataError: The table has another number of rows than the basis, or holds NaN or infinity.
    """
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    if len(flat) != basis.rows.shape[1]:
        raise DataError(
            f"got a table of {len(flat)} rows for a basis over {basis.rows.shape[1]} numbers; expected one row per "
            "number. Transpose it or choose another basis."
        )
    if not np.isfinite(flat).all():
        raise DataError(
            f"got a table of shape {np.shape(table)} with {int((~np.isfinite(flat)).sum())} values that are NaN or "
            "infinite; a spectrum needs finite numbers. Mend the table."
        )
    return basis.rows @ flat


def fourier_norms(table: Table, basis: Basis) -> FourierNorms:
    """Norms of the Fourier coefficients of a table, cosine and sine apart.

    Args:
        table: One row per number; all other axes are channels. For W_E pass `W_E[:, :p].T`.
        basis: From `fourier.bases`.

    Returns:
        Norms in the unit of the table. By Parseval their squares sum to the squared Frobenius norm.

    Raises:
        DataError: Wrong number of rows, or values that are not finite.

    Source:
        Furuta et al. 2024, App. B, with the correct labels: their listing calls the cosine rows sine.

    Example:
        >>> from epicycle.fourier.bases import additive
        >>> n = np.arange(7)
        >>> fourier_norms(np.cos(2 * np.pi * 2 * n / 7)[:, None], additive(7)).share.round(6).tolist()
        [0.0, 1.0, 0.0]
    """
    return norms_of_rows(np.linalg.norm(coefficients(table, basis), axis=1), basis)


def norms_of_rows(norms: Float[np.ndarray, " f"], basis: Basis) -> FourierNorms:
    """Sort the norms of all basis rows into cosine, sine, constant and other."""
    sine = np.where(basis.sine >= 0, norms[basis.sine], np.nan)
    other = float(np.linalg.norm(norms[list(basis.other)])) if basis.other else 0.0
    return FourierNorms(basis.frequency, basis.period, norms[basis.cosine], sine, float(norms[basis.constant]), other)


def spectrum_2d(grid: Float[np.ndarray, "p p *site"], basis: Basis) -> Float[np.ndarray, "f f channels"]:
    """Coefficients of a function of two numbers along both: rows @ grid @ rows^T for every channel.

    Source: `fft2d` of Nanda et al. 2023; used for logits and neurons in Furuta et al. 2024, Figs. 3, 5, 7.
    """
    n = len(grid)
    dtype = grid.dtype if grid.dtype == np.float32 else np.float64
    flat = np.asarray(grid, dtype).reshape(n, n, -1)
    rows = basis.rows.astype(dtype)
    half = (rows @ flat.reshape(n, -1)).reshape(n, n, -1)
    return np.matmul(rows, half)


def heat_map(spectrum: Float[np.ndarray, "f f channels"]) -> Float[np.ndarray, "f f"]:
    """Norm over channels of a two-dimensional spectrum; row and column 0 are the constants."""
    return np.linalg.norm(spectrum, axis=2)
