"""Everything this package asks of a causal language model, kept in a run directory of its own."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from epicycle.analysis.ablation import AblationConfig, BandAblations, band_ablations
from epicycle.analysis.builders import AnswerBuilders, answer_builders
from epicycle.analysis.digits import DigitProbes, DigitTurn, digit_probes, digit_turn
from epicycle.analysis.embedding import (
    NumberMap,
    ResidualSpectra,
    embedding_spectrum,
    number_map,
    number_streams,
    residual_spectra,
)
from epicycle.analysis.geometry import NumberGeometry, number_geometry
from epicycle.analysis.helix import NumberHelix, number_helix
from epicycle.analysis.matrix import MatrixSpectrum
from epicycle.analysis.modules import LayerLens, ModuleSpectra, readings
from epicycle.analysis.residues import ModuleResidues, WavePhases
from epicycle.analysis.stage import Stage, silent
from epicycle.errors import ConfigError, DataError, RunError
from epicycle.fourier.helix import helix_design
from epicycle.models.language import LanguageModel, check_boundary, load_language_model, start_digest
from epicycle.models.stream import fitting
from epicycle.runs.directory import Run, create_run, open_run, run_id
from epicycle.runs.provenance import provenance
from epicycle.tasks.prompts import PromptConfig, PromptTask, prompt_task

HELIX_PAIRS = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExplainConfig:
    """What is asked of a model. With the model's digest, its hash is the id of the explanation."""

    prompts: PromptConfig
    """The questions."""
    split: Literal["train", "validation", "test"] = "test"
    """Which of them."""
    swapped: bool = False
    """Ask with the larger operand first; questions to train on have the smaller first."""
    limit: int | None = None
    """The first so many; all if None."""
    part: int = 0
    """Of so many `parts`, every one with questions of its own: replications for one model."""
    parts: int = 1
    """How many."""
    numbers: int | None = None
    """Numbers 0..numbers-1 of the table; what answers and tokenizer allow if None."""
    table: Literal["embedding", "residual"] = "embedding"
    """Rows of the embedding, or the stream at a number's last token (for tokenizers without number tokens)."""
    ablation: AblationConfig = dataclasses.field(default_factory=AblationConfig)
    """How bands are removed."""
    draws: int = 999
    """Null tables per null."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the model."""
    helix: tuple[float, ...] | None = None
    """Periods of the helix whose patches are run; () for 2, 5, 10 and 100 as far as the range allows, None for no helix."""

    def __post_init__(self):
        if self.split not in ("train", "validation", "test") or self.table not in ("embedding", "residual"):
            raise ConfigError(f"got split {self.split!r} and table {self.table!r}; expected train, validation or test, and embedding or residual. "
                              "Choose one of each.")  # fmt: skip
        if self.limit is not None and self.limit < 10:
            raise ConfigError(f"got a limit of {self.limit} prompts; expected at least 10. Try 500.")
        if not 0 <= self.part < self.parts:
            raise ConfigError(
                f"got part {self.part} of {self.parts}; expected a part from 0 to {self.parts - 1}. Choose one."
            )
        if self.numbers is not None and self.numbers < 20:
            raise ConfigError(f"got a table of {self.numbers} numbers; expected at least 20. Try 200.")
        if self.helix is not None and (self.table == "residual" or self.prompts.shots):
            raise ConfigError(
                "got a helix with --table residual or --shots; expected questions without solved examples, whose operands are tokens. Leave one out."
            )
        if self.draws < 99:
            raise ConfigError(f"got {self.draws} draws; p <= 0.01 needs at least 99. Use 999.")


class Explanation(NamedTuple):
    """A model's explanation: its run directory and the results in it; None where the table does not allow one."""

    run: Run
    config: ExplainConfig
    facts: dict[str, Any]
    spectrum: MatrixSpectrum | None = None
    geometry: NumberGeometry | None = None
    map: NumberMap | None = None
    lens: LayerLens | None = None
    modules: ModuleSpectra | None = None
    residues: ModuleResidues | None = None
    phases: WavePhases | None = None
    ablations: BandAblations | None = None
    residual: ResidualSpectra | None = None
    digits: DigitProbes | None = None
    turn: DigitTurn | None = None
    helix: NumberHelix | None = None
    builders: AnswerBuilders | None = None


