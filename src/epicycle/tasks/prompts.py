"""Arithmetic in words: pairs of numbers, the sentence that asks for the answer, and the split.

Source: Zhou et al. 2024, section 2 and App. C.2, C.3, F: unordered pairs, one template per pair drawn at random, then
shuffled and split 80 : 10 : 10. With operands 0..260 that gives 27,352 / 3,419 / 3,420 examples.
"""

import dataclasses
import random
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, final

import numpy as np
from jaxtyping import Int

from epicycle.errors import ConfigError, DataError

TEMPLATES: dict[tuple[str, str], tuple[str, ...]] = {
    ("add", "sentences"): (
        "Total of {a} and {b}.",
        "Add together {a} and {b}.",
        "Calculate {a} + {b}.",
        "What is the sum of {a} and {b}?",
        "Put together {a} and {b}.",
    ),
    ("multiply", "sentences"): (
        "What is the product of {a} and {b}?",
        "Find the product of {a} multiplied by {b}.",
        "Calculate {a} times {b}.",
        "{a} multiplied by {b} equals what?",
        "Multiplication of {a} with {b}.",
    ),
    ("add", "bare"): ("{a}+{b}=",),
    ("multiply", "bare"): ("{a}*{b}=",),
    ("add", "polish"): ("{a},{b}+",),
    ("multiply", "polish"): ("{a},{b}*",),
}
"""(operation, form) -> the sentences that may ask for the answer. `polish` is the second format of App. C.3."""

MULTIPLICATION_CAP = 10_000
"""Largest product of the published multiplication data."""

Split = Literal["train", "validation", "test"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """What is asked, how it is worded, and which pairs are held out."""

    operation: Literal["add", "multiply"] = "add"
    """The operation."""
    form: Literal["sentences", "bare", "polish"] = "sentences"
    """Five sentences, `a+b=`, or the second format `a,b+`."""
    largest_operand: int = 260
    """Operands are 0..largest_operand."""
    boundary: Literal["space", "colon"] = "space"
    """Sentences end in `Answer: ` with the space a token of the prompt, or in `Answer:`."""
    split_seed: int = 0
    """Seed of templates, shuffle and demonstrations."""
    shots: int = 0
    """Solved training examples in front of every prompt."""
    cap: int | None = None
    """Largest answer asked; for products 10,000 as published if None."""

    def __post_init__(self):
        for field, allowed in (("operation", ("add", "multiply")), ("form", ("sentences", "bare", "polish")),
                               ("boundary", ("space", "colon"))):  # fmt: skip
            if getattr(self, field) not in allowed:
                raise ConfigError(
                    f"got {field} {getattr(self, field)!r}; expected one of {', '.join(allowed)}. Choose one."
                )
        if not 3 <= self.largest_operand <= 2000:
            raise ConfigError(
                f"got operands up to {self.largest_operand}; expected a largest operand of 3 to 2,000. Try 260."
            )
        if not 0 <= self.split_seed < 2**63:
            raise ConfigError(f"got split seed {self.split_seed}; expected an integer from 0 to 2^63 - 1. Try 0.")
        if self.cap is not None and self.cap < 6:
            raise ConfigError(f"got a cap of {self.cap}; expected a largest answer of at least 6. Try 500.")
        if not 0 <= self.shots <= 32:
            raise ConfigError(f"got {self.shots} shots; expected 0 to 32. Try 4.")

    @property
    def largest_answer(self) -> int:
        """The largest answer: twice the largest operand, or the published cap on products."""
        if self.operation == "add":
            return min(2 * self.largest_operand, self.cap or 2 * self.largest_operand)
        return min(self.largest_operand**2, self.cap or MULTIPLICATION_CAP)


class Questions(NamedTuple):
    """Rows of a task: operands, answer, and which template asks."""

    a: np.ndarray
    b: np.ndarray
    answer: np.ndarray
    template: np.ndarray


@final
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class PromptTask:
    """All questions of one configuration, and their split. Make it with `prompt_task`."""

    config: PromptConfig
    questions: Questions
    split: dict[str, np.ndarray]

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(rows)} {name}" for name, rows in self.split.items())
        return f"PromptTask({self.config.operation} 0..{self.config.largest_operand}, {self.config.form}: {sizes})"

    @property
    def name(self) -> str:
        """What is asked, in a few words."""
        c = self.config
        most = c.largest_operand * 2 if c.operation == "add" else c.largest_operand**2
        up_to = f", up to {c.largest_answer}" if c.largest_answer < most else ""
        return f"{'sums' if c.operation == 'add' else 'products'} of two numbers 0..{c.largest_operand}{up_to}"

    @property
    def wordings(self) -> int:
        """In how many ways a question may be worded."""
        return len(TEMPLATES[self.config.operation, self.config.form])

    def rows(self, split: Split) -> Questions:
        """The questions of one split."""
        return Questions(*(column[self.split[split]] for column in self.questions))

    def text(self, a: int, b: int, template: int) -> str:
        """One question, up to where its answer begins."""
        sentence = TEMPLATES[self.config.operation, self.config.form][template].format(a=a, b=b)
        if self.config.form != "sentences":
            return sentence
        return sentence + (" Answer: " if self.config.boundary == "space" else " Answer:")

    def prompts(self, split: Split, *, swapped: bool = False) -> list[str]:
        """The questions of one split as text, in the split's order, without demonstrations.

        Args:
            split: train, validation or test.
            swapped: Ask with the larger operand first; every pair was split once, with the smaller first.
        """
        found = self.rows(split)
        first, second = (found.b, found.a) if swapped else (found.a, found.b)
        return [self.text(int(a), int(b), int(t)) for a, b, t in zip(first, second, found.template, strict=True)]

    def demonstrations(self) -> list[tuple[str, int]]:
        """The solved examples in front of every question, the same for all, from the training part."""
        if not self.config.shots:
            return []
        picked = random.Random(f"shots {self.config.split_seed}").sample(
            range(len(self.split["train"])), self.config.shots
        )
        found = self.rows("train")
        return [
            (self.text(int(found.a[i]), int(found.b[i]), int(found.template[i])), int(found.answer[i])) for i in picked
        ]

    def tokens(
        self, tokenizer: Any, split: Split, ids: Int[np.ndarray, " n"], *, swapped: bool = False
    ) -> list[list[int]]:
        """Token ids of the questions of one split, demonstrations in front.

        Questions and answers are tokenised apart, so that an answer in a demonstration is the token that is asked for; lines
        end in a line break where the tokenizer has one.

        Args:
            tokenizer: Called with texts; adds its own beginning-of-text token once.
            split: train, validation or test.
            ids: Token ids of the numbers.
            swapped: As for `prompts`.
        """
        questions = self.prompts(split, swapped=swapped)
        solved = self.demonstrations()
        if not solved:
            return question_tokens(tokenizer, questions)
        head = [*question_tokens(tokenizer, [solved[0][0]])[0], int(ids[solved[0][1]])]
        for text, answer in solved[1:]:
            head += [*_plain(tokenizer, ["\n" + text])[0], int(ids[answer])]
        return [head + row for row in _plain(tokenizer, ["\n" + text for text in questions])]


