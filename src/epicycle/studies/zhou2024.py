"""Zhou et al. 2024 offline: pre-train small models, train them on addition in several ways, explain each.

Presets are experiments of their own, not the paper's: a GPT-2 of one or two layers on a shorter range of numbers.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from epicycle.analysis.embedding import PERIODS, at_period, embedding_spectrum
from epicycle.analysis.explain import ExplainConfig, Explanation, explain, open_explanation
from epicycle.errors import ConfigError
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

ALL_ARMS = (
    "scratch",
    "frozen-embedding",
    "pretrained",
    "planted-embedding",
    "random-embedding",
    "frozen-input",
    "frozen-output",
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


def _steps(largest_operand: int, batch: int, epochs: int) -> tuple[int, int]:
    """Updates in so many epochs, and in a tenth of them."""
    examples = len(prompt_task(PromptConfig(largest_operand=largest_operand)).split["train"])
    per_epoch = -(-examples // batch)
    return per_epoch * epochs, per_epoch * max(1, epochs // 10)


def _preset(name: str, largest: int, operand: int, shape: ShapeConfig, steps: int, epochs: int, rate: float, precision: Any,
            arms: tuple[str, ...], seeds: tuple[int, ...] = (0, 1, 2)) -> Preset:  # fmt: skip
    total, tenth = _steps(operand, 32, epochs)
    return Preset(
        name=name, largest=largest, largest_operand=operand, shape=shape, arms=arms, seeds=seeds,
        pretraining=StepConfig(steps=steps, batch=8, learning_rate=4e-3, weight_decay=0.2, betas=(0.9, 0.95), precision=precision,
                               evaluate_every=max(1, steps // 10)),
        finetuning=StepConfig(steps=total, batch=32, learning_rate=rate, weight_decay=1.0, betas=(0.9, 0.98), precision=precision,
                              evaluate_every=tenth),
    )  # fmt: skip


def preset(name: str) -> Preset:
    """A named experiment.

    `demo`: numbers 0..99, one layer, one seed, two arms. `quick`: the same with three seeds and five arms. `laptop`: numbers
    0..199, two layers of width 256, three seeds, seven arms.

    Raises:
        ConfigError: There is no preset of that name.
    """
    small = ShapeConfig(num_layers=1, width=128, num_heads=8, context=32)
    if name == "demo":
        return _preset(name, 99, 49, small, 3000, 60, 2e-3, "float32", ("scratch", "frozen-embedding"), seeds=(0,))
    if name == "quick":
        return _preset(name, 99, 49, small, 4500, 50, 2e-3, "float32", ALL_ARMS[:5])
    if name == "laptop":
        return _preset(name, 199, 99, ShapeConfig(num_layers=2, width=256, num_heads=8, context=64), 5200, 36, 2e-3, "bfloat16",
                       ALL_ARMS[:5])  # fmt: skip
    raise ConfigError(f"got preset {name!r}; expected quick or laptop (demo is that of `epicycle demo`). Choose one.")


class Study(NamedTuple):
    """What a preset made. `spectra` holds the embedding of every pre-trained model; `explanations` every arm by (arm, seed)."""

    run: Run
    preset: Preset
    pretrained: dict[int, Run]
    finetuned: dict[tuple[str, int], Run]
    embeddings: dict[int, Any]
    explanations: dict[tuple[str, int], Explanation]


def pretrain_config(chosen: Preset, seed: int) -> PretrainConfig:
    """The pre-training of one seed: seed of text and of weights."""
    return PretrainConfig(
        text=NumberTextConfig(largest=chosen.largest, seed=seed), shape=chosen.shape, step=chosen.pretraining, seed=seed
    )


def finetune_config(chosen: Preset, arm: str, seed: int, start: str) -> FinetuneConfig:
    """One arm of one seed; all seeds share the split, so that they answer the same questions."""
    prompts = PromptConfig(largest_operand=chosen.largest_operand)
    return FinetuneConfig(arm=arm, start=start, prompts=prompts, step=chosen.finetuning, seed=seed)


def explain_config(chosen: Preset) -> ExplainConfig:
    """How every arm is explained: on the test questions."""
    return ExplainConfig(prompts=PromptConfig(largest_operand=chosen.largest_operand), numbers=chosen.largest + 1)


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


def _explain_job(before: dict[str, str], chosen: Preset, root: str, device: str) -> str:
    [model] = before.values()
    return str(explain(model, explain_config(chosen), root, device=device).run.path)


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
    cost = chosen.finetuning.steps * per_step["fine"]
    for seed in seeds:
        base = f"pretrain {seed}"
        for arm in chosen.arms:
            name = f"{arm} {seed}"
            found.append(Job(name, _finetune_job, (chosen, arm, seed, root, device), (base,), cost))
            found.append(Job(f"explain {name}", _explain_job, (chosen, root, device), (name,), 5.0))
        found.append(Job(f"explain {base}", _explain_job, (chosen, root, device), (base,), 5.0))
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
        name: quick or laptop.
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
        chosen = dataclasses.replace(chosen, arms=tuple(dict.fromkeys(arms)))
    if seeds:
        if min(seeds) < 0:
            raise ConfigError(f"got seed {min(seeds)}; expected 0 or more. Try 0.")
        chosen = dataclasses.replace(chosen, seeds=tuple(dict.fromkeys(seeds)))
    values = {"kind": "study", "paper": "zhou2024"} | _plain(chosen)
    run = create_run(
        Path(root), f"zhou2024-{name}", values, given or values, provenance(workers=workers, device=device)
    )
    with run.lock():
        made = run_jobs(jobs_of(chosen, str(root), device), LocalPool(workers), progress=progress)
        run.update(status="finished", outcome="reproduced", made={job: Path(path).name for job, path in made.items()})
    return read_study(run)


def read_study(run: Run) -> Study:
    """What `reproduce` left on disk."""
    record = run.record()
    values = {k: v for k, v in record["config"]["resolved"].items() if k not in ("kind", "paper")}
    steps = {k: StepConfig(**{**values[k], "betas": tuple(values[k]["betas"])}) for k in ("pretraining", "finetuning")}
    chosen = Preset(
        **{
            **values,
            **steps,
            "shape": ShapeConfig(**values["shape"]),
            "arms": tuple(values["arms"]),
            "seeds": tuple(values["seeds"]),
        }
    )
    at = lambda job: open_run(run.path.parent / record["made"][job])  # noqa: E731
    seeds, pairs = chosen.seeds, [(arm, seed) for arm in chosen.arms for seed in chosen.seeds]
    return Study(
        run, chosen, {seed: at(f"pretrain {seed}") for seed in seeds}, {(arm, seed): at(f"{arm} {seed}") for arm, seed in pairs},
        {seed: open_explanation(at(f"explain pretrain {seed}")) for seed in seeds},
        {(arm, seed): open_explanation(at(f"explain {arm} {seed}")) for arm, seed in pairs},
    )  # fmt: skip


def _plain(chosen: Preset) -> dict[str, Any]:
    values = dataclasses.asdict(chosen)
    for key in ("pretraining", "finetuning"):
        values[key]["betas"] = list(values[key]["betas"])
    return values | {"arms": list(chosen.arms), "seeds": list(chosen.seeds)}
