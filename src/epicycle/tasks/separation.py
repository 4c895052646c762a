"""Which g1 and g2 a polynomial formula would have to use, read from its derivatives.

If f = h(u) with u = g1(a) + g2(b), the chain rule gives (df/da) / (df/db) = g1'(a) / g2'(b), and with u = g1(a) g2(b) the same of
their logarithms: the quotient falls apart into a function of a and one of b, whatever h is. The converse is left to the table of
answers, which a candidate either explains or not (`tasks.forms`): these are derivatives of polynomials with rational coefficients,
and nothing follows from them modulo p by themselves.
"""

from math import gcd, lcm
from typing import Any

import numpy as np
from jaxtyping import Int

Values = Int[np.ndarray, " p"]


def inner_sum(poly: Any, p: int) -> tuple[Values, Values] | None:
    """g1 and g2 (p,) of h(g1(a) + g2(b)) for a sympy polynomial in a and b; None if it has none of polynomials."""
    from sympy import Rational

    sides = _logarithms(poly)
    if sides is None or any(below.degree() for _, below in sides):
        return None
    inner = [above.integrate() for above, _ in sides]
    given = [c for each in inner for c in each.all_coeffs() if c]
    # a and 2b rather than a/2 and b, which needs an inverse of 2
    scale = Rational(lcm(*(int(c.q) for c in given)), gcd(*(int(c.p) for c in given)))
    return _both(_values(poly * scale, p) for poly in inner)


def inner_product(poly: Any, p: int) -> tuple[Values, Values] | None:
    """g1 and g2 (p,) of h(g1(a) * g2(b)), up to a common power; None if it has none of polynomials."""
    sides = _logarithms(poly)
    if sides is None:
        return None
    first, second = (_exponents(above, below) for above, below in sides)
    if not first or not second:
        return None
    exponents = [m for side in (first, second) for m in side.values()]
    scale = lcm(*(int(m.q) for m in exponents))
    common = gcd(*(int(m * scale) for m in exponents))
    return _both(_powers({q: int(m * scale) // common for q, m in side.items()}, p) for side in (first, second))


def _logarithms(poly: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]] | None:
    """(df/da) / (df/db) as (numerator, denominator) in a and, upside down, in b; None if a and b do not come apart."""
    if len(poly.gens) != 2:
        return None
    from sympy import Poly

    along = [poly.diff(gen) for gen in poly.gens]
    if any(each.is_zero for each in along):
        return None
    above, below = along[0].cancel(along[1], include=True)
    found = []
    for gen in poly.gens:
        mine = []
        for side in (above, below):
            product = Poly(1, gen, domain="QQ")
            for factor, count in side.factor_list()[1]:
                if len(factor.free_symbols) > 1:
                    return None
                if gen in factor.free_symbols:
                    product *= Poly(factor.as_expr(), gen, domain="QQ") ** count
            mine.append(product)
        found.append(mine)
    (n1, d1), (d2, n2) = found
    unit = above.factor_list()[0] / below.factor_list()[0]
    return (n1 * Poly(unit, n1.gen, domain="QQ"), d1), (n2, d2)


def _exponents(above: Any, below: Any) -> dict[Any, Any] | None:
    """The factors q of g and their powers m, where above / below = g' / g = sum of m q' / q; None if it is no such sum."""
    found, total = {}, above * 0
    for factor, count in below.factor_list()[1]:
        rest = below.quo(factor)
        if count > 1:
            return None
        power = (above * (rest * factor.diff()).invert(factor)).rem(factor)
        if power.degree() > 0:
            return None
        found[factor] = power.nth(0)
        total += power * factor.diff() * rest
    return found if found and total == above else None


def _values(poly: Any, p: int) -> Values | None:
    """Values at 0..p-1 modulo p; None where a denominator has no inverse."""
    coefficients = [(int(c.p), int(c.q)) for c in poly.all_coeffs()]
    if any(gcd(q, p) > 1 for _, q in coefficients):
        return None
    found, x = np.zeros(p, int), np.arange(p)
    for numerator, denominator in coefficients:
        found = (found * x + numerator % p * pow(denominator, -1, p)) % p
    return found


def _powers(factors: dict[Any, int], p: int) -> Values | None:
    found = np.ones(p, int)
    for factor, power in factors.items():
        values = _values(factor, p)
        if values is None or (power < 0 and (np.gcd(values, p) > 1).any()):
            return None
        found = found * np.array([pow(int(v), power, p) for v in values]) % p
    return found


def _both(values: Any) -> tuple[Values, Values] | None:
    first, second = values
    return None if first is None or second is None else (first, second)
