"""Forms, factors and interpolation against planted structure, brute force and the known algebra of the 35 operations."""

import itertools
import json

import numpy as np
import pytest

from epicycle.cli.main import main
from epicycle.errors import ConfigError
from epicycle.numbers.polynomials import degree, interpolate, spell
from epicycle.tasks import grammar, table_symmetries
from epicycle.tasks.factors import over_field, over_integers, polynomial
from epicycle.tasks.facts import task_facts, witness
from epicycle.tasks.forms import explained, null_space, product_form, sum_form
from epicycle.tasks.modular import TaskConfig, modular_task
from epicycle.tasks.operation_names import OPERATIONS
from epicycle.tasks.separation import inner_product, inner_sum

RANDOM = np.random.default_rng(0)


def table_of(text, p):
    task = modular_task(TaskConfig(formulas=(text,), modulus=p))
    found = np.full((p, p), -1)
    found[tuple(task.operands.T)] = np.where(task.defined[0], task.labels[0], -1)
    return found


def holds(form, table):
    """The witness gives every answer of the table."""
    p = len(table)
    argument = (form.g1[:, None] + form.g2) % p if form.kind == "sum" else form.g1[:, None] * form.g2 % p
    return (form.h[argument] == table)[table >= 0].all()


@pytest.mark.parametrize("p", [5, 11, 13])
def test_interpolation_takes_its_values(p):
    values = RANDOM.integers(0, p, p)
    c = interpolate(values)
    assert [sum(int(ck) * pow(x, k, p) for k, ck in enumerate(c)) % p for x in range(p)] == values.tolist()
    x = np.arange(p)
    assert spell(interpolate((x**3 - 2 * x + 1) % p), "x", p) == "x^3 - 2x + 1"
    assert spell(interpolate(-x % p), "x", p) == "-x"
    assert (degree(np.zeros(3, int)), spell(np.zeros(3, int), "x", p)) == (-1, "0")
    with pytest.raises(ConfigError, match="prime"):
        interpolate(np.arange(6))


def test_null_space_solves_and_is_whole():
    matrix = RANDOM.integers(0, 7, (4, 6))
    matrix[3] = (matrix[0] + 2 * matrix[1]) % 7
    basis = null_space(matrix, 7)
    assert not (matrix @ basis.T % 7).any()
    assert len(basis) == 6 - 3


@pytest.mark.parametrize("p", [11, 13, 24])
@pytest.mark.parametrize("images", ["all", "few"])
def test_planted_sums_are_found_with_their_witness(p, images):
    g1, g2 = RANDOM.permutation(p), RANDOM.permutation(p)
    h = RANDOM.permutation(p) if images == "all" else RANDOM.integers(0, 3, p)
    table = h[(g1[:, None] + g2) % p]
    found = sum_form(table)
    assert found.exists and holds(found, table)
    assert found.is_injective == (images == "all")


@pytest.mark.parametrize("p", [13, 17])
@pytest.mark.parametrize("images", ["all", "few"])
def test_planted_products_are_found_with_their_witness(p, images):
    g1, g2 = RANDOM.permutation(p), RANDOM.permutation(p)
    h = RANDOM.permutation(p) if images == "all" else np.append(3, RANDOM.integers(0, 3, p - 1))
    table = h[g1[:, None] * g2 % p]
    found = product_form(table)
    assert found.exists and holds(found, table)


def test_sums_of_values_that_do_not_cover_the_field():
    p = 13
    g1, g2, h = RANDOM.choice(p, 5)[RANDOM.integers(0, 5, p)], RANDOM.permutation(p), RANDOM.permutation(p)
    table = h[(g1[:, None] + g2) % p]
    found = sum_form(table)
    assert found.exists and holds(found, table)
    squares = table_of("a^2 + b^2", 13)
    assert sum_form(squares).exists
    assert holds(sum_form(squares), squares)


