"""Digits as circles, planted where they must be found, and the causal step on models with known answers."""

import numpy as np
import pytest

from epicycle.analysis.digits import _steps, digit_probes, digit_turn, digits_of
from epicycle.errors import DataError
from epicycle.models.language import language_model
from epicycle.models.language_oracle import NumberTokenizer, wave_writer
from epicycle.tasks.prompts import PromptConfig

N = np.arange(200)


def circle(x, t):
    return np.stack([np.cos(2 * np.pi * x / t), np.sin(2 * np.pi * x / t)], 1)


def test_digits_against_writing():
    for base in (2, 7, 10):
        table = digits_of(N, base)
        for n in (0, 6, 7, 99, 100, 199):
            assert "".join(np.base_repr(int(d), 36) for d in table[n][::-1]).lstrip("0") == np.base_repr(
                n, base
            ).lstrip("0")


def test_a_planted_digit_is_found_in_its_base_and_place_alone():
    generator = np.random.default_rng(0)
    table = circle(N // 10 % 10, 10) @ generator.standard_normal((2, 24)) + 0.01 * generator.standard_normal((200, 24))
    found = digit_probes([table, generator.standard_normal((200, 24))], ["tens", "noise"])
    assert found.at(10, 1)[0] == pytest.approx(1.0) and abs(found.at(10, 0)[0]) < 0.15
    assert found.tables == ("tens", "noise") and np.abs(found.kappa[1]).max() < 0.35
    assert abs(np.median(found.shuffled)) < 0.1
    units = digit_probes([circle(N, 10) @ generator.standard_normal((2, 24))], ["units"])
    assert units.at(10)[0] == pytest.approx(1.0) and abs(units.at(7)[0]) < 0.2 and abs(units.at(11)[0]) < 0.2


def test_steps_turn_the_wave_and_move_the_mean():
    rows = circle(N, 10) @ np.random.default_rng(1).standard_normal((2, 12))
    turned, moved = _steps(rows, N)
    np.testing.assert_allclose(rows + turned, -rows, atol=1e-9)
    np.testing.assert_allclose(rows + moved, -rows, atol=1e-9)  # a table with that wave alone: both are the same
    noise = np.random.default_rng(2).standard_normal((200, 12))
    _, own = _steps(noise, N)
    assert (
        abs(np.mean([np.corrcoef(own[i], noise[i])[0, 1] for i in range(200)])) < 0.1
    )  # its own row is not in its step


def test_parity_of_the_hand_built_model_moves_with_the_digit():
    """The answer is b or b + 1, as even as a: a digit moved by five changes its parity, never by five. So nothing counts as turned."""
    lm = language_model(wave_writer(100), NumberTokenizer(100), "oracle")
    found = digit_turn(lm, PromptConfig(largest_operand=49, form="bare"), lm.space.rows(99), questions=50)
    assert found.swapped.max() == 0 and found.digit.max() == 0
    assert found.digit_kept[0] < 0.1 and found.random_kept[0] >= found.digit_kept[0]
    assert found.circle_kept[0] > 0.9  # its row has no wave of period 10
    assert (found.digit_kept[2:] == 1).all()  # after the attention layer nobody reads it


def test_too_few_numbers():
    with pytest.raises(DataError, match="at least 20"):
        digit_probes([np.ones((10, 3))], ["x"])
