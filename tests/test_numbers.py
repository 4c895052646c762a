import math

import numpy as np
import pytest

from epicycle.errors import ConfigError
from epicycle.numbers.residues import (
    discrete_logarithms,
    factorise,
    inverses,
    is_prime,
    nearest_prime,
    primitive_root,
    spelled_factors,
)


def test_primes_by_sieve():
    sieve = [n for n in range(200) if n > 1 and all(n % d for d in range(2, n))]
    assert [n for n in range(200) if is_prime(n)] == sieve


@pytest.mark.parametrize("n", [1, 2, 12, 91, 97, 96, 113, 360])
def test_factors_multiply_to_the_number(n):
    assert math.prod(q**e for q, e in factorise(n).items()) == n


def test_spelled_factors():
    assert (spelled_factors(91), spelled_factors(12)) == ("7 x 13", "2^2 x 3")


@pytest.mark.parametrize("n", [2, 12, 97])
def test_inverses(n):
    for x, y in enumerate(inverses(n)):
        assert (x * y % n == 1) if math.gcd(x, n) == 1 else y == -1


@pytest.mark.parametrize("p", [2, 3, 5, 59, 97, 113])
def test_logarithm_is_a_homomorphism(p):
    log, a = discrete_logarithms(p), np.arange(1, p)
    assert log[0] == -1 and sorted(log[1:]) == list(range(p - 1))
    assert (log[np.outer(a, a) % p] == (log[a][:, None] + log[a]) % (p - 1)).all()


def test_composite_modulus_is_refused_with_a_prime_to_use():
    with pytest.raises(
        ConfigError, match=r"got modulus 91 = 7 x 13; the multiplicative basis needs a prime.*such as 89"
    ):
        primitive_root(91)
    assert nearest_prime(91) == 89


def test_a_root_that_does_not_generate_is_refused():
    with pytest.raises(ConfigError, match="not a primitive root"):
        discrete_logarithms(97, root=96)
