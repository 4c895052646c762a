"""Leave a band of waves out of what modules write, and count what is lost, beside random subspaces of the same rank."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, final

import numpy as np
import torch

from epicycle.analysis.answers import error_types
from epicycle.errors import ConfigError
from epicycle.fourier.projections import (
    MIN_FREE_SHARE,
    Reading,
    Removal,
    band_rows,
    folded,
    largest_count,
    period_rows,
    random_directions,
    row_space,
    writers,
)
from epicycle.models.language import LanguageModel
from epicycle.models.stream import Edit, answer_step, batches, edited, full_pass
from epicycle.results import Result

MODULES: dict[str, tuple[str, ...]] = {"attn": ("attn",), "mlp": ("mlp",), "both": ("attn", "mlp")}
REMOVED_PERIODS = (10, 5, 2, 3, 7, 9, 11)
"""Whole periods whose harmonics are removed together; 3, 7, 9 and 11 are controls."""
BANDS: tuple[Literal["low", "high"], ...] = ("low", "high")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """How bands are removed."""

    positions: Literal["answer", "all"] = "answer"
    """Outputs are filtered at the answer position only, or everywhere."""
    is_folded: bool = False
    """Fold the final norm's gain into the unembedding first."""
    convention: Literal["orthonormal", "as-printed"] = "orthonormal"
    """Basis: orthonormal over N numbers, or Zhou et al. 2024 as printed with period N - 1."""
    reading: Reading = "component"
    """Reading of the printed cut."""
    high_period: float = 10.4
    """Longest period of the high band."""
    controls: int = 3
    """Random subspaces of each kind per removal."""
    seed: int = 0
    """Seed of the random subspaces."""

    def __post_init__(self):
        if self.positions not in ("answer", "all"):
            raise ConfigError(f"got positions {self.positions!r}; expected 'answer' or 'all'. Choose one.")
        if self.convention not in ("orthonormal", "as-printed"):
            raise ConfigError(
                f"got convention {self.convention!r}; expected 'orthonormal' or 'as-printed'. Choose one."
            )
        if self.reading not in ("component", "shared", "double", "row"):
            raise ConfigError(f"got reading {self.reading!r}; expected component, shared, double or row. Choose one.")
        if self.reading != "component" and self.convention != "as-printed":
            raise ConfigError(f"got reading {self.reading!r} of the printed cut with the {self.convention} basis; expected the basis as printed. "
                              "Add --convention as-printed, or leave the reading out.")  # fmt: skip
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"got control seed {self.seed}; expected an integer from 0 to 2^63 - 1. Try 0.")
        if not 2 < self.high_period < 1000:
            raise ConfigError(
                f"got a longest high period of {self.high_period}; expected above 2 and below 1,000. Try 10.4."
            )
        if self.controls < 1:
            raise ConfigError(
                f"got {self.controls} controls; expected at least 1, since a removal without one cannot be read. Try 3."
            )


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BandAblations(Result):
    """Loss and accuracy with bands removed, as rows of plain values.

    A row of `rows`: modules (none, attn, mlp, both), band (none, low, high), rank, width, loss (nats, whole vocabulary), accuracy
    (argmax over the whole vocabulary), number_accuracy (over the numbers), errors; `controls` holds accuracy and loss with
    random subspaces of the same rank, kind `width` (anywhere) or `row space` (inside what the number logits can see, if that is
    less than the width). `control_accuracy` is the mean over the controls that are most like the removal (row space where it
    differs). A refused row has `refused`, a sentence, and no numbers.

    `differences[modules band]` (prompts,) is the number answered less the right one; `keep T` with period T alone kept. `keeps`: the same with everything but one
    frequency removed from the logits' sight. `periods`: all harmonics of a whole period removed from attention and MLPs, for periods that
    decimal writing has a use for and for others, each with its rank, accuracy and controls of the same rank.
    """

    schema: ClassVar[int] = 3
    prompts: int
    numbers: int
    width: int
    split: str
    settings: dict[str, Any]
    row_rank: int
    rows: list[dict[str, Any]]
    keeps: list[dict[str, Any]]
    periods: list[dict[str, Any]]
    differences: dict[str, np.ndarray]

    def row(self, modules: str, band: str) -> dict[str, Any]:
        """One row by its modules and band."""
        return next(row for row in self.rows if (row["modules"], row["band"]) == (modules, band))


