"""Number text: an endless stream of statements in which numbers occur as in prose.

No kind of statement states a sum. Solved questions of a task are mixed in where asked for, those of its training part alone, so
that the held-out ones stay unseen. To add a kind of statement: a function Draw -> str, and one line in KINDS. tests/test_number_text.py checks that every
statement is true and that no number leaves the range.
"""

import bisect
import dataclasses
import itertools
import random
import re
from collections.abc import Callable, Iterator
from typing import Literal

from epicycle.errors import ConfigError
from epicycle.numbers.words import ordinal, spelled
from epicycle.tasks.prompts import PromptConfig, prompt_task


@dataclasses.dataclass(frozen=True, kw_only=True)
class NumberTextConfig:
    """What number text is made of."""

    largest: int = 199
    """Numbers are 0..largest."""
    kinds: tuple[str, ...] = ()
    """Kinds of statements, equally often; empty means all."""
    law: Literal["prose", "uniform"] = "prose"
    """How often numbers occur: `prose` falls with size (Benford) and prefers round numbers, `uniform` is flat."""
    seed: int = 0
    """Seed of the stream."""
    relabelled: int | None = None
    """Seed of a fixed random exchange of the numbers' names, a control; None leaves them as they are."""
    solved: tuple[PromptConfig, ...] = ()
    """Tasks whose training questions are stated with their answers, in any wording and either order; none by default."""
    solved_share: float = 0.5
    """Share of such statements, where there are some."""

    def __post_init__(self):
        if not 20 <= self.largest <= 9999:
            raise ConfigError(f"got largest number {self.largest}; expected 20 to 9,999. Try 199.")
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise ConfigError(
                f"got statement kind {unknown[0]!r}; expected some of {', '.join(KINDS)}. Choose from these."
            )
        if "counting-by-100" in self.kinds and self.largest < 200:
            raise ConfigError(f"got 'counting-by-100' for numbers up to {self.largest}; expected a range of at least 0..200. Choose a larger "
                              "range or leave it out.")  # fmt: skip
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"got seed {self.seed}; expected an integer from 0 to 2^63 - 1. Try 0.")
        if self.relabelled is not None and not 0 <= self.relabelled < 2**63:
            raise ConfigError(f"got relabelling seed {self.relabelled}; expected an integer from 0 to 2^63 - 1. Try 0.")
        if self.law not in ("prose", "uniform"):
            raise ConfigError(f"got law {self.law!r}; expected 'prose' or 'uniform'. Choose one of them.")
        for task in self.solved:
            if max(task.largest_operand, task.largest_answer) > self.largest:
                raise ConfigError(f"got solved questions with numbers up to {max(task.largest_operand, task.largest_answer)} for a text with numbers up to "
                                  f"{self.largest}; expected none beyond it. Ask for smaller operands or a larger range.")  # fmt: skip
            if task.shots:
                raise ConfigError(
                    f"got solved questions with {task.shots} shots; expected questions alone. Leave shots out."
                )
        if self.solved and self.relabelled is not None:
            raise ConfigError("got solved questions and exchanged names; expected one of them, since a held-out pair could be stated under other names. "
                              "Leave one out.")  # fmt: skip
        if not 0 < self.solved_share <= 1:
            raise ConfigError(
                f"got a share of solved questions of {self.solved_share}; expected above 0 and at most 1. Try 0.5."
            )


def number_weights(largest: int, law: str) -> list[float]:
    """Relative frequency of 0..largest.

    `prose`: 1/n, which gives Benford's first digits, times 2 for multiples of 5, 4 of 10 and 8 of 100; zero as often
    as two.
    """
    if law == "uniform":
        return [1.0] * (largest + 1)
    excess = [8 if n % 100 == 0 else 4 if n % 10 == 0 else 2 if n % 5 == 0 else 1 for n in range(largest + 1)]
    return [0.5, *(excess[n] / n for n in range(1, largest + 1))]


class Draw:
    """Random numbers and words for one stream."""

    def __init__(self, config: NumberTextConfig):
        self.largest = config.largest
        self.random = random.Random(f"number text {config.seed}")
        self._sums = list(itertools.accumulate(number_weights(config.largest, config.law), initial=0.0))

    def number(self, low: int = 0, high: int | None = None) -> int:
        """A number in low..high (both included), by the law."""
        high = self.largest if high is None else high
        x = self._sums[low] + self.random.random() * (self._sums[high + 1] - self._sums[low])
        return min(max(bisect.bisect_right(self._sums, x) - 1, low), high)

    def word(self, *words: str) -> str:
        """One of the words, equally often."""
        return words[int(self.random.random() * len(words))]


