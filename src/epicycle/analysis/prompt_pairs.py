"""Pairs of questions with different answers, for putting part of one run into another."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from epicycle.errors import ConfigError
from epicycle.fourier.helix import HELIX_PERIODS
from epicycle.models.language import LanguageModel
from epicycle.models.stream import encode, full_pass
from epicycle.tasks.prompts import PromptConfig, prompt_task

MIN_PAIRS = 20

Answer = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Operand(NamedTuple):
    """Prompts of one template: tokens for (a, b), and where a's last token stands."""

    template: int
    length: int
    position: int
    usable: np.ndarray


def prompt_tokens(
    lm: LanguageModel, config: PromptConfig, template: int, a: Sequence[int], b: Sequence[int]
) -> list[list[int]]:
    """Token ids of the questions about (a, b), all worded alike."""
    task = prompt_task(config)
    return encode(lm, [task.text(int(x), int(y), template) for x, y in zip(a, b, strict=True)])


def is_told(clean: np.ndarray, corrupt: np.ndarray) -> bool:
    """Whether clean and corrupt prompts give different answers at all: by three standard errors. If not, shares of the difference mean nothing."""
    change = clean - corrupt
    return float(change.mean()) > 3 * float(change.std() / len(change) ** 0.5)


def find_operand(lm: LanguageModel, config: PromptConfig, template: int) -> Operand:
    """Where the first operand's last token stands, and which numbers give prompts of the commonest length.

    Raises:
        ConfigError: The first operand does not change the tokens in one place only.
    """
    numbers = np.arange(config.largest_operand + 1)
    rows = prompt_tokens(lm, config, template, numbers.tolist(), [config.largest_operand] * len(numbers))
    lengths = np.array([len(row) for row in rows])
    length = int(np.bincount(lengths).argmax())
    usable = numbers[lengths == length]
    table = np.array([rows[n] for n in usable])
    changing = np.flatnonzero((table != table[0]).any(0))
    if not len(changing):
        raise ConfigError(
            "got prompts that do not change with the first operand; expected its tokens among them. Choose another --form."
        )
    return Operand(template, length, int(changing[-1]), usable)


def answer_difference(
    lm: LanguageModel, hidden: torch.Tensor, ids: np.ndarray, clean: np.ndarray, corrupt: np.ndarray
) -> np.ndarray:
    """Logit of the clean answer less that of the corrupt one, per prompt."""
    rows, bias = lm.number_readout(ids)
    logits = lm.capped(hidden.float() @ rows.T + bias).cpu().numpy()
    index = np.arange(len(logits))
    return logits[index, clean].astype(float) - logits[index, corrupt]


class PromptPairs(NamedTuple):
    """Clean (a, b) and corrupt (a', b') prompts with different answers; `is_right_only` if the model answers all of them."""

    a: np.ndarray
    b: np.ndarray
    other_a: np.ndarray
    other_b: np.ndarray
    is_right_only: bool


def prompt_pairs(
    lm: LanguageModel,
    config: PromptConfig,
    where: Operand,
    ids: np.ndarray,
    count: int,
    seed: int,
    operate: Answer,
    *,
    both: bool,
) -> PromptPairs:
    """Pairs that differ in a (or in both operands), smaller operand first as in training, preferably answered right."""
    generator = np.random.default_rng(seed)
    n = where.usable
    drawn = generator.choice(n, (40 * count, 4))
    a, other = np.minimum(drawn[:, 0], drawn[:, 1]), np.minimum(drawn[:, 2], drawn[:, 1])
    b = drawn[:, 1]
    other_b = np.maximum(drawn[:, 2], drawn[:, 3]) if both else b
    other = np.minimum(drawn[:, 2], drawn[:, 3]) if both else other
    a, b = np.minimum(a, b), np.maximum(a, b)
    one, two = operate(a, b), operate(other, other_b)
    good = np.flatnonzero((one != two) & (np.maximum(one, two) < len(ids)))[: 4 * count]
    rows = prompt_tokens(lm, config, where.template, [*a[good], *other[good]], [*b[good], *other_b[good]])
    fits = np.array([len(row) == where.length for row in rows]).reshape(2, -1).all(0)
    good = good[fits]
    if len(good) < MIN_PAIRS:
        raise ConfigError(
            f"got {len(good)} pairs of prompts of one length; expected at least {MIN_PAIRS}. Use a larger range of operands."
        )
    tokens = torch.tensor(
        prompt_tokens(lm, config, where.template, [*a[good], *other[good]], [*b[good], *other_b[good]]),
        device=lm.device,
    )
    readout, bias = lm.number_readout(ids)
    given = np.concatenate(
        [(full_pass(lm, part).float() @ readout.T + bias).argmax(1).cpu().numpy() for part in tokens.split(128)]
    )
    right = (given == np.concatenate([one[good], two[good]])).reshape(2, -1).all(0)
    kept = good[right][:count] if right.sum() >= MIN_PAIRS else good[:count]
    return PromptPairs(a[kept], b[kept], other[kept], other_b[kept], bool(right.sum() >= MIN_PAIRS))


def usable_periods(periods: Sequence[float] | None, span: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Periods of a helix, and those of the usual ones that a range of `span` numbers is too short for."""
    if periods is not None:
        return tuple(periods), ()  # the design refuses those that are too long
    return tuple(t for t in HELIX_PERIODS if t <= span), tuple(t for t in HELIX_PERIODS if t > span)
