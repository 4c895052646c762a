"""Number space: which integers a tokenizer knows as single tokens, and the rows they have in its embedding.

Works on any tokenizer with `get_vocab` and `encode`; nothing of a model is needed.
"""

import dataclasses
from typing import Any, ClassVar, Literal, final

import numpy as np

from epicycle.errors import DataError
from epicycle.results import Result

SPACES = ("Ġ", "▁", " ")
"""How vocabularies write a leading space: byte-level BPE, SentencePiece, plain."""
SEARCHED = 2000
"""Integers looked for: 0..SEARCHED-1."""


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class NumberSpace(Result):
    """Token ids of the integers 0..SEARCHED-1, bare and with a leading space; -1 where there is no single token.

    `form` is the one used: bare where its contiguous range from 0 is at least as long, as in Zhou et al. 2024. `count`
    is the length of that range. A tokenizer of digits has a count of at most ten.
    """

    schema: ClassVar[int] = 1
    form: Literal["bare", "spaced", "none"]
    count: int
    bare_count: int
    spaced_count: int
    bare: np.ndarray
    spaced: np.ndarray

    @property
    def ids(self) -> np.ndarray:
        """Token ids of 0..count-1 in the form used."""
        return (self.bare if self.form == "bare" else self.spaced)[: self.count]

    @property
    def is_digits_only(self) -> bool:
        """True if no number of two digits is one token."""
        return self.count <= 10

    def missing(self, form: Literal["bare", "spaced"], largest: int) -> list[int]:
        """Integers of 0..largest that are not single tokens in a form."""
        return np.flatnonzero((self.bare if form == "bare" else self.spaced)[: largest + 1] < 0).tolist()

    def rows(self, largest: int, form: Literal["bare", "spaced"] | None = None) -> np.ndarray:
        """Token ids of 0..largest.

        Raises:
            DataError: One of them is not a single token.
        """
        if largest >= SEARCHED:
            raise DataError(f"got the numbers 0..{largest}; expected at most {SEARCHED - 1}, since larger ones are not looked for. "
                            "Use a smaller range.")  # fmt: skip
        form = form or ("spaced" if self.form == "spaced" else "bare")
        if gone := self.missing(form, largest):
            have = self.bare_count if form == "bare" else self.spaced_count
            range_ = f"0..{have - 1}" if have else "no number at all"
            hint = (f"Use a range inside it, such as --largest-operand {(have - 1) // 2}." if have > 12 else
                    "Numbers of more digits have no row of their own here: use `explain --table residual`, which reads them at "
                    "their last digit.")  # fmt: skip
            raise DataError(f"got the numbers 0..{largest} for a tokenizer whose {form} single tokens cover {range_} (first "
                            f"missing: {gone[0]}); expected one token each. {hint}")  # fmt: skip
        return (self.bare if form == "bare" else self.spaced)[: largest + 1]

    def as_json(self) -> dict[str, Any]:
        """The range used and what is missing from both forms below 1,000."""
        return {
            "low": 0 if self.count else None,
            "high": self.count - 1 if self.count else None,
            "count": self.count,
            "form": self.form,
            "bare_count": self.bare_count,
            "spaced_count": self.spaced_count,
        }

    def sentence(self) -> str:
        """What a user needs to know, in one sentence."""
        if not self.count:
            return ("This tokenizer has no token for the number 0, bare or with a leading space: there is no number space to look at, only the stream "
                    "where a number ends (--table residual).")  # fmt: skip
        if self.is_digits_only:
            return ("This tokenizer writes numbers digit by digit: there is no embedding row per number, so the embedding spectrum "
                    "and number logits cover the digits only; read numbers at their last digit instead (--table residual).")  # fmt: skip
        other = self.spaced_count if self.form == "bare" else self.bare_count
        name = "with a leading space" if self.form == "bare" else "without one"
        also = f"; {name} 0..{other - 1}" if other > 0 else f"; none {name}"
        return f"Numbers 0..{self.count - 1} are single tokens {'without a leading space' if self.form == 'bare' else 'with a leading space'}{also}."


def _known(tokenizer: Any, vocabulary: dict[str, int], prefix: str, contexts: tuple[str, ...]) -> np.ndarray:
    """Ids of prefix + n that the tokenizer really produces in one of the contexts."""
    ids = np.full(SEARCHED, -1)
    for n in range(SEARCHED):
        token = vocabulary.get(f"{prefix}{n}")
        if token is not None and any(
            token in tokenizer.encode(text.format(n), add_special_tokens=False) for text in contexts
        ):
            ids[n] = token
    return ids


def _length(ids: np.ndarray) -> int:
    """Length of the contiguous range from 0."""
    gaps = np.flatnonzero(ids < 0)
    return int(gaps[0]) if len(gaps) else len(ids)


def number_space(tokenizer: Any) -> NumberSpace:
    """Which of 0..1999 are single tokens, bare and with a leading space.

    A token counts if it is in the vocabulary and the tokenizer produces it for the number in some context: alone, after a
    sign or after a word.

    Args:
        tokenizer: With `get_vocab()` and `encode(text, add_special_tokens=False)`.

    Returns:
        Ids of both forms and the one to use.
    """
    vocabulary = tokenizer.get_vocab()
    bare = _known(tokenizer, vocabulary, "", ("{}", "={}", "is {}"))
    spaced = np.full(SEARCHED, -1)
    for space in SPACES:
        found = _known(tokenizer, vocabulary, space, (" {}", "is {}", "{}"))
        spaced = np.where(spaced < 0, found, spaced)
    counts = _length(bare), _length(spaced)
    form = "none" if max(counts) == 0 else "bare" if counts[0] >= counts[1] else "spaced"
    return NumberSpace(
        form=form, count=max(counts), bare_count=counts[0], spaced_count=counts[1], bare=bare, spaced=spaced
    )
