"""Logits and neurons at the read-out position only: what the analyses need, several times cheaper than `plain`."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from epicycle.models.config import SCALED_SOFTMAX, Attention
from epicycle.models.plain import Weights


class ReadOut(NamedTuple):
    """What the last position holds."""

    logits: Float[Tensor, "b v"]
    neurons: Float[Tensor, "b m"]


@torch.no_grad()
def read_out(weights: Weights, tokens: Int[Tensor, "b s"], form: Attention = SCALED_SOFTMAX) -> ReadOut:
    """The last position of `models.plain.forward`, keys and values computed once per token and position.

    With attention at rate c the pattern is c softmax + (1 - c): Zhong et al. 2023, whose c = 0 adds all values up.
    """
    embedding = weights["embed.W_E"].T
    w_q, w_k, w_v = (weights[f"blocks.0.attn.W_{name}"] for name in "QKV")
    heads, width, _ = w_q.shape
    scores, values, last = [], [], tokens.shape[1] - 1
    query = residual = embedding[:0]
    for s in range(last, -1, -1):
        x = embedding + weights["pos_embed.W_pos"][s] if "pos_embed.W_pos" in weights else embedding
        if s == last:
            residual = x[tokens[:, s]]
            query = (x @ w_q.flatten(0, 1).T)[tokens[:, s]].view(-1, heads, width)
        key = (x @ w_k.flatten(0, 1).T)[tokens[:, s]].view(-1, heads, width)
        scores.append((query * key).sum(-1) / form.divisor(width))
        values.append((x @ w_v.flatten(0, 1).T)[tokens[:, s]].view(-1, heads, width))
    attention = form.rate * torch.stack(scores).softmax(0)[..., None] + (1 - form.rate)
    z = (attention * torch.stack(values)).sum(0).flatten(1)
    x = residual + z @ weights["blocks.0.attn.W_O"].T
    hidden = x @ weights["blocks.0.mlp.W_in"].T
    if "blocks.0.mlp.b_in" in weights:
        hidden = hidden + weights["blocks.0.mlp.b_in"]
    neurons = hidden.relu_()
    x = x + neurons @ weights["blocks.0.mlp.W_out"].T
    if "blocks.0.mlp.b_out" in weights:
        x = x + weights["blocks.0.mlp.b_out"]
    return ReadOut(x @ weights["unembed.W_U"], neurons)
