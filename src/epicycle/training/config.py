"""Settings of training. Imports no framework."""

import dataclasses
import math
import re
from typing import Any, Literal

from epicycle.errors import ConfigError
from epicycle.models.config import ModelConfig
from epicycle.tasks.modular import TaskConfig
from epicycle.tasks.operations import formula

LOSSES = ("float64", "margin", "float32", "stablemax")
"""Names of the losses, in the order in which exact_step.c counts them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Full-batch AdamW as published (decoupled decay on every parameter, no schedule, no clipping)."""

    learning_rate: float = 1e-3
    """Step size."""
    weight_decay: float = 1.0
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of the two moments."""
    eps: float = 1e-8
    """Added to the root of the second moment."""
    warmup_steps: int = 0
    """Steps of linear warm-up from zero (10 for nanda2023)."""
    loss: Literal["float64", "margin", "float32", "stablemax"] = "float64"
    """Log-softmax in float64 as published; softplus(logsumexp of the wrong logits - right logit), the same without its rounding; log-softmax
    in float32, whose gradient by the right logit is 0 once an answer is sure; or StableMax (Prieto et al. 2025), another objective."""
    classes: Literal["all", "numbers"] = "all"
    """Which tokens can be answers, in the loss and in accuracies: the whole vocabulary as published, or the numbers below the modulus."""

    def __post_init__(self):
        if not all(math.isfinite(x) for x in (self.learning_rate, self.weight_decay, self.eps, *self.betas)):
            raise ConfigError(
                f"got learning_rate {self.learning_rate}, weight_decay {self.weight_decay}, eps {self.eps} and betas "
                f"{self.betas}; expected finite numbers. Mend the one that is not."
            )
        if not self.learning_rate > 0:
            raise ConfigError(f"got learning_rate {self.learning_rate}; expected a positive number. Try 1e-3.")
        if self.weight_decay < 0:
            raise ConfigError(f"got weight_decay {self.weight_decay}; expected zero or more. Try 1.0.")
        if not all(0 <= b < 1 for b in self.betas):
            raise ConfigError(f"got betas {self.betas}; both must be at least 0 and below 1. Try 0.9 and 0.98.")
        if self.loss not in LOSSES:
            raise ConfigError(f"got loss {self.loss!r}; expected {', '.join(LOSSES)}. Choose one of them.")
        if self.classes not in ("all", "numbers"):
            raise ConfigError(f"got classes {self.classes!r}; expected 'all' or 'numbers'. Choose one of them.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """How long to train, how often to look, what to keep."""

    max_steps: int = 300_000
    """Optimiser updates at most; a run that has not grokked by then did not grok."""
    evaluate_every: int = 100
    """Steps between evaluations of train and test loss and accuracy."""
    measure_every: int = 1000
    """Steps between the dearer measures (spectra of logits and neurons); a multiple of evaluate_every."""
    checkpoint_every: int = 1000
    """Steps between checkpoints to resume from; the last two are kept, and log-spaced ones for ever."""
    grok_accuracy: float = 0.99
    """Test accuracy that counts as grokked."""
    hold_evaluations: int = 20
    """Stop once this many evaluations in a row reached grok_accuracy; 0 trains to max_steps."""
    min_steps: int = 0
    """Steps to do even if the grok was held before, so that runs can be read at one step."""

    def __post_init__(self):
        for name in ("max_steps", "evaluate_every", "measure_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"got {name} {getattr(self, name)}; expected at least 1. Choose a positive number.")
        for name in ("measure_every", "checkpoint_every"):
            if getattr(self, name) % self.evaluate_every:
                raise ConfigError(
                    f"got {name} {getattr(self, name)} with evaluate_every {self.evaluate_every}; expected a multiple. "
                    f"Try {-(-getattr(self, name) // self.evaluate_every) * self.evaluate_every}."
                )
        if not 0 < self.grok_accuracy <= 1:
            raise ConfigError(f"got grok_accuracy {self.grok_accuracy}; expected above 0 and at most 1. Try 0.99.")
        if self.hold_evaluations < 0:
            raise ConfigError(f"got hold_evaluations {self.hold_evaluations}; expected 0 or more. Try 20.")
        if not 0 <= self.min_steps <= self.max_steps or self.min_steps % self.evaluate_every:
            raise ConfigError(
                f"got min_steps {self.min_steps}; expected a multiple of evaluate_every ({self.evaluate_every}) up to max_steps "
                f"({self.max_steps}). Try 0."
            )

    def is_kept(self, step: int) -> bool:
        """True for the log-spaced steps (two per doubling, on evaluations) whose checkpoints are never deleted."""
        if step == 0:
            return True
        n = step // self.evaluate_every
        ladder = {round(2 ** (i / 2)) for i in range(64)}
        return step % self.evaluate_every == 0 and n in ladder


PARTS = ("embedding", "body", "unembedding")
"""Parts of a model that can be kept as they are: W_E (and positions), attention and MLP, W_U."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrozenConfig:
    """Weights that training leaves as they are: those of another run, or random ones.

    Source: Furuta et al. 2024, section 6: PG-E freezes the embedding of a grokked run, PG-T its attention and MLP; App. F
    freezes a random embedding.
    """

    parts: tuple[str, ...]
    """Some of embedding, body, unembedding; not all."""
    source: str = "random"
    """Id of the run they come from, or `random` for this run's own initial weights."""
    step: int | None = None
    """Step of that run's checkpoint; its last one if None."""
    afresh: bool = True
    """The trained parts begin with weights of their own, which the source never had; with those of the run's seed if False, which
    a source of the same seed began with, too. Without a source it makes no difference."""
    drawn_by: Literal["run", "checkpoint"] = "run"
    """What chooses the weights that begin afresh, beside the run's seed: the source's configuration (without its schedule) and the step,
    which are the same everywhere; or the bytes of its checkpoint, which another processor or number of threads changes. The latter are runs
    made before there was a choice."""
    without: tuple[int, ...] = ()
    """Frequencies taken out of the source's embedding of the numbers before it is kept, cycles per p numbers (per p - 1 logarithms in the
    multiplicative basis). What remains, and all else the run begins with, is as without it."""
    basis: Literal["additive", "multiplicative"] = "additive"
    """Basis of these frequencies."""

    def __post_init__(self):
        if unknown := [part for part in self.parts if part not in PARTS]:
            raise ConfigError(
                f"got part {unknown[0]!r} to freeze; expected some of {', '.join(PARTS)}. Choose from these."
            )
        if not self.parts or len(set(self.parts)) < len(self.parts):
            raise ConfigError(f"got parts {self.parts} to freeze; expected at least one, each once. Try embedding.")
        if len(self.parts) == len(PARTS):
            raise ConfigError("got every part to freeze, which leaves nothing to train; expected one or two of embedding, body, unembedding. "
                              "Leave one out.")  # fmt: skip
        object.__setattr__(self, "parts", tuple(part for part in PARTS if part in self.parts))  # one order, one run
        if self.source == "random" and self.step is not None:
            raise ConfigError(
                f"got step {self.step} of random weights; expected a run to take it from. Name one, or leave the step out."
            )
        if self.drawn_by not in ("run", "checkpoint"):
            raise ConfigError(
                f"got weights drawn by {self.drawn_by!r}; expected run or checkpoint. Leave it out for run."
            )
        if self.source == "random" or not self.afresh:
            object.__setattr__(self, "drawn_by", "run")  # nothing is drawn: one configuration, one id
        if self.without and (self.source == "random" or "embedding" not in self.parts):
            raise ConfigError(
                f"got frequencies to leave out of {'+'.join(self.parts)} from {self.source}; expected the embedding of a run. Name a run, and freeze its embedding."
            )
        if len(set(self.without)) < len(self.without) or any(k < 1 for k in self.without):
            raise ConfigError(
                f"got frequencies {', '.join(map(str, self.without))} to leave out; expected integers from 1, each once. Take {_first_bad(self.without)} out."
            )
        if self.basis not in ("additive", "multiplicative") or (self.basis != "additive" and not self.without):
            raise ConfigError(
                f"got basis {self.basis!r} of frequencies to leave out, and {len(self.without)} of them; expected additive or multiplicative, and some. Leave it out, or name some."
            )

    @property
    def is_drawn_by_run(self) -> bool:
        """Whether there are weights that the source's configuration chooses."""
        return self.source != "random" and self.afresh and self.drawn_by == "run"


