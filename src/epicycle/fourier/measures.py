"""Scalars of a spectrum: how few frequencies (FFD, Gini, participation), which phase (FCR, bias)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from epicycle.fourier.spectra import FourierNorms

FFD_THRESHOLD = 0.5


def ffd(norms: FourierNorms, threshold: float = FFD_THRESHOLD, *, joint: bool = False) -> float:
    """Fourier Frequency Density: share of cosine and sine norms above `threshold` times the maximum.

    Low means sparse. White noise at width 128 gives 1, K planted frequencies give K/floor(p/2).

    Args:
        norms: From `fourier_norms`.
        threshold: eta of the paper, 0.5; the comparison is strict.
        joint: Divide both by their common maximum instead of each by its own. The published separate maxima call an
            empty channel filled with noise dense; the joint form does not.

    Returns:
        In [0, 1]; NaN for a table that is constant.

    Source:
        Furuta et al. 2024, eq. 5. `joint` is ours.
        Does not show that a frequency is used; see the excluded loss.
    """
    cosine, sine = norms.cosine, norms.sine[~np.isnan(norms.sine)]
    peak = max(cosine.max(initial=0.0), sine.max(initial=0.0))
    if not peak > 0:
        return float("nan")
    tops = (peak, peak) if joint else (cosine.max(initial=0.0), sine.max(initial=0.0))
    above = sum(int((part > threshold * top).sum()) for part, top in zip((cosine, sine), tops, strict=True))
    return above / (len(cosine) + len(sine))


class CoefficientRatio(NamedTuple):
    """FCR with the share of frequencies on which it is defined."""

    value: float
    coverage: float


def fcr(norms: FourierNorms) -> CoefficientRatio:
    """Fourier Coefficient Ratio: mean over frequencies of the smaller over the larger of cosine and sine norm.

    Low means that one of them is missing. White noise over 128 channels gives 0.933 (`fcr_of_noise`); even
    and odd functions of the number give 0. A frequency with neither (both below 1e-7 of the largest norm, where
    rounding leaves a frequency that was taken out of a float32 table) is left out, and `coverage` says how many remain.

    Source: Furuta et al. 2024, eq. 6. Leaving out 0/0 is ours.
    """
    has_sine = ~np.isnan(norms.sine)
    low = np.fmin(norms.cosine, norms.sine)[has_sine]
    high = np.fmax(norms.cosine, norms.sine)[has_sine]
    defined = high > 1e-7 * high.max(initial=0.0)
    value = float((low[defined] / high[defined]).mean()) if defined.any() else float("nan")
    return CoefficientRatio(value, float(defined.mean()) if has_sine.any() else 0.0)


def fcr_of_noise(channels: int, through: int | None = None) -> float:
    """Expected FCR of white noise over `channels` channels: what to hold a measured FCR against.

    The ratio of the two norms is sqrt(F) with F from an F(d, d) distribution; by quadrature. 2 ln 2 / pi = 0.4413 for
    one channel, 0.9330 for 128, towards 1 - sqrt(2 / (pi d)) for many.

    Args:
        channels: Of the table.
        through: Width d that a product of two white factors goes through, as the neuron-logit map does. Its rows are as uneven as those of
            1 / (1/d + 1/channels) channels (equal mean and variance of squared norms; Satterthwaite 1946): 0.926 for 512 through 128.
    """
    degrees = channels if through is None else 1 / (1 / through + 1 / channels)
    t = (np.arange(200_000) + 0.5) / 200_000 * (np.pi / 4)  # tan t is the ratio
    log_density = (degrees - 1) * np.log(np.sin(t) * np.cos(t))
    density = np.exp(log_density - log_density.max())
    return float((np.tan(t) * density).sum() / density.sum())


def phase_bias(norms: FourierNorms) -> float:
    """Log of cosine power over sine power: positive for cosine-biased, negative for sine-biased tables.

    Source: ours; it gives the sign that FCR cannot, with mathematically correct labels.
    """
    has_sine = ~np.isnan(norms.sine)
    cosine, sine = (norms.cosine[has_sine] ** 2).sum(), (norms.sine[has_sine] ** 2).sum()
    if cosine == 0 and sine == 0:
        return float("nan")
    return float(np.log(max(cosine, 1e-300) / max(sine, 1e-300)))


def gini(values: Float[np.ndarray, " k"]) -> float:
    """Gini coefficient of non-negative values: 0 if all are equal, 1 - K/n for K equal lines among n.

    The noise floor depends on the width: about 1/sqrt(pi d) for power over d channels.

    Source:
        Nanda et al. 2023 apply it to the Fourier norms of cosine and sine rows.
        Deviates: `measures` applies it to the power of whole frequencies, which gives a higher value.
    """
    x = np.sort(np.asarray(values, np.float64))
    total = x.sum()
    if not total > 0:
        return float("nan")
    n = len(x)
    return float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * total))


def inverse_participation_ratio(norms: FourierNorms) -> float:
    """Sum of squared shares of power: 1 for a single frequency, 1/K for K equal ones.

    Source: Gromov 2023, folded over cosine and sine so that it does not depend on the phase.
    """
    share = norms.share
    return float((share**2).sum()) if share.sum() > 0 else float("nan")


def measures(norms: FourierNorms) -> dict[str, float]:
    """All scalars of one spectrum, under the names used in histories and JSON."""
    ratio = fcr(norms)
    return {
        "ffd": ffd(norms),
        "ffd_joint": ffd(norms, joint=True),
        "fcr": ratio.value,
        "fcr_coverage": ratio.coverage,
        "bias": phase_bias(norms),
        "gini": gini(norms.power),
        "ipr": inverse_participation_ratio(norms),
    }