def test_refusals_are_right_by_brute_force():
    """Modulo 5 every pair of bijections is tried: the procedure says no exactly where none fits."""
    p, tried = 5, []
    for seed in range(24):
        table = np.random.default_rng(seed).integers(0, 3 if seed % 2 else p, (p, p))
        if seed % 3 == 0:
            g1, g2 = np.random.default_rng(seed).permutation(p), np.random.default_rng(seed + 99).permutation(p)
            table = np.random.default_rng(seed).integers(0, 3, p)[(g1[:, None] + g2) % p]
        if min(len(np.unique(table, axis=0)), len(np.unique(table.T, axis=0))) < p:
            continue
        # without loss of generality x[0] = 0, x[1] = 1 and y[0] = 0
        fits = any(_is_function((np.array([0, 1, *rest])[:, None] + np.array([0, *others])) % p, table)
                   for rest in itertools.permutations(range(2, p)) for others in itertools.permutations(range(1, p)))  # fmt: skip
        assert sum_form(table).exists == fits
        tried.append(fits)
    assert {True, False} == set(tried)


def test_refusals_by_counting_are_right_by_brute_force():
    """Five different rows, columns that repeat or have no answers: all g1 and g2 modulo 5 are tried."""
    p, tried = 5, []
    inner = [
        (np.array([0, *g1]), np.array([0, *g2]))
        for g1 in itertools.permutations(range(1, p))
        for g2 in itertools.product(range(p), repeat=p - 1)
    ]
    for seed in range(30):
        generator = np.random.default_rng(seed)
        table = generator.integers(0, 4, (p, p))
        if seed % 2:
            table = generator.integers(0, 4, p)[(generator.permutation(p)[:, None] + generator.integers(0, 3, p)) % p]
        if seed % 3 == 0:
            table[:, generator.integers(p)] = -1
        whole = table[:, (table >= 0).all(0)]
        if len(np.unique(whole, axis=0)) < p or (len(np.unique(whole.T, axis=0)) == p):
            continue
        fits = any(explained(table, "sum", *pair, "") for pair in inner)
        found = sum_form(table).exists
        assert found in (fits, None)
        tried.append((fits, found))
    assert (False, False) in tried and any(fits for fits, _ in tried)


@pytest.mark.parametrize(
    ("text", "exists"),
    [
        ("a^2*b", False),
        ("a^4*b", False),
        ("a^2*b + b", False),
        ("a/b", False),
        ("a^2 + b", True),
        ("a^2*b^2 + 1", None),
    ],
)
def test_what_counting_answers_settles(text, exists):
    assert sum_form(table_of(text, 13)).exists is exists


def test_witness_modulo_a_composite_number():
    """What is linear as it stands is spelled out; other tables are in --json alone."""
    assert witness(sum_form(table_of("2*a + b + 3", 24))) == {"g1": "2a", "g2": "b + 3", "h": "x"}
    assert witness(sum_form(table_of("a^2 + b", 24))) is None


@pytest.mark.parametrize("modulus", [4, 9, 24, 96])
@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("a*b", "product"),
        ("a*b + a + b", "product"),
        ("a^2*b", "product"),
        ("(2a + 1)^3*(3b + 2)^2", "product"),
        ("(a + b)^3", "sum"),
        ("(a + 2b)^2", "sum"),
        ("(a^2 + a + b)^2", "sum"),
    ],
)
def test_forms_that_a_formula_shows_modulo_composite_numbers(text, kind, modulus):
    """Modulo no prime the table is not searched, but what the formula's derivatives suggest is tried on it."""
    task = modular_task(TaskConfig(formulas=(text,), modulus=modulus, train_fraction=0.5))
    form = getattr(task_facts(task), kind)
    assert form.exists and holds(form, table_of(text, modulus))


def test_a_linear_witness_with_another_h_modulo_a_composite_number():
    form = task_facts(modular_task(TaskConfig(formulas=("(a + 2b)^2",), modulus=24))).sum
    assert witness(form) == {"g1": "a", "g2": "2b", "h": "a table of 24 of 24 values"}
    assert (form.h == np.arange(24) ** 2 % 24).all()