def _first_bad(frequencies: tuple[int, ...]) -> int:
    """The first that is not positive or was there before."""
    return next(k for i, k in enumerate(frequencies) if k < 1 or k in frequencies[:i])


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that determines a trained model. Its hash is the run's id."""

    task: TaskConfig = dataclasses.field(default_factory=TaskConfig)
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    optimiser: OptimiserConfig = dataclasses.field(default_factory=OptimiserConfig)
    schedule: ScheduleConfig = dataclasses.field(default_factory=ScheduleConfig)
    seed: int = 0
    """Seed of the initial weights."""
    recipe: str = "furuta2024"
    """Name of the recipe this started from."""
    frozen: FrozenConfig | None = None
    """Weights that are not trained."""

    def __post_init__(self):
        if self.task.task_tokens == "published" and self.model.readout != "operand":
            raise ConfigError(
                f"got task_tokens 'published' with an answer read at {self.model.readout!r}; expected 'operand', the authors' layout. Leave it out."
            )
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"got seed {self.seed}; expected an integer from 0 to 2^63 - 1. Try 0.")
        if self.frozen is not None and self.frozen.without:
            _check_without(self.frozen, self.task)

    @property
    def num_classes(self) -> int | None:
        """How many tokens, from the first, can be answers; None for all."""
        return self.task.modulus if self.optimiser.classes == "numbers" else None

    @property
    def name(self) -> str:
        """Readable part of the run's id."""
        texts = [text.replace(" ", "").replace("*", "").replace("/", "div") for text in self.task.formulas]
        joined = "_and_".join(re.sub(r"[^A-Za-z0-9+\-]", "", text) for text in texts)
        kept = "" if self.frozen is None else f"-frozen-{'-'.join(self.frozen.parts)}"
        return f"{joined[:48]}-p{self.task.modulus}{kept}-seed{self.seed}"


