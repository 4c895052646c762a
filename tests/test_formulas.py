import contextlib
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from epicycle.errors import ConfigError, FormulaError
from epicycle.tasks import grammar
from epicycle.tasks.operations import NAMES, OPERATIONS, answers, formula

A, B = np.divmod(np.arange(97 * 97), 97)
PAIRS = np.stack([A, B], 1)

PYTHON = {
    "a+b": lambda a, b: a + b, "a - b": lambda a, b: a - b, "2a-3b": lambda a, b: 2 * a - 3 * b,
    "ab": lambda a, b: a * b, "a^2b": lambda a, b: a**2 * b, "-a^2": lambda a, b: -(a**2),
    "(a+b)^2+a+b": lambda a, b: (a + b) ** 2 + a + b, "a**3+a*b^2+b": lambda a, b: a**3 + a * b**2 + b,
    "2(a+b)(a-b)": lambda a, b: 2 * (a + b) * (a - b), "a - b - 3": lambda a, b: a - b - 3,
    "3 - (a - b)": lambda a, b: 3 - (a - b), "-(a+b)": lambda a, b: -(a + b), "a*-b": lambda a, b: -a * b,
    "a² − b²": lambda a, b: a**2 - b**2, "0a+b": lambda a, b: b,
}  # fmt: skip


@pytest.mark.parametrize("text", PYTHON)
def test_value_is_that_of_python(text):
    value, defined = answers(formula(text), 97, PAIRS)
    assert defined.all() and (value == PYTHON[text](A, B) % 97).all()


def test_the_35_operations_of_the_paper():
    assert len(NAMES) == 35
    assert [len(family) for family in OPERATIONS.values()] == [3, 4, 3, 4, 7, 10, 4]
    assert len({formula(name).text for name in NAMES}) == 35
    value, _ = answers(formula("ab-b"), 97, PAIRS)
    assert (value == (A - 1) * B % 97).all()
    assert formula("multiply") == formula("a*b")


def test_division_leaves_out_what_has_no_inverse():
    value, defined = answers(formula("a/b"), 12, np.stack(np.divmod(np.arange(144), 12), 1))
    a, b = np.divmod(np.arange(144), 12)
    assert (defined == np.isin(b, (1, 5, 7, 11))).all()
    assert (value[defined] * b[defined] % 12 == a[defined]).all()
    inverse, _ = answers(formula("a*b^-1"), 12, np.stack([a, b], 1))
    assert (inverse == value).all()


def test_division_by_what_never_has_an_inverse():
    with pytest.raises(ConfigError, match=r"modulo 4, whose denominator never has an inverse; expected.*prime modulus"):
        answers(formula("a/(2b)"), 4, np.stack(np.divmod(np.arange(16), 4), 1))


def test_three_operands_and_random_tables():
    assert formula("a+b+c").num_operands == 3
    value, _ = answers(formula("a+b*c"), 5, np.array([[1, 2, 4], [0, 3, 3]]))
    assert value.tolist() == [4, 4]
    first, second = (answers(formula(f"random:{s}"), 97, PAIRS)[0] for s in (1, 2))
    assert (first != second).any() and (first == answers(formula("random:1"), 97, PAIRS)[0]).all()
    assert formula("random").text == "random:0"


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("a+x", "got the variable 'x'; expected a, b or c. Rename it.", 2),
        ("2*(a+b", "got no closing parenthesis for this one; expected ')'. Close it.", 2),
        ("a+b)", "got a closing parenthesis that was never opened; expected none. Take it out.", 3),
        ("a+*b", "got '*'; expected a number, a variable or '('. Take it out or fill in what it applies to.", 2),
        ("a+", "got the end of the formula; expected a number, a variable or '('. Finish it.", 2),
        ("", "got the end of the formula; expected a number, a variable or '('. Finish it.", 0),
        ("a2", "got a number right after another factor; expected a sign between them. Write * or ^ before it.", 1),
        ("a/2b", "got a slash before a product without a sign, which can be read in two ways", 1),
        ("2^a", "got an exponent that is not an integer; expected a number such as 2.", 2),
        ("a^2^2", "got a power of a power; expected one exponent. Add parentheses", 3),
        ("a $ b", "got the character '$'", 2),
        ("a+12345678901", "got a number of 11 digits; expected at most 9.", 2),
        ("a^99999", "got an exponent above 10000", 2),
        ("__import__", "got the character '_'", 0),
        ("(" * 50 + "a" + ")" * 50, "got parentheses nested more than 40 deep", 40),
    ],
)  # fmt: skip
def test_faults_have_a_sentence_and_a_caret(text, message, column):
    with pytest.raises(FormulaError) as caught:
        formula(text)
    lines = str(caught.value).split("\n")
    assert lines[0].startswith(message)
    assert lines[2] == "  " + " " * column + "^" and lines[1] == "  " + text


def test_a_formula_without_operands_or_too_long():
    with pytest.raises(FormulaError, match="without an operand"):
        formula("3+4")
    with pytest.raises(FormulaError, match="201 characters"):
        formula("a" * 201)


def _tree(depth, generator):
    kind = generator.choice("nva+-*^m") if depth else generator.choice("nv")
    if kind == "n":
        return grammar.Integer(generator.randrange(20))
    if kind in "va":
        return grammar.Variable(generator.choice("ab"))
    if kind == "^":
        return grammar.Power(_tree(depth - 1, generator), generator.randrange(4))
    if kind == "m":
        return grammar.Negative(_tree(depth - 1, generator))
    return grammar.Binary(kind, _tree(depth - 1, generator), _tree(depth - 1, generator))


def _direct(node, a, b):
    match node:
        case grammar.Integer(value):
            return value
        case grammar.Variable(name):
            return a if name == "a" else b
        case grammar.Negative(operand):
            return -_direct(operand, a, b)
        case grammar.Power(base, exponent):
            return _direct(base, a, b) ** exponent
        case grammar.Binary(sign, left, right):
            x, y = _direct(left, a, b), _direct(right, a, b)
            return x + y if sign == "+" else x - y if sign == "-" else x * y


@given(st.integers(0, 10**9))
def test_spelling_and_reading_again_changes_no_value(seed):
    generator = random.Random(seed)
    tree = _tree(4, generator)
    read = grammar.parse(grammar.spell(tree)) if len(grammar.spell(tree)) <= grammar.MAX_LENGTH else tree
    assert grammar.spell(read) == grammar.spell(tree)
    for a, b in ((0, 1), (3, 5), (10, 2)):
        assert _direct(read, a, b) == _direct(tree, a, b)


@given(st.text(max_size=30))
def test_any_text_is_a_formula_or_a_formula_error(text):
    with contextlib.suppress(FormulaError):
        formula(text)
