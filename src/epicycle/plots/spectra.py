"""Spectra of one table: cosine upwards, sine downwards; shares against a null."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from epicycle.plots import style


def spectrum(frequency: np.ndarray, cosine: np.ndarray, sine: np.ndarray, keys: Sequence[int] = (), ax: Any = None,
             title: str = "", label: str = "frequency k (cycles per modulus)") -> Any:  # fmt: skip
    """Fourier norms as bars, cosine up and sine down, key frequencies named."""
    ax = style.axes(ax)
    ax.bar(frequency, cosine, width=0.8, color=style.COSINE, label="cosine")
    ax.bar(frequency, -np.asarray(sine), width=0.8, color=style.SINE, label="sine")
    top = max(float(np.max(cosine, initial=0)), float(np.max(sine, initial=0)), 1e-12)
    for k in keys:
        i = int(np.flatnonzero(frequency == k)[0])
        ax.text(k, cosine[i] + 0.03 * top, str(k), ha="center", va="bottom", fontsize=8, color=style.KEY)
    ax.axhline(0, color="#444", linewidth=0.5)
    ax.set(xlabel=label, ylabel="norm of the coefficient", title=title, ylim=(-1.18 * top, 1.18 * top))
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    ax.set_xlim(0, float(frequency[-1]) + 1)
    return ax


def shares(frequency: np.ndarray, share: np.ndarray, level: np.ndarray, marked: Sequence[int] = (), ax: Any = None,
           names: Sequence[str] = (), title: str = "", label: str = "frequency k") -> Any:  # fmt: skip
    """Share of power at each frequency with the 95 % level of a null; marked frequencies carry their names."""
    ax = style.axes(ax)
    ax.bar(frequency, share, width=0.8, color=style.COSINE)
    ax.step(frequency, level, where="mid", color=style.KEY, linewidth=1.0, label="95 % of the null")
    for k, name in zip(marked, names or [str(k) for k in marked], strict=True):
        i = int(np.flatnonzero(frequency == k)[0])
        ax.text(k, share[i], name, ha="center", va="bottom", fontsize=8, color=style.KEY)
    ax.set(xlabel=label, ylabel="share of power", title=title)
    ax.legend(loc="upper right")
    return ax


def histogram(values: np.ndarray, threshold: float, ax: Any = None, title: str = "", label: str = "") -> Any:
    """Counts of values in [0, 1] with a line at a threshold."""
    ax = style.axes(ax, 3.4, 2.4)
    ax.hist(values, bins=np.linspace(0, 1, 41), color=style.COSINE)
    ax.axvline(threshold, color=style.KEY, linewidth=0.9, linestyle="--")
    ax.set(xlabel=label, ylabel="neurons", title=title, xlim=(0, 1))
    return ax
