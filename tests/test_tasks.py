import random

import numpy as np
import pytest

from epicycle.errors import ConfigError
from epicycle.tasks.modular import TaskConfig, modular_task


@pytest.mark.parametrize(
    ("fraction", "paper", "code"),
    [(0.3, 2822, 3121), (0.4, 3763, 4161), (0.5, 4704, 5202), (0.6, 5645, 6242), (0.7, 6586, 7282), (0.8, 7527, 8323),
     (0.9, 8468, 9363)],
)  # fmt: skip
def test_published_sizes(fraction, paper, code):
    for kind, expected, total in (("modulus", paper, 9409), ("published", code, 10404)):
        task = modular_task(TaskConfig(train_fraction=fraction, operand_range=kind))
        assert (len(task.train[0]), len(task.test[0])) == (expected, total - expected)


@pytest.mark.parametrize("kind", ["modulus", "published"])
def test_the_split_is_the_authors_list_of_pairs(kind):
    n = 97 if kind == "modulus" else 102
    pairs = [(a, b) for a in range(n) for b in range(n)]
    random.seed(1)
    random.shuffle(pairs)
    task = modular_task(TaskConfig(formulas=("a*b",), split_seed=1, operand_range=kind))
    assert [tuple(row) for row in task.operands[task.train[0]]] == pairs[: len(task.train[0])]
    tokens, labels, _ = task.examples("train")
    assert tokens[0].tolist() == [pairs[0][0], 97 + 3, pairs[0][1]]
    assert labels[0] == pairs[0][0] * pairs[0][1] % 97


def test_published_range_holds_operator_tokens():
    task = modular_task(TaskConfig(operand_range="published"))
    assert int((task.operands[task.train[0]] >= 97).any(1).sum()) == 312
    assert int((task.operands[task.test[0]] >= 97).any(1).sum()) == 683


def test_unordered_split_has_no_swap_leakage():
    ordered, unordered = (modular_task(TaskConfig(split_by=kind)) for kind in ("ordered", "unordered"))
    assert 0.25 < ordered.swap_leakage() < 0.35
    assert unordered.swap_leakage() == 0
    assert abs(len(unordered.train[0]) / 9409 - 0.3) < 0.01
    assert sorted([*unordered.train[0], *unordered.test[0]]) == list(range(9409))


def test_symmetry():
    for text, expected in (("a+b", True), ("a-b", False), ("a^2+a*b+b^2", True), ("a/b", False)):
        assert modular_task(TaskConfig(formulas=(text,), modulus=13)).is_symmetric() is expected


def test_tokens_of_both_read_outs_and_of_three_operands():
    task = modular_task(TaskConfig(formulas=("a+b", "a*b", "a^2+b", "a+b^2"), modulus=13))
    assert task.operator_tokens("operand") == [14, 16, 13, 18]
    assert task.vocabulary("operand") == 19
    tokens, labels, which = task.examples("all")
    assert tokens.shape == (4 * 169, 3) and (np.bincount(which) == 169).all()
    assert (labels[which == 3] == (tokens[which == 3, 0] + tokens[which == 3, 2] ** 2) % 13).all()
    equals = task.examples("all", "equals").tokens
    assert (equals[:169, 2] == 13).all() and task.vocabulary("equals") == 17
    three = modular_task(TaskConfig(formulas=("a+b+c",), modulus=5))
    assert three.examples("all").tokens[7].tolist() == [0, 5, 1, 5, 2]


