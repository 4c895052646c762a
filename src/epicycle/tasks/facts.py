"""What is known of a modular task before anything is trained: symmetry, labels, factors, form, and what needs no rule."""

from typing import Any, NamedTuple

import numpy as np

from epicycle.errors import ConfigError
from epicycle.numbers.polynomials import degree, interpolate, spell
from epicycle.numbers.residues import is_prime, primitive_root
from epicycle.tasks.factors import over_field, over_integers, polynomial
from epicycle.tasks.forms import Form, explained, product_form, sum_form
from epicycle.tasks.grammar import Binary, Integer, Negative, Node, Power
from epicycle.tasks.label_statistics import label_statistics
from epicycle.tasks.modular import Task
from epicycle.tasks.separation import inner_product, inner_sum

MOST_TERMS = 12
"""A polynomial of more terms says no more than its table."""


class TaskFacts(NamedTuple):
    """Facts of one formula modulo p.

    labels: Different answers. is_symmetric: the order of the operands does not matter; exchangeable: operands, those together of which it does not. bijective: per operand, f is a bijection of it for every value
    of the others for which it is defined at all. factors: over the integers, and over the field; None where there is no polynomial or it was not decided. sum,
    product: the forms h(g1(a) + g2(b)) and h(g1(a) * g2(b)). basis: in which a network that uses the form would be sparse.
    guess: accuracy of the commonest answer. baseline: of memory, symmetry and the commonest answer. lookup: the same with
    interchangeable numbers (`Task.lookup_accuracy`). divergence, entropies:
    label histograms of the split, nats.
    """

    formula: str
    modulus: int
    pairs: int
    labels: int
    is_symmetric: bool
    exchangeable: list[str]
    bijective: dict[str, bool]
    factors_integers: list[tuple[str, int]] | None
    factors_field: list[tuple[str, int]] | None
    sum: Form | None
    product: Form | None
    basis: str
    guess: float
    baseline: float
    lookup: float
    divergence: float
    train_entropy: float
    test_entropy: float


def task_facts(task: Task) -> TaskFacts:
    """Facts of a task of one formula.

    Raises:
        ConfigError: It is a mixture, or has operands beyond the modulus.
    """
    p, rule = task.config.modulus, task.rules[0]
    if task.num_tasks > 1 or task.config.operand_range != "modulus" or task.config.zeros != "included":
        raise ConfigError(
            f"got {task.num_tasks} formulas over {task.config.operand_range} operands, zeros {task.config.zeros}; expected one over 0..p-1. Ask for each apart."
        )
    count = task.operands.shape[1]
    table = np.full((p,) * count, -1)
    table[tuple(task.operands.T)] = np.where(task.defined[0], task.labels[0], -1)
    poly = polynomial(rule.node)
    forms = _forms(table, rule.node) if count == 2 else (None, None)
    statistics = label_statistics(task)
    return TaskFacts(
        formula=rule.text, modulus=p, pairs=int((table >= 0).sum()), labels=len(np.unique(table[table >= 0])), is_symmetric=task.is_symmetric(),
        exchangeable=["".join("abc"[k] for k in places) for places in task.exchangeable()],
        bijective={name: _is_bijective(table, axis) for axis, name in enumerate("abc"[:count])},
        factors_integers=None if poly is None else over_integers(poly),
        factors_field=None if poly is None or not is_prime(p) else over_field(poly, p),
        sum=forms[0], product=forms[1], basis=_basis(*forms), guess=task.guessing_accuracy(), baseline=task.baseline_accuracy(), lookup=task.lookup_accuracy(),
        divergence=statistics.divergence, train_entropy=statistics.train_entropy, test_entropy=statistics.test_entropy,
    )  # fmt: skip


def _forms(table: np.ndarray, node: Node | None) -> tuple[Form, Form]:
    """The two forms from the table; where they are not decided, or one argument has several answers, what the derivatives of the formula suggest is tried."""
    poly = polynomial(_inner(node))
    found = []
    for form, inner in ((sum_form(table), inner_sum), (product_form(table), inner_product)):
        candidate = None
        if poly is not None and form.exists is not False and not form.is_injective:
            candidate = inner(poly, len(table))
        reason = "g1 and g2 from the formula's derivatives explain the whole table"
        found.append(form if candidate is None else explained(table, form.kind, *candidate, reason) or form)
    return found[0], found[1]


def _inner(node: Node | None) -> Node | None:
    """The formula without the powers and constants around it, which are a matter of h."""
    while True:
        if isinstance(node, Power):
            node = node.base
        elif isinstance(node, Negative):
            node = node.operand
        elif isinstance(node, Binary) and Integer in (type(node.left), type(node.right)):
            node = node.left if isinstance(node.right, Integer) else node.right
        else:
            return node


