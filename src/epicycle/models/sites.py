"""Sites: the places of a one-layer model that yield a table indexed by numbers.

W_E        embedding of each number (p, d)
W_L        neuron-logit map W_U^T W_out, row = answer (p, m); the residual path is left out, as published
logits     (p, p, p): first operand, second operand, answer
neurons    (p, p, m): ReLU activations at the read-out position
"""

import numpy as np
import torch
from jaxtyping import Float

from epicycle.models.config import SCALED_SOFTMAX, Attention
from epicycle.models.plain import Weights
from epicycle.models.readout import read_out


def embedding(weights: Weights, modulus: int) -> Float[np.ndarray, "p d"]:
    """W_E, one row per number; the special tokens are dropped."""
    return weights["embed.W_E"][:, :modulus].T.detach().cpu().double().numpy()


def neuron_logit_map(weights: Weights, modulus: int) -> Float[np.ndarray, "p m"]:
    """W_L = W_U^T W_out for the number classes, one row per answer.

    Source: Furuta et al. 2024, App. B; Nanda et al. 2023.
    """
    unembedding = weights["unembed.W_U"][:, :modulus].detach().cpu().double().numpy()
    return unembedding.T @ weights["blocks.0.mlp.W_out"].detach().cpu().double().numpy()


def grids(
    weights: Weights, tokens: np.ndarray, modulus: int, form: Attention = SCALED_SOFTMAX
) -> tuple[np.ndarray, np.ndarray]:
    """Logits (p, p, p) and neurons (p, p, m), float32, for the tokens of all p^2 pairs in row-major order."""
    on_cpu = {name: tensor.detach().cpu().float() for name, tensor in weights.items()}
    found = read_out(on_cpu, torch.from_numpy(tokens), form)
    p = modulus
    return found.logits[:, :p].numpy().reshape(p, p, p), found.neurons.numpy().reshape(p, p, -1)
