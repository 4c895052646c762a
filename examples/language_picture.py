"""Draws docs/arms.svg: validation accuracy per arm, and the embeddings they start from, of a finished study.

python examples/language_picture.py runs/zhou2024-laptop-... docs/arms.svg
"""

import sys
from pathlib import Path

import numpy as np

from epicycle.plots import language as draw
from epicycle.plots import style
from epicycle.runs.directory import open_run
from epicycle.studies.zhou2024 import Study, read_study


def picture(study: Study) -> str:
    """Three panels: learning curves, the pre-trained spectrum, the one from scratch."""
    curves: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for (arm, _), run in study.finetuned.items():
        history = run.history()
        curves.setdefault(arm, []).append(
            (np.array([line["epoch"] for line in history]), np.array([line["validation_accuracy"] for line in history]))
        )
    with style.figure(8.6, 6.0, 3, 1, height_ratios=(1.5, 1, 1)) as (fig, axes):
        draw.arm_curves(curves, axes[0])
        axes[0].set_title("Sums of two numbers: the same model from different starts")
        for ax, title, found in (
            (axes[1], "number embedding after reading number text", study.embeddings[0].spectrum),
            (axes[2], "number embedding trained from scratch on sums", study.explanations["scratch", 0].spectrum),
        ):
            assert found is not None
            marked = [int(i) for i in np.argsort(-found.share, kind="stable")[:6]]
            draw.number_shares(
                found.frequency, found.period, found.share, found.level[found.null], marked, ax, title, found.null
            )
        return style.svg(
            fig, "Accuracy of the arms over epochs; spectra of the pre-trained and of the scratch number embedding"
        )


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(picture(read_study(open_run(sys.argv[1]))) + "\n", encoding="utf-8")
