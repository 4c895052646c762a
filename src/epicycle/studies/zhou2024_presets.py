"""The presets of Zhou et al. 2024: which models are trained, on what, in which arms, and how each is explained.

Experiments of their own, not the paper's: a GPT-2 of one or two layers on a shorter range of numbers.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from epicycle.analysis.explain import ExplainConfig
from epicycle.errors import ConfigError
from epicycle.tasks.number_text import NumberTextConfig
from epicycle.tasks.prompts import PromptConfig, prompt_task
from epicycle.training.language_config import FinetuneConfig, PretrainConfig, ShapeConfig, StepConfig

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


def reads_sums(chosen: Preset) -> bool:
    """Whether some of its models read solved sums."""
    return chosen.with_sums is not None and (chosen.extras or GENTLE in chosen.arms)


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
