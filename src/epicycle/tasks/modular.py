"""A modular task: a table of questions and answers over 0..modulus-1, and its split.

Source: Furuta et al. 2024, section 4 and App. C; the released loader for the order of pairs, the shuffle and the
operator tokens. Token ids: numbers 0..p-1, then = + - * / at p..p+4 (published), then one more for each further
polynomial of a mixture. With read-out `equals` (Nanda et al. 2023) there is one token per task after the numbers.
"""

import dataclasses
import functools
import random
from collections.abc import Sequence
from typing import Literal, NamedTuple, final

import numpy as np

from epicycle.errors import ConfigError
from epicycle.numbers.residues import is_prime
from epicycle.tasks.operations import MAX_EXAMPLES, Formula, answers, formula

OPERATORS = "=+-*/"
MAX_MODULUS = 400


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskConfig:
    """What is learned, on which pairs."""

    formulas: tuple[str, ...] = ("a + b",)
    """One formula, or several for one model on the mixture."""
    modulus: int = 97
    """Answers are taken modulo this; at least 2."""
    train_fraction: float = 0.3
    """Share of all pairs that is trained on, above 0 and below 1."""
    split_seed: int = 0
    """Seed of the split alone; the weights have another."""
    split_by: Literal["ordered", "unordered"] = "ordered"
    """Split ordered pairs as published, or keep (a, b) and (b, a) on the same side (no swap leakage)."""
    operand_range: Literal["modulus", "published"] = "modulus"
    """Operands 0..p-1, or 0..p+4 as in the authors' code, where operator tokens also occur as operands."""
    zeros: Literal["included", "excluded"] = "included"
    """Questions with an operand that is 0 modulo p are asked as published, or not: products then are a group. Nothing is learned of 0 then, and
    only waves of logarithms are measured, which leave it out."""
    task_tokens: Literal["distinct", "published"] = "distinct"
    """In a mixture every formula has a token of its own, or all polynomials share `=`, as the authors' code writes them."""
    split_per: Literal["tuple", "formula"] = "tuple"
    """In a mixture all formulas are trained on the same operands, or on those of a split of their own each."""

    def __post_init__(self):
        if not isinstance(self.modulus, int) or self.modulus < 2:
            raise ConfigError(f"got modulus {self.modulus}; expected an integer of at least 2. Try 97.")
        if not 0 < self.train_fraction < 1:
            raise ConfigError(
                f"got train fraction {self.train_fraction}; expected a number above 0 and below 1, so that there are "
                "pairs to train on and pairs to test on. Try 0.3."
            )
        if not 0 <= self.split_seed < 2**63:
            raise ConfigError(f"got split seed {self.split_seed}; expected an integer from 0 to 2^63 - 1. Try 0.")
        if not self.formulas:
            raise ConfigError("got no formula; expected at least one. Try a+b.")
        for name, values in (
            ("split_by", ("ordered", "unordered")),
            ("operand_range", ("modulus", "published")),
            ("zeros", ("included", "excluded")),
            ("task_tokens", ("distinct", "published")),
            ("split_per", ("tuple", "formula")),
        ):
            if getattr(self, name) not in values:
                raise ConfigError(
                    f"got {name} {getattr(self, name)!r}; expected {values[0]!r} or {values[1]!r}. Choose one."
                )
        of_mixtures = [("split_per", self.split_per, "tuple"), ("task_tokens", self.task_tokens, "distinct")]
        given = [f"{name} {value!r}" for name, value, usual in of_mixtures if value != usual]
        if len(self.formulas) == 1 and given:
            them = "them" if len(given) > 1 else "it"
            raise ConfigError(f"got {' and '.join(given)} with one formula; expected a mixture. Leave {them} out, or add a formula.")  # fmt: skip
        if self.zeros == "excluded" and (self.modulus < 5 or not is_prime(self.modulus)):
            raise ConfigError(
                f"got zeros 'excluded' modulo {self.modulus}; expected a prime above 3, whose other residues are a group. Try 97."
            )
        rules = [formula(text) for text in self.formulas]
        if len({rule.text for rule in rules}) < len(rules):
            raise ConfigError(
                f"got the same formula twice in {', '.join(self.formulas)}; expected each once. Drop one."
            )
        if len({rule.num_operands for rule in rules}) > 1:
            raise ConfigError(
                f"got formulas of two and of three operands in {', '.join(self.formulas)}; a mixture needs the same "
                "number in each. Train them apart."
            )
        if rules[0].num_operands == 2 and self.modulus > MAX_MODULUS:
            raise ConfigError(
                f"got modulus {self.modulus}; expected at most {MAX_MODULUS}, since the logits of all pairs, p^3 numbers, "
                "must fit into memory. Choose a smaller one."
            )
        size = self.num_numbers ** rules[0].num_operands
        if size > MAX_EXAMPLES:
            raise ConfigError(
                f"got modulus {self.modulus} with {rules[0].num_operands} operands, {size:,} questions; expected at "
                f"most {MAX_EXAMPLES:,}. Choose a smaller modulus."
            )

    @property
    def num_numbers(self) -> int:
        """Number of values an operand takes."""
        return self.modulus + (len(OPERATORS) if self.operand_range == "published" else 0)


