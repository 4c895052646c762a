"""Number text: every statement is true, none states a sum, and the stream repeats itself only when asked to."""

import itertools
import re

import numpy as np
import pytest

from epicycle.errors import ConfigError
from epicycle.numbers.words import ordinal, spelled
from epicycle.tasks.number_text import (
    KINDS,
    Draw,
    NumberTextConfig,
    kinds_of,
    number_weights,
    solved_questions,
    statements,
)
from epicycle.tasks.prompts import PromptConfig, prompt_task

LARGEST = 520
WORDS = {spelled(n): n for n in range(LARGEST + 1)}


def numbers_in(text):
    return [int(found) for found in re.findall(r"\d+", text)]


def is_progression(step):
    def check(text):
        found = numbers_in(text)
        starts = step <= 2 or found[0] % step == 0
        return (
            starts and all(b - a == step for a, b in itertools.pairwise(found)) and re.fullmatch(r"\d+(, \d+)+\.", text)
        )

    return check


def ordinals(text):
    if text.startswith("number"):
        n, again = re.fullmatch(r"number (\d+) is the (\d+\w\w) \w+\.", text).groups()
        return ordinal(int(n)) == again
    first, second = re.fullmatch(r"the (\d+\w\w) and the (\d+\w\w) \w+\.", text).groups()
    n = numbers_in(first)[0]
    return (first, second) == (ordinal(n), ordinal(n + 1))


def spelled_out(text):
    words, digits = text[:-1].split(" is written ") if "written" in text else text[:-1].split(" is read ")[::-1]
    return WORDS[words] == int(digits)


def rounding(text):
    n, rounded = numbers_in(text)
    return rounded in ((n + 5) // 10 * 10, (n + 50) // 100 * 100)


def comparison(text):
    a, b = numbers_in(text)
    return a == b if "equals" in text else (a < b) == ("less" in text or "smaller" in text) and a != b


TRUE = {
    **{f"counting-by-{step}": is_progression(step) for step in (1, 2, 5, 10, 100)},
    "ordinals": ordinals,
    "spelled-out": spelled_out,
    "parity": lambda text: ("odd" in text) == numbers_in(text)[0] % 2,
    "rounding": rounding,
    "comparison": comparison,
    "page-range": lambda text: 1 <= numbers_in(text)[1] - numbers_in(text)[0] <= 12,
    "money": lambda text: numbers_in(text)[1] < 100,
    "neighbours": lambda text: numbers_in(text)[0] - numbers_in(text)[1] == (-1 if "before" in text else 1),
    "quantity": lambda text: len(numbers_in(text)) == 1,
}


def test_every_kind_has_a_check():
    assert set(TRUE) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("largest", [20, 99, 520])
def test_statements_are_true_and_stay_in_range(kind, largest):
    if kind == "counting-by-100" and largest < 200:
        with pytest.raises(ConfigError, match=r"0\.\.200"):
            NumberTextConfig(largest=largest, kinds=(kind,))
        return
    config = NumberTextConfig(largest=largest, kinds=(kind,), seed=3)
    for text in itertools.islice(statements(config), 400):
        assert TRUE[kind](text), text
        assert all(0 <= n <= largest for n in numbers_in(text)), text
        assert not re.search(r"\+|plus|\bsum\b|total|add", text), text


def test_the_stream_is_the_same_every_time_and_differs_between_seeds():
    first, again, other = (list(itertools.islice(statements(NumberTextConfig(seed=seed)), 50)) for seed in (0, 0, 1))
    assert first == again != other


def test_kinds_are_equally_often_and_can_be_switched_off():
    config = NumberTextConfig(kinds=("parity", "quantity"))
    found = list(itertools.islice(statements(config), 4000))
    assert abs(sum("were" in text for text in found) - 2000) < 200
    assert not any("," in text for text in found)
    assert "counting-by-100" not in kinds_of(NumberTextConfig(largest=199))


def test_the_law_is_benford_with_an_excess_of_round_numbers():
    weights = np.array(number_weights(999, "prose"))
    plain = np.array([n for n in range(1, 1000) if n % 5])
    first = np.array([int(str(n)[0]) for n in plain])
    share = np.array([weights[plain][first == d].sum() for d in range(1, 10)])
    np.testing.assert_allclose(share / share.sum(), np.log10(1 + 1 / np.arange(1, 10)), atol=0.06)
    assert weights[40] / (weights[41] + weights[39]) > 1.9
    assert set(number_weights(99, "uniform")) == {1.0}
    draw = Draw(NumberTextConfig(largest=199))
    seen = np.bincount([draw.number() for _ in range(40_000)], minlength=200) / 40_000
    expected = np.array(number_weights(199, "prose"))
    np.testing.assert_allclose(seen, expected / expected.sum(), atol=0.01)


SUMS = PromptConfig(largest_operand=49)
PRODUCTS = PromptConfig(operation="multiply", largest_operand=49, cap=99)


def test_solved_questions_are_true_and_those_of_the_training_part_alone():
    config = NumberTextConfig(largest=99, solved=(SUMS, PRODUCTS))
    trained = {
        name: set(zip(rows.a.tolist(), rows.b.tolist(), strict=True))
        for name, rows in (("add", prompt_task(SUMS).rows("train")), ("multiply", prompt_task(PRODUCTS).rows("train")))
    }
    seen, turned = {"add": set(), "multiply": set()}, 0
    for text in itertools.islice(solved_questions(config), 20_000):
        a, b, answer = numbers_in(text)
        kind = "multiply" if re.search("times|product|multipli", text.lower()) else "add"
        assert answer == (a * b if kind == "multiply" else a + b), text
        assert (min(a, b), max(a, b)) in trained[kind], text
        seen[kind].add((min(a, b), max(a, b)))
        turned += a > b
    assert seen == trained
    assert 0.4 < turned / 20_000 < 0.55


def test_solved_questions_have_their_share_of_the_stream_and_leave_the_rest_as_it_is():
    plain, mixed = NumberTextConfig(seed=4), NumberTextConfig(seed=4, solved=(SUMS,), solved_share=0.25)
    found = list(itertools.islice(statements(mixed), 8000))
    rest = [text for text in found if "Answer:" not in text]
    assert abs(len(found) - len(rest) - 2000) < 160
    assert rest == list(itertools.islice(statements(plain), len(rest)))


def test_words():
    assert [spelled(n) for n in (0, 13, 40, 42, 100, 108, 215, 1000, 1005, 12345)] == [
        "zero", "thirteen", "forty", "forty-two", "one hundred", "one hundred and eight", "two hundred and fifteen", "one thousand",
        "one thousand and five", "twelve thousand three hundred and forty-five"]  # fmt: skip
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 101, 111, 112, 122)] == [
        "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "101st", "111th", "112th", "122nd"]  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        {"largest": 5},
        {"kinds": ("sums",)},
        {"law": "zipf"},
        {"largest": 99, "solved": (PromptConfig(largest_operand=99),)},
        {"solved": (PromptConfig(largest_operand=49, shots=2),)},
        {"solved": (SUMS,), "solved_share": 0.0},
    ],
)
def test_bad_settings_are_one_sentence(wrong):
    with pytest.raises(ConfigError, match="expected"):
        NumberTextConfig(**wrong)
