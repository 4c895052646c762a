"""Spectrum beside geometry: power at a period, and whether residues can be read."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from epicycle.plots import style


def side_by_side(
    period: np.ndarray, share: np.ndarray, chance: np.ndarray, kappa: np.ndarray, level: np.ndarray, ax: Any = None
) -> Any:
    """Share of power upwards, kappa of the linear probe downwards, one pair per period; ticks show chance."""
    ax = style.axes(ax, 7.2, 2.8)
    x = np.arange(len(period))
    ax.bar(x, share, width=0.6, color=style.COSINE, label="share of power at the harmonics of T")
    ax.bar(x, -np.maximum(kappa, 0), width=0.6, color=style.SINE, label="kappa of the linear probe of n mod T")
    for i in x:
        ax.plot([i - 0.4, i + 0.4], [chance[i]] * 2, color=style.KEY, linewidth=1.2, label="chance" if i == 0 else None)
        ax.plot([i - 0.4, i + 0.4], [-max(level[i], 0)] * 2, color=style.KEY, linewidth=1.2)
    ax.axhline(0, color="#444", linewidth=0.5)
    ax.set(xticks=x, xticklabels=[str(int(t)) for t in period], xlabel="period T", ylim=(-1.05, 1.05))
    ax.yaxis.set_major_formatter(lambda value, _: f"{abs(value):g}")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def condition_map(kappa: np.ndarray, names: Sequence[str], periods: Sequence[int], ax: Any = None) -> Any:
    """Kappa of n mod T, one row per condition, written into the cells."""
    ax = style.axes(ax, 6.0, 4.0)
    image = ax.imshow(kappa, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
    for i, row in enumerate(kappa):
        for j, value in enumerate(row):
            ax.text(
                j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if value < 0.6 else "black"
            )
    ax.set(
        xticks=range(len(periods)),
        xticklabels=[str(t) for t in periods],
        yticks=range(len(names)),
        yticklabels=names,
        xlabel="T",
    )
    ax.figure.colorbar(image, ax=ax, shrink=0.6, label="kappa of n mod T")
    return ax
