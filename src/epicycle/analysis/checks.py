"""One comparison of a measure with a known answer."""

from typing import NamedTuple


class Check(NamedTuple):
    """One comparison; it passes if |measured - expected| <= tolerance."""

    oracle: str
    measure: str
    expected: float
    measured: float
    tolerance: float

    @property
    def error(self) -> float:
        """Absolute error."""
        return abs(self.measured - self.expected)

    @property
    def passed(self) -> bool:
        """True within the tolerance; NaN never passes."""
        return self.error <= self.tolerance

    def as_json(self) -> dict:
        """The row that `epicycle selftest --json` prints."""
        return {"oracle": self.oracle, "measure": self.measure, "expected": self.expected, "measured": self.measured,
                "error": self.error, "tolerance": self.tolerance, "passed": self.passed}  # fmt: skip