class Examples(NamedTuple):
    """Questions as tokens, with their answers; `task` is the index of the formula."""

    tokens: np.ndarray  # (b, s)
    labels: np.ndarray  # (b,)
    task: np.ndarray  # (b,)


@final
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Task:
    """The table of all questions of one configuration. Make it with `modular_task`.

    `operands` (n, 2 or 3) lists every tuple, first operand slowest; `labels` and `defined` are (formulas, n);
    `train` and `test` index its rows, formula by formula; all have the same unless each is split by itself.
    """

    config: TaskConfig
    rules: tuple[Formula, ...]
    operands: np.ndarray
    labels: np.ndarray
    defined: np.ndarray
    train: tuple[np.ndarray, ...]
    test: tuple[np.ndarray, ...]

    def __repr__(self) -> str:
        texts = ", ".join(rule.text for rule in self.rules)
        return f"Task({texts} mod {self.config.modulus}: {len(self.train[0])} train, {len(self.test[0])} test)"

    @property
    def num_tasks(self) -> int:
        """Number of formulas."""
        return len(self.rules)

    def operator_tokens(self, readout: str) -> list[int]:
        """Token id that marks each formula."""
        p, is_shared = self.config.modulus, self.config.task_tokens == "published"
        if readout == "equals":
            return [p + i * (not is_shared) for i in range(self.num_tasks)]
        if readout == "pair":
            return [0] * self.num_tasks  # none is written
        used, extra = [], p + len(OPERATORS)
        for rule in self.rules:
            token = p + OPERATORS.index(rule.op_symbol)
            if token in used and not is_shared:
                token, extra = extra, extra + 1
            used.append(token)
        return used

    def vocabulary(self, readout: str) -> int:
        """Number of tokens: 102 for one formula at p = 97, as published."""
        if readout == "pair":
            return self.config.num_numbers
        least = 0 if readout == "equals" else self.config.modulus + len(OPERATORS)
        return max(least, self.config.num_numbers, *(t + 1 for t in self.operator_tokens(readout)))

    def examples(self, part: Literal["train", "test", "all"], readout: str = "operand") -> Examples:
        """Tokens (a, op, b[, op, c]); with read-out `equals` (a, b[, c], =), with `pair` (a, b); and labels, formula by formula."""
        every = (np.arange(len(self.operands)),) * self.num_tasks
        index = {"train": self.train, "test": self.test, "all": every}[part]
        tokens, labels, tasks = [], [], []
        for i, operator in enumerate(self.operator_tokens(readout)):
            rows = index[i][self.defined[i, index[i]]]
            columns = [self.operands[rows, k] for k in range(self.operands.shape[1])]
            sign = np.full(len(rows), operator)
            if readout == "equals":
                columns.append(sign)
            elif readout == "operand":
                columns = [x for column in columns for x in (column, sign)][:-1]
            tokens.append(np.stack(columns, 1))
            labels.append(self.labels[i, rows])
            tasks.append(np.full(len(rows), i))
        return Examples(np.concatenate(tokens), np.concatenate(labels), np.concatenate(tasks))

    def swap_leakage(self, index: int | None = None) -> float:
        """Share of test questions trained on in another order: what knowing only that it does not matter can answer. Of one formula, or the mean."""
        key, which = self._key(np.sort(self.operands, 1)), range(self.num_tasks) if index is None else [index]
        return float(np.mean([np.isin(key[self.test[i]], key[self.train[i]]).mean() for i in which]))

    def _key(self, operands: np.ndarray) -> np.ndarray:
        """One integer per row of operands."""
        return np.asarray(np.ravel_multi_index(tuple(operands.T), (self.config.num_numbers,) * operands.shape[1]))

    def num_examples(self, part: Literal["train", "test"]) -> int:
        """Questions with an answer on one side of the split, all formulas together."""
        return sum(self.asked(part))

    def asked(self, part: Literal["train", "test"]) -> tuple[int, ...]:
        """Questions with an answer on one side of the split, formula by formula."""
        index = self.train if part == "train" else self.test
        return tuple(int(ok[rows].sum()) for ok, rows in zip(self.defined, index, strict=True))

    def guessing_accuracy(self) -> float:
        """Share of the test questions whose answer is the commonest one, formula by formula."""
        counts = [
            np.bincount(y[test][ok[test]]) for y, ok, test in zip(self.labels, self.defined, self.test, strict=True)
        ]
        return float(np.mean([count.max() / count.sum() for count in counts]))

    def baseline_accuracy(self, index: int | None = None) -> float:
        """Share of the test questions that memory, order and one constant give: the most that needs no rule.

        A question that was trained on with operands exchanged whose order does not matter (all of a symmetric formula, a and b of
        a^2 + b^2 + c) is answered from memory; all others get the answer that is commonest among them. Best accuracies of runs that did
        not grok are to be held against this. Of one formula, or the mean.
        """
        which = range(self.num_tasks) if index is None else [index]
        ordered = [(i, _sorted_within(self.operands, self.exchangeable(i))) for i in which]
        return float(np.mean([self._from_memory(i, self._key(operands)) for i, operands in ordered]))

    def lookup_accuracy(self, index: int | None = None) -> float:
        """Share of the test questions answered by a trained question of interchangeable numbers; all others get one constant.

        Two numbers are interchangeable as an operand if the answers are the same whatever the other operands are: a and p - a
        in a^2 + b^2, sixteen classes in a^6 + b^6. A network that finds only these classes, and symmetry, reaches this without
        any arithmetic between the operands; where it is near 1, a high test accuracy shows little else. Of one formula, or the mean.
        """
        found = []
        for i in range(self.num_tasks) if index is None else [index]:
            table, rows, together = self._table(i), np.empty_like(self.operands), self.exchangeable(i)
            for places in together:  # operands that can be exchanged have the same classes
                lines = np.moveaxis(table, places[0], 0).reshape(len(table), -1)
                _, group = np.unique(lines, axis=0, return_inverse=True)
                rows[:, places] = group.reshape(-1)[self.operands[:, places]]
            found.append(self._from_memory(i, self._key(_sorted_within(rows, together))))
        return float(np.mean(found))

    def _from_memory(self, index: int, key: np.ndarray) -> float:
        """Accuracy on the test questions of one formula, with those known whose key was trained on, and one constant for the rest."""
        train, test = (rows[self.defined[index, rows]] for rows in (self.train[index], self.test[index]))
        is_known = np.isin(key[test], key[train])
        rest = np.bincount(self.labels[index, test[~is_known]], minlength=1)
        return float((is_known.sum() + rest.max()) / len(test))

    def _table(self, index: int) -> np.ndarray:
        """Answers of one formula by operands, -1 where there is none."""
        table = np.full((self.config.num_numbers,) * self.operands.shape[1], -1)
        table[tuple(self.operands.T)] = np.where(self.defined[index], self.labels[index], -1)
        return table

    def exchangeable(self, index: int = 0) -> list[list[int]]:
        """Operands of one formula, those together whose order does not matter: [[0, 1], [2]] for a^2 + b^2 + c."""
        table, found = self._table(index), list[list[int]]()
        for k in range(table.ndim):
            own = next((places for places in found if (table == np.swapaxes(table, places[0], k)).all()), None)
            if own is None:
                found.append([k])
            else:
                own.append(k)
        return found

    def is_symmetric(self, index: int = 0) -> bool:
        """True if the order of the operands never matters for one formula."""
        return len(self.exchangeable(index)) == 1


