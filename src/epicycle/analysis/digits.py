"""Digits as circles: in which base, at which place, can the digits of a number be read, and does turning one turn the answer?"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, final

import numpy as np
import torch

from epicycle.analysis.probes import FOLDS, circular_answers, cohens_kappa, decompose
from epicycle.analysis.prompt_pairs import find_operand
from epicycle.errors import DataError
from epicycle.models.language import LanguageModel
from epicycle.models.patching import final_with_stream, stream_at
from epicycle.models.stream import encode, full_pass
from epicycle.results import Result
from epicycle.tasks.prompts import PromptConfig, prompt_task

BASES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16)
"""Bases looked at; writing is in ten, and 2 and 5 divide it."""


def digits_of(numbers: np.ndarray, base: int) -> np.ndarray:
    """Digits of whole numbers in a base, (N, places), the last digit first; as many places as the largest needs."""
    places = max(1, int(np.floor(np.log(max(int(numbers.max()), 1)) / np.log(base) + 1e-9)) + 1)
    return np.stack([numbers // base**i % base for i in range(places)], 1)


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DigitProbes(Result):
    """Kappa of circular probes of every digit of a number, in several bases, per layer; numbers held out, ten folds.

    `kappa` (tables, probes); probe j is of the digit at `place[j]` (0 is the last) in base `base[j]`; `shuffled` the same with the numbers in
    random order. Places whose digit takes fewer than two values, or has fewer than three numbers per value, are left out. `tables` names
    the rows: the embedding, or the stream after each layer.

    A digit in base 10 can be read wherever numbers are written in tens; bases that share no factor with ten are the control.
    """

    schema: ClassVar[int] = 1
    numbers: int
    tables: tuple[str, ...]
    base: np.ndarray
    place: np.ndarray
    kappa: np.ndarray
    shuffled: np.ndarray

    def at(self, base: int, place: int = 0) -> np.ndarray:
        """Kappa of one digit, per table."""
        [j] = np.flatnonzero((self.base == base) & (self.place == place))
        return self.kappa[:, j]


def digit_probes(tables: Sequence[np.ndarray], names: Sequence[str], seed: int = 0) -> DigitProbes:
    """Probe the digits of 0..N-1 in tables whose rows are these numbers.

    Args:
        tables: Each (N, d).
        names: One per table.
        seed: Of folds and of the random order.

    Raises:
        DataError: Fewer than 20 numbers.

    Source: Levy and Geva 2024 (arXiv 2410.11781).
    """
    n = len(tables[0])
    if n < 20:
        raise DataError(f"got {n} numbers for digit probes; expected at least 20. Use a larger range.")
    numbers = np.arange(n)
    kept: list[tuple[int, int, np.ndarray]] = []
    for base in BASES:
        for place, column in enumerate(digits_of(numbers, base).T):
            counts = np.bincount(column, minlength=base)
            if (counts > 0).sum() >= 2 and counts[counts > 0].min() >= 3:
                kept.append((base, place, column))
    order = np.random.default_rng(seed).permutation(n)
    parts = np.array_split(np.random.default_rng(seed).permutation(n), FOLDS)  # the same for all digits
    splits = [(np.setdiff1d(np.arange(n), test), test) for test in parts]
    labels = [column for _, _, column in kept]
    classes = [base for base, _, _ in kept]

    both = labels + [label[order] for label in labels]

    def score(table: np.ndarray) -> list[float]:
        answers = circular_answers(decompose(np.asarray(table, np.float64), splits), both, classes * 2)
        return [cohens_kappa(given, right, base) for given, right, base in zip(answers, both, classes * 2, strict=True)]

    kappa, shuffled = np.split(np.array([score(table) for table in tables]), 2, axis=1)
    return DigitProbes(
        numbers=n,
        tables=tuple(names),
        base=np.array(classes),
        place=np.array([place for _, place, _ in kept]),
        kappa=kappa,
        shuffled=shuffled,
    )


@final
@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DigitTurn(Result):
    """The first operand's last digit turned by five, before every layer, and what becomes of the answer.

    Shares of questions, (layers,), whose answer's last digit moves by five too: `circle` when the one wave of period 10 in the number's stream is turned
    half way round; `digit` when the mean of the numbers with that last digit is replaced by the mean of those with the other; `random` after a step of
    the same length as the latter in a random direction; `swapped` when the whole stream of the number five away is put there, the most that can
    be had. `*_kept`: whose answer stays. Waves and means come from all other numbers.
    """

    schema: ClassVar[int] = 1
    questions: int
    circle: np.ndarray
    digit: np.ndarray
    random: np.ndarray
    swapped: np.ndarray
    circle_kept: np.ndarray
    digit_kept: np.ndarray
    random_kept: np.ndarray


def _steps(table: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every number, the step that turns its circle of period 10 half way, and the one from its last digit's mean to the other's.

    The number itself is left out of the waves and means, so that no step copies it.
    """
    angle = 2 * np.pi * (n % 10) / 10
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    turned, moved = np.zeros_like(table), np.zeros_like(table)
    for i in range(len(n)):
        rest = np.arange(len(n)) != i
        waves = np.linalg.lstsq(circle[rest] - circle[rest].mean(0), table[rest] - table[rest].mean(0), rcond=None)[0]
        turned[i] = -2 * circle[i] @ waves
        own, other = rest & (n % 10 == n[i] % 10), rest & (n % 10 == (n[i] + 5) % 10)
        if own.any() and other.any():
            moved[i] = table[other].mean(0) - table[own].mean(0)
    return turned, moved


