"""Zhou et al. 2024 offline: pre-train small models, train them on addition in several ways, explain each.

Presets are experiments of their own, not the paper's: a GPT-2 of one or two layers on a shorter range of numbers.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from epicycle.analysis.embedding import PERIODS, at_period, embedding_spectrum
from epicycle.analysis.explain import ExplainConfig, Explanation, explain, open_explanation
from epicycle.errors import ConfigError, RunError
from epicycle.models.language import language_model, start_digest
from epicycle.runs.directory import Run, create_run, open_run
from epicycle.runs.provenance import provenance
from epicycle.sweep.jobs import Job, JobProgress, run_jobs
from epicycle.sweep.pool import LocalPool
from epicycle.tasks.number_text import NumberTextConfig
from epicycle.tasks.prompts import PromptConfig, prompt_task
from epicycle.training.finetune import finetune
from epicycle.training.language_config import (
    FinetuneConfig,
    PretrainConfig,
    ShapeConfig,
    StepConfig,
    from_dict,
    to_dict,
)
from epicycle.training.pretrain import pretrain

HALF = "half of the numbers"
"""Answers in the lower half of the range, tables of these numbers alone: removals that take too many dimensions of a small model over the
whole range can be made. What is cut elsewhere is compared there; for given models it is the whole range."""
VARIANTS: dict[str, Callable[[ExplainConfig], ExplainConfig]] = {
    "all positions": lambda c: _ablated(c, positions="all"),
    "as printed": lambda c: _ablated(c, convention="as-printed"),
    "as printed, cut by row": lambda c: _ablated(c, convention="as-printed", reading="row"),
    "norm folded": lambda c: _ablated(c, is_folded=True),
    **{f"cut at {t:g}": (lambda c, t=t: _ablated(c, high_period=t)) for t in (26.0, 15.0, 7.4, 5.2)},
    HALF: lambda c: c,
    "swapped": lambda c: dataclasses.replace(c, swapped=True),
    "training questions": lambda c: dataclasses.replace(c, split="train", limit=500),
}
"""Name -> how the pre-trained and tuned arm is explained once more: controls that the paper lacks. Cuts are those of components 20, 35, 70 and
100 of 520."""
OTHER_TASKS: dict[str, dict[str, Any]] = {"second format": {"form": "polish"}, "products": {"operation": "multiply"}}
"""Name -> what else the pre-trained model is tuned on."""
PROMPTED = "4 shots"
"""The model that read solved sums, without any tuning, shown four of them."""
GENTLE = "gently-tuned"
"""The arm that starts from the model that read solved sums and is tuned as the paper tunes: few epochs, a small rate, no decay. Its base can
add before it is tuned, as GPT-2-XL can."""


STEPS = ("pretraining", "finetuning", "with_sums", "gently")
"""Fields of a preset that hold a training."""


def _ablated(config: ExplainConfig, **changes: Any) -> ExplainConfig:
    return dataclasses.replace(config, ablation=dataclasses.replace(config.ablation, **changes))


ALL_ARMS = (
    "scratch",
    "frozen-embedding",
    "pretrained",
    "planted-embedding",
    "random-embedding",
    "frozen-input",
    "frozen-output",
    GENTLE,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """An experiment: its models, arms and seeds. Seed s fine-tunes from the model pre-trained with seed s."""

    name: str
    largest: int
    """Numbers 0..largest."""
    largest_operand: int
    """Sums of two numbers up to this."""
    shape: ShapeConfig
    pretraining: StepConfig
    finetuning: StepConfig
    arms: tuple[str, ...]
    seeds: tuple[int, ...] = (0, 1, 2)
    extras: bool = False
    """Other tasks, prompting and the variants of removal too."""
    with_sums: StepConfig | None = None
    """Pre-training on text half of which is solved sums: what is prompted and tuned gently. None where neither is done."""
    gently: StepConfig | None = None
    """That tuning."""


def _steps(largest_operand: int, batch: int, epochs: int) -> tuple[int, int]:
    """Updates in so many epochs, and in a tenth of them."""
    examples = len(prompt_task(PromptConfig(largest_operand=largest_operand)).split["train"])
    per_epoch = -(-examples // batch)
    return per_epoch * epochs, per_epoch * max(1, epochs // 10)


def _preset(name: str, largest: int, operand: int, shape: ShapeConfig, steps: int, epochs: int, rate: float, precision: Any,
            arms: tuple[str, ...], seeds: tuple[int, ...] = (0, 1, 2), *, extras: bool = False, sums: int = 0) -> Preset:  # fmt: skip
    total, tenth = _steps(operand, 32, epochs)
    read = StepConfig(
        steps=steps,
        batch=8,
        learning_rate=4e-3,
        weight_decay=0.2,
        betas=(0.9, 0.95),
        precision=precision,
        evaluate_every=max(1, steps // 10),
    )
    few, every = _steps(operand, 32, 5)
    gently = StepConfig(steps=few, batch=32, learning_rate=1e-4, precision=precision, evaluate_every=every)
    return Preset(
        name=name, largest=largest, largest_operand=operand, shape=shape, arms=arms, seeds=seeds, extras=extras,
        pretraining=read,
        finetuning=StepConfig(steps=total, batch=32, learning_rate=rate, weight_decay=1.0, betas=(0.9, 0.98), precision=precision,
                              evaluate_every=tenth),
        with_sums=dataclasses.replace(read, steps=sums, learning_rate=2e-3, evaluate_every=max(1, sums // 10)) if sums else None, gently=gently if sums else None,
    )  # fmt: skip


def preset(name: str) -> Preset:
    """A named experiment.

    `demo`: numbers 0..99, one layer, one seed, two arms. `quick`: the same with three seeds and five arms. `laptop`: numbers
    0..199, two layers of width 256, three seeds, five arms. `full`: the same with eight arms, one of them from text that states sums, two more
    tasks, prompting, and every control.

    Raises:
        ConfigError: There is no preset of that name.
    """
    small = ShapeConfig(num_layers=1, width=128, num_heads=8, context=32)
    if name == "demo":
        return _preset(name, 99, 49, small, 3000, 60, 2e-3, "float32", ("scratch", "frozen-embedding"), seeds=(0,))
    if name == "quick":
        return _preset(name, 99, 49, small, 4500, 50, 2e-3, "float32", ALL_ARMS[:5])
    if name in ("laptop", "full"):
        is_full = name == "full"
        return _preset(name, 199, 99, ShapeConfig(num_layers=2, width=256, num_heads=8, context=64), 5200, 36, 2e-3, "bfloat16",
                       ALL_ARMS if is_full else ALL_ARMS[:5], extras=is_full, sums=6000)  # fmt: skip
    raise ConfigError(
        f"got preset {name!r}; expected quick, laptop or full (demo is that of `epicycle demo`). Choose one."
    )


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


def pretrain_config(chosen: Preset, seed: int, *, with_sums: bool = False) -> PretrainConfig:
    """The pre-training of one seed: seed of text and of weights. With sums, the text states the training questions with their answers."""
    text = NumberTextConfig(largest=chosen.largest, seed=seed)
    if not with_sums:
        return PretrainConfig(text=text, shape=chosen.shape, step=chosen.pretraining, seed=seed)
    assert chosen.with_sums is not None
    solved = (PromptConfig(largest_operand=chosen.largest_operand),)
    return PretrainConfig(
        text=dataclasses.replace(text, solved=solved), shape=chosen.shape, step=chosen.with_sums, seed=seed
    )


def finetune_config(chosen: Preset, arm: str, seed: int, start: str) -> FinetuneConfig:
    """One arm of one seed; all seeds share the split, so that they answer the same questions."""
    prompts = PromptConfig(largest_operand=chosen.largest_operand)
    if arm == GENTLE:
        assert chosen.gently is not None
        return FinetuneConfig(arm="pretrained", start=start, prompts=prompts, step=chosen.gently, seed=seed)
    return FinetuneConfig(arm=arm, start=start, prompts=prompts, step=chosen.finetuning, seed=seed)


def explain_config(chosen: Preset) -> ExplainConfig:
    """How every arm is explained: on the test questions; with a helix where there are extras, since it takes a while."""
    prompts = PromptConfig(largest_operand=chosen.largest_operand)
    return ExplainConfig(prompts=prompts, numbers=chosen.largest + 1, helix=() if chosen.extras else None)


def other_prompts(chosen: Preset, name: str) -> PromptConfig:
    """The questions of another task, with answers among the numbers of the preset."""
    return PromptConfig(largest_operand=chosen.largest_operand, cap=chosen.largest, **OTHER_TASKS[name])


def variant_config(chosen: Preset, name: str) -> ExplainConfig:
    """How a variant is explained. Only tuned arms have a helix, and once."""
    plain = dataclasses.replace(explain_config(chosen), helix=None)
    if name in OTHER_TASKS:
        return dataclasses.replace(plain, prompts=other_prompts(chosen, name))
    if name == PROMPTED:
        return dataclasses.replace(plain, prompts=dataclasses.replace(plain.prompts, shots=4))
    numbers = chosen.largest + 1
    if name == HALF or "cut" in name:
        numbers = numbers // 20 * 10
    if name.startswith("as printed"):  # one number more than a period of whole tens, as 521 for 520
        numbers = numbers + 1 if numbers <= chosen.largest else chosen.largest // 10 * 10 + 1
    return VARIANTS[name](dataclasses.replace(plain, numbers=numbers))


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


def reads_sums(chosen: Preset) -> bool:
    """Whether some of its models read solved sums."""
    return chosen.with_sums is not None and (chosen.extras or GENTLE in chosen.arms)


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


VARIED = ("pretrained", GENTLE)
"""Arms that are explained in every way of VARIANTS, and whose base is tuned on other tasks too."""


def variant_job(name: str, arm: str, seed: int) -> str:
    """The name of the job that tunes, or with `explain` in front explains, a variant of an arm."""
    return f"{name}, {arm}, seed {seed}"


def variants_of(chosen: Preset) -> list[tuple[str, str, int]]:
    """What is explained besides the arms themselves: (name, arm, seed)."""
    if not chosen.extras:
        return []
    names = [(name, arm) for arm in VARIED if arm in chosen.arms for name in (*VARIANTS, *OTHER_TASKS)]
    return [(name, arm, seed) for name, arm in [*names, (PROMPTED, GENTLE)] for seed in chosen.seeds]


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
