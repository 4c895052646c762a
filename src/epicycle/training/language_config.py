"""Settings of the language track: pre-training on text, fine-tuning on arithmetic. Imports no framework."""

import dataclasses
from typing import Any, Literal

from epicycle.errors import ConfigError
from epicycle.tasks.number_text import NumberTextConfig
from epicycle.tasks.prompts import PromptConfig
from epicycle.training.arm_names import ARMS


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise ConfigError(f"got seed {seed}; expected an integer from 0 to 2^63 - 1. Try 0.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShapeConfig:
    """Shape of a GPT-2, in the names of this package."""

    num_layers: int = 2
    """Layers."""
    width: int = 256
    """Residual width."""
    num_heads: int = 8
    """Attention heads."""
    context: int = 64
    """Positions."""
    dropout: float = 0.0
    """Dropout of embedding, attention and residual; 0.1 is GPT-2's, 0 makes one process and several agree."""

    def __post_init__(self):
        if min(self.num_layers, self.width, self.num_heads) < 1 or self.context < 2:
            raise ConfigError(f"got {self.num_layers} layers, width {self.width}, {self.num_heads} heads and context {self.context}; expected "
                              "at least 1 of each. Mend the one that is not.")  # fmt: skip
        if self.width % self.num_heads:
            raise ConfigError(
                f"got width {self.width} and {self.num_heads} heads; expected a multiple. Try {self.num_heads * 32}."
            )
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"got dropout {self.dropout}; expected at least 0 and below 1. Try 0.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepConfig:
    """How weights are updated, how long, and how often one looks."""

    steps: int = 4000
    """Optimiser updates."""
    batch: int = 32
    """Sequences per update, over all processes."""
    learning_rate: float = 1e-3
    """Peak step size of AdamW."""
    schedule: Literal["linear", "constant"] = "linear"
    """After the warm-up: linearly to zero, or constant."""
    warmup_steps: int = 50
    """Steps of linear warm-up from zero."""
    weight_decay: float = 0.0
    """Decoupled weight decay on matrices."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of the two moments."""
    clip: float = 1.0
    """Largest norm of the gradient."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of matrix products; weights, optimiser and loss are float32 either way."""
    evaluate_every: int = 500
    """Steps between evaluations and checkpoints."""

    def __post_init__(self):
        if self.steps < 1 or self.batch < 1 or self.evaluate_every < 1 or self.warmup_steps < 0:
            raise ConfigError(f"got {self.steps} steps, batch {self.batch}, evaluation every {self.evaluate_every} and {self.warmup_steps} steps of "
                              "warm-up; expected at least 1, and 0 for the warm-up. Mend the one that is not.")  # fmt: skip
        if not (0 < self.learning_rate < 10 and 0 <= self.weight_decay < 100 and self.clip > 0):
            raise ConfigError(f"got learning rate {self.learning_rate}, weight decay {self.weight_decay} and clip {self.clip}; expected a positive "
                              "rate and clip and a decay of zero or more. Try 1e-3, 0 and 1.")  # fmt: skip
        if not all(0 <= b < 1 for b in self.betas):
            raise ConfigError(f"got betas {self.betas}; both must be at least 0 and below 1. Try 0.9 and 0.999.")
        for field, allowed in (("schedule", ("linear", "constant")), ("precision", ("float32", "bfloat16"))):
            if getattr(self, field) not in allowed:
                raise ConfigError(f"got {field} {getattr(self, field)!r}; expected {' or '.join(allowed)}. Choose one.")

    def rate(self, step: int) -> float:
        """Step size of the update after `step` updates."""
        warm = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return self.learning_rate * warm * (1 - step / self.steps if self.schedule == "linear" else 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Everything that determines a pre-trained model. Its hash is the run's id."""

    text: NumberTextConfig = dataclasses.field(default_factory=NumberTextConfig)
    """Number text; with a corpus only its range counts."""
    corpus: str | None = None
    """SHA-256 of the text files, if real text was read."""
    vocabulary: int = 4096
    """Entries of the tokenizer at most."""
    shape: ShapeConfig = dataclasses.field(default_factory=ShapeConfig)
    """The model."""
    step: StepConfig = dataclasses.field(default_factory=StepConfig)
    """Training."""
    seed: int = 0
    """Seed of the weights."""

    def __post_init__(self):
        _check_seed(self.seed)
        if self.corpus and self.text.solved:
            raise ConfigError(
                "got solved questions and a corpus; expected them with number text. Leave one of them out."
            )

    @property
    def name(self) -> str:
        """Readable part of the run's id."""
        operations = {task.operation for task in self.text.solved}
        solved = {"add": "sums", "multiply": "products"}[operations.pop()] if len(operations) == 1 else "solved"
        kind = "text" if self.corpus else solved if self.text.solved else "numbers"
        return f"pretrain-{kind}-0to{self.text.largest}-seed{self.seed}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Everything that determines a model trained on arithmetic. Its hash is the run's id."""

    arm: str = "pretrained"
    """Key of ARMS."""
    start: str = ""
    """SHA-256 of the pre-trained model's weights and tokenizer."""
    prompts: PromptConfig = dataclasses.field(default_factory=PromptConfig)
    """The task."""
    loss: Literal["answer", "sequence"] = "answer"
    """Cross-entropy of the answer token, or of every token of prompt and answer."""
    step: StepConfig = dataclasses.field(default_factory=StepConfig)
    """Training."""
    seed: int = 0
    """Seed of the random weights and of the order of examples."""

    def __post_init__(self):
        _check_seed(self.seed)
        if self.arm not in ARMS:
            raise ConfigError(f"got arm {self.arm!r}; expected one of {', '.join(ARMS)}. Choose one.")
        if self.loss not in ("answer", "sequence"):
            raise ConfigError(f"got loss {self.loss!r}; expected 'answer' or 'sequence'. Choose one.")

    @property
    def name(self) -> str:
        """Readable part of the run's id."""
        return f"{self.arm}-{self.prompts.operation}-0to{self.prompts.largest_operand}-seed{self.seed}"


def to_dict(config: PretrainConfig | FinetuneConfig) -> dict[str, Any]:
    """The configuration as plain JSON values, with its kind."""
    values = dataclasses.asdict(config)
    values["step"]["betas"] = list(config.step.betas)
    if isinstance(config, PretrainConfig):
        values["text"]["kinds"] = list(config.text.kinds)
        values["text"]["solved"] = list(values["text"]["solved"])
        if config.text.relabelled is None:  # as before there were such settings, so that older runs keep their ids
            del values["text"]["relabelled"]
        if not config.text.solved:
            del values["text"]["solved"], values["text"]["solved_share"]
    return {"kind": "pretrain" if isinstance(config, PretrainConfig) else "finetune"} | values


def from_dict(values: dict[str, Any]) -> PretrainConfig | FinetuneConfig:
    """The configuration that `to_dict` wrote."""
    rest = {k: v for k, v in values.items() if k != "kind"}
    rest["step"] = StepConfig(**{**values["step"], "betas": tuple(values["step"]["betas"])})
    if values["kind"] == "pretrain":
        solved = tuple(PromptConfig(**task) for task in values["text"].get("solved", ()))
        text = NumberTextConfig(**{**values["text"], "kinds": tuple(values["text"]["kinds"]), "solved": solved})
        return PretrainConfig(**{**rest, "text": text, "shape": ShapeConfig(**values["shape"])})
    return FinetuneConfig(**{**rest, "prompts": PromptConfig(**values["prompts"])})
