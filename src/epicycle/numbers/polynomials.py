"""Polynomials over a prime field: the one that takes given values, and how it is written."""

import numpy as np
from jaxtyping import Int

from epicycle.errors import ConfigError
from epicycle.numbers.residues import is_prime


def interpolate(values: Int[np.ndarray, " p"]) -> Int[np.ndarray, " p"]:
    """Coefficients, constant first, of the polynomial of degree below p that takes these values at 0..p-1, modulo the prime p.

    f(x) = sum over a of f(a) (1 - (x - a)^(p-1)), since y^(p-1) is 1 except at 0.

    Raises:
        ConfigError: The number of values is not a prime.
    """
    p = len(values)
    if not is_prime(p):
        raise ConfigError(f"got {p} values; expected a prime number of them. Use a prime modulus.")
    f, a = np.asarray(values) % p, np.arange(p)
    found, power = np.zeros(p, int), np.ones(p, int)  # power is a^j, with 0^0 = 1
    for j in range(p):
        k = p - 1 - j
        found[k] = -int(f @ power) % p
        power = power * a % p
    found[0] = f[0]
    return found


def degree(coefficients: Int[np.ndarray, " n"]) -> int:
    """Degree; -1 for the zero polynomial."""
    return int(np.flatnonzero(coefficients)[-1]) if np.any(coefficients) else -1


def spell(coefficients: Int[np.ndarray, " n"], variable: str, modulus: int) -> str:
    """The polynomial as people write it, coefficients between -p/2 and p/2: a^2 - 3a + 1."""
    terms = []
    for k in range(degree(coefficients), -1, -1):
        c = int(coefficients[k]) % modulus
        c = c - modulus if c > modulus // 2 else c
        if c:
            power = "" if k == 0 else variable if k == 1 else f"{variable}^{k}"
            size = str(abs(c)) if abs(c) != 1 or not power else ""
            terms.append(("- " if c < 0 else "+ ") + size + power)
    if not terms:
        return "0"
    return (
        (" ".join(terms)).removeprefix("+ ").replace("- ", "-", 1)
        if terms[0].startswith("-")
        else " ".join(terms).removeprefix("+ ")
    )