def nearest_controls(row: dict[str, Any]) -> dict[str, list[float]]:
    """Accuracy and loss with the controls of a row that are most like its removal."""
    return row["controls"].get("row space") or row["controls"]["width"]


class Outcome(NamedTuple):
    """What a model answered under one edit."""

    loss: float
    accuracy: float
    number_accuracy: float
    answers: np.ndarray


def removing(
    directions: np.ndarray, kinds: Sequence[str], device: torch.device, dtype: torch.dtype = torch.float32
) -> Edit:
    """The edit that leaves directions out of the outputs of some modules."""
    v = torch.as_tensor(directions, dtype=dtype, device=device)

    def edit(kind: str, layer: int, output: torch.Tensor) -> torch.Tensor:
        return output - ((output.to(dtype) @ v.T) @ v).to(output.dtype) if kind in kinds else output

    return edit


def _largest_logits(lm: LanguageModel, hidden: torch.Tensor, right: torch.Tensor) -> tuple[float, int]:
    """Summed loss over the whole vocabulary, and how many answers are right over it."""
    weight, bias = lm.unembedding, lm.bias
    logits = lm.capped((hidden @ weight.T + (0 if bias is None else bias)).float())
    loss = torch.nn.functional.cross_entropy(logits, right, reduction="sum")
    return float(loss), int((logits.argmax(1) == right).sum())


def run_edits(
    lm: LanguageModel, tokens: Sequence[Sequence[int]], answers: np.ndarray, ids: np.ndarray, edits: Sequence[Edit | None],
    *, positions: Literal["answer", "all"] = "answer", size: int = 96,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Outcome]:  # fmt: skip
    """The model's answers under each edit; what comes before the answer position is computed once for all of them.

    Args:
        lm: The model.
        tokens: Token ids per prompt.
        answers: The right number per prompt.
        ids: Token ids of the numbers.
        edits: None for the model as it is.
        positions: Where edits act; `all` computes every prompt anew per edit.
        size: Prompts per batch.
        progress: Called with prompts done and in all.
    """
    rows, bias = lm.number_readout(ids)
    given = np.empty((len(edits), len(tokens)), np.int64)
    loss, right = np.zeros(len(edits)), np.zeros(len(edits), int)
    done = 0
    with torch.inference_mode():
        for batch in batches(lm, tokens, size):
            expected = torch.as_tensor(ids[answers[batch.rows]], device=lm.device)
            for i, edit in enumerate(edits):
                if edit is None:
                    hidden = answer_step(lm, batch)
                else:
                    with edited(lm, edit):
                        hidden = answer_step(lm, batch) if positions == "answer" else full_pass(lm, batch.tokens)
                part, hits = _largest_logits(lm, hidden, expected)
                loss[i] += part
                right[i] += hits
                given[i, batch.rows] = (hidden.float() @ rows.T + bias).argmax(1).cpu().numpy()
            done += len(batch.rows)
            progress(done, len(tokens))
    n = len(tokens)
    return [
        Outcome(float(loss[i] / n), float(right[i] / n), float((given[i] == answers).mean()), given[i])
        for i in range(len(edits))
    ]


def _gain(lm: LanguageModel) -> tuple[np.ndarray | None, bool]:
    """The final norm's gain, and whether it centres."""
    norm = lm.norm
    weight = getattr(norm, "weight", None)
    gain = None if weight is None else weight.detach().double().cpu().numpy()
    kind = lm.model.config.model_type
    if gain is not None and kind.startswith("gemma"):
        gain = 1.0 + gain  # Gemma stores the gain minus one
    return gain, "LayerNorm" in type(norm).__name__


