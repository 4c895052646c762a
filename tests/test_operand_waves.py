"""Waves of the operands behind a wave of the answer, for formulas that are linear in them or in their logarithms."""

import numpy as np
import pytest

from epicycle.fourier.bases import additive, multiplicative
from epicycle.fourier.operand_waves import folded, multipliers, operand_frequencies
from epicycle.fourier.planes import explained_by_frequency, explained_overall
from epicycle.fourier.spectra import spectrum_2d
from epicycle.tasks.modular import TaskConfig, modular_task

P = 23


def labels(formula):
    task = modular_task(TaskConfig(formulas=(formula,), modulus=P))
    table = np.full((P, P), -1)
    a, b = task.operands.T
    table[a, b] = np.where(task.defined[0], task.labels[0], -1)
    return table


@pytest.mark.parametrize(("formula", "sums", "products"), [
    ("a + b", (1, 1), None), ("a - b", (1, P - 1), None), ("2*a + 3*b", (2, 3), None), ("2*a - b + 5", (2, P - 1), None), ("a^2 + b", None, None),
    ("a*b", None, (1, 1)), ("a^2*b", None, (2, 1)), ("a/b", None, (1, P - 2)), ("5*a*b^3", None, (1, 3)), ("a*b + a + b", None, None), ("a", (1, 0), (1, 0)),
])  # fmt: skip
def test_multipliers_are_read_off_the_table(formula, sums, products):
    table = labels(formula) if formula != "a" else np.tile(np.arange(P)[:, None], P)
    assert multipliers(table, additive(P)) == sums
    assert multipliers(table, multiplicative(P)) == products


def test_one_wrong_answer_is_not_linear():
    table = labels("2*a + 3*b")
    table[4, 5] = (table[4, 5] + 1) % P
    assert multipliers(table, additive(P)) is None


def test_frequencies_of_the_operands():
    assert folded(-3, P) == folded(20, P) == 3
    assert operand_frequencies([1, 4, 7], (2, 3), P) == (2, 3, 8, 9, 11)  # 2, 8, 14 and 3, 12, 21
    assert operand_frequencies([1, 4], (1, P - 1), P) == operand_frequencies([4, 1], None, P) == (1, 4)
    assert operand_frequencies([11], (2, 1), 22) == (11,)  # twice the wave that alternates is constant


def test_a_neuron_of_the_answer_is_one_frequency_of_it():
    """cos 2 pi 4 (2a + 3b) / p, whole in the block of frequency 4 where it is known what that is, and in no block of one frequency."""
    basis, (a, b) = additive(P), np.mgrid[:P, :P]
    angle = 2 * np.pi * 4 * (2 * a + 3 * b) / P
    neurons = np.stack([np.cos(angle), np.cos(angle) + 0.5 * np.sin(2 * np.pi * 8 * a / P)], 2)
    spectrum = spectrum_2d(neurons, basis)
    shares, total = explained_by_frequency(spectrum, basis, multipliers(labels("2*a + 3*b"), basis))
    assert shares[3] == pytest.approx(1) and explained_overall(shares, total) == pytest.approx(1)
    blind, _ = explained_by_frequency(spectrum, basis)
    assert blind.max(0) == pytest.approx([0, 0.2])  # only the wave of a alone, of a quarter of the other's power
    np.testing.assert_array_equal(explained_by_frequency(spectrum, basis, (1, 1))[0], blind)