def _is_function(argument, table):
    return all(len(np.unique(table[argument == s])) == 1 for s in range(len(table)))


@pytest.mark.parametrize(
    ("text", "modulus", "kind", "g1", "g2"),
    [
        ("(a - b)^12", 13, "sum", "a", "-b"),
        ("(a - 2b)^112", 113, "sum", "a", "-2b"),
        ("(a*b - 1)^96", 97, "product", "a", "b"),
        ("3*(a^2 + b)^96 + 5", 97, "sum", "a^2", "b"),
        ("(a^2*b^2 + 1)^5", 97, "product", "a^2", "b^2"),
    ],
)
def test_tables_of_few_answers_have_forms_that_are_found_at_once(text, modulus, kind, g1, g2):
    """An indicator of a = b has as many symmetries as there are permutations: the search cuts what closes a shorter cycle."""
    form = getattr(task_facts(modular_task(TaskConfig(formulas=(text,), modulus=modulus))), kind)
    assert form.exists and holds(form, table_of(text, modulus))
    found = witness(form)
    assert (found["g1"], found["g2"]) == (g1, g2)


def test_too_many_symmetries_are_not_decided(monkeypatch):
    """Cycles exist, but with hardly a try allowed it is said that this is not known."""
    table = np.eye(12, dtype=int)
    assert sum_form(table).exists and holds(sum_form(table), table)
    monkeypatch.setattr(table_symmetries, "MOST_TRIED", 3)
    assert sum_form(table).exists is None and "too many symmetries" in sum_form(table).reason
    table = np.pad(np.eye(12, dtype=int), ((1, 0), (1, 0)), constant_values=2)
    assert product_form(table).exists is None and "too many symmetries" in product_form(table).reason
    monkeypatch.undo()
    assert product_form(table).exists and holds(product_form(table), table)


def test_equal_rows_are_equal_factors_and_h_stays_injective():
    """(a^2 b^2 + 1)^5 is a function of a^2 b^2 that gives no answer twice: 5 and 96 have no common divisor."""
    form = product_form(table_of("(a^2*b^2 + 1)^5", 97))
    assert form.is_injective and holds(form, table_of("(a^2*b^2 + 1)^5", 97))


def test_random_tables_have_no_form():
    for seed in range(3):
        table = np.random.default_rng(seed).integers(0, 31, (31, 31))
        assert sum_form(table).exists is False
        assert product_form(table).exists is False


CROSS_TERMS = tuple(OPERATIONS["cross term, degree n"].values())
PRODUCTS = {"a*b", "a*b + a + b", "a*b + b", "a*b - b"}


@pytest.mark.parametrize("text", [text for family in OPERATIONS.values() for text in family.values()])
def test_the_published_operations_modulo_97(text):
    """All but the four with a cross term of higher degree have one of the forms: Doshi et al. 2024, and the specification's algebra."""
    table = table_of(text, 97)
    by_sum, by_product = sum_form(table), product_form(table)
    for form in (by_sum, by_product):
        assert not form.exists or holds(form, table)
    if text in CROSS_TERMS:
        assert (by_sum.exists, by_product.exists) == (False, False)
    elif text in PRODUCTS:
        assert (by_sum.exists, by_product.exists) == (False, True)
    else:
        assert by_sum.exists and by_product.exists is False


