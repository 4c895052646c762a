"""How a formula, or the name of a published operation, becomes a table of answers."""

import dataclasses
import re

import numpy as np
from jaxtyping import Bool, Int

from epicycle.errors import ConfigError, FormulaError
from epicycle.numbers.residues import inverses
from epicycle.tasks import grammar
from epicycle.tasks.operation_names import OPERATIONS

NAMES = {name: text for family in OPERATIONS.values() for name, text in family.items()}
RANDOM = re.compile(r"random(?::(?P<seed>\d{1,9}))?$")
MAX_EXAMPLES = 5_000_000


@dataclasses.dataclass(frozen=True)
class Formula:
    """A rule that gives every tuple of operands an answer, or none.

    `node` is None for a random table, whose answers are drawn from `random_seed`.
    """

    text: str
    node: grammar.Node | None
    num_operands: int
    random_seed: int = 0

    @property
    def op_symbol(self) -> str:
        """The sign that the published code puts between the operands: + - * for those, = for polynomials."""
        return {"a + b": "+", "a - b": "-", "a*b": "*", "a/b": "/"}.get(self.text, "=")


def formula(text: str) -> Formula:
    """Read a formula, the name of an operation, or `random` / `random:SEED`.

    Raises:
        FormulaError: It cannot be read, or names no operand.
    """
    text = text.strip()
    if match := RANDOM.match(text):
        seed = int(match["seed"] or 0)
        return Formula(f"random:{seed}", None, 2, seed)
    if text.lower().startswith("random"):
        raise FormulaError(
            f"got {text!r}; expected `random` or `random:SEED` with a seed of at most 9 digits. Try random:0."
        )
    node = grammar.parse(NAMES.get(text, text))
    used = grammar.variables(node)
    if not used & set("abc"):
        raise FormulaError(f"got the formula {text!r} without an operand; expected a and b (and c). Use them.")
    return Formula(grammar.spell(node), node, 3 if "c" in used else 2)


def _values(node: grammar.Node, operands: dict[str, np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Value modulo n and whether it is defined, for all operand tuples."""
    some = next(iter(operands.values()))
    match node:
        case grammar.Integer(value):
            return np.full(some.shape, value % n), np.ones(some.shape, bool)
        case grammar.Variable(name):
            return operands[name] % n, np.ones(some.shape, bool)
        case grammar.Negative(operand):
            value, defined = _values(operand, operands, n)
            return -value % n, defined
        case grammar.Power(base, exponent):
            value, defined = _values(base, operands, n)
            if exponent < 0:
                value = inverses(n)[value]
                defined &= value >= 0
                exponent = -exponent
            power = np.array([pow(x, exponent, n) for x in range(n)])
            return power[value], defined
        case grammar.Binary(sign, left, right):
            x, x_defined = _values(left, operands, n)
            y, y_defined = _values(right, operands, n)
            defined = x_defined & y_defined
            if sign == "/":
                y = inverses(n)[y]
                defined &= y >= 0
            result = {"+": lambda: x + y, "-": lambda: x - y}.get(sign, lambda: x * y)()
            return result % n, defined


def answers(
    rule: Formula, modulus: int, operands: Int[np.ndarray, "b operands"]
) -> tuple[Int[np.ndarray, " b"], Bool[np.ndarray, " b"]]:
    """Answers modulo `modulus`, and where they are defined (a denominator may have no inverse).

    Args:
        rule: From `formula`.
        modulus: At least 2.
        operands: One tuple (a, b) or (a, b, c) per row.

    Raises:
        ConfigError: No tuple has a defined answer.
    """
    if rule.node is None:
        drawn = np.random.default_rng([rule.random_seed, modulus]).integers(0, modulus, len(operands))
        return drawn, np.ones(len(operands), bool)
    value, defined = _values(rule.node, {name: operands[:, i] for i, name in enumerate("abc"[: operands.shape[1]])},
                             modulus)  # fmt: skip
    if not defined.any():
        raise ConfigError(
            f"got {rule.text} modulo {modulus}, whose denominator never has an inverse; expected at least one pair "
            "that remains. Choose another formula, or a prime modulus."
        )
    return np.where(defined, value, 0), defined