def test_a_mixture_shares_its_split():
    task = modular_task(TaskConfig(formulas=("a+b", "a/b"), modulus=7))
    tokens, _, which = task.examples("train")
    plus = {(r[0], r[2]) for r in tokens[which == 0].tolist()}
    over = {(r[0], r[2]) for r in tokens[which == 1].tolist()}
    assert over == {pair for pair in plus if pair[1] != 0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"modulus": 1}, "got modulus 1; expected an integer of at least 2. Try 97."),
        ({"modulus": -5}, "got modulus -5; expected an integer of at least 2. Try 97."),
        ({"train_fraction": 0.0}, "got train fraction 0.0; expected a number above 0 and below 1"),
        ({"train_fraction": 1.0}, "got train fraction 1.0; expected a number above 0 and below 1"),
        ({"formulas": ()}, "got no formula"),
        ({"formulas": ("a+b", "a + b")}, "got the same formula twice"),
        ({"formulas": ("a+b", "a+b+c")}, "got formulas of two and of three operands"),
        ({"modulus": 5000}, "got modulus 5000; expected at most 400, since the logits of all pairs"),
        ({"modulus": 200, "formulas": ("a+b+c",)}, "got modulus 200 with 3 operands, 8,000,000 questions; expected"),
        ({"split_seed": -1}, "got split seed -1; expected an integer from 0"),
        ({"split_by": "sideways"}, "got split_by 'sideways'"),
        ({"operand_range": "all"}, "got operand_range 'all'"),
    ],
)
def test_settings_that_are_refused(settings, message):
    with pytest.raises(ConfigError) as caught:
        TaskConfig(**settings)
    assert str(caught.value).startswith(message)


def test_a_split_that_leaves_nothing():
    with pytest.raises(ConfigError, match="leaves none to train on; expected some on both sides"):
        modular_task(TaskConfig(modulus=2, train_fraction=0.1))


def test_zeros_can_be_left_out():
    task = modular_task(TaskConfig(formulas=("a*b",), modulus=7, zeros="excluded"))
    assert len(task.operands) == 36 and task.operands.min() == 1
    assert set(task.labels[0]) == set(range(1, 7))  # the group without zero
    grid = modular_task(TaskConfig(formulas=("a*b",), modulus=7, zeros="excluded", operand_range="published"))
    assert not (grid.operands % 7 == 0).any() and grid.operands.max() == 11
    halves = modular_task(TaskConfig(formulas=("a*b",), modulus=7, zeros="excluded", split_by="unordered"))
    assert len(halves.train[0]) + len(halves.test[0]) == 36 and sum(map(halves.num_examples, ("train", "test"))) == 36
    with pytest.raises(ConfigError, match="prime above 3"):
        TaskConfig(modulus=12, zeros="excluded")


def test_polynomials_of_a_mixture_may_share_their_token():
    formulas = ("a + b", "a^2 + b", "a*b + b")
    for kind, tokens, size in (("distinct", [14, 13, 18], 19), ("published", [14, 13, 13], 18)):
        task = modular_task(TaskConfig(formulas=formulas, modulus=13, task_tokens=kind))
        assert task.operator_tokens("operand") == tokens
        assert task.vocabulary("operand") == size
    assert task.operator_tokens("equals") == [13, 13, 13]


def test_every_formula_of_a_mixture_may_have_a_split_of_its_own():
    formulas = ("a + b", "a - b", "a/b")
    together = modular_task(TaskConfig(formulas=formulas, modulus=13))
    apart = modular_task(TaskConfig(formulas=formulas, modulus=13, split_per="formula", split_seed=4))
    assert all((part == together.train[0]).all() for part in together.train)
    for i, text in enumerate(formulas[:2]):
        alone = modular_task(TaskConfig(formulas=(text,), modulus=13, split_seed=4 + i))
        tokens, labels, which = apart.examples("train")
        mine, _, _ = alone.examples("train")
        assert (tokens[which == i][:, [0, 2]] == mine[:, [0, 2]]).all()
        assert (labels[which == i] == (mine[:, 0] + (1, -1)[i] * mine[:, 2]) % 13).all()
    assert apart.num_examples("train") == len(apart.examples("train").labels)
    for train, test in zip(apart.train, apart.test, strict=True):
        assert sorted([*train, *test]) == list(range(169))
    halves = modular_task(TaskConfig(formulas=formulas, modulus=13, split_per="formula", split_by="unordered"))
    assert halves.swap_leakage() == 0
    for setting in ({"split_per": "formula"}, {"task_tokens": "published"}):
        with pytest.raises(ConfigError, match="expected a mixture"):
            TaskConfig(**setting)