def test_products_are_refuted_by_brute_force():
    """Modulo 5 all g1 and g2 are tried, zeros and repetitions too, wherever the procedure says no."""
    p, tried = 5, []
    inner = np.array([g for g in itertools.product(range(p), repeat=p) if not any(g) or next(filter(None, g)) == 1])
    for seed in range(9):
        generator = np.random.default_rng(seed)
        g1, g2 = generator.integers(0, p, (2, p))
        planted = generator.integers(0, 3, p)[g1[:, None] * g2 % p]
        sums = (g1[:, None] ** 2 + g2**2 * (1 + seed % 2)) % p
        table = (planted, sums, generator.integers(0, p, (p, p)))[seed % 3]
        form = product_form(table)
        fits = False
        for one in inner:
            arguments = one[:, None] * inner[:, None, :] % p
            some = np.stack([np.where(arguments == v, table, -1).max((1, 2)) for v in range(p)], 1)
            fits |= bool(
                (np.take_along_axis(some, arguments.reshape(len(inner), -1), 1) == table.reshape(-1)).all(1).any()
            )
        assert form.exists is None or form.exists == fits
        tried.append(form.exists)
    assert {True, False} <= set(tried)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("(a^2 + b^2)^2", "sum"),
        ("(2a^2 - 3b^2)^3", "sum"),
        ("(a^4 + a + 2b^2)^2 + 5", "sum"),
        ("((a^2 + 1)*(b^2 + 3))^2", "product"),
        ("(a^2*b^4 - a^2*b)^2 + a^2*b^4 - a^2*b", "product"),
    ],
)
def test_an_outer_function_that_is_not_injective_is_seen_through_by_derivatives(text, kind):
    facts = task_facts(modular_task(TaskConfig(formulas=(text,), modulus=97)))
    form = facts.sum if kind == "sum" else facts.product
    assert form.exists and holds(form, table_of(text, 97))
    inner = inner_sum if kind == "sum" else inner_product
    assert inner(polynomial(grammar.parse("a^2 + a*b + b^2")), 97) is None


def test_a_candidate_that_does_not_explain_the_table_is_refused():
    assert explained(table_of("a*b", 7), "sum", np.arange(7), np.arange(7), "tried") is None
    g1, g2 = inner_sum(
        polynomial(grammar.parse("a^7 + 7b^2")), 7
    )  # its derivatives leave a^7 / 7, which 7 times is a^7
    assert explained(table_of("a^7 + 7b^2", 7), "sum", g1, g2, "tried").exists
    assert inner_sum(polynomial(grammar.parse("a*b + a^2")), 7) is None


def test_witnesses_are_written_as_people_would():
    assert witness(product_form(table_of("a*b + a + b", 97))) == {"g1": "a + 1", "g2": "b + 1", "h": "x - 1"}
    assert witness(sum_form(table_of("2a + 3b", 97)))["g1"] == "a"
    assert witness(sum_form(table_of("(a + b)^2", 97)))["h"].startswith("x^2")
    assert witness(sum_form(table_of("a^2 + b^2", 97))) == {"g1": "a^2", "g2": "b^2", "h": "x"}
    assert witness(product_form(table_of("a*b - b", 97)))["g1"] == "a - 1"
    assert witness(sum_form(table_of("a*b", 97))) is None


@pytest.mark.parametrize("text", ["a*b", "a + b", "a*b + a + b", "a^2*b + b"])
def test_the_smallest_field_has_witnesses_too(text):
    """Modulo 2 there is one unit: no exponent and no scale to choose."""
    table, found = (
        table_of(text, 2),
        task_facts(modular_task(TaskConfig(formulas=(text,), modulus=2, train_fraction=0.5))),
    )
    assert text != "a*b" or found.product.exists
    for form, join in ((found.sum, np.add), (found.product, np.multiply)):
        names = witness(form) if form.exists else None
        if names is not None:
            g1, g2 = (np.array([_value(grammar.parse(names[name]), x, x) for x in (0, 1)]) for name in ("g1", "g2"))
            reached = join(g1[:, None], g2[None]) % 2
            assert all(len(np.unique(table[reached == value])) < 2 for value in (0, 1))


def test_division_is_a_product():
    table = table_of("a/b", 13)
    found = product_form(table)
    assert found.exists and holds(found, table)
    assert sum_form(table).exists is False  # its first row is constant, its columns run through all answers


def _multiplied(factors, p, a, b):
    value = 1
    for text, count in factors:
        node = grammar.parse(text.replace("**", "^"))
        value = value * pow(_value(node, a, b), count, p) % p
    return value


