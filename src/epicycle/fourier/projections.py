"""Directions of the residual stream that write chosen waves into the logits, and how to leave them out.

Everything here is arrays: `unembedding` is the (N, d) table whose rows are numbers.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from epicycle.errors import ConfigError
from epicycle.fourier.bands import HIGH_PERIOD, band, rows_of
from epicycle.fourier.bases import additive, zhou2024

TOLERANCE = 1e-6
"""Singular values below this share of the largest count as zero: weights are rounded to float32, and the printed basis has a row
that is zero."""
MIN_FREE_SHARE = 1 / 3
"""A removal that leaves less than this share of the width is refused."""

Reading = Literal["component", "shared", "double", "row"]
"""How the cut of Zhou et al. 2024 is read; see `printed_rows`."""


class Removal(NamedTuple):
    """An orthonormal set of directions to leave out: y = x - (x V) V^T."""

    name: str
    directions: Float[np.ndarray, "r d"]

    @property
    def rank(self) -> int:
        """Dimensions that are lost."""
        return len(self.directions)

    @property
    def free_share(self) -> float:
        """Share of the width that is left."""
        return 1 - self.rank / self.directions.shape[1]


def printed_rows(
    name: Literal["low", "high"], n: int = 521, cut: int = 50, reading: Reading = "component"
) -> Int[np.ndarray, " f"]:
    """Rows of the basis as printed (`bases.zhou2024`) that belong to a band of Zhou et al. 2024.

    Row i belongs to component (i + 1) // 2. Readings of the cut, which the paper gives in ways that disagree:
    `component`: low 1..cut-1, high cut and above. `shared`: component `cut` in neither. `double` (Def. A.5): rows below
    2 cut are low. `row` (Def. A.6): rows below cut are low.
    """
    row = np.arange(1, n)
    component = (row + 1) // 2
    low, high = {
        "component": (component < cut, component >= cut),
        "shared": (component < cut, component > cut),
        "double": (row < 2 * cut, row >= 2 * cut),
        "row": (row < cut, row >= cut),
    }[reading]
    return row[low if name == "low" else high]


def band_rows(
    n: int, name: Literal["low", "high"], *, convention: Literal["orthonormal", "as-printed"] = "orthonormal",
    high_period: float = HIGH_PERIOD, reading: Reading = "component",
) -> Float[np.ndarray, "f n"]:  # fmt: skip
    """Waves of a band over n numbers, one a row.

    Args:
        n: Numbers.
        name: low or high.
        convention: `orthonormal` cuts by period; `as-printed` takes the rows of Zhou et al. 2024, Def. A.3, with period
            n - 1, and cuts at the component nearest to the same period.
        high_period: Longest period of the high band.
        reading: Reading of the printed cut.
    """
    if convention == "orthonormal":
        basis = additive(n)
        return basis.rows[rows_of(basis, band(basis, name, high_period).frequency)]
    cut = int(np.ceil((n - 1) / high_period - 1e-9))
    return zhou2024(n)[printed_rows(name, n, cut, reading)]


def period_rows(n: int, period: int) -> Float[np.ndarray, "f n"]:
    """Waves over n numbers of all harmonics of a whole period T: cos and sin of 2 pi l n / T, l = 1..T // 2; T - 1 of them.

    Where T does not divide n they are not waves of the table's own basis, but functions of n mod T all the same.
    """
    x = np.arange(n)
    waves = [wave(2 * np.pi * step * x / period) for step in range(1, period // 2 + 1) for wave in (np.cos, np.sin)]
    found = np.stack(waves)
    return found[np.abs(found).max(1) > 1e-9]  # the sine of period 2 is zero


def writers(rows: Float[np.ndarray, "f n"], unembedding: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "r d"]:
    """Orthonormal directions of the stream that write these waves into the number logits.

    The projection that leaves them out is the nearest point with no such wave: argmin |x - y| with rows W_U y = 0.

    Source: Zhou et al. 2024, Def. A.6 and Rem. A.7.
    """
    if not len(rows):
        return np.zeros((0, unembedding.shape[1]))
    table = np.asarray(unembedding, np.float64)
    _, s, v = np.linalg.svd(rows @ table, full_matrices=False)
    typical = float(np.linalg.norm(table)) / min(table.shape) ** 0.5
    return v[s > TOLERANCE * max(s[0], typical)]  # a table without these waves leaves rounding only


def folded(
    unembedding: Float[np.ndarray, "n d"], gain: Float[np.ndarray, " d"] | None, *, centres: bool
) -> Float[np.ndarray, "n d"]:
    """The unembedding as the stream sees it through the final norm's gain (and its centring, for LayerNorm).

    What is left out is the norm's division by the stream's length, which scales all logits of a prompt alike.
    """
    found = np.asarray(unembedding, np.float64) * (1.0 if gain is None else gain)
    return found - found.mean(1, keepdims=True) if centres else found


def random_directions(
    rank: int, width: int, generator: np.random.Generator, within: Float[np.ndarray, "m d"] | None = None
) -> Float[np.ndarray, "r d"]:
    """A random orthonormal set, in the whole width or inside the span of the orthonormal rows of `within`."""
    if within is not None and rank > len(within):
        raise ConfigError(
            f"got {rank} directions inside a space of {len(within)}; expected at most as many. Use the whole width."
        )
    inside = width if within is None else len(within)
    q = np.linalg.qr(generator.standard_normal((inside, rank)))[0].T
    return q if within is None else q @ within


def row_space(unembedding: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "m d"]:
    """Orthonormal rows that span the rows of the unembedding: all of the stream that the number logits can see."""
    _, s, v = np.linalg.svd(np.asarray(unembedding, np.float64), full_matrices=False)
    return v[s > TOLERANCE * s[0]]


def band_rank(n: int, name: Literal["low", "high"], high_period: float = HIGH_PERIOD) -> int:
    """Waves of a band over n numbers: what removing it costs where the width has room for all of them."""
    k = np.arange(1, n // 2 + 1)
    is_high = n / k <= high_period + 1e-9
    waves = np.where(2 * k == n, 1, 2)
    return int(waves[is_high if name == "high" else ~is_high].sum())


def largest_count(width: int, name: Literal["low", "high"], high_period: float = HIGH_PERIOD) -> int:
    """The most numbers 0..N-1 (a multiple of ten) for which removing the band leaves a third of the width; 0 for none."""
    fits = [n for n in range(20, 2001, 10) if band_rank(n, name, high_period) <= (1 - MIN_FREE_SHARE) * width]
    return max(fits, default=0)
