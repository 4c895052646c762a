"""Networks and signals whose every number is known in closed form.

Sources: Gromov 2023 and Doshi et al. 2024 for cosine neurons; exactness at finite width (n phases instead of random
ones) and the ReLU transformer are ours.
"""

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from epicycle.numbers.residues import discrete_logarithms


def adder_logits(p: int, keys: tuple[int, ...], phases: int = 3) -> Float[np.ndarray, "p p p"]:
    """Logits of an exact adder of quadratic neurons: (n^2 / 2) sum_k cos w_k(a + b - c), computed neuron by neuron.

    Per frequency n^2 neurons (cos(w a + f) + cos(w b + g))^2 with n phases each read out by cos(w c + f + g). Exact for
    n >= 3, where every unwanted harmonic cancels.
    """
    number = np.arange(p)
    total = np.zeros((p, p, p))
    turns = 2 * np.pi * np.arange(phases) / phases
    for k in keys:
        w = 2 * np.pi * k / p
        for f in turns:
            for g in turns:
                neuron = (np.cos(w * number + f)[:, None] + np.cos(w * number + g)[None, :]) ** 2
                total += neuron[..., None] * np.cos(w * number + f + g)
    return total


def multiplier_logits(p: int, keys: tuple[int, ...]) -> Float[np.ndarray, "p p p"]:
    """The same adder on discrete logarithms modulo p - 1, plus one unit that answers 0 if an operand is 0."""
    log = discrete_logarithms(p)[1:]
    inner = adder_logits(p - 1, keys)
    logits = np.zeros((p, p, p))
    logits[1:, 1:, 1:] = inner[np.ix_(log, log, log)]
    top = np.abs(inner).max() + 1
    logits[0, :, 0] = logits[:, 0, 0] = top
    logits[1:, 1:, 0] = -top
    return logits


def subset_loss(p: int, keys: tuple[int, ...], scale: float) -> float:
    """Cross-entropy of logits scale * sum_k cos w_k(a + b - c): the same for every pair."""
    angle = 2 * np.pi * np.outer(np.arange(p), keys) / p
    logits = scale * np.cos(angle).sum(1)
    return float(np.log1p(np.exp(logits[1:] - logits[0]).sum()))


def relu_adder(
    p: int, keys: tuple[int, ...], width: int = 128, mlp_width: int = 512, heads: int = 4
) -> dict[str, Tensor]:
    """Weights of a one-layer transformer that adds modulo p with the given frequencies, in the published layout.

    The embedding holds cos and sin of every key frequency; attention is uniform (queries zero) and writes
    (x_a + x_op + x_b)/3 into channels of its own; each frequency has as many ReLU neurons as fit, at equally spaced
    phases, reading cos(w a + f) + cos(w b + f) and writing cos 2f, sin 2f; the unembedding turns those into
    cos w(a + b - c). The logits approach |cos w(a-b)/2| cos w(a+b-c) as the number of phases grows.

    Source: the "pizza" of Zhong et al. 2023 with tied phases.
    """
    vocabulary, number, per_key = p + 5, np.arange(p), mlp_width // len(keys)
    per_key -= 1 - per_key % 2  # an odd number of phases aliases least
    weights = {
        "embed.W_E": np.zeros((width, vocabulary)), "blocks.0.attn.W_K": np.zeros((heads, width // heads, width)),
        "blocks.0.attn.W_Q": np.zeros((heads, width // heads, width)),
        "blocks.0.attn.W_V": np.zeros((heads, width // heads, width)), "blocks.0.attn.W_O": np.zeros((width, width)),
        "blocks.0.mlp.W_in": np.zeros((mlp_width, width)), "blocks.0.mlp.W_out": np.zeros((width, mlp_width)),
        "unembed.W_U": np.zeros((width, vocabulary)),
    }  # fmt: skip
    channels = 2 * len(keys)
    if 3 * channels > width or channels > width // heads * heads:
        raise ValueError(f"{len(keys)} frequencies need {3 * channels} channels of {width}")
    value = weights["blocks.0.attn.W_V"].reshape(width, width)
    value[:channels, :channels] = 3 * np.eye(channels)
    weights["blocks.0.attn.W_O"][channels : 2 * channels, :channels] = np.eye(channels)
    for i, k in enumerate(keys):
        w = 2 * np.pi * k / p
        weights["embed.W_E"][2 * i, :p], weights["embed.W_E"][2 * i + 1, :p] = np.cos(w * number), np.sin(w * number)
        out = 2 * channels + 2 * i
        weights["unembed.W_U"][out, :p], weights["unembed.W_U"][out + 1, :p] = np.cos(w * number), np.sin(w * number)
        for j in range(per_key):
            phase, neuron = 2 * np.pi * j / per_key, i * per_key + j
            weights["blocks.0.mlp.W_in"][neuron, channels + 2 * i] = math.cos(phase)
            weights["blocks.0.mlp.W_in"][neuron, channels + 2 * i + 1] = -math.sin(phase)
            # cos(w c + 2 phase) = cos 2 phase cos w c - sin 2 phase sin w c
            weights["blocks.0.mlp.W_out"][out, neuron] = math.cos(2 * phase)
            weights["blocks.0.mlp.W_out"][out + 1, neuron] = -math.sin(2 * phase)
    return {name: torch.from_numpy(array) for name, array in weights.items()}


def planted(rows: np.ndarray, channels: int, seed: int = 0, noise: float = 0.0) -> Float[np.ndarray, "p d"]:
    """A table in which each given row of a basis has unit norm in an orthogonal direction of its own, plus noise."""
    generator = np.random.default_rng(seed)
    directions = np.linalg.qr(generator.standard_normal((channels, channels)))[0][: len(rows)]
    return rows.T @ directions + noise * generator.standard_normal((rows.shape[1], channels))
