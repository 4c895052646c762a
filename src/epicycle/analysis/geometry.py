"""Spectrum and geometry of a number table side by side: power at a period, and whether the residues can be read from it."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np

from epicycle.analysis.probes import frequency_matched, probe
from epicycle.fourier.geometry import harmonic_power, scatter
from epicycle.fourier.nulls import frequency_table, without_frequency
from epicycle.results import Result

PERIODS = (2, 3, 4, 5, 7, 9, 10, 20)
"""Periods looked at: those of the decimal system, and 3, 7 and 9 as controls that it has no use for."""

MATCHED = ("matched", "matched_level", "matched_rows", "matched_size", "matched_magnitude")
"""What is measured on numbers that are matched by frequency."""


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NumberGeometry(Result):
    """Per period T: power at its harmonics, scatter of the residues, and probes of n mod T on numbers held out.

    `phi`, `between_trace`, `fisher`, `fisher_low`, `fisher_high`: see `fourier.geometry.Scatter`, in `dimensions` principal
    dimensions. `phi_share` is the power at the harmonics over that of all centred rows, in the whole table (1 if it has nothing else),
    `phi_chance` its value for white rows, (T-1)/(N-1). `linear`, `circular`, `beyond`: Cohen's kappa (see `analysis.probes.Probe`).
    `control`, `control_level`, `p_value`: linear kappa with shuffled labels. `frequency_only`: kappa from the logarithm of how often
    the numbers occur, alone; `frequency_out`: with it regressed out of every channel; NaN where frequencies are not known. `matched`,
    `matched_level`: linear kappa, and what 5 % of shuffled labels exceed, on `matched_rows` numbers among which every class occurs equally
    often (`analysis.probes.frequency_matched`); `matched_size`: kappa on as many of each class drawn without regard to frequency;
    `matched_magnitude`: kappa on the matched numbers from n, n^2, n^3 and log n alone. Matching makes the classes differ in size, since a
    number that people prefer is as frequent as a smaller one that they do not: only what exceeds that kappa too is more than size. NaN where
    frequencies are not known, or fewer than three numbers per class are left.

    A high kappa shows that a residue can be read linearly, not that the model reads it.
    """

    schema: ClassVar[int] = 3
    numbers: int
    width: int
    controls: int
    seed: int
    period: np.ndarray
    dimensions: np.ndarray
    phi: np.ndarray
    phi_share: np.ndarray
    phi_chance: np.ndarray
    between_trace: np.ndarray
    within_condition: np.ndarray
    fisher: np.ndarray
    fisher_low: np.ndarray
    fisher_high: np.ndarray
    linear: np.ndarray
    circular: np.ndarray
    beyond: np.ndarray
    control: np.ndarray
    control_level: np.ndarray
    p_value: np.ndarray
    frequency_only: np.ndarray
    frequency_out: np.ndarray
    matched: np.ndarray
    matched_level: np.ndarray
    matched_rows: np.ndarray
    matched_size: np.ndarray
    matched_magnitude: np.ndarray

    def at(self, period: int) -> dict[str, float]:
        """Everything about one period."""
        [i] = np.flatnonzero(self.period == period)
        return {
            field.name: float(value[i])
            for field in dataclasses.fields(self)
            if isinstance(value := getattr(self, field.name), np.ndarray)
        }

    def plot(self, ax: Any = None) -> Any:
        """Share of power and kappa, period by period; returns the axes."""
        from epicycle.plots.geometry import side_by_side

        return side_by_side(self.period, self.phi_share, self.phi_chance, self.linear, self.control_level, ax)


def _matched(table: np.ndarray, counts: np.ndarray, period: int, controls: int, seed: int) -> dict[str, float]:
    """Kappa on numbers matched by frequency, and on as many that are not."""
    labels = np.arange(len(table)) % period
    rows = frequency_matched(counts, labels, period, seed)
    found = dict.fromkeys(MATCHED, np.nan) | {"matched_rows": float(len(rows))}
    if len(rows) < 3 * period:
        return found
    read = probe(table[rows], labels[rows], period, controls=controls, seed=seed)
    each = len(rows) // period
    generator = np.random.default_rng([seed, 1])
    drawn = [generator.permutation(np.flatnonzero(labels == c))[:each] for c in range(period)]
    other = np.sort(np.concatenate(drawn))
    same = probe(table[other], labels[other], period, controls=0, seed=seed).linear
    n = np.arange(1.0, len(table) + 1)
    smooth = np.stack([n, n**2, n**3, np.log(n)], 1)
    smooth = ((smooth - smooth.mean(0)) / smooth.std(0))[rows]
    size = probe(smooth, labels[rows], period, controls=0, seed=seed).linear
    return found | {
        "matched": read.linear,
        "matched_level": read.control_level,
        "matched_size": same,
        "matched_magnitude": size,
    }


def number_geometry(
    table: np.ndarray,
    counts: np.ndarray | None = None,
    *,
    periods: Sequence[int] = PERIODS,
    controls: int = 49,
    seed: int = 0,
) -> NumberGeometry:
    """Spectral and geometric strength of several periods in a table whose rows are the numbers 0..N-1.

    Args:
        table: (N, d).
        counts: How often each number occurs in what the model read, or None.
        periods: Those with fewer than three numbers per class are left out.
        controls: Relabellings per probe.
        seed: Seed of folds and relabellings.

    Raises:
        DataError: No period is left, or the table has no variance.
    """
    flat = np.asarray(table, np.float64).reshape(len(table), -1)
    if flat.shape[1] > len(
        flat
    ):  # a rotation of the channels changes nothing here, and there are no more directions than rows
        centre = flat.mean(0)
        u, s, _ = np.linalg.svd(flat - centre, full_matrices=False)
        flat = u * s
    n = np.arange(len(flat))
    used = [t for t in periods if len(flat) >= 3 * t] or [min(periods)]
    counts = None if counts is None else np.asarray(counts, np.float64)
    known = counts is not None and np.ptp(counts) > 0
    rows: dict[str, list[float]] = {}
    for t in used:
        found, read = scatter(flat, t), probe(flat, n % t, t, controls=controls, seed=seed)
        whole = flat[: found.numbers] - flat[: found.numbers].mean(0)
        only = out = np.nan
        matched: dict[str, float] = dict.fromkeys(MATCHED, np.nan)
        if known:
            assert counts is not None
            only = probe(frequency_table(counts, 1), n % t, t, controls=0, seed=seed).linear
            out = probe(without_frequency(flat, counts), n % t, t, controls=0, seed=seed).linear
            matched = _matched(flat, counts, t, controls, seed)
        values = {
            "period": t, "dimensions": found.dimensions, "phi": found.phi, "phi_share": harmonic_power(whole, t) / float((whole**2).sum()),
            "phi_chance": (t - 1) / (found.numbers - 1), "between_trace": found.between_trace, "within_condition": found.within_condition,
            "fisher": found.fisher, "fisher_low": found.fisher_low, "fisher_high": found.fisher_high, "linear": read.linear,
            "circular": read.circular, "beyond": read.beyond, "control": read.control, "control_level": read.control_level,
            "p_value": read.p_value, "frequency_only": only, "frequency_out": out,
            **matched,
        }  # fmt: skip
        for name, value in values.items():
            rows.setdefault(name, []).append(value)
    columns = {name: np.array(values, float) for name, values in rows.items()}
    columns |= {name: columns[name].astype(np.int64) for name in ("period", "dimensions")}
    return NumberGeometry(
        numbers=len(flat),
        width=np.asarray(table).reshape(len(flat), -1).shape[1],
        controls=controls,
        seed=seed,
        **columns,
    )  # type: ignore[arg-type]