def _check_without(frozen: FrozenConfig, task: TaskConfig) -> None:
    """Refuse frequencies that the numbers of a task do not have."""
    if task.operand_range != "modulus":
        raise ConfigError(
            f"got frequencies to leave out with operands of range {task.operand_range}; expected one token per residue. Leave one of them out."
        )
    largest = (task.modulus if frozen.basis == "additive" else task.modulus - 1) // 2
    if max(frozen.without) > largest:
        raise ConfigError(
            f"got frequency {max(frozen.without)} to leave out; expected at most {largest} in the {frozen.basis} basis modulo {task.modulus}. k and {'p' if frozen.basis == 'additive' else 'p - 1'} - k are one."
        )


def furuta2024(task: TaskConfig, schedule: ScheduleConfig = ScheduleConfig(), seed: int = 0) -> RunConfig:
    """Furuta et al. 2024: tokens (a, op, b) read at b, no positions, no biases, float64 log-softmax."""
    return RunConfig(task=task, schedule=schedule, seed=seed, recipe="furuta2024")


def nanda2023(task: TaskConfig, schedule: ScheduleConfig = ScheduleConfig(), seed: int = 0) -> RunConfig:
    """Nanda et al. 2023: tokens (a, b, =), learned positions, MLP biases, ten steps of warm-up. Published at p = 113."""
    return RunConfig(
        task=task,
        model=ModelConfig(positions=True, biases=True, readout="equals", init="nanda2023"),
        optimiser=OptimiserConfig(warmup_steps=10),
        schedule=schedule,
        seed=seed,
        recipe="nanda2023",
    )