def _is_bijective(table: np.ndarray, axis: int) -> bool:
    moved = np.sort(np.moveaxis(table, axis, 0).reshape(len(table), -1), axis=0)
    moved = moved[:, (moved >= 0).any(0)]
    return bool(moved.size) and bool((moved == np.arange(len(table))[:, None]).all())


def _is_affine(values: np.ndarray) -> bool:
    steps = np.diff(values) % len(values)
    return len(np.unique(steps)) == 1


def _basis(by_sum: Form | None, by_product: Form | None) -> str:
    """In words; `none known` is no proof that there is none."""
    if by_sum is None:
        return "not looked for: only with two operands"
    found = []
    if by_sum.exists:
        assert by_sum.g1 is not None and by_sum.g2 is not None
        affine = [_is_affine(g) for g in (by_sum.g1, by_sum.g2)]
        found.append(
            "additive"
            if all(affine)
            else f"additive after relabelling {' and '.join(n for n, ok in zip('ab', affine, strict=True) if not ok)}"
        )
    if by_product is not None and by_product.exists:
        found.append("multiplicative (of the shifted operands, where the witness shifts them)")
    return " or ".join(found) or "none known"


def witness(form: Form) -> dict[str, str] | None:
    """g1, g2 and h as polynomials of up to `MOST_TERMS` terms, in the rescaled form of lowest degree; None where there is no form.

    Modulo what is no prime only g1 and g2 that are linear as they are have one here; None for others.
    """
    if not form.exists or form.g1 is None or form.g2 is None or form.h is None:
        return None
    if not is_prime(len(form.g1)):
        if not (_is_affine(form.g1) and _is_affine(form.g2)):
            return None
        h = _line(form.h, "x") if _is_affine(form.h) else _counted(form.h)
        return {"g1": _line(form.g1, "a"), "g2": _line(form.g2, "b"), "h": h}
    p = len(form.g1)
    best: tuple[int, Any] | None = None
    for g1, g2, h in _variants(form, p):
        polynomials = [interpolate(g) for g in (g1, g2)]
        size = sum(degree(c) for c in polynomials)
        if best is None or size < best[0]:
            best = size, (polynomials, (g1, g2), h)
    assert best is not None
    polynomials, values, h = best[1]
    spelled = [spell(c, name, p) if np.count_nonzero(c) <= MOST_TERMS else _counted(g) for c, g, name in zip(polynomials, values, "ab", strict=True)]  # fmt: skip
    outer = interpolate(h) if (h >= 0).all() else None
    if outer is not None and np.count_nonzero(outer) <= MOST_TERMS:
        return {"g1": spelled[0], "g2": spelled[1], "h": spell(outer, "x", p)}
    return {"g1": spelled[0], "g2": spelled[1], "h": _counted(h)}


def _line(values: np.ndarray, name: str) -> str:
    return spell(np.array([values[0], (values[1] - values[0]) % len(values)]), name, len(values))


def _counted(h: np.ndarray) -> str:
    return f"a table of {int((h >= 0).sum())} of {len(h)} values"


def _variants(form: Form, p: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The same form written differently: sums scaled, exponents of products multiplied by units."""
    assert form.g1 is not None and form.g2 is not None and form.h is not None
    if form.kind == "sum":
        lead = [c[degree(c)] for c in map(interpolate, (form.g1, form.g2)) if degree(c) > 0]
        scale = pow(int(lead[0]), -1, p) if lead else 1
        g1, g2 = (form.g1 - form.g1[0]) * scale % p, (form.g2 - form.g2[0]) * scale % p
        shift = int(form.g1[0] + form.g2[0])
        h = form.h[(np.arange(p) * pow(scale, -1, p) + shift) % p]
        return [(g1, g2, h)]
    root = primitive_root(p)
    log = {pow(root, e, p): e for e in range(p - 1)}
    found = []
    for unit in (u for u in range(1, p) if np.gcd(u, p - 1) == 1):
        power = np.array([0] + [pow(root, log[x] * unit % (p - 1), p) for x in range(1, p)])
        h = np.full(p, -1)
        h[power] = form.h
        g1, g2 = power[form.g1], power[form.g2]
        for g in (g1, g2):  # leading coefficients into h; a factor that vanishes has none
            c = interpolate(g)
            lead = int(c[degree(c)]) or 1
            h = h[np.arange(p) * lead % p]
            g[:] = g * pow(lead, -1, p) % p
        found.append((g1, g2, h))
    return found