def _value(node, a, b):
    match node:
        case grammar.Integer(value):
            return value
        case grammar.Variable(name):
            return {"a": a, "b": b}[name]
        case grammar.Negative(operand):
            return -_value(operand, a, b)
        case grammar.Power(base, exponent):
            return _value(base, a, b) ** exponent
        case grammar.Binary(sign, left, right):
            x, y = _value(left, a, b), _value(right, a, b)
            return x + y if sign == "+" else x - y if sign == "-" else x * y


@pytest.mark.parametrize("p", [59, 97, 113])
@pytest.mark.parametrize("text", ["a^2 + a*b + b^2", "a^2 - b^2", "(a+b)^2 + a + b", "a^3 + a*b", "a^3 + a*b^2 + b", "a^4 + b^4", "a^7 + b^7", "2a + 3b",
                                  "a^2 + a*b + b^2 + a", "a*b + a + b", "3a^2b", "(a^2+b+1)(a+b^2+2)"])  # fmt: skip
def test_factors_multiply_back(text, p):
    poly = polynomial(grammar.parse(text))
    for factors in (over_integers(poly), over_field(poly, p)):
        assert factors is not None
        for a, b in RANDOM.integers(0, p, (20, 2)).tolist():
            assert _multiplied(factors, p, a, b) == _value(grammar.parse(text), a, b) % p


@pytest.mark.parametrize(
    "text",
    [
        "2a^2 + 3b",
        "2b^2 + a",
        "a*(2b^2 + a)",
        "7a + b",
        "7a*b + a + b",
        "(7a + 3)*b",
        "14a*b",
        "3a^2*b + 6b",
        "5(a+b)^3",
    ],
)
def test_factors_multiply_back_where_coefficients_vanish(text):
    poly, p = polynomial(grammar.parse(text)), 7
    factors = over_field(poly, p)
    for a, b in itertools.product(range(p), repeat=2):
        assert _multiplied(factors, p, a, b) == _value(grammar.parse(text), a, b) % p


def test_a_form_with_a_hole_is_not_refuted():
    """a*g2(b), undefined at (0, 0) alone: a form exists, so `no` would be wrong."""
    table = np.arange(7)[:, None] * np.array([1, 1, 2, 3, 4, 5, 6]) % 7
    table[0, 0] = -1
    assert product_form(table).exists is None


def test_what_splits_where():
    """a^2 + ab + b^2 splits where -3 is a square: modulo 97, not 59 or 113. a^4 + b^4 splits whenever 8 divides p - 1."""
    form = polynomial(grammar.parse("a^2 + a*b + b^2"))
    assert len(over_integers(form)) == 1
    assert [len(over_field(form, p)) for p in (97, 59, 113)] == [2, 1, 1]
    assert len(over_field(polynomial(grammar.parse("a^4 + b^4")), 97)) == 4
    assert over_integers(polynomial(grammar.parse("(a+b)^2 + a + b"))) == [("a + b", 1), ("a + b + 1", 1)]
    assert over_field(polynomial(grammar.parse("a*b + a + b")), 97) == [("a*b + a + b", 1)]
    hidden = polynomial(grammar.parse("(a^2 + b + 1)(a + b^2 + 2) + 97a*b"))
    assert len(over_integers(hidden)) == 1  # irreducible over the integers, not over the field
    assert len(over_field(hidden, 97)) == 2
    assert polynomial(grammar.parse("a/b")) is None
    assert polynomial(grammar.parse("a^50 + b")) is None


