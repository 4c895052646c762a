"""Factors of a formula as a polynomial: over the integers, and over the field of its modulus, where more may split.

Over the integers and in one variable by sympy. Two variables over a field: homogeneous polynomials through one variable, others by
Kronecker's substitution b -> a^D, whose factors are put together in every way that multiplies back (exact, for small degrees).
"""

import itertools
from collections import Counter
from typing import Any

from epicycle.tasks import grammar

MAX_DEGREE = 12
MAX_PIECES = 16


def polynomial(node: grammar.Node | None) -> Any:
    """The formula as a sympy polynomial in its operands; None for a quotient, a random table or a degree above 12."""
    if node is None or not _is_small(node):
        return None
    from sympy import Poly, symbols

    names = sorted(grammar.variables(node))
    return Poly(_expression(node, dict(zip(names, symbols(names), strict=True))), *symbols(names))


def _is_small(node: grammar.Node) -> bool:
    degree = _degree(node)
    return degree is not None and degree <= MAX_DEGREE


def _degree(node: grammar.Node) -> int | None:
    """An upper bound of the total degree; None where there is division."""
    match node:
        case grammar.Integer():
            return 0
        case grammar.Variable():
            return 1
        case grammar.Negative(operand):
            return _degree(operand)
        case grammar.Power(base, exponent):
            inner = _degree(base)
            return None if inner is None or exponent < 0 else inner * exponent
        case grammar.Binary(sign, left, right):
            x, y = _degree(left), _degree(right)
            if x is None or y is None or sign == "/":
                return None
            return x + y if sign == "*" else max(x, y)


def _expression(node: grammar.Node, symbols: dict[str, Any]) -> Any:
    from sympy import Integer

    match node:
        case grammar.Integer(value):
            return Integer(value)
        case grammar.Variable(name):
            return symbols[name]
        case grammar.Negative(operand):
            return -_expression(operand, symbols)
        case grammar.Power(base, exponent):
            return _expression(base, symbols) ** exponent
        case grammar.Binary(sign, left, right):
            x, y = _expression(left, symbols), _expression(right, symbols)
            return x + y if sign == "+" else x - y if sign == "-" else x * y


def over_integers(poly: Any) -> list[tuple[str, int]]:
    """Factors over the integers with their multiplicities, the constant first where it is not 1."""
    constant, factors = poly.factor_list()
    found = [(_spelled(factor), count) for factor, count in factors]
    return ([(str(constant), 1)] if constant != 1 else []) + found


def over_field(poly: Any, p: int) -> list[tuple[str, int]] | None:
    """Monic factors modulo a prime with their multiplicities, the constant first where it is not 1; None if not decided.

    Only for one or two operands.
    """
    if len(poly.gens) > 2:
        return None
    whole: Terms = {powers: int(c) % p for powers, c in poly.terms() if int(c) % p}
    if not whole:
        return [("0", 1)]
    _, factors = poly.factor_list()
    pieces: Counter[str] = Counter()
    product: Terms = {(0,) * len(poly.gens): 1}
    for factor, count in factors:
        reduced = {powers: int(c) % p for powers, c in factor.terms() if int(c) % p}
        if max(map(sum, reduced)) == 0:
            continue  # a constant modulo p
        split = _split(reduced, len(poly.gens), p)
        if split is None:
            return None
        for piece in split:
            pieces[_spelled_terms(piece, [str(g) for g in poly.gens], p)] += count
            for _ in range(count):
                product = _times(product, piece, p)
    some = next(iter(whole))
    unit = whole[some] * pow(product[some], -1, p) % p if some in product else 0
    if {powers: c * unit % p for powers, c in product.items()} != whole:
        return None
    constant = unit - p if unit > p // 2 else unit
    return ([(str(constant), 1)] if constant != 1 else []) + sorted(pieces.items())


Terms = dict[tuple[int, ...], int]
"""Exponents -> coefficient modulo p, none of them zero."""


