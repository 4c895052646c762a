"""Things over training steps."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from epicycle.plots import style


def _for_log_axis(steps: ArrayLike) -> np.ndarray:
    """Steps as floats; step 0 becomes half the first interval (1 if there is no other), so that it has a place."""
    x = np.array(steps, float)
    if len(x) and x[0] == 0:
        x[0] = x[1] / 2 if len(x) > 1 else 1.0
    return x


def grokking(steps: ArrayLike, series: Mapping[str, ArrayLike], marks: Mapping[str, int], chance: float,
             ax: Any = None) -> Any:  # fmt: skip
    """Accuracies, FFD and FCR over steps (log axis) on one vertical axis from 0 to 1.

    Args:
        steps: Evaluations; step 0 is drawn at half the first interval.
        series: Name -> values in [0, 1]; names containing train, test, FFD or FCR have fixed colours, and those that
            end in W_L are dashed.
        marks: Name -> step of vertical lines.
        chance: Accuracy of guessing.
        ax: Axes to draw on.
    """
    ax = style.axes(ax, 7.2, 3.2)
    x = _for_log_axis(steps)
    colors = {"train": style.TRAIN, "test": style.TEST, "FFD": style.FFD, "FCR": style.FCR}
    for name, values in series.items():
        color = next((c for word, c in colors.items() if word in name), "#555")
        ax.plot(x, values, color=color, linewidth=2.2 if "test" in name else 1.4, label=name,
                linestyle="--" if name.endswith("W_L") else "-")  # fmt: skip
    for i, (name, step) in enumerate(marks.items()):
        ax.axvline(max(step, x[0]), color="#999", linewidth=0.7, linestyle=":")
        ax.text(max(step, x[0]), 1.02 + 0.055 * (i % 2), f" {name}", fontsize=8, color="#555", va="bottom")
    ax.axhline(chance, color="#bbb", linewidth=0.7)
    ax.set(xscale="log", ylim=(0, 1.02), xlabel="training step", ylabel="accuracy, FFD, FCR")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def losses(steps: ArrayLike, series: Mapping[str, ArrayLike], ax: Any = None, chance: float | None = None) -> Any:
    """Losses in nats over steps, both axes logarithmic; `chance` is the loss of guessing."""
    ax = style.axes(ax, 7.2, 2.8)
    x = _for_log_axis(steps)
    colors = {
        "memory": style.FCR,
        "full": style.TEST,
        "train": style.TRAIN,
        "restricted": style.COSINE,
        "excluded": style.KEY,
    }
    for name, values in series.items():
        if np.isnan(np.asarray(values, float)).all():
            continue  # a loss that this model has not
        color = next((c for word, c in colors.items() if word in name), "#555")
        ax.plot(x, np.maximum(values, 1e-12), color=color, linewidth=1.6, marker="o", markersize=2.5, label=name)
    if chance:
        ax.axhline(chance, color="#bbb", linewidth=0.7)
        ax.annotate("chance", (1.01, chance), xycoords=("axes fraction", "data"), fontsize=8, color="#777", va="center")
    ax.set(xscale="log", yscale="log", xlabel="training step", ylabel="loss (nats)")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
