"""Orthonormal real bases over the numbers 0..n-1.

To add a basis: a function that returns a `Basis`, and one line in BASES. tests/test_fourier.py checks every entry for
orthonormality.
"""

import functools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from epicycle.errors import ConfigError
from epicycle.numbers.residues import discrete_logarithms


class Basis(NamedTuple):
    """Real functions of the number, in cosine and sine pairs.

    `rows` (f, n) are orthonormal. `cosine[i]` and `sine[i]` are the rows of frequency `frequency[i]`; `sine` is -1
    where there is no sine (the Nyquist frequency of an even length). `constant` is the constant row, `other` the rows
    that belong to no frequency (the zero residue of the multiplicative basis). `support` marks the numbers on which
    the waves live; `convention` is the sentence printed beside every number.
    """

    name: str
    rows: Float[np.ndarray, "f n"]
    frequency: Int[np.ndarray, " k"]
    cosine: Int[np.ndarray, " k"]
    sine: Int[np.ndarray, " k"]
    constant: int
    other: tuple[int, ...]
    support: np.ndarray
    convention: str

    @property
    def period(self) -> Float[np.ndarray, " k"]:
        """Numbers per cycle; in the multiplicative basis, logarithms per cycle."""
        return self.support.sum() / self.frequency


def waves(length: int) -> Float[np.ndarray, "f n"]:
    """Rows constant, cos 1, sin 1, cos 2, ... each of unit norm; one Nyquist row at the end for even lengths.

    Source: Furuta et al. 2024, App. B (authoritative over their in-text equation).
    """
    n = np.arange(length)
    rows = [np.full(length, length**-0.5)]
    for k in range(1, (length - 1) // 2 + 1):
        # the product is reduced first, so that the angle is exact for large lengths
        angle = 2 * np.pi * (k * n % length) / length
        rows += [np.cos(angle) * (2 / length) ** 0.5, np.sin(angle) * (2 / length) ** 0.5]
    if length % 2 == 0:
        rows.append(np.where(n % 2, -1.0, 1.0) * length**-0.5)
    return np.stack(rows)


def _pairs(length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    frequency = np.arange(1, length // 2 + 1)
    sine = np.where(2 * frequency == length, -1, 2 * frequency)
    return frequency, 2 * frequency - 1, sine


@functools.cache
def additive(n: int) -> Basis:
    """Characters of Z/n as cosines and sines: the default basis."""
    if n < 2:
        raise ConfigError(f"got a table of {n} numbers; a spectrum needs at least 2. Give more rows.")
    frequency, cosine, sine = _pairs(n)
    text = f"orthonormal cosines and sines over {n} numbers, frequency in cycles per {n}"
    return Basis("additive", waves(n), frequency, cosine, sine, 0, (), np.ones(n, bool), text)


def relabelled(n: int, label: Int[np.ndarray, " n"]) -> Basis:
    """The additive basis in another order of the numbers: wave(label[x]). `label` is a bijection of 0..n-1."""
    if sorted(label.tolist()) != list(range(n)):
        raise ConfigError(f"got labels that are not a bijection of 0..{n - 1}; expected each once. Mend them.")
    plain = additive(n)
    return plain._replace(name="relabelled", rows=plain.rows[:, label],
                          convention=f"orthonormal cosines and sines over {n} relabelled numbers")  # fmt: skip


@functools.cache
def multiplicative(n: int, root: int | None = None) -> Basis:
    """Characters of the non-zero residues of a prime, as cosines and sines of the discrete logarithm; zero split off.

    Frequency m counts cycles per n - 1 logarithms. Another primitive root permutes the frequencies and changes no
    statistic.

    Raises:
        ConfigError: n is not a prime.
    """
    log = discrete_logarithms(n, root)
    inner = waves(n - 1)
    rows = np.zeros((n, n))
    rows[:-1, 1:] = inner[:, log[1:]]
    rows[-1, 0] = 1.0
    frequency, cosine, sine = _pairs(n - 1)
    text = f"orthonormal cosines and sines of the discrete logarithm modulo {n}, zero split off"
    return Basis("multiplicative", rows, frequency, cosine, sine, 0, (n - 1,), np.arange(n) > 0, text)


BASES = {"additive": additive, "multiplicative": multiplicative}
"""Name -> function of the number of rows."""


def half_domain(n: int) -> Basis:
    """Waves of the in-text equation of Furuta et al. 2024, which sums t = 1..floor(n/2) only. Not orthogonal.

    As printed, never the default and not in BASES: one planted frequency at n = 97 leaks up to 0.65 of its peak
    elsewhere.
    """
    t = np.arange(n)
    inside = (t >= 1) & (t <= n // 2)
    rows = [inside * 2 / (n // 2)]
    for k in range(1, n // 2 + 1):
        angle = 2 * np.pi * (k * t % n) / n
        rows.append(np.cos(angle) * inside * 2 / (n // 2))
        if 2 * k != n:
            rows.append(np.sin(angle) * inside * 2 / (n // 2))
    plain = additive(n)
    return plain._replace(name="literal_eq5", rows=np.stack(rows),
                          convention=f"half-domain sums over t = 1..{n // 2} as in the paper's equation")  # fmt: skip


def zhou2024(n: int = 521) -> Float[np.ndarray, "n n"]:
    """The basis of Zhou et al. 2024, Def. A.3, as printed: n points with period n - 1, sine before cosine.

    Row 2k-1 is sin, row 2k is cos of 2 pi k x / (n-1), scaled by sqrt(2/(n-1)). Its faults at n = 521: rank 520, row
    519 is zero, row 520 has norm 1.4156, so period 2 is inflated. Never the default.
    """
    x = np.arange(n)
    rows = np.zeros((n, n))
    rows[0] = (n - 1) ** -0.5
    for k in range(1, (n - 1) // 2 + 1):
        angle = 2 * np.pi * (k * x % (n - 1)) / (n - 1)
        rows[2 * k - 1] = np.sin(angle) * (2 / (n - 1)) ** 0.5 if 2 * k != n - 1 else 0.0
        rows[2 * k] = np.cos(angle) * (2 / (n - 1)) ** 0.5
    return rows
