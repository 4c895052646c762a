"""Clock or pizza: three statistics that tell how a model adds, from its logits, gradients and embedding.

Source: Zhong et al. 2023 (arXiv:2306.17844). In a clock the angles of the operands are multiplied, in a pizza their vectors are
averaged; values of their two examples: pizza 0.17 and 99.4 %, clock 0.85 and 33.4 %.
"""

import dataclasses
from typing import ClassVar, final

import numpy as np
import torch

from epicycle.analysis.progress import pair_grid
from epicycle.errors import DataError
from epicycle.models.config import SCALED_SOFTMAX, Attention
from epicycle.models.plain import Weights
from epicycle.models.readout import read_out
from epicycle.models.sites import embedding
from epicycle.results import Result
from epicycle.tasks.modular import Task
from epicycle.training.config import RunConfig


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ClockOrPizza(Result):
    """How a model adds, in three numbers.

    distance_irrelevance: 0 if the logit of the answer depends on the distance a - b alone (pizza), near 1 if not at all; None for
    logits without variance. noise_distance_irrelevance is what white noise gives.
    gradient_symmetricity: mean cosine between the gradients of a logit by the two embedded operands over all (a, b, c); 1 for any
    function of their sum. sampled_*: over `triples` drawn ones, with its standard error.
    circularity: mean over the first four principal components of the embedding of the largest share of their power at one frequency.

    None of them shows which algorithm is used: they are necessary signs, and mixtures exist.
    """

    schema: ClassVar[int] = 1
    formula: str
    modulus: int
    distance_irrelevance: float | None
    noise_distance_irrelevance: float
    gradient_symmetricity: float
    triples: int
    sampled_symmetricity: float
    sampled_error: float
    circularity: float


def distance_irrelevance(answer_logits: np.ndarray) -> float | None:
    """Mean standard deviation over sums at a fixed distance, over that of all, of the logit of a + b, (p, p) by a and b.

    Returns:
        None where the logits have no variance: a noiseless clock gives 0/0.
    """
    p = len(answer_logits)
    a, b = np.divmod(np.arange(p * p), p)
    by_distance = np.empty((p, p))  # for each distance the p pairs that have it: every sum once if p is odd
    by_distance[(a - b) % p, a] = np.asarray(answer_logits, float).reshape(-1)
    whole = by_distance.std()
    return None if whole <= 1e-12 * max(np.abs(by_distance).max(), 1e-300) else float(by_distance.std(1).mean() / whole)


def noise_irrelevance(p: int) -> float:
    """What white-noise logits give: sqrt((p - 1) / p) c4(p), with c4 the bias of a standard deviation from p values."""
    from math import exp, lgamma, sqrt

    return sqrt((p - 1) / p) * sqrt(2 / (p - 1)) * exp(lgamma(p / 2) - lgamma((p - 1) / 2))


