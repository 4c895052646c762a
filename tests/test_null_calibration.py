"""Every null rejects as often as it says: 1,000 tables for which it is true, at the 5 % level."""

import numpy as np
import pytest

from epicycle.fourier.bases import additive
from epicycle.fourier.nulls import NULLS, null_test, token_frequency

NUMBERS, WIDTH, DRAWS, TABLES = 100, 8, 99, 1000
COUNTS = np.where(np.arange(NUMBERS) % 10 == 0, 400.0, 100.0) / (np.arange(NUMBERS) + 1)


def table_under(null, generator):
    """A table for which the null is true: noise on top of what the null keeps."""
    noise = generator.standard_normal((NUMBERS, WIDTH))
    n = np.arange(NUMBERS)
    if null == "within decades":
        return noise + 3 * generator.standard_normal((NUMBERS // 10, WIDTH))[n // 10]
    if null == "ramp":
        return noise + np.outer(n / 10, generator.standard_normal(WIDTH))
    if null == "token frequency":
        return noise + np.outer(np.log(COUNTS + 1), generator.standard_normal(WIDTH))
    if null == "permuted":
        return generator.standard_cauchy((NUMBERS, WIDTH)) if generator.random() < 0.5 else noise
    return noise


@pytest.mark.slow
@pytest.mark.parametrize("null", [*NULLS, "token frequency"])
def test_rejection_at_five_percent(null):
    basis = additive(NUMBERS)
    named = int(np.flatnonzero(basis.frequency == 10)[0])  # period 10
    draw = token_frequency(COUNTS) if null == "token frequency" else None
    alone = family = 0
    for i in range(TABLES):
        generator = np.random.default_rng([i, len(null)])  # tables of their own for every null
        found = null_test(table_under(null, generator), basis, null, DRAWS, seed=i, draw=draw)
        alone += found.p_value[named] <= 0.05
        family += found.p_family.min() <= 0.05
    print(f"{null}: one period {alone / TABLES:.1%}, any period {family / TABLES:.1%}")  # noqa: T201
    assert 0.035 <= alone / TABLES <= 0.065
    assert 0.035 <= family / TABLES <= 0.065