def test_facts_of_a_task():
    found = task_facts(modular_task(TaskConfig(formulas=("a^2 + a*b + b^2",))))
    assert (found.labels, found.is_symmetric, found.bijective) == (97, True, {"a": False, "b": False})
    assert found.basis == "none known"
    assert found.baseline == pytest.approx(0.3 + 0.7 * found.guess, abs=0.03)
    assert found.divergence > 0
    plain = task_facts(modular_task(TaskConfig(formulas=("a - b",), modulus=11, train_fraction=0.5)))
    assert (plain.is_symmetric, plain.bijective, plain.basis) == (False, {"a": True, "b": True}, "additive")
    assert plain.baseline == plain.guess
    powers = task_facts(modular_task(TaskConfig(formulas=("a^3 + 2b",), modulus=13)))
    assert powers.basis == "additive after relabelling a"
    three = task_facts(modular_task(TaskConfig(formulas=("a + b + c",), modulus=5)))
    assert three.sum is None and three.bijective == {"a": True, "b": True, "c": True}
    for formula, modulus in (
        ("2a+4b", 12),
        ("a^2+b", 12),
        ("a^-1+b", 13),
        ("3a+1", 9),
    ):  # the formula itself is the witness
        task = modular_task(TaskConfig(formulas=(formula,), modulus=modulus))
        form = task_facts(task).sum
        assert form.exists, formula
        a, b = task.operands[task.defined[0]].T
        assert (form.h[(form.g1[a] + form.g2[b]) % modulus] == task.labels[0][task.defined[0]]).all()
    assert task_facts(modular_task(TaskConfig(formulas=("2a*b",), modulus=12))).sum.exists is None
    division = task_facts(modular_task(TaskConfig(formulas=("a/b",), modulus=13)))
    assert division.bijective == {"a": True, "b": False}  # b = 0 has no answer, and no b makes 0 of another a
    with pytest.raises(ConfigError):
        task_facts(modular_task(TaskConfig(formulas=("a + b", "a*b"), modulus=5)))
    label_counts = [task_facts(modular_task(TaskConfig(formulas=(f"(a + b)^{n}",)))).labels for n in range(2, 8)]
    assert label_counts == [49, 33, 25, 97, 17, 97]


def lookup_by_hand(table, train, test):
    """Answer each test question from a trained one whose row and column (either way round, if symmetric) read the same."""
    n = len(table)
    rows = [tuple(table[a]) for a in range(n)]
    columns = [tuple(table[:, b]) for b in range(n)]
    is_symmetric = (table == table.T).all()
    known = {(rows[a], columns[b]) for a, b in train}
    if is_symmetric:
        known |= {(rows[b], columns[a]) for a, b in train}
    rest = [table[a, b] for a, b in test if (rows[a], columns[b]) not in known]
    return (len(test) - len(rest) + max((rest.count(x) for x in rest), default=0)) / len(test)


@pytest.mark.parametrize("text", ["a^2 + b^2", "a^2 - b^2", "a^4 + b^4", "a^3 + b", "a - b", "(a + b)^2", "a^2*b"])
def test_looking_up_interchangeable_numbers(text):
    task = modular_task(TaskConfig(formulas=(text,), modulus=13, train_fraction=0.3))
    table = np.zeros((13, 13), int)
    table[tuple(task.operands.T)] = task.labels[0]
    sides = [[tuple(map(int, task.operands[i])) for i in part] for part in (task.train[0], task.test[0])]
    assert task.lookup_accuracy() == pytest.approx(lookup_by_hand(table, *sides), abs=1e-12)


def test_sixth_powers_need_no_arithmetic():
    """96 / gcd(6, 96) = 16 classes and 0: every pair of classes is among the trained questions."""
    powers = modular_task(TaskConfig(formulas=("a^6 + b^6",)))
    assert powers.lookup_accuracy() == 1.0
    assert powers.baseline_accuracy() < 0.35


