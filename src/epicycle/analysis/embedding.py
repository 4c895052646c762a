"""The embedding of numbers: its spectrum against nulls, its clusters, a map of it; and the stream where it has no rows."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
import torch

from epicycle.analysis.matrix import MatrixSpectrum, matrix_spectrum
from epicycle.fourier.bands import HIGH_PERIOD
from epicycle.models.language import LanguageModel
from epicycle.models.stream import batches, encode, states
from epicycle.results import Result

PERIODS = (2.0, 2.5, 5.0, 10.0)
"""The outlier periods of Zhou et al. 2024, section 4.1."""
CLUSTERS = 10
DEALS = 99


def embedding_spectrum(table: np.ndarray, counts: np.ndarray | None, draws: int = 999) -> MatrixSpectrum:
    """Spectrum of number embeddings without their straight line, against every null; p-values refer to `within decades`.

    Args:
        table: One row per number, (N, d).
        counts: How often each number occurs in the text the model saw, or None.
        draws: Null tables per null.
    """
    known = counts is not None and np.ptp(counts) > 0
    return matrix_spectrum(table, detrend=True, null="within decades", frequency=counts if known else None, draws=draws)


def at_period(spectrum: MatrixSpectrum, period: float) -> dict[str, float]:
    """The frequency whose period is nearest: its place by share (1 is the largest), its share and p-values.

    `p_value` is the one of the frequency named beforehand, under the spectrum's own null.
    """
    i = int(np.argmin(np.abs(spectrum.frequency - spectrum.rows / period)))
    place = int((spectrum.share > spectrum.share[i]).sum()) + 1
    return {"period": float(spectrum.period[i]), "asked": period, "place": place, "share": float(spectrum.share[i]),
            "p_value": float(spectrum.p_single[spectrum.null][i]), "p_family": float(spectrum.p_family[spectrum.null][i])}  # fmt: skip


def named_periods(spectrum: MatrixSpectrum) -> list[dict[str, float]]:
    """`at_period` of 2, 2.5, 5 and 10."""
    return [at_period(spectrum, period) for period in PERIODS]


def smallest_high_p(spectrum: MatrixSpectrum) -> tuple[float, float]:
    """Smallest family-wise p-value of the high band under the spectrum's own null, and its period."""
    high = spectrum.period <= HIGH_PERIOD + 1e-9
    p = spectrum.p_family[spectrum.null][high]
    best = int(np.argmin(p))
    return float(p[best]), float(spectrum.period[high][best])


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NumberMap(Result):
    """Clusters and two-dimensional places of number embeddings.

    `cluster` (N,) from k-means with ten clusters; `tsne`, `principal` (N, 2). `agreement_*` are adjusted mutual information of
    the clusters with ten blocks of magnitude, with being a multiple of ten, and with the last digit: 0 is chance, 1 is equal. Distances in
    a t-SNE map mean little; perplexity and seed change it. `level_*`: what 5 % of the same clusters dealt to random numbers exceed.
    """

    schema: ClassVar[int] = 2
    seed: int
    perplexity: float
    level_magnitude: float
    level_multiple_of_10: float
    level_last_digit: float
    agreement_magnitude: float
    agreement_multiple_of_10: float
    agreement_last_digit: float
    cluster: np.ndarray
    tsne: np.ndarray
    principal: np.ndarray


def adjusted_mutual_information(labels: np.ndarray, dealt: np.ndarray) -> np.ndarray:
    """Adjusted mutual information of labels with the same clusters in several orders, (deals,).

    The order changes the information only, neither the entropies nor what chance expects, which are computed once. Source: Vinh et al.
    2010, with the mean of both entropies.

    Args:
        labels: (N,).
        dealt: (deals, N), each row a permutation of the first.
    """
    from sklearn.metrics.cluster import contingency_matrix, expected_mutual_information

    rows, columns = (np.unique(each, return_inverse=True)[1].reshape(each.shape) for each in (labels, dealt))
    total, height, width = len(rows), rows.max() + 1, columns.max() + 1
    counts = np.stack([np.bincount(rows * width + each, minlength=height * width) for each in columns])
    share = counts.reshape(-1, height, width) / total
    left, right = share[0].sum(1), share[0].sum(0)
    own = np.where(share > 0, share * np.log(np.where(share > 0, share / np.outer(left, right), 1)), 0).sum((1, 2))
    expected = expected_mutual_information(contingency_matrix(rows, columns[0], sparse=True).astype(np.int64), total)
    entropies = [-(each * np.log(each)).sum() for each in (left, right)]
    room = np.mean(entropies) - expected
    return (own - expected) / np.copysign(max(abs(room), np.finfo(float).eps), room)