def _split(terms: Terms, variables: int, p: int) -> list[Terms] | None:
    """Irreducible monic factors of a polynomial over the field."""
    if variables == 1:
        return [
            {(e,): c for (e,), c in piece.items()} for piece in _one_variable({e: c for (e,), c in terms.items()}, p)
        ]
    used = [max(powers[i] for powers in terms) for i in range(2)]
    if not used[1]:
        return [
            {(e, 0): c for (e,), c in piece.items()}
            for piece in _one_variable({a: c for (a, _), c in terms.items()}, p)
        ]
    if not used[0]:
        return [
            {(0, e): c for (e,), c in piece.items()}
            for piece in _one_variable({b: c for (_, b), c in terms.items()}, p)
        ]
    degrees = {sum(powers) for powers in terms}
    if len(degrees) == 1:
        return _homogeneous(terms, degrees.pop(), p)
    return _kronecker(terms, used[0] + 1, p)


def _one_variable(coefficients: dict[int, int], p: int) -> list[Terms]:
    """Monic irreducible factors in one variable, repeated as often as they occur."""
    from sympy import Poly, symbols

    x = symbols("x")
    poly = Poly.from_dict({(e,): c for e, c in coefficients.items()}, x, modulus=p)
    found: list[Terms] = []
    for factor, count in poly.factor_list()[1]:
        monic = factor.monic()
        found += [{powers: int(c) % p for powers, c in monic.terms() if int(c) % p}] * count
    return found


def _homogeneous(terms: Terms, degree: int, p: int) -> list[Terms]:
    """A form in two variables: b = 1, factor, and make homogeneous again; what the degree lost is a power of b."""
    low = min(b for _, b in terms)
    pieces = _one_variable({a: c for (a, _), c in terms.items()}, p)
    found = [{(e, max(k for (k,) in piece) - e): c for (e,), c in piece.items()} for piece in pieces]
    return found + [{(0, 1): 1}] * low


def _times(x: Terms, y: Terms, p: int) -> Terms:
    found: Counter[tuple[int, ...]] = Counter()
    for one, c in x.items():
        for other, d in y.items():
            powers = tuple(i + k for i, k in zip(one, other, strict=True))
            found[powers] = (found[powers] + c * d) % p
    return {powers: c for powers, c in found.items() if c}


def _kronecker(terms: Terms, base: int, p: int) -> list[Terms] | None:
    lead = terms[max(terms, key=lambda powers: (powers[1], powers[0]))]
    monic = {powers: c * pow(lead, -1, p) % p for powers, c in terms.items()}
    pieces = _one_variable({a + base * b: c for (a, b), c in monic.items()}, p)
    if len(pieces) > MAX_PIECES:
        return None
    back = lambda piece: {(e % base, e // base): c for (e,), c in piece.items()}  # noqa: E731
    for size in range(1, len(pieces) // 2 + 1):
        for chosen in itertools.combinations(range(len(pieces)), size):
            inside = [
                _flat_product([pieces[i] for i in side], p)
                for side in (chosen, [i for i in range(len(pieces)) if i not in chosen])
            ]
            u, v = back(inside[0]), back(inside[1])
            if _times(u, v, p) == monic:
                first, second = _split(u, 2, p), _split(v, 2, p)
                return None if first is None or second is None else first + second
    return [monic]


def _flat_product(pieces: list[Terms], p: int) -> Terms:
    product: Terms = {(0,): 1}
    for piece in pieces:
        product = _times(product, piece, p)
    return product


def _spelled(poly: Any) -> str:
    return str(poly.as_expr()).replace("**", "^")


def _spelled_terms(terms: Terms, names: list[str], p: int) -> str:
    from sympy import Poly, symbols

    signed = {powers: c - p if c > p // 2 else c for powers, c in terms.items()}
    return _spelled(Poly.from_dict(signed, *symbols(names)))