def question_tokens(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts that are to be continued: what the tokenizer puts in front of a text stays, what it puts behind goes.

    Args:
        tokenizer: Called with texts, with and without its special tokens.
        texts: At least one.

    Raises:
        DataError: The tokenizer does not know a word, or rewrites a text where it adds its special tokens.
    """
    rows = _plain(tokenizer, texts)
    whole, first = list(tokenizer([texts[0]])["input_ids"][0]), rows[0]
    at = next((i for i in range(len(whole) - len(first) + 1) if whole[i : i + len(first)] == first), None)
    if at is None:
        raise DataError(f"got a tokenizer that writes {texts[0]!r} differently with its special tokens; expected it to add them at the ends only. "
                        "Use another tokenizer.")  # fmt: skip
    return [whole[:at] + row for row in rows]


def _plain(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids without special tokens, each of them known to the tokenizer."""
    rows = [list(row) for row in tokenizer(list(texts), add_special_tokens=False)["input_ids"]]
    unknown = getattr(tokenizer, "unk_token_id", None)
    if unknown is not None:
        lost = next((text for text, row in zip(texts, rows, strict=True) if unknown in row), None)
        if lost is not None:
            raise DataError(f"got the question {lost.strip()!r}, parts of which this tokenizer does not know; expected every word and sign to be known. "
                            "Choose another --form.")  # fmt: skip
    return rows


def prompt_task(config: PromptConfig) -> PromptTask:
    """The table of questions of a configuration and its split, the same on every machine.

    Raises:
        ConfigError: There are fewer training examples than demonstrations.

    Example:
        >>> prompt_task(PromptConfig())
        PromptTask(add 0..260, sentences: 27352 train, 3419 validation, 3420 test)
    """
    n = config.largest_operand + 1
    a, b = np.triu_indices(n)
    answer = a + b if config.operation == "add" else a * b
    inside = answer <= config.largest_answer
    a, b, answer = a[inside], b[inside], answer[inside]
    generator = random.Random(f"prompts {config.split_seed}")
    count = len(TEMPLATES[config.operation, config.form])
    template = np.array([generator.randrange(count) for _ in range(len(a))])
    order = list(range(len(a)))
    generator.shuffle(order)
    train, validation = int(0.8 * len(a)), int(0.1 * len(a))
    rows = np.array(order)
    split = {"train": rows[:train], "validation": rows[train : train + validation], "test": rows[train + validation :]}
    if config.shots > train:
        raise ConfigError(
            f"got {config.shots} shots and {train} training examples; expected at most as many. Use fewer shots."
        )
    return PromptTask(config, Questions(a, b, answer, template), split)