def number_map(table: np.ndarray, seed: int = 0) -> NumberMap:
    """Cluster the rows and place them on two maps.

    Source: Zhou et al. 2024, Fig. 5b (t-SNE and k-means with ten clusters; perplexity and seed not given there).
    """
    from sklearn.cluster import KMeans
    from sklearn.manifold import TSNE
    from sklearn.metrics import adjusted_mutual_info_score

    centred = np.asarray(table, np.float64) - np.mean(table, 0)
    clusters: Any = KMeans(n_clusters=min(CLUSTERS, len(centred) // 2), n_init=10, random_state=seed)  # type: ignore[arg-type]
    cluster = clusters.fit_predict(centred)
    perplexity = float(min(30, (len(centred) - 1) // 3))
    tsne = TSNE(n_components=2, perplexity=perplexity, init="pca", random_state=seed, n_jobs=1).fit_transform(centred)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    n = np.arange(len(centred))
    agree = lambda labels: float(adjusted_mutual_info_score(labels, cluster))  # noqa: E731
    generator = np.random.default_rng(seed)
    dealt = np.stack([generator.permutation(cluster) for _ in range(DEALS)])
    level = lambda labels: float(np.quantile(adjusted_mutual_information(labels, dealt), 0.95))  # noqa: E731
    magnitude, tens, digit = n * CLUSTERS // len(n), n % 10 == 0, n % 10
    return NumberMap(
        seed=seed, perplexity=perplexity, agreement_magnitude=agree(magnitude), agreement_multiple_of_10=agree(tens),
        agreement_last_digit=agree(digit), level_magnitude=level(magnitude), level_multiple_of_10=level(tens), level_last_digit=level(digit), cluster=cluster.astype(np.int64), tsne=tsne.astype(np.float64), principal=u[:, :2] * s[:2],
    )  # fmt: skip


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ResidualSpectra(Result):
    """Spectrum over numbers of the stream at a number's last token, after every layer; entry 0 is the embedding.

    For tokenizers that write numbers digit by digit there is no other table. Entry 0 then holds the last digit alone, so its
    periods are those of any function of the last digit.
    """

    schema: ClassVar[int] = 1
    numbers: int
    carrier: str
    null: str
    draws: int
    frequency: np.ndarray
    period: np.ndarray
    share: np.ndarray
    p_family: np.ndarray
    level: np.ndarray


CARRIER = "The number is {}"


def number_streams(lm: LanguageModel, numbers: int, carrier: str = CARRIER) -> np.ndarray:
    """The stream at the last token of each number 0..numbers-1 in a carrier sentence, (layers + 1, numbers, d); entry 0 is the embedding.

    Numbers may be of any length in tokens.
    """
    tokens = encode(lm, [carrier.format(n) for n in range(numbers)])
    stream = np.empty((lm.num_layers + 1, numbers, lm.width), np.float32)
    with torch.inference_mode():
        for batch in batches(lm, tokens):
            stream[:, batch.rows] = states(lm, batch).stream.float().cpu().numpy()
    return stream


def residual_spectra(stream: np.ndarray, *, carrier: str = CARRIER, draws: int = 199) -> ResidualSpectra:
    """Spectrum over numbers of every table of `number_streams`."""
    found: Sequence[MatrixSpectrum] = [embedding_spectrum(table, None, draws) for table in stream]
    first = found[0]
    return ResidualSpectra(
        numbers=stream.shape[1], carrier=carrier, null=first.null, draws=draws, frequency=first.frequency, period=first.period,
        share=np.stack([f.share for f in found]), p_family=np.stack([f.p_family[f.null] for f in found]),
        level=np.stack([f.level[f.null] for f in found]),
    )  # fmt: skip
