"""The one-layer transformer written the obvious way: every position, no shortcut.

Nothing trains with this module. It is the reference that the exact step is compared with, and it is what a reader
should read first. Weights are a dict of tensors in the layout that Furuta et al. publish (models/weights.py).

Source: Furuta et al. 2024, App. A and C; scores are divided by sqrt(head width) as in the authors' code, or
not, as in the appendix. With positions and biases: Nanda et al. 2023.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from epicycle.models.config import SCALED_SOFTMAX, Attention

Weights = dict[str, Tensor]


class Activations(NamedTuple):
    """What the forward pass computes at every position."""

    logits: Float[Tensor, "b s v"]
    attention: Float[Tensor, "b h s s"]
    neurons: Float[Tensor, "b s m"]


def forward(
    weights: Weights,
    tokens: Int[Tensor, "b s"],
    form: Attention = SCALED_SOFTMAX,
    embedded: Float[Tensor, "b s d"] | None = None,
) -> Activations:
    """Logits, attention pattern and MLP activations at all positions, causally masked.

    Args:
        weights: As made by `models.weights.initial_weights`.
        tokens: Token ids, one example per row.
        form: Of attention. With rate c the pattern is c softmax + (1 - c) at every visible position.
        embedded: Rows of the embedding to use instead of those of the tokens, for gradients.

    Returns:
        Logits (b, s, v), attention pattern (b, h, query, key) and ReLU activations (b, s, m).
    """
    x = weights["embed.W_E"].T[tokens] if embedded is None else embedded
    if "pos_embed.W_pos" in weights:
        x = x + weights["pos_embed.W_pos"]
    w_q, w_k, w_v = (weights[f"blocks.0.attn.W_{name}"] for name in "QKV")
    q = torch.einsum("hed,bsd->bhse", w_q, x)
    k = torch.einsum("hed,bsd->bhse", w_k, x)
    v = torch.einsum("hed,bsd->bhse", w_v, x)
    scores = q @ k.transpose(-1, -2) / form.divisor(w_q.shape[1])
    positions = tokens.shape[1]
    causal = torch.ones(positions, positions, dtype=torch.bool, device=x.device).tril()
    attention = form.rate * scores.masked_fill(~causal, float("-inf")).softmax(-1)
    if form.rate < 1:
        attention = attention + (1 - form.rate) * causal.to(attention.dtype)
    z = (attention @ v).transpose(1, 2).flatten(2)  # (b, s, h * e)
    x = x + z @ weights["blocks.0.attn.W_O"].T
    hidden = x @ weights["blocks.0.mlp.W_in"].T
    if "blocks.0.mlp.b_in" in weights:
        hidden = hidden + weights["blocks.0.mlp.b_in"]
    neurons = hidden.relu()
    x = x + neurons @ weights["blocks.0.mlp.W_out"].T
    if "blocks.0.mlp.b_out" in weights:
        x = x + weights["blocks.0.mlp.b_out"]
    return Activations(x @ weights["unembed.W_U"], attention, neurons)