PUBLISHED_MODULUS = {"furuta2024": 97, "nanda2023": 113}
"""Name of a recipe -> the modulus its paper works with."""

RECIPES = {"furuta2024": furuta2024, "nanda2023": nanda2023}
"""Name -> function that returns a full configuration."""


SETTINGS = {
    "task": ("split_by", "operand_range", "zeros", "task_tokens", "split_per"),
    "model": ("width", "num_heads", "mlp_width", "init", "scores"),
    "optimiser": ("loss", "classes", "learning_rate", "weight_decay"),
}
"""What a recipe fixes and the command line can change: part of a configuration -> its settings."""


def settings_of(config: RunConfig) -> dict[str, Any]:
    """Name -> value of every setting."""
    return {name: getattr(getattr(config, part), name) for part, names in SETTINGS.items() for name in names}


def usual(config: RunConfig) -> RunConfig:
    """The recipe's configuration of the same formulas, modulus, train fraction, seeds and schedule."""
    task = TaskConfig(
        **{name: getattr(config.task, name) for name in ("formulas", "modulus", "train_fraction", "split_seed")}
    )
    return RECIPES[config.recipe](task, config.schedule, config.seed)


OF_MIXTURES = ("task_tokens", "split_per")
"""Those that only several formulas have a use for."""

ADDED = (
    ("model", "attention_rate"), ("model", "scores"), ("schedule", "min_steps"), ("optimiser", "classes"), ("task", "zeros"), ("task", "task_tokens"),
    ("task", "split_per"),
)  # fmt: skip
"""Settings that a record leaves out where they have their usual value."""


def to_dict(config: RunConfig) -> dict[str, Any]:
    """The configuration as plain JSON values, formulas in normal form."""
    values = dataclasses.asdict(config)
    values["task"]["formulas"] = [formula(text).text for text in config.task.formulas]
    values["optimiser"]["betas"] = list(config.optimiser.betas)
    for part, name in ADDED:  # as before there was such a setting, so that older runs keep their ids
        usual = next(field.default for field in dataclasses.fields(getattr(config, part)) if field.name == name)
        if values[part][name] == usual:
            del values[part][name]
    if config.frozen is None:
        del values["frozen"]
    else:
        values["frozen"]["parts"] = list(config.frozen.parts)
        if config.frozen.source == "random" or not config.frozen.afresh:  # likewise
            del values["frozen"]["afresh"]
        if not config.frozen.is_drawn_by_run:  # likewise
            del values["frozen"]["drawn_by"]
        values["frozen"]["without"] = sorted(config.frozen.without)
        if not config.frozen.without:  # likewise
            del values["frozen"]["without"], values["frozen"]["basis"]
    return values


def from_dict(values: dict[str, Any]) -> RunConfig:
    """The configuration that `to_dict` wrote."""
    task: dict[str, Any] = {**values["task"], "formulas": tuple(values["task"]["formulas"])}
    optimiser: dict[str, Any] = {**values["optimiser"], "betas": tuple(values["optimiser"]["betas"])}
    if frozen := values.get("frozen"):  # a run from before there was such a setting shares its source's beginning
        frozen = {
            "afresh": frozen["source"] == "random",
            "drawn_by": "checkpoint" if frozen.get("afresh") else "run",
            **frozen,
            "parts": tuple(frozen["parts"]),
            "without": tuple(frozen.get("without", ())),
        }
    return RunConfig(
        task=TaskConfig(**task),
        model=ModelConfig(**values["model"]),
        optimiser=OptimiserConfig(**optimiser),
        schedule=ScheduleConfig(**values["schedule"]),
        seed=values["seed"],
        recipe=values["recipe"],
        frozen=FrozenConfig(**frozen) if frozen else None,
    )