_PARTS: dict[str, Any] = {
    "spectrum": MatrixSpectrum, "geometry": NumberGeometry, "map": NumberMap, "lens": LayerLens, "modules": ModuleSpectra, "residues": ModuleResidues, "phases": WavePhases, "ablations": BandAblations,
    "residual": ResidualSpectra, "digits": DigitProbes, "turn": DigitTurn, "helix": NumberHelix, "builders": AnswerBuilders,
}  # fmt: skip


def _facts(lm: LanguageModel, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "type": lm.model.config.model_type,
        "layers": lm.num_layers,
        "width": lm.width,
        "vocabulary": len(lm.unembedding),
        "is_tied": lm.is_tied,
        "norm": type(lm.norm).__name__,
        "number_space": lm.space.as_json(),
        "number_space_sentence": lm.space.sentence(),
    }


def _table_size(lm: LanguageModel, task: PromptTask, config: ExplainConfig) -> int:
    """Numbers in the table: as asked, or enough for the answers, in whole tens so that periods 2, 2.5, 5 and 10 fit.

    GPT-2's 521 numbers become 520, as in the orthonormal form of Zhou et al. 2024; answers beyond the table are not asked. The
    printed basis has one number more than its period, 521 for 520.
    """
    if config.numbers is not None:
        return config.numbers
    need = min(task.config.largest_answer + 1, lm.space.count)
    if config.ablation.convention == "as-printed":
        return need
    up = -(-need // 10) * 10
    return up if up <= lm.space.count else need // 10 * 10 if need >= 30 else need


def trained_share(name: str | Path, task: PromptTask, rows: np.ndarray) -> float | None:
    """Share of these questions whose pair the model was trained on, in its text or in tuning, for a run that knows; None otherwise."""
    if not (Path(name) / "run.json").is_file():
        return None
    record = open_run(name).record()
    stored = record["config"]["resolved"]
    asked_before = [stored[key] for key in ("prompts",) if stored.get("kind") == "finetune"]
    asked_before += [*stored.get("text", {}).get("solved", []), *record.get("solved", [])]
    own = [PromptConfig(**values) for values in asked_before if values["operation"] == task.config.operation]
    if not own:
        return None
    pairs = [prompt_task(config).rows("train") for config in own]
    trained = {pair for rows in pairs for pair in zip(rows.a.tolist(), rows.b.tolist(), strict=True)}
    asked = zip(task.questions.a[rows].tolist(), task.questions.b[rows].tolist(), strict=True)
    return float(np.mean([pair in trained for pair in asked]))


def number_counts(name: str | Path, lm: LanguageModel, count: int) -> tuple[np.ndarray | None, str]:
    """How often each number occurred in training, and where that is known from.

    A run of this package knows; elsewhere the place of the tokens in a byte-pair vocabulary stands for it, since merges are
    learned in the order of frequency. Nothing is said of vocabularies whose numbers are in numerical order.
    """
    where = Path(name)
    if (where / "run.json").is_file():
        stored = open_run(where).record().get("number_counts")
        if stored and len(stored) >= count:
            return np.array(stored[:count], float), "counted in the training text"
    ids = lm.space.ids[:count]
    model = getattr(getattr(lm.tokenizer, "backend_tokenizer", None), "model", None)
    if type(model).__name__ != "BPE" or (np.diff(ids) > 0).all():
        return None, "unknown"
    return 1e9 / (ids + 1.0), "taken from the order of the vocabulary"


def explain(
    name: str | Path,
    config: ExplainConfig,
    root: Path | str = "runs",
    *,
    device: str = "cpu",
    threads: int = 1,
    loaded: LanguageModel | None = None,
    progress: Stage = silent,
    given: dict[str, Any] | None = None,
) -> Explanation:
    """Analyse a causal language model, or read what was found before.

    Args:
        name: A run of the language track, a Hugging Face directory or a hub name.
        config: What is asked.
        root: Directory of all runs; the explanation gets one of its own.
        device: cpu or cuda.
        threads: CPU threads.
        loaded: The model, if it is open already.
        progress: Called with what is being done, and how much of it is.
        given: What the user typed, for run.json.

    Raises:
        DataError: The model cannot be used, or its tokenizer has no single tokens for the numbers asked.
        ConfigError: No question is left.
    """
    import torch

    torch.set_num_threads(threads)
    digest = start_digest(name)
    label = Path(name).resolve().name if Path(name).exists() else str(name)
    values = {"kind": "explain", "model": digest} | dataclasses.asdict(config)
    values["helix"] = None if config.helix is None else list(config.helix)
    lm = loaded or load_language_model(name, device=device, dtype=config.dtype)
    task = prompt_task(config.prompts)
    facts = _facts(lm, str(label))
    count, asked = 0, None
    if config.table == "embedding":
        if lm.space.is_digits_only:
            raise DataError(f"got {name}, whose tokenizer writes numbers digit by digit; expected single tokens for the numbers asked. "
                            "Add --table residual to read numbers at their last digit.")  # fmt: skip
        check_boundary(lm, config.prompts)
        if config.helix:
            helix_design(
                np.arange(config.prompts.largest_operand + 1), config.helix
            )  # refuses periods beyond the range
        if config.prompts.operation == "add" and config.numbers is None:
            lm.space.rows(task.config.largest_answer)
        count = _table_size(lm, task, config)
        asked = _asked(lm, task, config, count)  # what cannot be asked is refused before anything is written
        facts["questions"] = asked.facts | {"trained_on": trained_share(name, task, asked.rows)}
    place = Path(root) / run_id(f"explain-{label[:40]}", values)
    is_new = not place.exists()
    run = create_run(Path(root), f"explain-{label[:40]}", values, given or values,
                     provenance(device=device, threads=threads, dtype=config.dtype))  # fmt: skip
    try:
        with run.lock():
            parts = _compute(run, lm, config, name, asked, facts, progress)
            run.update(status="finished", outcome="explained", facts=facts)
    except DataError:  # the model's numbers cannot be analysed: leave nothing that could never be finished
        if is_new:
            shutil.rmtree(place, ignore_errors=True)
        raise
    return Explanation(run, config, facts, **parts)


class _Asked(NamedTuple):
    """The questions of an explanation: their rows in the task, prompts, tokens, answers, and the tokens of the numbers."""

    rows: np.ndarray
    prompts: list[str]
    tokens: list[list[int]]
    answers: np.ndarray
    ids: np.ndarray
    facts: dict[str, Any]


def _asked(lm: LanguageModel, task: PromptTask, config: ExplainConfig, count: int) -> _Asked:
    ids = lm.space.rows(count - 1)
    questions, prompts = task.rows(config.split), task.prompts(config.split, swapped=config.swapped)
    inside = np.flatnonzero(questions.answer < count)[config.part :: config.parts][: config.limit]
    if len(inside) < 10:
        raise ConfigError(f"got {len(inside)} {config.split} questions whose answers are below {count}; expected at least 10. "
                          "Ask over a larger range.")  # fmt: skip
    every = task.tokens(lm.tokenizer, config.split, _all_ids(lm, task, ids), swapped=config.swapped)
    tokens = fitting(lm, [every[i] for i in inside])
    facts = {
        "asked": len(inside),
        "of": len(prompts),
        "split": config.split,
        "beyond": int((questions.answer >= count).sum()),
    }
    return _Asked(
        task.split[config.split][inside],
        [prompts[i] for i in inside],
        tokens,
        questions.answer[inside].astype(np.int64),
        ids,
        facts,
    )


def _compute(run: Run, lm: LanguageModel, config: ExplainConfig, name: str | Path, asked: _Asked | None,
             facts: dict[str, Any], progress: Stage) -> dict[str, Any]:  # fmt: skip
    results = run.path / "results"
    parts: dict[str, Any] = {}

    def once(part: str, make: Callable[[], Any]) -> Any:
        """The stored result, or a new one that is stored."""
        kind = _PARTS[part]
        if kind.is_current(results / part):
            parts[part] = kind.load(results / part)
        else:
            parts[part] = make()
            parts[part].save(results / part)
        return parts[part]

    if asked is None:
        numbers = config.numbers or 200
        progress("stream of numbers, layer by layer", 0, 1)
        if not all(_PARTS[part].is_current(results / part) for part in ("residual", "digits")):
            stream = number_streams(lm, numbers)
            names = ["embedding", *(f"after layer {i + 1}" for i in range(lm.num_layers))]
            residual_spectra(stream, draws=config.draws).save(results / "residual")
            progress("digits, layer by layer", 0, 1)
            digit_probes(list(stream.astype(np.float64)), names).save(results / "digits")
        parts |= {part: _PARTS[part].load(results / part) for part in ("residual", "digits")}
        return parts
    tokens, answers, ids = asked.tokens, asked.answers, asked.ids
    counts, source = number_counts(name, lm, len(ids))
    facts["frequency_source"] = source
    table = lm.embedding[ids].double().cpu().numpy()
    progress("embedding", 0, 1)
    once("spectrum", lambda: embedding_spectrum(table, counts, config.draws))
    once("geometry", lambda: number_geometry(table, counts))
    once("map", lambda: number_map(table))
    once("digits", lambda: digit_probes([table], ["embedding"]))
    one_pass = ("lens", "modules", "residues", "phases")
    if not all(_PARTS[part].is_current(results / part) for part in one_pass):
        read = readings(lm, tokens, answers, ids, example_prompt=asked.prompts[0],
                        progress=lambda done, total: progress("lens and module spectra", done, total))  # fmt: skip
        for part in one_pass:
            getattr(read, part).save(results / part)
    parts |= {part: _PARTS[part].load(results / part) for part in one_pass}
    once("ablations", lambda: band_ablations(lm, tokens, answers, ids, config.ablation, split=config.split,
                                             progress=lambda done, total: progress("band ablations", done, total)))  # fmt: skip
    if config.helix is not None:
        which: dict[str, Any] = {"periods": config.helix or None, "pairs": HELIX_PAIRS}
        once("helix", lambda: number_helix(lm, config.prompts, ids, layers=patched_layers(lm.num_layers), **which,
                                           progress=lambda done, total: progress("helix, layer by layer", done, total)))  # fmt: skip
        if config.prompts.operation == "add":
            once("turn", lambda: digit_turn(lm, config.prompts, ids))
        once(
            "builders",
            lambda: answer_builders(
                lm, config.prompts, ids, **which, progress=lambda done, total: progress("heads", done, total)
            ),
        )
    return parts


def patched_layers(count: int) -> list[int]:
    """Layers that helices are put into: all of up to sixteen, evenly spaced ones of more."""
    return sorted({round(x) for x in np.linspace(0, count - 1, min(count, 16))})


def _all_ids(lm: LanguageModel, task: PromptTask, ids: np.ndarray) -> np.ndarray:
    """Token ids that demonstrations need: those of their answers too."""
    most = max((answer for _, answer in task.demonstrations()), default=0)
    return ids if most < len(ids) else lm.space.rows(most)


def open_explanation(run: Run) -> Explanation:
    """What `explain` left in a run directory."""
    record = run.record()
    stored = {k: v for k, v in record["config"]["resolved"].items() if k not in ("kind", "model")}
    config = ExplainConfig(
        **{
            **stored,
            "helix": None if stored.get("helix") is None else tuple(stored["helix"]),
            "prompts": PromptConfig(**stored["prompts"]),
            "ablation": AblationConfig(**stored["ablation"]),
        }
    )
    parts = {
        part: kind.load(run.path / "results" / part)
        for part, kind in _PARTS.items()
        if kind.is_current(run.path / "results" / part)
    }
    needed = (
        ["residual", "digits"]
        if config.table == "residual"
        else [part for part in _PARTS if part not in ("residual", "helix", "builders", "turn")]
    )
    if config.helix is not None:
        needed += ["helix", "builders", *(["turn"] if config.prompts.operation == "add" else [])]
    if record["status"] != "finished" or (gone := [part for part in needed if part not in parts]):
        gone = [part for part in needed if part not in parts]
        raise RunError(f"got explanation {run.id}, of which {', '.join(gone) or 'the record'} is missing or damaged; expected all of it. Run the same "
                       "`epicycle explain` command again: it computes what is missing.")  # fmt: skip
    return Explanation(run, config, record["facts"], **parts)