def circularity(table: np.ndarray, components: int = 4) -> float:
    """Mean over the first principal components of the largest share of a component's power at one additive frequency.

    Args:
        table: One row per number, (p, d).
        components: How many.
    """
    centred = np.asarray(table, np.float64) - np.mean(table, 0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    power = np.abs(np.fft.rfft(u[:, :components] * s[:components], axis=0)[1:]) ** 2
    return float((power.max(0) / power.sum(0)).mean())


def gradient_cosines(
    weights: Weights, tokens: np.ndarray, p: int, operands: tuple[int, int] = (0, 2), form: Attention = SCALED_SOFTMAX
) -> np.ndarray:
    """Cosine between the gradients of logit c by the embedded first and second operand, (p^2, p), for all pairs and answers.

    Args:
        weights: Of the one-layer model.
        tokens: All pairs, from `analysis.progress.pair_grid`.
        p: Modulus.
        operands: Positions of the two operands.
        form: Of the model's attention.
    """
    w = {name: tensor.detach().double() for name, tensor in weights.items()}
    w_q, w_k, w_v = (w[f"blocks.0.attn.W_{name}"] for name in "QKV")
    w_o, w_in, w_out = w["blocks.0.attn.W_O"], w["blocks.0.mlp.W_in"], w["blocks.0.mlp.W_out"]
    x = w["embed.W_E"].T[torch.from_numpy(tokens)] + w.get("pos_embed.W_pos", torch.zeros(1, 1))
    divisor, last = form.divisor(w_q.shape[1]), x.shape[1] - 1
    query = torch.einsum("hed,bd->bhe", w_q, x[:, last])
    key, value = (torch.einsum("hed,bsd->bshe", each, x) for each in (w_k, w_v))
    soft = (torch.einsum("bhe,bshe->bsh", query, key) / divisor).softmax(1)
    pattern = form.rate * soft + 1 - form.rate
    residual = x[:, last] + torch.einsum("bsh,bshe->bhe", pattern, value).flatten(1) @ w_o.T
    is_on = (residual @ w_in.T + w.get("blocks.0.mlp.b_in", torch.zeros(1)) > 0).double()
    found = np.empty((len(tokens), p))
    for c in range(p):  # the chain rule from the logit back to each operand
        unembedding = w["unembed.W_U"][:, c]
        above = unembedding + (is_on * (unembedding @ w_out)) @ w_in  # by the stream after attention
        heads = (above @ w_o).view(query.shape)
        told = torch.einsum("bhe,bshe->bsh", heads, value)
        scores = form.rate * soft * (told - (soft * told).sum(1, keepdim=True)) / divisor
        gradients = []
        for s in operands:
            own = torch.einsum("bhe,hed->bd", pattern[:, s, :, None] * heads, w_v)
            own += torch.einsum("bhe,hed->bd", scores[:, s, :, None] * query, w_k)
            if s == last:  # it asks, too
                own += above + torch.einsum("bhe,hed->bd", torch.einsum("bsh,bshe->bhe", scores, key), w_q)
            gradients.append(own)
        found[:, c] = torch.nn.functional.cosine_similarity(*gradients, dim=1, eps=1e-300).numpy()
    return found


def clock_or_pizza(
    task: Task, config: RunConfig, weights: Weights, *, index: int = 0, triples: int = 100, seed: int = 42
) -> ClockOrPizza:
    """The three statistics of one formula of a model.

    Args:
        task: Of two operands; the statistics mean what they say for a + b.
        config: The run's configuration.
        weights: Its weights.
        index: Which formula of a mixture.
        triples: Sampled (a, b, c), as published, beside all of them.
        seed: Of that sample.

    Raises:
        DataError: The formula has three operands.
    """
    if task.operands.shape[1] != 2:
        raise DataError(
            f"got {task.rules[index].text} with three operands; these statistics are defined for two. Choose another run."
        )
    p = task.config.modulus
    tokens, _, _ = pair_grid(task, config, index)
    double = {name: tensor.detach().double() for name, tensor in weights.items()}
    logits = read_out(double, torch.from_numpy(tokens), config.model.attention).logits[:, :p].numpy()
    a, b = np.divmod(np.arange(p * p), p)
    operands = (0, 2) if config.model.readout == "operand" else (0, 1)
    cosines = gradient_cosines(weights, tokens, p, operands, config.model.attention)
    sample = np.random.default_rng(seed).integers(0, p, (triples, 3))
    drawn = cosines[sample[:, 0] * p + sample[:, 1], sample[:, 2]]
    return ClockOrPizza(
        formula=task.rules[index].text, modulus=p, distance_irrelevance=distance_irrelevance(logits[np.arange(p * p), (a + b) % p].reshape(p, p)),
        noise_distance_irrelevance=noise_irrelevance(p), gradient_symmetricity=float(cosines.mean()), triples=triples,
        sampled_symmetricity=float(drawn.mean()), sampled_error=float(drawn.std(ddof=1) / triples**0.5),
        circularity=circularity(embedding(weights, p)),
    )  # fmt: skip
