"""Zhou et al. 2024 offline: pre-train small models, train them on addition in several ways, explain each.

Presets are experiments of their own, not the paper's: a GPT-2 of one or two layers on a shorter range of numbers.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from epicycle.analysis.embedding import PERIODS, at_period, embedding_spectrum
from epicycle.analysis.explain import Explanation, explain, open_explanation
from epicycle.errors import ConfigError, RunError
from epicycle.models.language import language_model, start_digest
from epicycle.runs.directory import Run, create_run, open_run
from epicycle.runs.provenance import provenance
from epicycle.studies.zhou2024_presets import (
    ALL_ARMS,
    GENTLE,
    OTHER_TASKS,
    PROMPTED,
    VARIED,
    Preset,
    explain_config,
    finetune_config,
    other_prompts,
    preset,
    pretrain_config,
    reads_sums,
    variant_config,
    variant_job,
    variants_of,
)
from epicycle.sweep.jobs import Job, JobProgress, run_jobs
from epicycle.sweep.pool import LocalPool
from epicycle.training.finetune import finetune
from epicycle.training.language_config import (
    PretrainConfig,
    ShapeConfig,
    StepConfig,
    from_dict,
    to_dict,
)
from epicycle.training.pretrain import pretrain

STEPS = ("pretraining", "finetuning", "with_sums", "gently")
"""Fields of a preset that hold a training."""


class Study(NamedTuple):
    """What a preset made. `spectra` holds the embedding of every pre-trained model; `explanations` every arm by (arm, seed)."""

    run: Run
    preset: Any
    """A `Preset`; None for a study of models that were given (`zhou2024_model`)."""
    seeds: tuple[int, ...]
    """Seeds; for given models, parts of the questions."""
    pretrained: dict[int, Run]
    finetuned: dict[tuple[str, int], Run]
    embeddings: dict[int, Any]
    explanations: dict[tuple[str, int], Explanation]
    variants: dict[tuple[str, int], Explanation]
    """By name (of VARIANTS, OTHER_TASKS, or PROMPTED) and seed; empty without extras."""
    gentle_variants: dict[tuple[str, int], Explanation] = {}  # noqa: RUF012
    """The same of the gently tuned arm."""
    readers: dict[int, Run] = {}  # noqa: RUF012
    """The models that read solved sums, by seed; none where no arm starts from them."""
    reader_embeddings: dict[int, Explanation] = {}  # noqa: RUF012
    """Their explanations; of the other pre-trained models these are `embeddings`."""


def embedding_watch(model: Any, tokenizer: Any) -> dict[str, Any]:
    """Shares of the named periods in the detrended number embedding, for the history of pre-training."""
    lm = language_model(model, tokenizer)
    table = lm.embedding[lm.space.ids].double().cpu().numpy()
    found = embedding_spectrum(table, None, draws=19)
    return {"embedding": {f"{period:g}": at_period(found, period)["share"] for period in PERIODS}}


def _pretrain_job(before: dict[str, str], config: dict[str, Any], root: str, device: str) -> str:
    values = from_dict(config)
    assert isinstance(values, PretrainConfig)
    return str(pretrain(values, root, device=device, observe=embedding_watch).path)


def _finetune_job(before: dict[str, str], chosen: Preset, arm: str, seed: int, root: str, device: str) -> str:
    [base] = before.values()
    return str(finetune(finetune_config(chosen, arm, seed, start_digest(base)), base, root, device=device).path)


def _explain_job(before: dict[str, str], chosen: Preset, variant: str, root: str, device: str) -> str:
    [model] = before.values()
    config = variant_config(chosen, variant) if variant else explain_config(chosen)
    return str(explain(model, config, root, device=device).run.path)


def _other_job(before: dict[str, str], chosen: Preset, name: str, arm: str, seed: int, root: str, device: str) -> str:
    [base] = before.values()
    config = dataclasses.replace(
        finetune_config(chosen, arm, seed, start_digest(base)), prompts=other_prompts(chosen, name)
    )
    return str(finetune(config, base, root, device=device).path)


def jobs_of(chosen: Preset, root: str, device: str = "cpu") -> list[Job]:
    """Every job of a preset, with about what it costs in seconds on one core."""
    width, layers = chosen.shape.width, chosen.shape.num_layers
    per_step = {"pre": 0.013, "fine": 0.009} if layers * width < 200 else {"pre": 0.031, "fine": 0.022}
    steps, seeds = chosen.pretraining.steps, chosen.seeds
    found = [
        Job(
            f"pretrain {seed}",
            _pretrain_job,
            (to_dict(pretrain_config(chosen, seed)), root, device),
            (),
            steps * per_step["pre"],
        )
        for seed in seeds
    ]
    if reads_sums(chosen):
        assert chosen.with_sums is not None
        cost = chosen.with_sums.steps * per_step["pre"]
        readers = ((seed, to_dict(pretrain_config(chosen, seed, with_sums=True))) for seed in seeds)
        for seed, config in readers:
            found.append(Job(f"read sums {seed}", _pretrain_job, (config, root, device), (), cost))
            found.append(
                Job(f"explain read sums {seed}", _explain_job, (chosen, "", root, device), (f"read sums {seed}",), 12.0)
            )
    for seed in seeds:
        for arm in chosen.arms:
            name, base = f"{arm} {seed}", f"{'read sums' if arm == GENTLE else 'pretrain'} {seed}"
            cost = finetune_config(chosen, arm, seed, "").step.steps * per_step["fine"]
            found.append(Job(name, _finetune_job, (chosen, arm, seed, root, device), (base,), cost))
            found.append(Job(f"explain {name}", _explain_job, (chosen, "", root, device), (name,), 12.0))
            others = OTHER_TASKS if chosen.extras and arm in VARIED else ()
            for other in others:
                arguments = (chosen, other, arm, seed, root, device)
                found.append(Job(variant_job(other, arm, seed), _other_job, arguments, (base,), cost))
        found.append(
            Job(f"explain pretrain {seed}", _explain_job, (chosen, "", root, device), (f"pretrain {seed}",), 12.0)
        )
    for name, arm, seed in variants_of(chosen):
        on = (
            variant_job(name, arm, seed)
            if name in OTHER_TASKS
            else f"read sums {seed}"
            if name == PROMPTED
            else f"{arm} {seed}"
        )
        job = f"explain {variant_job(name, arm, seed)}"
        found.append(Job(job, _explain_job, (chosen, name, root, device), (on,), 12.0))
    return found


def reproduce(
    name: str,
    root: Path | str = "runs",
    *,
    workers: int = 2,
    device: str = "cpu",
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    progress: Callable[[JobProgress], None] = lambda now: None,
    given: dict[str, Any] | None = None,
) -> Study:
    """Run a preset, or what is missing of it, and read everything back.

    Args:
        name: quick, laptop or full.
        root: Directory of all runs.
        workers: Processes, one thread each.
        device: cpu or cuda; all processes share one GPU.
        arms: Arms instead of the preset's.
        seeds: Seeds instead of the preset's.
        progress: Called about every second.
        given: What the user typed.

    Raises:
        ConfigError: Unknown preset or arm, or a seed below 0.
    """
    chosen = preset(name)
    if arms:
        if unknown := [arm for arm in arms if arm not in ALL_ARMS]:
            raise ConfigError(f"got arm {unknown[0]!r}; expected some of {', '.join(ALL_ARMS)}. Choose from these.")
        if GENTLE in arms and chosen.gently is None:
            raise ConfigError(f"got arm {GENTLE!r} with preset {name}; expected laptop or full, whose models can read sums. Choose one of these.")  # fmt: skip
        chosen = dataclasses.replace(chosen, arms=tuple(dict.fromkeys(arms)))
    if seeds:
        if min(seeds) < 0:
            raise ConfigError(f"got seed {min(seeds)}; expected 0 or more. Try 0.")
        chosen = dataclasses.replace(chosen, seeds=tuple(dict.fromkeys(seeds)))
    values = {"kind": "study", "paper": "zhou2024"} | _plain(chosen)
    facts = provenance(workers=workers, device=device)  # of the last that computed, for a study that goes on
    run = create_run(Path(root), f"zhou2024-{name}", values, given or values, facts)
    with run.lock():
        made = run_jobs(jobs_of(chosen, str(root), device), LocalPool(workers), progress=progress)
        names = {job: Path(path).name for job, path in made.items()}
        run.update(status="finished", outcome="reproduced", made=names, provenance=facts)
    return read_study(run)


def read_study(run: Run) -> Study:
    """What `reproduce` left on disk."""
    record = run.record()
    values = {k: v for k, v in record["config"]["resolved"].items() if k not in ("kind", "paper")}
    steps = {k: StepConfig(**{**values[k], "betas": tuple(values[k]["betas"])}) for k in STEPS if k in values}
    chosen = Preset(
        **{
            **values,
            **steps,
            "shape": ShapeConfig(**values["shape"]),
            "arms": tuple(values["arms"]),
            "seeds": tuple(values["seeds"]),
        }
    )

    def at(job: str) -> Run:
        if job not in record["made"]:
            raise RunError(f"got study {run.id}, made by an older epicycle, without {job!r}; expected it to be there. Run `epicycle reproduce zhou2024 --preset "
                           f"{chosen.name}` in the same --out again: it makes what is missing.")  # fmt: skip
        return open_run(run.path.parent / record["made"][job])

    explained = lambda job: open_explanation(at(f"explain {job}"))  # noqa: E731
    seeds, pairs = chosen.seeds, [(arm, seed) for arm in chosen.arms for seed in chosen.seeds]
    variants: dict[str, dict[tuple[str, int], Explanation]] = {arm: {} for arm in VARIED}
    for name, arm, seed in variants_of(chosen):
        where = VARIED[0] if name == PROMPTED else arm
        variants[where][name, seed] = explained(variant_job(name, arm, seed))
    return Study(
        run, chosen, seeds, {seed: at(f"pretrain {seed}") for seed in seeds}, {(arm, seed): at(f"{arm} {seed}") for arm, seed in pairs},
        {seed: explained(f"pretrain {seed}") for seed in seeds}, {(arm, seed): explained(f"{arm} {seed}") for arm, seed in pairs},
        variants[VARIED[0]], variants[VARIED[1]], {seed: at(f"read sums {seed}") for seed in seeds if reads_sums(chosen)},
        {seed: explained(f"read sums {seed}") for seed in seeds if reads_sums(chosen)},
    )  # fmt: skip


def explanations_of(study: Study) -> list[Explanation]:
    """Every explanation that a study holds, each once."""
    parts = (study.embeddings, study.reader_embeddings, study.explanations, study.variants, study.gentle_variants)
    return list({found.run.id: found for part in parts for found in part.values()}.values())


def _plain(chosen: Preset) -> dict[str, Any]:
    values = dataclasses.asdict(chosen)
    if not reads_sums(chosen):
        del values["with_sums"], values["gently"]
    for key in STEPS:
        if key in values:
            values[key]["betas"] = list(values[key]["betas"])
    return values | {"arms": list(chosen.arms), "seeds": list(chosen.seeds)}