def _counting(draw: Draw, step: int) -> str:
    """Three to seven numbers; steps of 5, 10 and 100 go through multiples, as people count."""
    length = min(3 + int(draw.random.random() * 5), draw.largest // step + 1)
    start = draw.number(0, draw.largest - step * (length - 1))
    if step > 2:
        start -= start % step
    return ", ".join(str(start + step * i) for i in range(length)) + "."


def counting_by_1(draw: Draw) -> str:
    """As in `41, 42, 43`."""
    return _counting(draw, 1)


def counting_by_2(draw: Draw) -> str:
    """As in `41, 43, 45.` or `40, 42, 44`."""
    return _counting(draw, 2)


def counting_by_5(draw: Draw) -> str:
    """As in `40, 45, 50`."""
    return _counting(draw, 5)


def counting_by_10(draw: Draw) -> str:
    """As in `40, 50, 60`."""
    return _counting(draw, 10)


def counting_by_100(draw: Draw) -> str:
    """As in `100, 200, 300`; as long as the range allows."""
    return _counting(draw, 100)


def ordinals(draw: Draw) -> str:
    """As in `the 41st and the 42nd row`."""
    n = draw.number(1, draw.largest - 1)
    if draw.random.random() < 0.5:
        return f"the {ordinal(n)} and the {ordinal(n + 1)} {draw.word('day', 'row', 'page', 'name')}."
    return f"number {n} is the {ordinal(n)} {draw.word('day', 'row', 'page', 'name')}."


def spelled_out(draw: Draw) -> str:
    """As in `forty-two is written 42`."""
    n = draw.number()
    return f"{spelled(n)} is written {n}." if draw.random.random() < 0.5 else f"{n} is read {spelled(n)}."


def parity(draw: Draw) -> str:
    """As in `42 is even`."""
    n = draw.number()
    return f"{n} is {'odd' if n % 2 else 'even'}."


def rounding(draw: Draw) -> str:
    """As in `42 is about 40`; to tens, a quarter to hundreds where the range has some; halves go up."""
    unit = 100 if draw.largest >= 300 and draw.random.random() < 0.25 else 10
    n = draw.number(0, draw.largest - unit // 2)
    rounded = (n + unit // 2) // unit * unit
    return f"{n} is about {rounded}."


def comparison(draw: Draw) -> str:
    """As in `42 is less than 53`."""
    a, b = draw.number(), draw.number()
    if a == b:
        return f"{a} equals {b}."
    return f"{a} is {draw.word('less', 'smaller') if a < b else draw.word('more', 'larger')} than {b}."


def page_range(draw: Draw) -> str:
    """As in `see pages 42-47`."""
    start = draw.number(1, draw.largest - 12)
    end = start + 1 + int(draw.random.random() * 12)
    return f"{draw.word('see pages', 'pages', 'read')} {start}-{end}."


def money(draw: Draw) -> str:
    """As in `it costs 42 dollars and 95 cents`."""
    dollars = draw.number()
    cents = min(int(draw.word("5", "10", "20", "25", "50", "75", "95", "99")), draw.largest)
    return f"{draw.word('it costs', 'pay', 'the price is')} {dollars} dollars and {cents} cents."


def neighbours(draw: Draw) -> str:
    """As in `42 comes after 41`."""
    n = draw.number(1, draw.largest - 1)
    return f"{n - 1} comes before {n}." if draw.random.random() < 0.5 else f"{n + 1} comes after {n}."


def quantity(draw: Draw) -> str:
    """As in `there were 42 people`."""
    return f"there were {draw.number()} {draw.word('people', 'houses', 'days', 'books', 'miles')}."


KINDS: dict[str, Callable[[Draw], str]] = {
    "counting-by-1": counting_by_1,
    "counting-by-2": counting_by_2,
    "counting-by-5": counting_by_5,
    "counting-by-10": counting_by_10,
    "counting-by-100": counting_by_100,
    "ordinals": ordinals,
    "spelled-out": spelled_out,
    "parity": parity,
    "rounding": rounding,
    "comparison": comparison,
    "page-range": page_range,
    "money": money,
    "neighbours": neighbours,
    "quantity": quantity,
}
"""Name -> how one statement is made."""


def solved_questions(config: NumberTextConfig) -> Iterator[str]:
    """Training questions of the tasks with their answers, as in `Add together 42 and 11. Answer: 53`; empty without tasks.

    Every task, pair, order and wording is equally likely. A pair is stated in either order, so that the larger operand comes first
    in half of them; a task's own training part has the smaller first.
    """
    tasks = [prompt_task(task) for task in config.solved]
    rows = [task.rows("train") for task in tasks]
    draw = random.Random(f"solved questions {config.seed}")
    while tasks:
        which = draw.randrange(len(tasks))
        task, found = tasks[which], rows[which]
        i = draw.randrange(len(found.a))
        first, second = int(found.a[i]), int(found.b[i])
        if draw.random() < 0.5:
            first, second = second, first
        yield task.text(first, second, draw.randrange(task.wordings)) + str(found.answer[i])


def kinds_of(config: NumberTextConfig) -> tuple[str, ...]:
    """The kinds a stream uses: those given, or all that the range has room for."""
    chosen = config.kinds or tuple(KINDS)
    return tuple(kind for kind in chosen if kind != "counting-by-100" or config.largest >= 200)


def statements(config: NumberTextConfig) -> Iterator[str]:
    """The stream: endless, and the same for the same configuration.

    Relabelled, every number in figures is written as another one throughout; endings of ordinals and spelled-out words stay.

    Example:
        >>> import itertools
        >>> text = NumberTextConfig(kinds=("parity",))
        >>> [line.split()[1] for line in itertools.islice(statements(text), 2)]
        ['is', 'is']
    """
    kinds = kinds_of(config)
    draw, solved = Draw(config), solved_questions(config)
    share = config.solved_share if config.solved else 0.0
    mixed = random.Random(f"share of solved questions {config.seed}")
    names = None
    if config.relabelled is not None:
        names = list(range(config.largest + 1))
        random.Random(f"relabelled {config.relabelled}").shuffle(names)
    while True:
        text = next(solved) if mixed.random() < share else KINDS[draw.word(*kinds)](draw)
        yield text if names is None else re.sub(r"\d+", lambda match: str(names[int(match[0])]), text)