def band_ablations(
    lm: LanguageModel,
    tokens: Sequence[Sequence[int]],
    answers: np.ndarray,
    ids: np.ndarray,
    config: AblationConfig,
    *,
    split: str = "test",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BandAblations:
    """Remove low and high waves from attention, MLP and both, each beside random subspaces of the same rank.

    A removal that would leave less than a third of the width is not made: its row says why, and for which range of numbers it
    could be made.

    Args:
        lm: The model.
        tokens: Token ids per prompt.
        answers: The right number per prompt.
        ids: Token ids of the numbers 0..N-1.
        config: How.
        split: Name of the prompts' split, for the record.
        progress: Called with prompts done and in all.

    Source:
        Zhou et al. 2024, section 3.3, Table 1, Def. A.6, B.1. Controls, refusal and orthonormal basis are ours.
    """
    n, width = len(ids), lm.width
    table = lm.number_readout(ids)[0].double().cpu().numpy()
    if config.is_folded:
        gain, centres = _gain(lm)
        table = folded(table, gain, centres=centres)
    seen = row_space(table)
    generator = np.random.default_rng(config.seed)
    planned: list[tuple[dict[str, Any], Sequence[str], Removal]] = []
    refused: list[dict[str, Any]] = []
    for modules, kinds in MODULES.items():
        for name in BANDS:
            waves = band_rows(
                n, name, convention=config.convention, high_period=config.high_period, reading=config.reading
            )
            removal = Removal(name, writers(waves, table))
            row = {"modules": modules, "band": name, "rank": removal.rank, "width": width}
            if removal.free_share < MIN_FREE_SHARE:
                refused.append(row | {"refused": _refusal(removal, name, width, n, config.high_period)})
            else:
                planned.append((row, kinds, removal))
    keeps = _keeps(n, table, width, config.convention)
    planned += [(row, MODULES["both"], removal) for row, removal in keeps if removal.free_share >= MIN_FREE_SHARE]
    harmonics = [
        (period, Removal(f"period {period}", writers(period_rows(n, period), table)))
        for period in REMOVED_PERIODS
        if n >= 3 * period
    ]
    planned += [({"modules": "period", "band": "period", "period": period, "rank": removal.rank, "width": width}, MODULES["both"], removal)
                for period, removal in harmonics if removal.free_share >= MIN_FREE_SHARE]  # fmt: skip
    edits: list[Edit | None] = [None]
    labels: list[tuple[int, str]] = [(-1, "")]
    kinds_of_control = ["width"] + (["row space"] if len(seen) < width else [])
    for i, (row, kinds, removal) in enumerate(planned):
        edits.append(removing(removal.directions, kinds, lm.device))
        labels.append((i, "removal"))
        own_kinds = [kind for kind in kinds_of_control if kind == "width" or removal.rank <= len(seen)]
        for kind in own_kinds:
            # the harmonics of 3, 7, 9 and 11 are themselves controls of the others: one random draw for scale
            draws = config.controls if row["modules"] != "period" else int(kind == own_kinds[-1])
            for _ in range(draws):
                random = random_directions(removal.rank, width, generator, seen if kind == "row space" else None)
                edits.append(removing(random, kinds, lm.device))
                labels.append((i, kind))
    found = run_edits(lm, tokens, answers, ids, edits, positions=config.positions, progress=progress)
    base = found[0]
    none = {
        "modules": "none",
        "band": "none",
        "rank": 0,
        "width": width,
        **_numbers(base, answers),
        "controls": {},
        "control_accuracy": None,
    }
    done, differences = [], {"none none": base.answers - answers}
    for i, (row, _, _) in enumerate(planned):
        own = [(label, outcome) for (index, label), outcome in zip(labels, found, strict=True) if index == i]
        main = next(outcome for label, outcome in own if label == "removal")
        if row["modules"] != "period":
            name = f"keep {row['period']:g}" if row["modules"] == "keep" else f"{row['modules']} {row['band']}"
            differences[name] = main.answers - answers
        controls = {kind: {"accuracy": [o.accuracy for label, o in own if label == kind],
                           "loss": [o.loss for label, o in own if label == kind]} for kind in kinds_of_control}  # fmt: skip
        controls = {kind: values for kind, values in controls.items() if values["accuracy"]}
        likest = "row space" if "row space" in controls else "width"
        extra: dict[str, Any] = {}
        if row["modules"] == "keep":
            extra = _kept(main, answers) | {"control": [_kept(o, answers) for label, o in own if label == likest]}
        done.append(
            row
            | _numbers(main, answers)
            | extra
            | {"controls": controls, "control_accuracy": float(np.mean(controls[likest]["accuracy"]))}
        )
    order = [("none", "none"), *((modules, name) for modules in MODULES for name in BANDS)]
    rows = sorted(
        [none, *(r for r in done if r["modules"] in MODULES), *refused],
        key=lambda r: order.index((r["modules"], r["band"])),
    )
    kept = [r for r in done if r["modules"] == "keep"]
    kept += [
        row | {"refused": _keep_refusal(removal, width, n)}
        for row, removal in keeps
        if removal.free_share < MIN_FREE_SHARE
    ]
    return BandAblations(prompts=len(tokens), numbers=n, width=width, split=split, settings=dataclasses.asdict(config),
                         row_rank=len(seen), rows=rows, keeps=kept, periods=[r for r in done if r["modules"] == "period"], differences=differences)  # fmt: skip


def _numbers(outcome: Outcome, answers: np.ndarray) -> dict[str, Any]:
    return {"loss": outcome.loss, "accuracy": outcome.accuracy, "number_accuracy": outcome.number_accuracy,
            "errors": error_types(outcome.answers, answers)}  # fmt: skip


def _keeps(
    n: int, table: np.ndarray, width: int, convention: Literal["orthonormal", "as-printed"]
) -> list[tuple[dict[str, Any], Removal]]:
    """Removals of all waves but one frequency: the one nearest to period 2 (parity) and the longest (magnitude)."""
    waves = np.concatenate([band_rows(n, name, convention=convention) for name in BANDS])
    length = n if convention == "orthonormal" else n - 1
    spectrum = np.abs(np.fft.rfft(waves[:, :length], axis=1))
    frequency = spectrum.argmax(1)  # cycles per table of each wave; a row that is zero has none
    found = []
    for k in (length // 2, 1):
        removal = Removal("keep", writers(waves[(frequency != k) & (np.linalg.norm(waves, axis=1) > 0)], table))
        found.append(
            ({"modules": "keep", "band": "keep", "period": length / k, "rank": removal.rank, "width": width}, removal)
        )
    return found


def _kept(outcome: Outcome, answers: np.ndarray) -> dict[str, Any]:
    """Parity, and nearness, of the answers that one frequency alone gives; over the numbers."""
    error = np.abs(outcome.answers - answers)
    return {
        "exact": outcome.number_accuracy,
        "parity": float((outcome.answers % 2 == answers % 2).mean()),
        "within_10": float((error <= 10).mean()),
    }


def _refusal(removal: Removal, name: Literal["low", "high"], width: int, n: int, high_period: float) -> str:
    most = largest_count(width, name, high_period)
    smaller = (
        f"The numbers 0..{most - 1} would work at this width"
        if most
        else "No range of 20 numbers or more would work at this width"
    )
    flag = f" (--largest-operand {(most - 1) // 2})" if most else ""
    return (f"Refused: the {name} band over {n} numbers takes {removal.rank} of {width} dimensions and leaves less than a third, so that nearly "
            f"anything would be damaged. {smaller}{flag}.")  # fmt: skip


def _keep_refusal(removal: Removal, width: int, n: int) -> str:
    return (f"Refused: keeping one frequency of {n} numbers removes {removal.rank} of {width} dimensions and leaves less than a third; a wider "
            "model or fewer numbers would work.")  # fmt: skip
