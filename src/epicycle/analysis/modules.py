"""What every module writes into the number logits, and what each layer would answer: one streaming pass.

The pass keeps the answer position and the number rows of the unembedding only.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple, final

import numpy as np
import torch

from epicycle.analysis.residues import ModuleResidues, ResidueSums, WavePhases, wave_phases
from epicycle.fourier.bases import Basis, additive
from epicycle.fourier.spectra import coefficients
from epicycle.models.language import LanguageModel
from epicycle.models.stream import batches, states
from epicycle.results import Result

TOP_WAVES = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20)
PERMUTATIONS = 20
NULL_PROMPTS = 256
ROUNDING = 1e-9
"""Difference, over the range of a curve, below which two of its values are equal: neighbours on the slowest wave differ by more."""


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LayerLens(Result):
    """Answers read from the stream after every layer, through the final norm, over the numbers only.

    Entry 0 is the embedding. `guess_within_10` is the best accuracy within 10 of one constant answer.
    """

    schema: ClassVar[int] = 1
    prompts: int
    guess_exact: float
    guess_within_2: float
    guess_within_10: float
    exact: np.ndarray
    within_2: np.ndarray
    within_10: np.ndarray

    def crossing(self, which: str, level: float = 0.5) -> int | None:
        """First layer whose accuracy reaches `level`; None if none does."""
        above = np.flatnonzero(getattr(self, which) >= level)
        return int(above[0]) if len(above) else None


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ModuleSpectra(Result):
    """Fourier magnitudes of the number logits that each attention and MLP output writes, averaged over prompts.

    `attention` and `mlp` (layers, k) are means of sqrt(cos^2 + sin^2): of magnitudes, since phases turn with the answer.
    `attention_level`, `mlp_level` (layers,) are what only 5 % of number orders drawn at random exceed anywhere in the
    spectrum, over NULL_PROMPTS prompts drawn at random. `top_waves[i]`: share of prompts whose `TOP_WAVES[i]` largest waves of the final logits
    sum to a curve that peaks at the right answer; one of m equal peaks counts 1/m. `random_isotropic`, `random_rows` (k,): mean magnitudes of vectors drawn at random, of any direction
    and as random combinations of the centred number rows: what the unembedding gives to any module. `example_*`: module logits (layers, N) and final logits (N,) of one prompt.

    Literal: no final norm between module and unembedding, as in the paper; so magnitudes of two layers can be compared, but
    not with the final logits, which the norm scales. A large magnitude does not show that the model depends on it; see the
    ablations.
    """

    schema: ClassVar[int] = 3
    prompts: int
    numbers: int
    convention: str
    example_prompt: str
    example_answer: int
    frequency: np.ndarray
    period: np.ndarray
    attention: np.ndarray
    mlp: np.ndarray
    attention_level: np.ndarray
    mlp_level: np.ndarray
    top_waves: np.ndarray
    random_isotropic: np.ndarray
    random_rows: np.ndarray
    example_attention: np.ndarray
    example_mlp: np.ndarray
    example_final: np.ndarray


def _random_vectors(rows: torch.Tensor, count: int = NULL_PROMPTS) -> dict[str, torch.Tensor]:
    """Vectors that no module wrote, (count, d): of any direction, and random combinations of the centred number rows."""
    generator = torch.Generator().manual_seed(0)
    isotropic = torch.randn(count, rows.shape[1], generator=generator).to(rows.device)
    weights = torch.randn(count, rows.shape[0], generator=generator).to(rows.device)
    return {"isotropic": isotropic, "rows": weights @ (rows - rows.mean(0))}


def _mean_magnitudes(found: torch.Tensor, basis: Basis) -> np.ndarray:
    return _magnitudes(found, basis).mean(0).double().cpu().numpy()


class Readings(NamedTuple):
    """What one pass over the prompts gives; `final` are the final number logits (prompts, N), float32."""

    lens: LayerLens
    modules: ModuleSpectra
    residues: ModuleResidues
    phases: WavePhases
    final: np.ndarray


def constant_guess(answers: np.ndarray, within: int) -> float:
    """Best share of answers that one constant number comes within `within` of."""
    counts = np.bincount(answers)
    window = np.convolve(counts, np.ones(2 * within + 1))
    return float(window.max() / len(answers))


def _magnitudes(found: torch.Tensor, basis: Basis) -> torch.Tensor:
    """sqrt(cos^2 + sin^2) of coefficients (..., f) -> (..., k)."""
    at = lambda rows: torch.as_tensor(rows, device=found.device)  # noqa: E731
    cosine = found[..., at(basis.cosine)]
    sine = found[..., at(np.maximum(basis.sine, 0))] * at(basis.sine >= 0)
    return torch.hypot(cosine, sine)


def readings(
    lm: LanguageModel,
    tokens: Sequence[Sequence[int]],
    answers: np.ndarray,
    ids: np.ndarray,
    *,
    example: int = 0,
    example_prompt: str = "",
    size: int = 96,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Readings:
    """Lens, module spectra, residues and phases of a model over prompts, in one pass.

    Args:
        lm: The model.
        tokens: Token ids per prompt.
        answers: The right number per prompt.
        ids: Token ids of the numbers 0..N-1.
        example: The prompt whose logits are kept whole.
        example_prompt: Its text.
        size: Prompts per batch.
        progress: Called with prompts done and in all.

    Source:
        Zhou et al. 2024, Def. A.1, A.2, section 3.1, Figs. 1 to 4.
    """
    n, count = len(ids), len(tokens)
    basis = additive(n)
    rows, bias = lm.number_readout(ids)
    device = rows.device
    waves = torch.as_tensor(basis.rows, dtype=torch.float32, device=device)
    write = rows.T @ waves.T  # (d, f): straight from the stream to coefficients
    generator = np.random.default_rng(0)
    shuffled = torch.stack([rows.T @ waves[:, generator.permutation(n)].T for _ in range(PERMUTATIONS)])
    sums = torch.zeros(2, lm.num_layers, len(basis.frequency), dtype=torch.float64)
    null = torch.zeros(PERMUTATIONS, 2, lm.num_layers, len(basis.frequency), dtype=torch.float64)
    residues = ResidueSums(n, lm.num_layers, device)
    anyhow = _random_vectors(rows)
    done = 0
    sampled = np.zeros(count, bool)
    sampled[generator.permutation(count)[:NULL_PROMPTS]] = True
    lens = np.empty((lm.num_layers + 1, count), np.int64)
    final = np.empty((count, n), np.float32)
    kept: dict[str, np.ndarray] = {}
    with torch.inference_mode():
        for batch in batches(lm, tokens, size):
            found = states(lm, batch)
            both = torch.stack([found.attention, found.mlp]).float()
            sums += _magnitudes(both @ write, basis).sum(2).double().cpu()
            logits = both @ rows.T
            residues.add(logits)
            part = both[:, :, torch.as_tensor(sampled[found.rows], device=device)]
            for i in range(PERMUTATIONS if part.shape[2] else 0):
                null[i] += _magnitudes(part @ shuffled[i], basis).sum(2).double().cpu()
            for layer in range(lm.num_layers):
                lens[layer, found.rows] = (lm.norm(found.stream[layer]).float() @ rows.T + bias).argmax(1).cpu().numpy()
            final[found.rows] = lm.capped(found.final.float() @ rows.T + bias).cpu().numpy()
            lens[-1, found.rows] = final[found.rows].argmax(1)
            if example in found.rows:
                place = int(np.flatnonzero(found.rows == example)[0])
                kept = {"attention": logits[0, :, place].cpu().numpy(), "mlp": logits[1, :, place].cpu().numpy()}
            done += len(found.rows)
            progress(done, count)
    level = torch.quantile(null.amax(-1) / int(sampled.sum()), 0.95, dim=0).numpy()
    size_of_error = np.abs(lens - answers)
    accuracy = [(size_of_error <= within).mean(1) for within in (0, 2, 10)]
    guesses = [constant_guess(answers, within) for within in (0, 2, 10)]
    mean = (sums / count).numpy()
    return Readings(
        LayerLens(prompts=count, guess_exact=guesses[0], guess_within_2=guesses[1], guess_within_10=guesses[2], exact=accuracy[0],
                  within_2=accuracy[1], within_10=accuracy[2]),
        ModuleSpectra(
            prompts=count, numbers=n, convention=basis.convention, example_prompt=example_prompt, example_answer=int(answers[example]),
            frequency=basis.frequency, period=basis.period, attention=mean[0], mlp=mean[1], attention_level=level[0],
            mlp_level=level[1], random_isotropic=_mean_magnitudes(anyhow["isotropic"] @ write, basis), random_rows=_mean_magnitudes(anyhow["rows"] @ write, basis), top_waves=top_waves(final, answers, basis), example_attention=kept["attention"],
            example_mlp=kept["mlp"], example_final=final[example].astype(np.float64),
        ),
        residues.result({kind: x @ rows.T for kind, x in anyhow.items()}), wave_phases(final, answers, basis), final,
    )  # fmt: skip


def peaks(curves: np.ndarray) -> np.ndarray:
    """Where curves (N, m) are at their maximum, but for rounding: (N, m) of bool, at least one True in each column."""
    top = curves.max(0)
    return curves >= top - ROUNDING * (top - curves.min(0))


def top_waves(final: np.ndarray, answers: np.ndarray, basis: Basis) -> np.ndarray:
    """Share of prompts whose largest 1, 2, 3, ... (TOP_WAVES) waves of the final logits sum to a curve that peaks at the answer.

    A curve made of harmonics of one period peaks at several numbers: the answer among m of them counts 1/m.

    Source: Zhou et al. 2024, Fig. 4 shows one prompt; this is over all, with the orthonormal inverse.
    """
    found = coefficients(final.T, basis)  # (f, prompts)
    magnitude = np.hypot(found[basis.cosine], np.where(basis.sine[:, None] >= 0, found[basis.sine], 0.0))
    order = np.argsort(-magnitude, axis=0, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(len(order))[:, None].repeat(order.shape[1], 1), axis=0)
    rank_of_row = np.full(found.shape, len(order))
    rank_of_row[basis.cosine] = rank
    rank_of_row[basis.sine[basis.sine >= 0]] = rank[basis.sine >= 0]
    shares = []
    for top in TOP_WAVES:
        tied = peaks(basis.rows.T @ np.where(rank_of_row < top, found, 0.0))
        shares.append(float((tied[answers, np.arange(len(answers))] / tied.sum(0)).mean()))
    return np.array(shares)
