"""What putting a description of an operand in its place does, layer by layer; and who does what at the answer position."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from epicycle.plots import style


def effects(effect: Mapping[str, np.ndarray], ax: Any = None, title: str = "") -> Any:
    """Share of the logit difference regained, by layer, one line per description."""
    ax = style.axes(ax, 7.2, 2.8)
    colors = style.phase_colors([i / len(effect) for i in range(len(effect))])
    for color, (kind, values) in zip(colors, effect.items(), strict=True):
        known = np.flatnonzero(np.isfinite(values))
        ax.plot(
            known + 1,
            values[known],
            color=color,
            marker="o",
            markersize=3,
            linewidth=1.3,
            linestyle="--" if "shuffled" in kind else "-",
            label=kind,
        )
    ax.axhline(0, color="#444", linewidth=0.5)
    ax.set(xlabel="put in before layer", ylabel="regained", title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def builders(values: Mapping[str, np.ndarray], ax: Any = None, title: str = "", label: str = "") -> Any:
    """One value per layer for attention and MLP, side by side."""
    ax = style.axes(ax, 4.4, 2.5)
    layers = np.arange(1, len(values["mlp"]) + 1)
    ax.bar(layers - 0.2, values["attention"], width=0.4, color=style.COSINE, label="attention")
    ax.bar(layers + 0.2, values["mlp"], width=0.4, color=style.SINE, label="MLP")
    ax.axhline(0, color="#444", linewidth=0.5)
    ax.set(xlabel="layer", ylabel=label, title=title)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="best")
    return ax
