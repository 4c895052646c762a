"""Spectrum beside geometry: power at a period, and whether residues can be read."""

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
