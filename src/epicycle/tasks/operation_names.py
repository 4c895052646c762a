"""The operations of Furuta et al. 2024 by name. Imports nothing, so that help can list them.

To add an operation: one line in OPERATIONS. Any other formula works without one.
"""

OPERATIONS: dict[str, dict[str, str]] = {
    "elementary": {"add": "a + b", "subtract": "a - b", "multiply": "a*b"},
    "linear": {"2a+b": "2*a + b", "2a-b": "2*a - b", "2a+3b": "2*a + 3*b", "2a-3b": "2*a - 3*b"},
    "degree 1 with cross term": {"ab+a+b": "a*b + a + b", "ab+b": "a*b + b", "ab-b": "a*b - b"},
    "univariate terms": {"a^2+b": "a^2 + b", "a^2-b": "a^2 - b", "a^3+2b": "a^3 + 2*b", "a^3-2b": "a^3 - 2*b"},
    "sum of powers": {
        "a^2+b^2": "a^2 + b^2",
        "a^2-b^2": "a^2 - b^2",
        **{f"a^{n}+b^{n}": f"a^{n} + b^{n}" for n in (3, 4, 5, 6, 7)},
    },
    "factorisable": {
        "(a+b)^2": "(a + b)^2",
        "(a+b)^2+a+b": "(a + b)^2 + a + b",
        "(a-b)^2": "(a - b)^2",
        "(a+b)^3": "(a + b)^3",
        "(a-b)^3": "(a - b)^3",
        "(a+b)^4": "(a + b)^4",
        "(a-b)^4": "(a - b)^4",
        **{f"(a+b)^{n}": f"(a + b)^{n}" for n in (5, 6, 7)},
    },
    "cross term, degree n": {
        "a^2+ab+b^2": "a^2 + a*b + b^2",
        "a^2+ab+b^2+a": "a^2 + a*b + b^2 + a",
        "a^3+ab": "a^3 + a*b",
        "a^3+ab^2+b": "a^3 + a*b^2 + b",
    },
}
"""Family -> name -> formula: the 35 single operations of the paper's Tables 1, A.3 and A.5."""
