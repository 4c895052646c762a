"""Reads a formula such as `a^2b + 3/(a-b)`. Nothing is ever evaluated as Python.

    sum      = ["-"] product { ("+" | "-") product }
    product  = chain { ("*" | "/") ["-"] chain }
    chain    = power { power }                      juxtaposition: 2a, ab, a^2b, 2(a+b)
    power    = atom [ ("^" | "**") exponent ]
    atom     = integer | "a" | "b" | "c" | "(" sum ")"
    exponent = ["-"] integer | "(" ["-"] integer ")"

`-a^2` is -(a^2). Since readers disagree about `a/2b`, a chain after a slash is refused unless it is one power.
"""

import dataclasses
import re

from epicycle.errors import FormulaError

MAX_LENGTH = 200
MAX_DEPTH = 40
MAX_DIGITS = 9
MAX_EXPONENT = 10_000
TOKEN = re.compile(r"\s*(?:(?P<integer>\d+)|(?P<name>[^\W\d_])|(?P<sign>\*\*|[-+*/^()]))")
LOOKALIKES = {"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "²": "^2", "³": "^3"}


@dataclasses.dataclass(frozen=True)
class Integer:
    """A literal."""

    value: int


@dataclasses.dataclass(frozen=True)
class Variable:
    """An operand: a, b or c."""

    name: str


@dataclasses.dataclass(frozen=True)
class Binary:
    """left sign right, where sign is one of + - * /."""

    sign: str
    left: "Node"
    right: "Node"


@dataclasses.dataclass(frozen=True)
class Power:
    """base ^ exponent; a negative exponent is a power of the inverse."""

    base: "Node"
    exponent: int


@dataclasses.dataclass(frozen=True)
class Negative:
    """-operand."""

    operand: "Node"


Node = Integer | Variable | Binary | Power | Negative


@dataclasses.dataclass(frozen=True)
class _Token:
    kind: str  # integer, name, sign, end
    text: str
    start: int


def _tokens(text: str) -> list[_Token]:
    tokens, place = [], 0
    while place < len(text):
        if text[place:].isspace():
            break
        match = TOKEN.match(text, place)
        if not match:
            place += len(text[place:]) - len(text[place:].lstrip())
            raise FormulaError(f"got the character {text[place]!r}; a formula has integers, a, b, c, + - * / ^ and "
                               "parentheses. Take it out.", text, place)  # fmt: skip
        kind = match.lastgroup or ""
        tokens.append(_Token(kind, match[kind], match.start(kind)))
        place = match.end()
    tokens.append(_Token("end", "", len(text)))
    return tokens


class _Reader:
    def __init__(self, text: str):
        self.text, self.tokens, self.place, self.depth = text, _tokens(text), 0, 0

    @property
    def now(self) -> _Token:
        return self.tokens[self.place]

    def take(self) -> _Token:
        token = self.now
        self.place += 1
        return token

    def at(self, *signs: str) -> bool:
        return self.now.kind == "sign" and self.now.text in signs

    def fail(self, message: str, token: _Token | None = None) -> FormulaError:
        return FormulaError(message, self.text, (token or self.now).start)

    def sum(self) -> Node:
        if self.at("-"):
            self.take()
            node: Node = Negative(self.product())
        else:
            node = self.product()
        while self.at("+", "-"):
            sign = self.take().text
            node = Binary(sign, node, self.product())
        return node

    def product(self) -> Node:
        node = self.chain()
        while self.at("*", "/"):
            sign = self.take()
            negative = self.at("-") and bool(self.take())
            start = self.place
            right = self.chain()
            if sign.text == "/" and isinstance(right, Binary) and not self._is_parenthesised(start):
                raise self.fail("got a slash before a product without a sign, which can be read in two ways; "
                                "expected one factor. Put the denominator in parentheses.", sign)  # fmt: skip
            node = Binary(sign.text, node, Negative(right) if negative else right)
        return node

    def _is_parenthesised(self, start: int) -> bool:
        """True if the factor just read is one pair of parentheses."""
        depth = 0
        for place in range(start, self.place):
            depth += {"(": 1, ")": -1}.get(self.tokens[place].text, 0)
            if depth == 0:
                return place == self.place - 1
        return False

    def chain(self) -> Node:
        node = self.power()
        while self.now.kind in ("integer", "name") or self.at("("):
            if self.now.kind == "integer":
                raise self.fail("got a number right after another factor; expected a sign between them. "
                                "Write * or ^ before it.")  # fmt: skip
            node = Binary("*", node, self.power())
        return node

    def power(self) -> Node:
        base = self.atom()
        if not self.at("^", "**"):
            return base
        self.take()
        exponent = self.exponent()
        if self.at("^", "**"):
            raise self.fail("got a power of a power; expected one exponent. Add parentheses, as in (a^2)^3.")
        return Power(base, exponent)

    def exponent(self) -> int:
        opened = self.at("(") and bool(self.take())
        negative = self.at("-") and bool(self.take())
        token = self.now
        if token.kind != "integer":
            raise self.fail("got an exponent that is not an integer; expected a number such as 2. "
                            "Variables cannot stand in an exponent.")  # fmt: skip
        if len(token.text.lstrip("0")) > len(str(MAX_EXPONENT)) or int(token.text) > MAX_EXPONENT:
            raise self.fail(
                f"got an exponent above {MAX_EXPONENT}; expected a smaller one. Modulo a prime p, a^n and a^(n + p - 1) are the same.",
                token,
            )
        value = int(self.take().text)
        if opened:
            self.close(token)
        return -value if negative else value

    def integer(self) -> int:
        token = self.take()
        if len(token.text) > MAX_DIGITS:
            raise self.fail(f"got a number of {len(token.text)} digits; expected at most {MAX_DIGITS}. "
                            "Reduce it modulo the modulus.", token)  # fmt: skip
        return int(token.text)

    def close(self, opened: _Token) -> None:
        if not self.at(")"):
            raise self.fail("got no closing parenthesis for this one; expected ')'. Close it.", opened)
        self.take()

    def atom(self) -> Node:
        token = self.now
        if token.kind == "integer":
            return Integer(self.integer())
        if token.kind == "name":
            if token.text not in "abc":
                raise self.fail(f"got the variable {token.text!r}; expected a, b or c. Rename it.")
            self.take()
            return Variable(token.text)
        if self.at("("):
            self.take()
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise self.fail(f"got parentheses nested more than {MAX_DEPTH} deep. Simplify the formula.", token)
            node = self.sum()
            self.close(token)
            self.depth -= 1
            return node
        if token.kind == "end":
            raise self.fail("got the end of the formula; expected a number, a variable or '('. Finish it.")
        if token.text == ")":
            raise self.fail("got a closing parenthesis; expected a number, a variable or '('. Take it out or "
                            "open one before it.")  # fmt: skip
        raise self.fail(f"got {token.text!r}; expected a number, a variable or '('. Take it out or fill in "
                        "what it applies to.")  # fmt: skip


def parse(text: str) -> Node:
    """Syntax tree of a formula.

    Args:
        text: For example `a^2 + a*b + b^2`, `2a - 3b`, `a/b`, `(a+b)^3`. The signs a person may paste
            (a true minus, a multiplication cross, superscript 2 and 3) are understood.

    Raises:
        FormulaError: With a caret under the character at fault.

    Example:
        >>> parse("2a")
        Binary(sign='*', left=Integer(value=2), right=Variable(name='a'))
    """
    for looks, means in LOOKALIKES.items():
        text = text.replace(looks, means)
    if len(text) > MAX_LENGTH:
        raise FormulaError(f"got a formula of {len(text)} characters; expected at most {MAX_LENGTH}. Shorten it.")
    reader = _Reader(text)
    node = reader.sum()
    if reader.at(")"):
        raise reader.fail("got a closing parenthesis that was never opened; expected none. Take it out.")
    if reader.now.kind != "end":
        raise reader.fail(f"got {reader.now.text!r}; expected a sign or the end. Take it out.")
    return node


_STRENGTH = {"+": 1, "-": 1, "*": 2, "/": 2}


def spell(node: Node) -> str:
    """The formula in one normal form, so that equal trees have equal text: `a^2*b - 3*c`."""

    def strength(part: Node) -> int:
        match part:
            case Binary(sign=sign):
                return _STRENGTH[sign]
            case Negative():
                return 1
            case Power():
                return 3
            case _:
                return 4

    def inside(part: Node, least: int) -> str:
        return spell(part) if strength(part) >= least else f"({spell(part)})"

    match node:
        case Integer(value):
            return str(value)
        case Variable(name):
            return name
        case Negative(operand):
            return f"-{inside(operand, 2)}"
        case Power(base, exponent):
            return f"{inside(base, 4)}^{exponent}"
        case Binary(sign, left, right):
            own = _STRENGTH[sign]
            gap = " " if own == 1 else ""
            return f"{inside(left, own)}{gap}{sign}{gap}{inside(right, own + 1)}"


def variables(node: Node) -> frozenset[str]:
    """Names of the operands that occur."""
    match node:
        case Variable(name):
            return frozenset(name)
        case Negative(operand) | Power(operand, _):
            return variables(operand)
        case Binary(_, left, right):
            return variables(left) | variables(right)
        case _:
            return frozenset()
