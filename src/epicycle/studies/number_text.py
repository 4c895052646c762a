"""Which kind of sentence makes which period: small models pre-trained on number text with kinds switched off, one at a time.

Beside the whole text: without each kind, each kind alone, and the text with the names of the numbers exchanged at random. One kind alone,
`quantity`, says nothing of a number but how often it occurs: the control for token frequency.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from epicycle.analysis.embedding import at_period, embedding_spectrum
from epicycle.analysis.geometry import NumberGeometry, number_geometry
from epicycle.analysis.matrix import MatrixSpectrum
from epicycle.errors import ConfigError
from epicycle.models.language import load_language_model
from epicycle.runs.directory import Run, create_run, open_run
from epicycle.runs.provenance import provenance
from epicycle.sweep.jobs import Job, JobProgress, run_jobs
from epicycle.sweep.pool import LocalPool
from epicycle.tasks.number_text import NumberTextConfig, kinds_of
from epicycle.training.language_config import PretrainConfig, ShapeConfig, StepConfig, to_dict
from epicycle.training.language_config import from_dict as config_of
from epicycle.training.pretrain import pretrain

WHOLE, RELABELLED = "all kinds", "numbers relabelled"
FREQUENCY_ONLY = "quantity"
PERIODS = (2.0, 2.5, 10 / 3, 5.0, 10.0, 20.0)
RESIDUES = (2, 3, 5, 7, 9, 10, 20)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """An experiment: range of numbers, model, training, seeds; `alone` also trains every kind alone."""

    name: str
    largest: int
    shape: ShapeConfig
    step: StepConfig
    seeds: tuple[int, ...] = (0, 1, 2)
    alone: bool = True


def preset(name: str) -> Preset:
    """`quick`: numbers 0..99, 1,000 updates, without each kind only. `laptop`: 3,000 updates, each kind alone too.

    Raises:
        ConfigError: There is no preset of that name.
    """
    shape = ShapeConfig(num_layers=1, width=128, num_heads=8, context=32)
    if name not in ("quick", "laptop"):
        raise ConfigError(f"got preset {name!r}; expected quick or laptop. Choose one.")
    steps = 1000 if name == "quick" else 3000
    step = StepConfig(
        steps=steps, batch=8, learning_rate=4e-3, weight_decay=0.2, betas=(0.9, 0.95), evaluate_every=steps // 5
    )
    return Preset(name=name, largest=99, shape=shape, step=step, alone=name == "laptop")


def conditions(chosen: Preset) -> dict[str, NumberTextConfig]:
    """Name -> what is read, but for the seed."""
    whole = NumberTextConfig(largest=chosen.largest)
    kinds = kinds_of(whole)
    found = {WHOLE: whole, RELABELLED: dataclasses.replace(whole, relabelled=0)}
    found |= {
        f"without {kind}": dataclasses.replace(whole, kinds=tuple(k for k in kinds if k != kind)) for kind in kinds
    }
    alone = kinds if chosen.alone else (FREQUENCY_ONLY,)
    return found | {f"only {kind}": dataclasses.replace(whole, kinds=(kind,)) for kind in alone}


class Study(NamedTuple):
    """What was trained: (condition, seed) -> spectrum and geometry of the number embedding."""

    run: Run
    preset: Preset
    spectra: dict[tuple[str, int], MatrixSpectrum]
    geometry: dict[tuple[str, int], NumberGeometry]
    runs: dict[tuple[str, int], Run]


def _job(before: dict[str, str], config: dict[str, Any], root: str, device: str) -> str:
    values = config_of(config)
    assert isinstance(values, PretrainConfig)
    made = pretrain(values, root, device=device)
    results = made.path / "results"
    if not (MatrixSpectrum.is_current(results / "spectrum") and NumberGeometry.is_current(results / "geometry")):
        lm = load_language_model(made.path)
        table = lm.embedding[lm.space.rows(values.text.largest)].double().cpu().numpy()
        counts = made.record().get("number_counts")
        known = None if counts is None else np.array(counts[: len(table)], float)
        embedding_spectrum(table, known).save(results / "spectrum")
        number_geometry(table, known, periods=RESIDUES).save(results / "geometry")
    return str(made.path)


def reproduce(
    name: str,
    root: Path | str = "runs",
    *,
    workers: int = 2,
    device: str = "cpu",
    seeds: Sequence[int] | None = None,
    progress: Callable[[JobProgress], None] = lambda now: None,
    given: dict[str, Any] | None = None,
) -> Study:
    """Pre-train every condition with every seed, or what is missing, and read all embeddings back.

    Args:
        name: quick or laptop.
        root: Directory of all runs.
        workers: Processes, one thread each.
        device: cpu or cuda.
        seeds: Seeds instead of the preset's, of weights and text.
        progress: Called about every second.
        given: What the user typed.
    """
    chosen = preset(name)
    chosen = dataclasses.replace(chosen, seeds=tuple(seeds)) if seeds else chosen
    values = {"kind": "study", "paper": "number-text", "preset": name, "seeds": list(chosen.seeds)}
    facts = provenance(workers=workers, device=device)  # of the last that computed, for a study that goes on
    run = create_run(Path(root), f"number-text-{name}", values, given or values, facts)
    jobs = []
    for seed in chosen.seeds:
        for condition, text in conditions(chosen).items():
            config = PretrainConfig(
                text=dataclasses.replace(text, seed=seed), shape=chosen.shape, step=chosen.step, seed=seed
            )
            jobs.append(Job(f"{condition} {seed}", _job, (to_dict(config), str(root), device)))
    with run.lock():
        made = run_jobs(jobs, LocalPool(workers), progress=progress)
        names = {job: Path(path).name for job, path in made.items()}
        run.update(status="finished", outcome="reproduced", made=names, provenance=facts)
    return read_study(run)


def read_study(run: Run) -> Study:
    """What `reproduce` left on disk."""
    record = run.record()
    values = record["config"]["resolved"]
    chosen = dataclasses.replace(preset(values["preset"]), seeds=tuple(values["seeds"]))
    runs = {
        (c, s): open_run(run.path.parent / record["made"][f"{c} {s}"]) for c in conditions(chosen) for s in chosen.seeds
    }
    return Study(run, chosen, {key: MatrixSpectrum.load(each.path / "results" / "spectrum") for key, each in runs.items()},
                 {key: NumberGeometry.load(each.path / "results" / "geometry") for key, each in runs.items()}, runs)  # fmt: skip


def kappas(study: Study, condition: str, period: int) -> list[float]:
    """Kappa of n mod T, seed by seed."""
    return [study.geometry[condition, seed].at(period)["linear"] for seed in study.preset.seeds]


def shares(study: Study, condition: str, period: float) -> list[tuple[float, float]]:
    """Share of power at a period without the trend, and its p-value within decades, seed by seed."""
    found = [at_period(study.spectra[condition, seed], period) for seed in study.preset.seeds]
    return [(each["share"], each["p_value"]) for each in found]


def needed(study: Study, period: int) -> list[tuple[str, float]]:
    """Kinds without which the residue is read worse in every seed than in the worst seed of the whole text, by mean loss, largest first."""
    whole = kappas(study, WHOLE, period)
    found = []
    for condition in conditions(study.preset):
        if condition.startswith("without "):
            own = kappas(study, condition, period)
            if max(own) < min(whole):
                found.append((condition.removeprefix("without "), float(np.mean(whole) - np.mean(own))))
    return sorted(found, key=lambda each: -each[1])


def enough(study: Study, period: int) -> list[tuple[str, float]]:
    """Kinds that alone make the residue readable beyond its shuffled labels in every seed, by mean kappa, largest first."""
    found = []
    for condition in conditions(study.preset):
        if condition.startswith("only "):
            at = [study.geometry[condition, seed].at(period) for seed in study.preset.seeds]
            if all(each["linear"] > each["control_level"] for each in at):
                found.append((condition.removeprefix("only "), float(np.mean([each["linear"] for each in at]))))
    return sorted(found, key=lambda each: -each[1])
