"""Pictures of the language track: module spectra by layer, lens, waves, ablations, training curves, maps of numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from epicycle.plots import style

ARM_COLORS = {
    "pretrained": "#14213d", "gently-tuned": "#b8860b", "scratch": "#c1121f", "frozen-embedding": "#1f6f8b", "planted-embedding": "#2a9d5c",
    "random-embedding": "#d1603d", "frozen-input": "#9b4dca", "frozen-output": "#8a8f98",
}  # fmt: skip
NAMED_PERIODS = (100.0, 50.0, 20.0, 10.0, 5.0, 10 / 3, 2.5, 2.0)


def _period_ticks(ax: Any, frequency: np.ndarray, period: np.ndarray) -> None:
    """Frequencies labelled by their periods."""
    places = [int(np.argmin(np.abs(period - t))) for t in NAMED_PERIODS if period.max() >= t * 0.99]
    kept = [p for p in places if abs(period[p] / min(NAMED_PERIODS, key=lambda t: abs(t - period[p])) - 1) < 0.05]
    ax.set_xticks(frequency[kept], [f"{period[p]:.3g}" for p in kept], rotation=90)
    ax.set_xlabel("period (numbers)")


def _layer_ticks(ax: Any, layers: int, skipped: int = 0) -> None:
    """Whole layers only, counted from 1; `skipped` layers are below those shown."""
    step = -(-layers // 12)
    places = range(step if step > 1 else 1, layers + 1, step)
    ax.set_yticks(places, [str(i + skipped) for i in places])


def module_heat_map(table: np.ndarray, frequency: np.ndarray, period: np.ndarray, ax: Any = None, title: str = "",
                    top: float | None = None, skipped: int = 0) -> Any:  # fmt: skip
    """Fourier magnitude of module logits, (layers, k): one row a layer, the last layer on top; `skipped` layers come before the first row."""
    ax = style.axes(ax, 4.6, 2.6)
    image = ax.imshow(table, aspect="auto", origin="lower", cmap=style.SEQUENTIAL, vmin=0, vmax=top or float(table.max()) or 1.0,
                      interpolation="nearest", extent=(frequency[0] - 0.5, frequency[-1] + 0.5, 0.5, len(table) + 0.5))  # fmt: skip
    _period_ticks(ax, frequency, period)
    _layer_ticks(ax, len(table), skipped)
    ax.set(ylabel="layer", title=title)
    ax.figure.colorbar(image, ax=ax, shrink=0.85, label="mean magnitude")
    return ax


def logit_heat_map(
    table: np.ndarray, first: int, answer: int, ax: Any = None, title: str = "", skipped: int = 0
) -> Any:
    """Module logits of one prompt, (layers, numbers first..), centred in each layer; the answer is outlined."""
    ax = style.axes(ax, 4.6, 2.6)
    centred = table - table.mean(1, keepdims=True)
    top = float(np.abs(centred).max()) or 1.0
    image = ax.imshow(centred, aspect="auto", origin="lower", cmap="RdBu_r", vmin=-top, vmax=top, interpolation="nearest",
                      extent=(first - 0.5, first + table.shape[1] - 0.5, 0.5, len(table) + 0.5))  # fmt: skip
    ax.axvline(answer - 0.5, color=style.KEY, linewidth=0.8)
    ax.axvline(answer + 0.5, color=style.KEY, linewidth=0.8)
    _layer_ticks(ax, len(table), skipped)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="number", ylabel="layer", title=title)
    ax.figure.colorbar(image, ax=ax, shrink=0.85, label="logit less its mean")
    return ax


def lens(exact: np.ndarray, within_2: np.ndarray, within_10: np.ndarray, guess: float, ax: Any = None) -> Any:
    """Accuracy of the layer-wise lens; entry 0 is the embedding."""
    ax = style.axes(ax, 6.3, 2.6)
    layer = np.arange(len(exact))
    marker = "o" if len(exact) < 20 else ""
    for values, name, color in (
        (within_10, "within 10", style.FFD),
        (within_2, "within 2", style.COSINE),
        (exact, "exact", style.TEST),
    ):
        ax.plot(layer, values, color=color, marker=marker, markersize=3.5, linewidth=1.8, label=name)
    ax.axhline(guess, color="#bbb", linewidth=0.8)
    ax.annotate(
        "one constant, within 10",
        (1.01, guess),
        xycoords=("axes fraction", "data"),
        fontsize=8,
        color="#777",
        va="center",
    )
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="after layer (0: embedding)", ylabel="accuracy", ylim=(0, 1.03))
    ax.legend(loc="upper left")
    return ax


def waves(curves: Sequence[np.ndarray], periods: Sequence[float], answer: int, ax: Any = None, first: int = 0) -> Any:
    """Single waves of the final logits and their sum, over the numbers."""
    ax = style.axes(ax, 7.2, 2.8)
    numbers = first + np.arange(len(curves[0]))
    for i, (curve, period) in enumerate(zip(curves, periods, strict=True)):
        ax.plot(
            numbers,
            curve,
            linewidth=0.9,
            alpha=0.85,
            color=style.phase_colors([i / max(len(curves), 1)])[0],
            label=f"period {period:.4g}",
        )
    ax.plot(numbers, np.sum(curves, axis=0), color=style.TEST, linewidth=1.8, label="their sum")
    ax.axvline(answer, color=style.KEY, linewidth=0.9, linestyle="--")
    ax.set(xlabel="number", ylabel="logit", xlim=(numbers[0], numbers[-1]))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def ablation_chart(rows: Sequence[Mapping[str, Any]], ax: Any = None) -> Any:
    """Accuracy with a band removed (filled) beside every random subspace of the same rank (open)."""
    ax = style.axes(ax, 7.2, 2.8)
    shown = [row for row in rows if "refused" not in row]
    labels = []
    for i, row in enumerate(shown):
        y = len(shown) - 1 - i
        for kind, marker, name in (
            ("width", "o", "random, anywhere"),
            ("row space", "s", "random, in the logits' sight"),
        ):
            values = row.get("controls", {}).get(kind, {}).get("accuracy", [])
            ax.scatter(values, [y] * len(values), facecolors="none", edgecolors="#777", marker=marker, s=26, linewidths=0.9,
                       label=name if i == 1 else None)  # fmt: skip
        color = style.KEY if row["band"] == "high" else style.COSINE if row["band"] == "low" else style.TEST
        ax.scatter([row["accuracy"]], [y], color=color, s=42, zorder=3)
        which = {"none": "as it is", "attn": "attention", "mlp": "MLPs", "both": "attention and MLPs"}[row["modules"]]
        labels.append(which if row["band"] == "none" else f"{which}, {row['band']} removed ({row['rank']})")
    ax.set_yticks(range(len(shown)), labels[::-1])
    ax.set(xlabel="accuracy", xlim=(-0.02, 1.02))
    ax.grid(axis="x", linewidth=0.3, color="#ddd")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower center", bbox_to_anchor=(0.4, 1.0), ncols=2)
    return ax


def error_histogram(differences: Mapping[str, np.ndarray], ax: Any = None, reach: int = 30) -> Any:
    """Questions by answer less right answer, one line a condition; errors beyond `reach` stand at its ends."""
    ax = style.axes(ax, 7.2, 2.4)
    for i, (name, values) in enumerate(differences.items()):
        counts = np.bincount(np.clip(values, -reach, reach) + reach, minlength=2 * reach + 1)
        ax.step(np.arange(-reach, reach + 1), np.maximum(counts, 0.5), where="mid", linewidth=1.3, label=name,
                color=(style.TEST, style.COSINE, style.KEY)[i % 3])  # fmt: skip
    ax.set(xlabel="answer less right answer", ylabel="questions", yscale="log", xticks=range(-reach, reach + 1, 10))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def arm_curves(curves: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]], ax: Any = None) -> Any:
    """Validation accuracy over epochs: every seed thin, the mean of an arm thick."""
    ax = style.axes(ax, 7.2, 3.0)
    for arm, seeds in curves.items():
        color = ARM_COLORS.get(arm, "#555")
        for epoch, accuracy in seeds:
            ax.plot(epoch, accuracy, color=color, linewidth=0.7, alpha=0.5)
        if seeds:
            ax.plot(
                seeds[0][0], np.mean([accuracy for _, accuracy in seeds], axis=0), color=color, linewidth=2.2, label=arm
            )
    ax.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1.03))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def period_shares(steps: np.ndarray, shares: Mapping[str, Sequence[np.ndarray]], ax: Any = None) -> Any:
    """Share of the named periods in the number embedding while it is pre-trained; one line a seed."""
    ax = style.axes(ax, 7.2, 2.6)
    for i, (name, seeds) in enumerate(shares.items()):
        for j, values in enumerate(seeds):
            ax.plot(
                steps,
                values,
                color=style.phase_colors([i / max(len(shares), 1)])[0],
                linewidth=1.4,
                label=f"period {name}" if j == 0 else None,
            )
    ax.set(xlabel="pre-training step", ylabel="share of power", ylim=(0, None))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


def residue_map(moduli: np.ndarray, share: np.ndarray, ax: Any = None, title: str = "") -> Any:
    """Layers by moduli: how much of the module logits a function of n mod m explains."""
    ax = style.axes(ax, 4.6, 2.8)
    image = ax.imshow(
        np.clip(share, 0, 1), aspect="auto", origin="lower", cmap="viridis", vmin=0, vmax=1, interpolation="nearest"
    )
    layers = len(share)
    step = max(1, layers // 12)
    ax.set(xticks=range(len(moduli)), xticklabels=[str(int(m)) for m in moduli], xlabel="modulus m", ylabel="layer", title=title,
           yticks=range(0, layers, step), yticklabels=[str(i + 1) for i in range(0, layers, step)])  # fmt: skip
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="share explained")
    return ax


def number_shares(frequency: np.ndarray, period: np.ndarray, share: np.ndarray, level: np.ndarray, marked: Sequence[int], ax: Any = None,
                  title: str = "", null: str = "") -> Any:  # fmt: skip
    """Share of power of a number table at each frequency, labelled by period, with the 95 % level of its null."""
    ax = style.axes(ax, 7.2, 2.5)
    ax.bar(frequency, share, width=0.8, color=style.COSINE)
    ax.step(frequency, level, where="mid", color=style.KEY, linewidth=0.9, label=f"95 % of '{null}'")
    for i in marked:
        ax.text(frequency[i], share[i], f"{period[i]:.3g}", ha="center", va="bottom", fontsize=8, color=style.KEY)
    _period_ticks(ax, frequency, period)
    ax.set(ylabel="share of power", title=title, ylim=(0, float(share.max()) * 1.15))
    ax.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1)
    return ax


def number_map(places: np.ndarray, color: np.ndarray, ax: Any = None, title: str = "", label: str = "") -> Any:
    """Numbers on a two-dimensional map, multiples of ten named."""
    ax = style.axes(ax, 3.4, 3.2)
    points = ax.scatter(places[:, 0], places[:, 1], c=color, cmap="viridis", s=9, linewidths=0)
    for n in range(0, len(places), 10 if len(places) <= 200 else 50):
        ax.annotate(str(n), places[n], fontsize=7, xytext=(2, 2), textcoords="offset points")
    ax.set(xticks=[], yticks=[], title=title)
    if label:
        ax.figure.colorbar(points, ax=ax, shrink=0.7, label=label)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def magnitudes(
    frequency: np.ndarray, period: np.ndarray, size: np.ndarray, marked: Sequence[int], ax: Any = None, title: str = ""
) -> Any:
    """Fourier magnitudes of one vector of logits, some periods named."""
    ax = style.axes(ax, 6.0, 2.6)
    ax.bar(frequency, size, width=0.8, color=style.COSINE)
    for i in marked:
        ax.text(
            frequency[i],
            size[i],
            f"{period[i]:.3g}",
            ha="center",
            va="bottom",
            fontsize=7,
            color=style.KEY,
            rotation=90,
        )
    _period_ticks(ax, frequency, period)
    ax.set(ylabel="magnitude", title=title, ylim=(0, float(size.max()) * 1.25 or 1.0))
    return ax


def logit_curve(values: np.ndarray, answer: int, ax: Any = None, title: str = "") -> Any:
    """Logits over all numbers, the answer marked."""
    ax = style.axes(ax, 6.0, 2.4)
    ax.plot(np.arange(len(values)), values, color=style.COSINE, linewidth=0.9)
    ax.axvline(answer, color=style.KEY, linewidth=0.9, linestyle="--", label=f"answer {answer}")
    ax.set(xlabel="number", ylabel="logit", title=title, xlim=(0, len(values) - 1))
    ax.legend(loc="best")
    return ax


def beside_controls(value: float, controls: Sequence[float], ax: Any = None, title: str = "", label: str = "") -> Any:
    """A share beside its random controls."""
    ax = style.axes(ax, 4.0, 2.4)
    ax.bar([0], [value], width=0.5, color=style.COSINE)
    ax.scatter([1] * len(controls), controls, color=style.KEY, s=16, zorder=3)
    ax.set(
        xticks=[0, 1],
        xticklabels=["kept", "random, same rank"],
        xlim=(-0.6, 1.6),
        ylim=(0, 1.03),
        ylabel=f"share {label}",
        title=title,
    )
    return ax


def nothing(ax: Any, why: str) -> Any:
    """An empty frame that says why there is nothing to draw."""
    import textwrap

    ax.text(
        0.5, 0.5, "\n".join(textwrap.wrap(why, 60)), ha="center", va="center", transform=ax.transAxes, color=style.TRAIN
    )
    ax.set_axis_off()
    return ax
