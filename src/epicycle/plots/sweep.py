"""Many runs at once: measures aligned at the grok, a matrix of times."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from epicycle.plots import style


def aligned(
    curves: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], ax: Any = None, title: str = "", ylabel: str = ""
) -> Any:
    """Series of several groups of runs over steps as multiples of each run's own grok (log axis, 1 is the grok).

    Args:
        curves: Group -> (steps over the step of the grok, values) per run; one colour per group.
        ax: Axes to draw on.
        title: Above the axes.
        ylabel: At the left.
    """
    ax = style.axes(ax, 4.4, 2.6)
    colors = style.phase_colors(np.arange(len(curves)) / max(len(curves), 1))
    for color, (name, runs) in zip(colors, curves.items(), strict=True):
        for i, (x, y) in enumerate(runs):
            ax.plot(np.maximum(x, 0.01), y, color=color, linewidth=1.1, label=name if i == 0 else None)
    ax.axvline(1, color="#999", linewidth=0.8, linestyle=":")
    ax.set(
        xscale="log", xlim=(0.03, None), ylim=(0, 1.04), xlabel="steps / step of the grok", ylabel=ylabel, title=title
    )
    return ax


def matrix(
    values: np.ndarray,
    labels: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    ax: Any = None,
) -> Any:
    """A matrix of log10 ratios, red above 0 and green below, with a text in each cell; NaN is left white."""
    ax = style.axes(ax, 4.4, 2.4)
    ax.imshow(np.clip(values, -1, 1), cmap="RdYlGn_r", vmin=-1.2, vmax=1.2, aspect="auto")
    for i, row in enumerate(labels):
        for j, text in enumerate(row):
            ax.text(j, i, text, ha="center", va="center", fontsize=8)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax
