"""Embeddings made by hand: numbers written as waves, or at random, at given lengths."""

import numpy as np
from jaxtyping import Float

PERIODS = (2, 5, 10, 100)


def planted_numbers(count: int, width: int, generator: np.random.Generator) -> Float[np.ndarray, "n d"]:
    """Each number as cosine and sine of the periods 2, 5, 10, 100 and as a point on half a turn over the whole range.

    The half turn is the magnitude: unlike a straight line it makes every number the extreme point of some direction, so that
    a tied unembedding can single it out. The ten waves (sine of period 2 is zero) lie along random orthonormal directions;
    rows have length 1 on average.

    Source: periods of Kantamneni and Tegmark 2025; planting as in FoNE (Zhou et al. 2025). The half turn is ours.
    """
    n = np.arange(count)
    waves = [np.cos(np.pi * n)]
    for period in PERIODS[1:]:
        waves += [np.cos(2 * np.pi * n / period), np.sin(2 * np.pi * n / period)]
    waves += [np.cos(np.pi * n / count), np.sin(np.pi * n / count)]
    directions = np.linalg.qr(generator.standard_normal((width, len(waves))))[0].T
    table = np.stack(waves, 1) @ directions
    return table / np.linalg.norm(table, axis=1).mean()


def random_rows(
    lengths: Float[np.ndarray, " v"], width: int, generator: np.random.Generator
) -> Float[np.ndarray, "v d"]:
    """Gaussian directions with the given lengths."""
    rows = generator.standard_normal((len(lengths), width))
    return rows * (np.asarray(lengths) / np.linalg.norm(rows, axis=1))[:, None]
