"""The spectrum of any matrix whose rows are numbers, from a file or an array."""

import dataclasses
import zipfile
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, final

import numpy as np

from epicycle.errors import ConfigError, DataError
from epicycle.fourier.bases import BASES, Basis
from epicycle.fourier.measures import gini, measures
from epicycle.fourier.nulls import (
    NULLS,
    detrended,
    null_test,
    permuted_within_decades,
    ramp,
    token_frequency,
    with_gaps,
)
from epicycle.fourier.spectra import fourier_norms
from epicycle.numbers.residues import is_prime
from epicycle.results import Result

SUFFIXES = (".npy", ".npz", ".safetensors")


def load_array(path: Path | str, key: str | None = None) -> np.ndarray:
    """One array from a .npy, .npz or .safetensors file; nothing is ever unpickled.

    Args:
        path: The file.
        key: Name of the array; may be left out if the file holds one.

    Raises:
        DataError: There is no such file or array, it is not an array file, or it holds pickled objects.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f"got {file}, which is not a file; expected a .npy, .npz or .safetensors file. Check the path.")
    if file.suffix not in SUFFIXES:
        raise DataError(f"got {file.name}, whose name ends in {file.suffix or 'nothing'}; expected one of "
                        f"{', '.join(SUFFIXES)}. Save the matrix with numpy.save.")  # fmt: skip
    try:
        if file.suffix == ".npy":
            if key is not None:
                raise DataError(f"got key {key!r} for {file.name}, which holds one array without a name; expected none. "
                                "Leave it out, or save both arrays in one .npz.")  # fmt: skip
            return _numeric(np.load(file, allow_pickle=False), file.name)
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                return _numeric(arrays[_one_of(list(arrays.files), key, file)], file.name)
        from safetensors import safe_open

        with safe_open(file, framework="pt") as arrays:
            tensor = arrays.get_tensor(_one_of(list(arrays.keys()), key, file))
            return _numeric(tensor.double().numpy() if tensor.is_floating_point() else tensor.numpy(), file.name)
    except DataError:
        raise
    except ValueError as error:
        if "pickle" in str(error).lower() or "object" in str(error).lower():
            raise DataError(f"got {file.name}, which holds pickled Python objects; epicycle never loads those, since "
                            "they can run code. Save the plain numbers with numpy.save.") from None  # fmt: skip
        raise DataError(_broken(file)) from None
    except (OSError, EOFError, zipfile.BadZipFile, KeyError, SyntaxError) as error:
        raise DataError(_broken(file)) from error
    except Exception as error:
        if type(error).__module__.startswith("safetensors"):
            raise DataError(_broken(file)) from None
        raise


def _broken(file: Path) -> str:
    return f"got {file.name}, which is not a readable {file.suffix} file; expected an array. Save it again."


def _one_of(names: list[str], key: str | None, file: Path) -> str:
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    if key is None:
        if len(names) == 1:
            return names[0]
        raise DataError(f"got {file.name} with {len(names)} arrays and no key; expected the name of one. "
                        f"Add --key with one of: {shown}.")  # fmt: skip
    if key not in names:
        raise DataError(f"got key {key!r} for {file.name}; expected one of its arrays. Use one of: {shown}.")
    return key


def _numeric(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise DataError(f"got an array of type {array.dtype} in {name}; expected real numbers. Convert it to float.")
    return array


MAX_ROWS = 10_000
"""Numbers that a spectrum is taken over at most."""


def number_table(array: np.ndarray, axis: int = 0, rows: tuple[int, int] | None = None) -> np.ndarray:
    """The array as (numbers, channels), float64.

    Args:
        array: Any shape.
        axis: The axis that counts the numbers.
        rows: First and last-but-one row to keep; all if not given.

    Raises:
        DataError: A wrong axis, an empty or too short selection, NaN or infinity, or a table that is constant.
    """
    if array.ndim == 0 or not -array.ndim <= axis < array.ndim:
        raise DataError(f"got axis {axis} for an array of shape {array.shape}; expected an axis that exists. "
                        "Choose another --axis.")  # fmt: skip
    table = np.moveaxis(np.asarray(array, np.float64), axis, 0)
    if rows is None and len(table) > MAX_ROWS:
        raise DataError(f"got a table of {len(table):,} rows; expected at most {MAX_ROWS:,}, since a basis of all frequencies must fit into memory. "
                        "Choose a range with --rows.")  # fmt: skip
    if rows is not None:
        start, stop = rows
        if not 0 <= start < stop <= len(table):
            raise DataError(f"got rows {start}:{stop} of {len(table)}; expected a range inside 0:{len(table)}. "
                            "Choose another --rows.")  # fmt: skip
        table = table[start:stop]
    if table.size == 0:
        raise DataError(f"got an empty array of shape {array.shape}; expected numbers. Choose another array.")
    table = table.reshape(len(table), -1)
    if len(table) < 4:
        raise DataError(f"got a table of {len(table)} row{'s' * (len(table) != 1)}; a spectrum with a null needs at least "
                        "4 numbers. Choose another --axis or more --rows.")  # fmt: skip
    bad = int((~np.isfinite(table)).sum())
    if bad:
        raise DataError(f"got a table of shape {table.shape} with {bad} values that are NaN or infinite; expected finite "
                        "numbers. Mend or drop those rows.")  # fmt: skip
    if not (np.ptp(table, axis=0) > 0).any():
        raise DataError(f"got a table of shape {table.shape} whose rows are all equal; a spectrum needs some variance. "
                        "Choose another array.")  # fmt: skip
    return table


MAX_GAPS = 0.1
"""Share of the numbers that may be missing from a table."""


def placed(array: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows in the order of their numbers, from the smallest to the end of the longest stretch with few gaps.

    Missing numbers get the mean of the nearest rows on both sides, weighted by distance: smoother than what was there, so that
    nulls must have the same gaps (`matrix_spectrum(gaps=...)`). A number that is there twice keeps its first row.

    Args:
        array: (rows, channels).
        numbers: The number of each row, whole and not negative.

    Returns:
        The table from the smallest number on, without holes, and the numbers that were filled in.

    Raises:
        DataError: Not one number per row, or more than a tenth of any stretch of twenty numbers from the start is missing.
    """
    given = np.asarray(numbers)
    if given.shape != (len(array),) or given.dtype.kind not in "iu" or given.min(initial=0) < 0:
        raise DataError(f"got numbers of shape {given.shape} and type {given.dtype} for {len(array)} rows; expected one whole number per row, 0 or more. "
                        "Mend them.")  # fmt: skip
    known, first = np.unique(given, return_index=True)
    low = int(known[0])
    ends = [int(n) for i, n in enumerate(known) if (n - low + 1) - (i + 1) <= MAX_GAPS * (n - low + 1)]
    high = max(ends)
    if high - low + 1 < 20:
        raise DataError(f"got numbers of which more than {MAX_GAPS:.0%} are missing after {low}..{high}; expected a stretch of at least 20 with fewer "
                        "gaps. Choose other rows.")  # fmt: skip
    inside = known <= high
    flat = np.asarray(array, np.float64).reshape(len(array), -1)[first[inside]]
    whole = np.arange(low, high + 1)
    table = np.stack([np.interp(whole, known[inside], column) for column in flat.T], 1)
    return table, np.setdiff1d(whole, known)


