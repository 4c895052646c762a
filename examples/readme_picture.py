"""Draws docs/grokking.svg: the run of `epicycle demo`, accuracy above the embedding's spectrum at five steps."""

from pathlib import Path

from epicycle import RunConfig, grok
from epicycle.plots import style
from epicycle.plots.curves import grokking
from epicycle.plots.spectra import shares

[found] = grok(RunConfig(), "runs", threads=2)
circuit, path, history = found.circuits[0], found.trajectories[0], found.run.history()
steps = [line["step"] for line in history]
series = {f"{part} accuracy": [line[f"{part}_accuracy"] for line in history] for part in ("train", "test")}
series["FFD of W_E"] = [line["measures"]["weights"]["additive"]["W_E"]["ffd"] for line in history]
series["FCR of W_E"] = [line["measures"]["weights"]["additive"]["W_E"]["fcr"] for line in history]
shown = [0, 4, 8, 10, len(path.steps) - 1]
with style.figure(8.4, 4.2) as (figure, only):
    only.remove()
    grid = figure.add_gridspec(2, len(shown), height_ratios=[2, 1])
    grokking(
        steps,
        series,
        {"memorised": 200, "grokked": found.run.record()["steps"]["first"]},
        1 / 97,
        figure.add_subplot(grid[0, :]),
    )
    for place, i in enumerate(shown):
        ax = figure.add_subplot(grid[1, place])
        shares(
            path.frequency, path.spectra["W_E"][i], 0 * path.spectra["W_E"][i], (), ax, title=f"step {path.steps[i]:,}"
        )
        ax.get_legend().remove()
        ax.set(ylabel="share" if place == 0 else "", ylim=(0, path.spectra["W_E"].max()))
    Path("docs/grokking.svg").write_text(
        style.svg(figure, "Accuracy, FFD and FCR of a + b mod 97, and the embedding's spectrum") + "\n"
    )