def _sorted_within(rows: np.ndarray, together: Sequence[list[int]]) -> np.ndarray:
    """Rows with the columns of each group sorted among themselves."""
    found = rows.copy()
    for places in together:
        found[:, places] = np.sort(rows[:, places], 1)
    return found


@functools.lru_cache(maxsize=8)
def _places(count: int, seed: int) -> np.ndarray:
    """Where Python's own shuffle puts each of `count` things; kept, since whole sweeps ask for the same few."""
    order = list(range(count))
    random.Random(seed).shuffle(order)
    rank = np.empty(count, int)
    rank[order] = np.arange(count)
    rank.setflags(write=False)
    return rank


def split(config: TaskConfig, operands: np.ndarray, index: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to test on.

    Args:
        config: Of the task.
        operands: All its tuples.
        index: Which formula, where each has a split of its own: that of the next seed each time.

    `ordered`: Python's own shuffle of all tuples, the first int(fraction x count) train: with
    `operand_range="published"` the same list of pairs as the authors' loader.
    """
    if config.split_by == "unordered":
        keys = np.sort(operands, 1)
        _, group = np.unique(keys, axis=0, return_inverse=True)
        group = group.reshape(-1)
    else:
        group = np.arange(len(operands))
    rank = _places(int(group.max()) + 1, config.split_seed + index)
    kept = int(config.train_fraction * len(rank))
    place = rank[group]
    by_place = np.argsort(place, kind="stable")
    is_train = place[by_place] < kept
    return by_place[is_train], by_place[~is_train]


@functools.cache
def looked_up(config: TaskConfig, index: int | None = None) -> float:
    """Share of the test questions of a configuration that need no rule: see `Task.lookup_accuracy`."""
    return modular_task(config).lookup_accuracy(index)


def modular_task(config: TaskConfig) -> Task:
    """Build the table of a configuration.

    Raises:
        ConfigError: A formula has no defined answer, or one side of the split is empty.
        FormulaError: A formula cannot be read.
    """
    rules = tuple(formula(text) for text in config.formulas)
    count, several = config.num_numbers, rules[0].num_operands
    operands = np.ascontiguousarray(np.indices((count,) * several).reshape(several, -1).T)
    if config.zeros == "excluded":
        operands = operands[(operands % config.modulus != 0).all(1)]
    pairs = [answers(rule, config.modulus, operands) for rule in rules]
    labels, defined = np.stack([x for x, _ in pairs]), np.stack([x for _, x in pairs])
    if config.split_by == "ordered":  # tuples that no formula defines are never in the list that is shuffled
        keep = defined.any(0)
        operands, labels, defined = operands[keep], labels[:, keep], defined[:, keep]
    sides = [split(config, operands, i if config.split_per == "formula" else 0) for i in range(len(rules))]
    train, test = zip(*sides, strict=True)
    for i, (rule, mask) in enumerate(zip(rules, defined, strict=True)):
        for name, part in (("train", train), ("test", test)):
            if not mask[part[i]].any():
                raise ConfigError(
                    f"got {int(mask.sum())} defined pairs of {rule.text} modulo {config.modulus} at train fraction "
                    f"{config.train_fraction}, which leaves none to {name} on; expected some on both sides. "
                    "Choose a larger modulus or another train fraction."
                )
    return Task(config, rules, operands, labels, defined, train, test)
