"""Shape and initialisation of the one-layer transformer. Imports no framework."""

import dataclasses
from typing import Literal, NamedTuple

from epicycle.errors import ConfigError


class Attention(NamedTuple):
    """How a forward pass turns queries and keys into a pattern."""

    rate: float = 1.0
    """Share of softmax attention; the rest is one at every visible position."""
    is_scaled: bool = True
    """Scores are divided by sqrt(head width)."""

    def divisor(self, head_width: int) -> float:
        """What scores are divided by."""
        return head_width**0.5 if self.is_scaled else 1.0


SCALED_SOFTMAX = Attention()
"""The usual one."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One attention layer and one MLP, no LayerNorm, untied embedding and unembedding, read at the last position."""

    width: int = 128
    """Residual width d."""
    num_heads: int = 4
    """Attention heads; the head width is width / num_heads."""
    mlp_width: int = 512
    """Neurons of the MLP (ReLU); a multiple of 16."""
    positions: bool = False
    """Learned positional embeddings."""
    biases: bool = False
    """Biases in both MLP layers."""
    readout: Literal["operand", "equals", "pair"] = "operand"
    """Where the answer is read: tokens (a, op, b) at b, (a, b, =) at the equals sign, or (a, b) at b (imported models only)."""
    init: Literal["furuta2024", "furuta2024-paper", "nanda2023"] = "furuta2024"
    """Initial standard deviations: the authors' code, the text of the same paper (1/sqrt(fan out)), or Nanda et al."""
    scores: Literal["scaled", "unscaled"] = "scaled"
    """Attention scores divided by sqrt(head width) as in the authors' code, or not, as in the text of the same paper (App. A)."""
    attention_rate: float = 1.0
    """Share of softmax attention; the rest is one at every position (Zhong et al. 2023; imported models only)."""

    def __post_init__(self):
        for name in ("width", "num_heads", "mlp_width"):
            if getattr(self, name) < 1:
                raise ConfigError(f"got {name} {getattr(self, name)}; expected at least 1. Choose a positive number.")
        if not 0 <= self.attention_rate <= 1:
            raise ConfigError(f"got attention rate {self.attention_rate}; expected 0 to 1. Try 1.")
        if self.scores not in ("scaled", "unscaled"):
            raise ConfigError(f"got scores {self.scores!r}; expected 'scaled' or 'unscaled'. Choose one.")
        if self.num_heads > 32:
            raise ConfigError(f"got {self.num_heads} heads; expected at most 32. Choose fewer.")
        if self.width % self.num_heads:
            raise ConfigError(
                f"got width {self.width} with {self.num_heads} heads; the width must be a multiple of the number "
                f"of heads. Choose for example width {self.num_heads * 32}."
            )
        if self.width % 16 or self.mlp_width % 16:
            raise ConfigError(
                f"got width {self.width} and mlp_width {self.mlp_width}; both must be multiples of 16. Round them up."
            )

    @property
    def attention(self) -> Attention:
        """What a forward pass needs to know of attention beyond the weights."""
        return Attention(self.attention_rate, self.scores == "scaled")

    @property
    def head_width(self) -> int:
        """Width of one attention head."""
        return self.width // self.num_heads
