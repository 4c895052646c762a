"""Two-dimensional things: heat maps over pairs of basis rows, numbers on their circles."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from epicycle.plots import style


def heat_map(norms: np.ndarray, keys: Sequence[int], ax: Any = None, title: str = "") -> Any:
    """Norms of a two-dimensional spectrum over basis rows (constant, cos 1, sin 1, ...), key frequencies on the ticks.

    The constant-constant entry is left white, since it would set the scale.
    """
    ax = style.axes(ax, 3.6, 3.4)
    shown = np.array(norms, float)
    shown[0, 0] = np.nan
    top = float(np.nanmax(shown)) if np.isfinite(shown).any() else 1.0
    image = ax.imshow(shown, cmap=style.SEQUENTIAL, vmin=0, vmax=top or 1.0, interpolation="nearest")
    ticks = [2 * k - 0.5 for k in keys] or [0]
    labels = [f"k={k}" for k in keys] or ["constant"]
    ax.set_xticks(ticks, labels, rotation=90)
    ax.set_yticks(ticks, labels)
    ax.set(xlabel="waves of b", ylabel="waves of a", title=title)
    for spine in ax.spines.values():
        spine.set_visible(False)
    ax.figure.colorbar(image, ax=ax, shrink=0.75, label="norm")
    return ax


def circle(places: np.ndarray, frequency: int, period: float, ax: Any = None, title: str = "") -> Any:
    """Numbers on the circle of one frequency, coloured by the angle that the frequency predicts."""
    ax = style.axes(ax, 2.2, 2.2)
    n = np.arange(len(places))
    ax.scatter(places[:, 0], places[:, 1], c=style.phase_colors(n / period), s=9, linewidths=0)
    for i in (0, 1, 2):
        if i < len(places):
            ax.annotate(str(i), places[i], fontsize=8, xytext=(3, 3), textcoords="offset points")
    ax.set_aspect("equal")
    ax.set(xticks=[], yticks=[], title=title or f"k = {frequency}")
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax
