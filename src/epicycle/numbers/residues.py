"""Residues modulo n: primes, inverses, primitive roots, discrete logarithms. Integers in, integers out."""

import functools
import math

import numpy as np
from jaxtyping import Int

from epicycle.errors import ConfigError


def is_prime(n: int) -> bool:
    """True if n is a prime, by trial division."""
    return n >= 2 and all(n % d for d in range(2, math.isqrt(n) + 1))


def factorise(n: int) -> dict[int, int]:
    """Prime factors of n >= 1 with their exponents: 12 -> {2: 2, 3: 1}."""
    factors: dict[int, int] = {}
    d = 2
    while d * d <= n:
        while n % d == 0:
            factors[d] = factors.get(d, 0) + 1
            n //= d
        d += 1
    if n > 1:
        factors[n] = factors.get(n, 0) + 1
    return factors


def spelled_factors(n: int) -> str:
    """The factorisation as people write it: 91 -> '7 x 13', 12 -> '2^2 x 3'."""
    return " x ".join(str(q) if e == 1 else f"{q}^{e}" for q, e in factorise(n).items())


@functools.cache
def inverses(modulus: int) -> Int[np.ndarray, " p"]:
    """Inverse of every residue, -1 where there is none."""
    found = np.full(modulus, -1)
    for x in range(modulus):
        if math.gcd(x, modulus) == 1:
            found[x] = pow(x, -1, modulus)
    found.setflags(write=False)
    return found


def primitive_root(modulus: int) -> int:
    """Smallest generator of the non-zero residues of a prime.

    Raises:
        ConfigError: The modulus is not a prime.
    """
    if not is_prime(modulus):
        raise ConfigError(
            f"got modulus {modulus} = {spelled_factors(modulus)}; the multiplicative basis needs a prime modulus. "
            f"Use the additive basis, or a prime such as {nearest_prime(modulus)}."
        )
    if modulus == 2:
        return 1
    factors = factorise(modulus - 1)
    return next(g for g in range(2, modulus) if all(pow(g, (modulus - 1) // q, modulus) != 1 for q in factors))


def nearest_prime(n: int) -> int:
    """The prime nearest to n (the smaller one in a tie)."""
    return min((q for q in range(2, 2 * max(n, 2) + 3) if is_prime(q)), key=lambda q: (abs(q - n), q))


def discrete_logarithms(modulus: int, root: int | None = None) -> Int[np.ndarray, " p"]:
    """log_g x for every non-zero residue x of a prime modulus; entry 0 is -1 (zero has no logarithm).

    Args:
        modulus: A prime.
        root: A primitive root g; the smallest one if not given.

    Raises:
        ConfigError: The modulus is not a prime, or `root` does not generate every non-zero residue.
    """
    g = primitive_root(modulus) if root is None else root
    log = np.full(modulus, -1)
    x = 1
    for exponent in range(modulus - 1):
        if log[x] >= 0:
            raise ConfigError(f"got root {g}, which is not a primitive root of {modulus}. Leave it out.")
        log[x] = exponent
        x = x * g % modulus
    return log
