"""Settings of training. Imports no framework."""

import dataclasses
from typing import Literal

from epicycle.errors import ConfigError


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
    loss: Literal["float64", "margin"] = "float64"
    """Log-softmax in float64 as published, or softplus(logsumexp of the wrong logits - right logit)."""

    def __post_init__(self):
        if not self.learning_rate > 0:
            raise ConfigError(f"got learning_rate {self.learning_rate}; expected a positive number. Try 1e-3.")
        if self.weight_decay < 0:
            raise ConfigError(f"got weight_decay {self.weight_decay}; expected zero or more. Try 1.0.")
        if not all(0 <= b < 1 for b in self.betas):
            raise ConfigError(f"got betas {self.betas}; both must be at least 0 and below 1. Try 0.9 and 0.98.")
        if self.loss not in ("float64", "margin"):
            raise ConfigError(f"got loss {self.loss!r}; expected 'float64' or 'margin'. Choose one of them.")