def from_similarities(matrix: np.ndarray) -> np.ndarray:
    """A table whose rows have these similarities, from a square matrix of inner products or cosines.

    Scale and a common offset do not matter. What is not a matrix of inner products (negative eigenvalues, as rounding makes)
    is left out.

    Raises:
        DataError: Not square.

    Source:
        Classical scaling (Torgerson 1952).
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise DataError(f"got similarities of shape {matrix.shape}; expected a square matrix. Choose another array.")
    table = np.asarray(matrix, np.float64)
    table = (table + table.T) / 2
    table = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    values, vectors = np.linalg.eigh(table)
    return vectors * np.sqrt(np.maximum(values, 0))


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class MatrixSpectrum(Result):
    """Spectrum of a table whose rows are numbers, with every null.

    `share` is the share of centred power at each frequency; `p_single` and `p_family` hold, per null, the p-value of a
    frequency named beforehand and the one that allows for having looked at all. `level` is the share that 5 % of null
    tables exceed. `key_frequencies`: family-wise p <= 0.05 under `null`. A peak is not evidence of use, nor of a code
    that separates residues; it can come from how often numbers occur.
    """

    schema: ClassVar[int] = 1
    rows: int
    channels: int
    basis: str
    convention: str
    null: str
    draws: int
    is_detrended: bool
    measures: dict[str, Any]
    key_frequencies: tuple[int, ...]
    frequency: np.ndarray
    period: np.ndarray
    cosine: np.ndarray
    sine: np.ndarray
    share: np.ndarray
    p_single: dict[str, np.ndarray]
    p_family: dict[str, np.ndarray]
    level: dict[str, np.ndarray]

    def plot(self, ax: Any = None) -> Any:
        """Shares against the chosen null; returns the axes."""
        from epicycle.plots.spectra import shares

        return shares(self.frequency, self.share, self.level[self.null], self.key_frequencies, ax)

    def as_json(self) -> dict[str, Any]:
        """The object that `epicycle spectrum --json` prints; periods by falling share."""
        order = np.argsort(-self.share, kind="stable")
        return {
            "rows": self.rows,
            "channels": self.channels,
            "basis": self.basis,
            "convention": self.convention,
            "null": self.null,
            "draws": self.draws,
            "detrended": self.is_detrended,
            "periods": [
                {
                    "period": self.period[i], "frequency": int(self.frequency[i]), "share": self.share[i],
                    "p_value": self.p_single[self.null][i], "p_family": self.p_family[self.null][i],
                }
                for i in order
            ],
            **{name: self.measures[name] for name in ("ffd", "ffd_joint", "fcr", "fcr_coverage", "bias", "gini", "ipr")},
            "key_frequencies": list(self.key_frequencies),
            "nulls": {
                null: {str(int(self.frequency[i])): {"p_value": self.p_single[null][i], "p_family": self.p_family[null][i],
                                                     "level_95": self.level[null][i]} for i in order}
                for null in self.p_single
            },
        }  # fmt: skip


def choose_basis(table: np.ndarray, name: Literal["additive", "multiplicative", "auto"]) -> Basis:
    """The named basis, or for `auto` the one in which the centred table's power is most unequal (Gini).

    Raises:
        ConfigError: The multiplicative basis for a number of rows that is not prime.
    """
    if name != "auto":
        if name not in BASES:
            raise ConfigError(f"got basis {name!r}; expected one of {', '.join(BASES)} or auto. Choose one.")
        return BASES[name](len(table))
    names = ["additive"] + (["multiplicative"] if is_prime(len(table)) and len(table) > 3 else [])
    centred = table - table.mean(0)
    return max((BASES[n](len(table)) for n in names), key=lambda basis: gini(fourier_norms(centred, basis).power))


def matrix_spectrum(
    array: np.ndarray,
    *,
    axis: int = 0,
    rows: tuple[int, int] | None = None,
    basis: Literal["additive", "multiplicative", "auto"] = "additive",
    null: str = "permuted",
    detrend: bool = False,
    frequency: np.ndarray | None = None,
    draws: int = 999,
    seed: int = 0,
    first: int = 0,
    gaps: np.ndarray | None = None,
) -> MatrixSpectrum:
    """Which periods a table of numbers uses, and whether they are more than chance.

    Args:
        array: Real numbers, any shape; row i along `axis` belongs to the number i.
        axis: The axis that counts the numbers; all others are pooled.
        rows: Range of rows to keep.
        basis: additive, multiplicative (prime number of rows) or auto.
        null: The null that `key_frequencies` and `p_value` refer to; all are computed. Beside a strong trend use
            `within decades`, which keeps it.
        detrend: Remove each channel's straight line first.
        frequency: Occurrences of each row's number; adds the null `token frequency`.
        draws: Null tables per null.
        seed: Seed of the nulls.
        first: The number that row 0 belongs to, so that decades are those of the numbers.
        gaps: Numbers that were missing and filled in by `placed`; every null table has them filled in the same way.

    Raises:
        DataError: The table cannot be used (see `number_table`).
        ConfigError: Unknown null, or a basis that the number of rows does not allow.

    Example:
        >>> import numpy as np
        >>> wave = np.cos(2 * np.pi * np.arange(50) / 5)[:, None]
        >>> matrix_spectrum(wave, draws=99).key_frequencies
        (10,)
    """
    makers = dict(NULLS)
    if frequency is not None:
        counts = frequency if rows is None else frequency[rows[0] : rows[1]]
        makers["token frequency"] = token_frequency(counts)
    if null not in makers:
        hint = " Give the counts of the numbers first." if null == "token frequency" else ""
        raise ConfigError(f"got null {null!r}; expected one of {', '.join(makers)}. Choose one.{hint}")
    if draws < 19:
        raise ConfigError(f"got {draws} draws; p <= 0.05 needs at least 19. Use 999.")
    table = number_table(array, axis, rows)
    start = first + (0 if rows is None else rows[0])
    if frequency is not None and len(counts) != len(table):
        raise DataError(
            f"got {len(counts)} token frequencies for {len(table)} numbers; expected one each. Give as many as rows."
        )
    table = table / np.abs(table).max()
    whole = table - table.mean(0)
    table = detrended(table) if detrend else whole
    if np.linalg.norm(table) < 1e-9 * np.linalg.norm(whole):
        raise DataError(
            f"got a table of {len(table)} rows that are a straight line to rounding; nothing is left without its trend. "
            "Leave out --detrend."
        )
    chosen = choose_basis(table, basis)
    norms = fourier_norms(table, chosen)
    inside = np.flatnonzero(chosen.support)  # of whose rows null tables are made
    known = np.flatnonzero(~np.isin(start + inside, [] if gaps is None else gaps))
    there = start + inside[known]
    makers |= {"within decades": partial(permuted_within_decades, numbers=there), "ramp": partial(ramp, numbers=there)}
    if frequency is not None:
        makers["token frequency"] = token_frequency(counts[inside][known])
    if len(known) < len(inside):
        makers = {name: with_gaps(make, known, len(inside)) for name, make in makers.items()}
    tests = {name: null_test(table, chosen, name, draws, seed, make) for name, make in makers.items()}
    keys = chosen.frequency[tests[null].p_family <= 0.05]
    return MatrixSpectrum(
        rows=len(table), channels=table.shape[1], basis=chosen.name, convention=chosen.convention, null=null, draws=draws,
        is_detrended=detrend, measures=measures(norms), key_frequencies=tuple(int(k) for k in keys),
        frequency=norms.frequency, period=norms.period, cosine=norms.cosine, sine=np.nan_to_num(norms.sine),
        share=norms.share,
        p_single={name: test.p_value for name, test in tests.items()},
        p_family={name: test.p_family for name, test in tests.items()},
        level={name: test.level for name, test in tests.items()},
    )  # fmt: skip
