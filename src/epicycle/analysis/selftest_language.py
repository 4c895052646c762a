"""Oracles of the language track: bands with known ranks, projections with a closed form, a model whose waves were put there by hand.

To add an oracle: a generator of `Check`s and one entry in LANGUAGE_ORACLES.
"""

from collections.abc import Callable, Iterator

import numpy as np

from epicycle.analysis.ablation import BANDS, removing, run_edits
from epicycle.analysis.checks import Check
from epicycle.analysis.modules import readings
from epicycle.fourier.bases import zhou2024
from epicycle.fourier.projections import band_rows, writers
from epicycle.models.language import language_model
from epicycle.models.language_oracle import (
    ATTENTION_LAYER,
    MLP_LAYER,
    NumberTokenizer,
    wave_writer,
    wave_writer_answer,
)
from epicycle.tasks.prompts import PromptConfig, prompt_task

N = 100


def printed_basis() -> Iterator[Check]:
    """Defects and ranks of the basis of Zhou et al. 2024 as printed, from its algebra."""
    rows = zhou2024(521)
    yield Check("printed basis", "rank of 521 rows", 520, float(np.linalg.matrix_rank(rows)), 0)
    yield Check(
        "printed basis", "norm of the period-2 row", np.sqrt(2 * 521 / 520), float(np.linalg.norm(rows[520])), 1e-12
    )
    table = np.random.default_rng(0).standard_normal((521, 768))
    for name, rank in zip(BANDS, (98, 421), strict=True):
        yield Check("printed basis", f"rank of the {name} band at width 768", rank,
                    len(writers(band_rows(521, name, convention="as-printed"), table)), 0)  # fmt: skip


def nearest_point() -> Iterator[Check]:
    """Leaving a band out, against the closed form with a pseudo-inverse."""
    generator = np.random.default_rng(1)
    table, x = generator.standard_normal((200, 256)), generator.standard_normal(256)
    for name in BANDS:
        a = band_rows(200, name) @ table
        v = writers(band_rows(200, name), table)
        y = x - v.T @ (v @ x)
        yield Check("nearest point", f"{name} band: largest wave left", 0, float(np.abs(a @ y).max()), 1e-9)
        yield Check(
            "nearest point",
            f"{name} band: distance to the closed form",
            0,
            float(np.abs(y - (x - np.linalg.pinv(a) @ (a @ x))).max()),
            1e-9,
        )


def wave_writer_model() -> Iterator[Check]:
    """A GPT-2 with hand-set weights: period 2 from one attention layer, period 100 from one MLP."""
    lm = language_model(wave_writer(N), NumberTokenizer(N), "wave writer")
    a, b = (x.ravel() for x in np.meshgrid(np.arange(0, N, 7), np.arange(N), indexing="ij"))
    tokens, answers, ids = np.stack([a, b], 1).tolist(), wave_writer_answer(a, b, N), lm.space.rows(N - 1)
    lens, spectra, *_ = readings(lm, tokens, answers, ids)
    yield Check("wave writer", "accuracy after the last layer", 1, float(lens.exact[-1]), 0)
    parity, slow = spectra.attention[ATTENTION_LAYER, N // 2 - 1], spectra.mlp[MLP_LAYER, N // 100 - 1]
    yield Check("wave writer", "period 2 from its attention layer", 0.05 * N**0.5, float(parity), 1e-4)
    yield Check("wave writer", "period 100 from its MLP", (N / 2) ** 0.5, float(slow), 1e-2)
    rest = spectra.attention.sum() + spectra.mlp.sum() - parity - slow
    yield Check("wave writer", "everything anywhere else", 0, float(rest), 1e-2)
    table = lm.number_readout(ids)[0].double().numpy()
    low, high = (writers(band_rows(N, name), table) for name in BANDS)
    kinds = (("high", "attn", b), ("low", "attn", answers), ("high", "mlp", answers))
    edits = [removing({"low": low, "high": high}[band], [kind], lm.device) for band, kind, _ in kinds]
    for (band, kind, expected), found in zip(kinds, run_edits(lm, tokens, answers, ids, edits), strict=True):
        yield Check(
            "wave writer",
            f"answers as derived without {band} in {kind}",
            1,
            float((found.answers == expected).mean()),
            0,
        )


def published_questions() -> Iterator[Check]:
    """Counts of the published addition and multiplication data."""
    task = prompt_task(PromptConfig())
    for name, size in (("train", 27_352), ("validation", 3_419), ("test", 3_420)):
        yield Check("published questions", f"{name} sums", size, len(task.split[name]), 0)
    yield Check(
        "published questions",
        "products up to 10,000",
        14_758,
        len(prompt_task(PromptConfig(operation="multiply")).questions.a),
        0,
    )


LANGUAGE_ORACLES: dict[str, Callable[[], Iterator[Check]]] = {
    oracle.__name__: oracle for oracle in (printed_basis, nearest_point, wave_writer_model, published_questions)
}
"""Name -> generator of checks."""