@pytest.mark.parametrize(
    ("text", "together"),
    [
        ("a^2 + b^2 + c^2", [[0, 1, 2]]),
        ("a^2 + b^2 + c", [[0, 1], [2]]),
        ("a + b^2 + c", [[0, 2], [1]]),
        ("a - b^2*c^2", [[0], [1, 2]]),
    ],
)
def test_order_and_lookup_with_three_operands(text, together):
    """Against plain loops: operands exchanged where order does not matter, every relabelling that leaves a square alone."""
    task = modular_task(TaskConfig(formulas=(text,), modulus=7, train_fraction=0.2))
    assert task.exchangeable() == together and task.is_symmetric() == (len(together) == 1)
    squared = [k for k, name in enumerate("abc") if f"{name}^2" in text]
    order = lambda t: tuple(x for places in together for x in sorted(t[k] for k in places))  # noqa: E731
    train = [tuple(map(int, task.operands[i])) for i in task.train[0]]
    for function, value in (
        (task.baseline_accuracy, order),
        (task.lookup_accuracy, lambda t: order([x * x % 7 if k in squared else x for k, x in enumerate(t)])),
    ):
        known = {value(t) for t in train}
        rest, hits = [], 0
        for i in task.test[0]:
            if value(tuple(map(int, task.operands[i]))) in known:
                hits += 1
            else:
                rest.append(int(task.labels[0, i]))
        hits += max((rest.count(x) for x in rest), default=0)
        assert function() == pytest.approx(hits / len(task.test[0]), abs=1e-12)


@pytest.mark.parametrize(
    ("text", "modulus", "kind", "expected"),
    [
        ("a^2*b^2", 97, "product", {"g1": "a^2", "g2": "b^2", "h": "x"}),
        ("a^7+b^7", 113, "sum", {"g1": "a^7", "g2": "b^7", "h": "x"}),
        ("a^4+b^4", 13, "sum", {"g1": "a^4", "g2": "b^4", "h": "x"}),
        ("ab+a+b", 97, "product", {"g1": "a + 1", "g2": "b + 1", "h": "x - 1"}),
    ],
)
def test_the_obvious_witness_comes_first(text, modulus, kind, expected, capsys):
    """And its tables, in JSON, explain every answer."""
    assert main(["task", text, "--modulus", str(modulus), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)[kind]
    assert found["witness"] == expected
    g1, g2, h = (np.array(found["tables"][name]) for name in ("g1", "g2", "h"))
    a, b = np.ogrid[:modulus, :modulus]
    inner = g1[:, None] + g2 if kind == "sum" else g1[:, None] * g2
    own = {"a^2*b^2": a**2 * b**2, "a^7+b^7": a**7 + b**7, "a^4+b^4": a**4 + b**4, "ab+a+b": a * b + a + b}[text]
    assert (h[inner % modulus] == own % modulus).all()


@pytest.mark.parametrize(
    ("text", "modulus"), [("a^3*b - a*b", 3), ("a^2*b - a*b", 2), ("(7*a*b + 2*a*b^3)*(7 - 7*b^3)", 3)]
)
def test_a_factor_that_vanishes_has_a_form_too(text, modulus):
    """a^3 = a modulo 3: a product of nothing, with no leading coefficient to take out."""
    found = task_facts(modular_task(TaskConfig(formulas=(text,), modulus=modulus, train_fraction=0.5)))
    form = found.product
    assert form.kind == "product" and set(witness(form)) >= {"g1", "g2", "h"}
    np.testing.assert_array_equal(form.h[np.outer(form.g1, form.g2) % modulus], np.zeros((modulus, modulus)))


def test_baselines_of_one_formula_of_a_mixture():
    """a + b can be answered from swapped pairs, a - b cannot; each alone has the same as in the mixture with the same split."""
    both = modular_task(TaskConfig(formulas=("a+b", "a-b"), modulus=23, train_fraction=0.7))
    alone = [modular_task(TaskConfig(formulas=(text,), modulus=23, train_fraction=0.7)) for text in ("a+b", "a-b")]
    for function in ("baseline_accuracy", "swap_leakage"):
        each = [getattr(both, function)(i) for i in range(2)]
        assert each == [getattr(task, function)() for task in alone]
        assert getattr(both, function)() == pytest.approx(np.mean(each))
    assert both.baseline_accuracy(0) > 0.6 > 0.2 > both.baseline_accuracy(1)
