"""Published tables of Furuta et al. 2024, as numbers: what ours stand beside, never what they are graded to."""

from epicycle.tasks.operation_names import OPERATIONS

FRACTIONS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

_G = None
"""Grokked."""

SCRATCH: dict[str, tuple[float | None, ...]] = {
    "2*a + b": (3.1, 9.0, _G, _G, _G, _G, _G),
    "2*a - b": (2.5, _G, _G, _G, _G, _G, _G),
    "2*a + 3*b": (3.3, _G, _G, _G, _G, _G, _G),
    "2*a - 3*b": (3.7, _G, _G, _G, _G, _G, _G),
    "a*b + b": (6.1, 9.7, _G, _G, _G, _G, _G),
    "a*b - b": (5.6, 10, _G, _G, _G, _G, _G),
    "a^2 - b": (9.5, _G, _G, _G, _G, _G, _G),
    "a^2 + a*b + b^2": (34, 47, 56, 65, 74, _G, _G),
    "a^2 + a*b + b^2 + a": (4.8, 8.2, 10, 13, 17, 42, 67),
    "a^3 + a*b": (4.9, 9.4, 11, 13, 14, 16, _G),
    "a^3 + a*b^2 + b": (4.0, 7.8, 10, 12, 13, 15, 18),
    "(a - b)^3": (5.9, 12, _G, _G, _G, _G, _G),
    "(a - b)^4": (85, 91, 91, 92, _G, _G, _G),
}
"""Table A.5: formula -> best test accuracy in percent at FRACTIONS, None where it grokked. Every other operation grokked at all."""


def published_cell(formula: str, fraction: float) -> str:
    """A cell of Table A.5: `groks`, an accuracy, or nothing where the paper has no such row or column.

    Args:
        formula: In normal form, as `tasks.operations.formula` spells it.
        fraction: Of the pairs.
    """
    if fraction not in FRACTIONS or not any(formula in family.values() for family in OPERATIONS.values()):
        return ""
    value = SCRATCH.get(formula, (_G,) * len(FRACTIONS))[FRACTIONS.index(fraction)]
    return "groks" if value is None else f"{value:g} %"


SMALLEST: dict[str, tuple[float | None, ...]] = {
    "2*a + b": (0.3, 0.3, None, 0.3, 0.4, 0.7, 0.5),
    "2*a - b": (0.3, 0.3, None, 0.3, 0.3, 0.5, 0.4),
    "2*a + 3*b": (0.3, 0.3, None, 0.3, 0.4, None, 0.4),
    "2*a - 3*b": (0.3, 0.3, None, 0.3, 0.4, 0.8, 0.4),
    "a*b + b": (None, 0.3, 0.4, 0.3, None, 0.7, 0.5),
    "a*b - b": (None, 0.4, 0.4, 0.3, None, 0.7, 0.5),
    "(a + b)^2": (0.3, 0.3, 0.8, 0.3, 0.3, 0.9, 0.3),
    "(a - b)^2": (0.3, None, 0.9, None, 0.3, 0.8, 0.3),
    "(a + b)^2 + a + b": (0.3, 0.4, None, 0.3, 0.3, 0.3, 0.3),
    "a^2 + a*b + b^2": (0.9, None, 0.7, None, 0.9, None, 0.8),
    "a^2 - b": (0.4, 0.3, None, 0.3, 0.6, 0.9, 0.4),
    "a^2 - b^2": (0.6, 0.7, 0.6, 0.5, 0.7, 0.4, 0.3),
    "(a + b)^3": (0.3, None, None, None, 0.6, None, 0.3),
    "(a - b)^3": (0.4, None, None, None, 0.6, None, 0.5),
    "a^3 + a*b": (None, None, None, None, None, None, 0.9),
    "a^3 + a*b^2 + b": (None, None, None, None, None, None, None),
}
"""Table 1: formula -> smallest fraction that groks in the columns SOURCES, None if not even 0.9."""

PARTS = {
    "a + b": {"key": 4.985e-8, "non-key": 4.576, "residual": 5.385, "key + non-key": 4.989e-8, "key + residual": 1.015e-7, "non-key + residual": 5.383},
    "a - b": {"key": 7.141e-1, "non-key": 7.741, "residual": 21.79, "key + non-key": 5.582e-1, "key + residual": 5.348e-6, "non-key + residual": 21.88},
}  # fmt: skip
"""Table A.4: losses of parts of the logits, nats; one run each."""

SOURCES = (
    ("a + b", "embedding"),
    ("a + b", "body"),
    ("a*b", "embedding"),
    ("a*b", "body"),
    ("a - b", "embedding"),
    ("a - b", "body"),
    ("", ""),
)
"""Source and part of each column of Table 1; the last is from scratch."""