def digit_turn(
    lm: LanguageModel, config: PromptConfig, ids: np.ndarray, *, template: int = 0, questions: int = 100, seed: int = 0
) -> DigitTurn:
    """Turn the last digit of the first operand and look at the answer's last digit.

    Args:
        lm: The model.
        config: What is asked; sums.
        ids: Token ids of the numbers.
        template: Which sentence asks.
        questions: How many, those that are answered right first.
        seed: Of questions and random directions.

    Source: after Levy and Geva 2024, section 4; steps along the code of the digit instead of against a probe, whose shortest step moves its reading and nothing else.
    """
    where = find_operand(lm, config, template)
    task, generator = prompt_task(config), np.random.default_rng(seed)
    n = where.usable
    five_away = lambda x: x // 10 * 10 + (x + 5) % 10  # noqa: E731
    pairs = np.stack(np.meshgrid(n[np.isin(five_away(n), n)], n, indexing="ij"), -1).reshape(-1, 2)
    larger = np.maximum(pairs[:, 0], five_away(pairs[:, 0]))
    pairs = generator.permutation(pairs[(larger <= pairs[:, 1]) & (larger + pairs[:, 1] < len(ids))])[: 4 * questions]
    rows = encode(lm, [task.text(int(a), int(b), template) for a, b in pairs])
    good = [i for i, row in enumerate(rows) if len(row) == where.length]
    pairs, tokens = pairs[good], torch.tensor([rows[i] for i in good], device=lm.device)
    readout, bias = lm.number_readout(ids)
    answer = lambda hidden: (hidden.float() @ readout.T + bias).argmax(1).cpu().numpy()  # noqa: E731
    plain = answer(full_pass(lm, tokens))
    order = np.argsort(plain != pairs.sum(1), kind="stable")[:questions]
    pairs, tokens, plain = pairs[order], tokens[torch.as_tensor(order)], plain[order]
    every = torch.tensor(encode(lm, [task.text(int(a), int(n.max()), template) for a in n]), device=lm.device)
    tables = stream_at(lm, every, where.position).double().cpu().numpy()
    place, other = np.searchsorted(n, pairs[:, 0]), np.searchsorted(n, five_away(pairs[:, 0]))
    found = {
        name: np.zeros(lm.num_layers)
        for name in ("circle", "digit", "random", "swapped", "circle_kept", "digit_kept", "random_kept")
    }
    for layer, table in enumerate(tables):
        turned, moved = _steps(table, n)
        random = generator.standard_normal((len(pairs), table.shape[1]))
        random *= np.linalg.norm(moved[place], axis=1, keepdims=True) / np.linalg.norm(random, axis=1, keepdims=True)
        for name, vectors in (
            ("circle", table[place] + turned[place]),
            ("digit", table[place] + moved[place]),
            ("random", table[place] + random),
            ("swapped", table[other]),
        ):
            hidden = final_with_stream(
                lm, tokens, layer, where.position, torch.as_tensor(vectors, dtype=torch.float32, device=lm.device)
            )
            given = answer(hidden)
            found[name][layer] = float((given % 10 == (plain + 5) % 10).mean())
            if name != "swapped":
                found[f"{name}_kept"][layer] = float((given == plain).mean())
    return DigitTurn(questions=len(pairs), **found)


def as_rows(found: DigitProbes) -> list[list[Any]]:
    """A row per base and place for tables of a report: base, place, kappa per table, largest of the shuffled."""
    return [
        [int(b), int(p), *(float(k) for k in found.kappa[:, j]), float(found.shuffled[:, j].max())]
        for j, (b, p) in enumerate(zip(found.base, found.place, strict=True))
    ]
