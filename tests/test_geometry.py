"""Scatter, Fisher ratio and probes, against closed forms and plain loops."""

import numpy as np
import pytest
import scipy.linalg

from epicycle.analysis.geometry import number_geometry
from epicycle.analysis.probes import (
    circular_answers,
    cohens_kappa,
    decompose,
    folds_of,
    frequency_matched,
    linear_answers,
    probe,
    shuffled_inside,
)
from epicycle.errors import DataError
from epicycle.fourier.geometry import harmonic_power, scatter, scatter_matrices, unreadable
from epicycle.tasks.number_text import number_weights


@pytest.mark.parametrize(("numbers", "width", "period"), [(100, 16, 10), (120, 300, 7), (60, 5, 2), (90, 40, 9)])
def test_trace_of_between_scatter_is_power_over_n(numbers, width, period):
    table = np.random.default_rng(numbers).standard_normal((numbers, width)) * 3 + 1
    whole = table[: numbers // period * period]
    n = np.arange(len(whole))
    power = sum(
        np.linalg.norm(np.exp(-2j * np.pi * n * k / period) @ whole / len(whole) ** 0.5) ** 2 for k in range(1, period)
    )
    assert harmonic_power(whole, period) == pytest.approx(power, rel=1e-12)
    between, within = scatter_matrices(whole, period)
    assert abs(np.trace(between) - power / len(whole)) <= 1e-10
    centred = whole - whole.mean(0)
    np.testing.assert_allclose(between + within, centred.T @ centred / len(whole), atol=1e-10)
    found = scatter(table, period)
    assert abs(found.between_trace - found.phi / found.numbers) <= 1e-10
    assert found.fisher_low <= found.fisher * (1 + 1e-9) and found.fisher <= found.fisher_high * (1 + 1e-9)


def test_power_is_that_of_the_discrete_fourier_transform():
    table = np.random.default_rng(0).standard_normal((120, 8))
    power = (np.abs(np.fft.fft(table, axis=0)) ** 2).sum(1) / 120
    assert harmonic_power(table, 10) == pytest.approx(power[[12 * k for k in range(1, 10)]].sum(), rel=1e-12)


def test_fisher_ratio_is_the_generalised_eigenvalue():
    table = np.random.default_rng(1).standard_normal((200, 12))
    between, within = scatter_matrices(table - table.mean(0), 5)
    assert scatter(table, 5).fisher == pytest.approx(
        scipy.linalg.eigh(between, within, eigvals_only=True)[-1], rel=1e-9
    )


@pytest.mark.parametrize("strength", [1.0, 100.0])
def test_power_without_separability(strength):
    """The counterexample: Phi_T as large as one likes, no linear read-out."""
    table = unreadable(200, 10, strength)
    assert harmonic_power(table, 10) == pytest.approx(200 * strength**2 * 99 / 12, rel=1e-9)
    found = scatter(table, 10)
    assert found.phi > 1e4 * strength**2 / 10 and found.fisher < 1e-4
    read = probe(table, np.arange(200) % 10, 10)
    assert abs(read.linear) < 0.02 and abs(read.circular) < 0.02 and read.p_value > 0.05


def test_a_circle_is_read_without_error():
    n = np.arange(100)
    table = np.stack([np.cos(2 * np.pi * n / 10), np.sin(2 * np.pi * n / 10)], 1) @ np.random.default_rng(
        2
    ).standard_normal((2, 30))
    assert np.isinf(scatter(table, 10).fisher)
    read = probe(table, n % 10, 10)
    assert (read.linear, read.circular, read.beyond) == (pytest.approx(1.0), pytest.approx(1.0), pytest.approx(1.0))
    assert read.p_value == 0.01 and abs(read.control) < 0.1
    assert abs(probe(table, n % 3, 3).linear) < 0.25  # not a period of it


def test_white_rows_cannot_be_read():
    n = np.arange(120)
    read = [
        probe(np.random.default_rng(s).standard_normal((120, 50)), n % 5, 5, controls=19, seed=s).linear
        for s in range(20)
    ]
    assert abs(np.mean(read)) < 0.03
    g = number_geometry(np.random.default_rng(9).standard_normal((200, 50)), controls=19)
    np.testing.assert_allclose(g.phi_share, g.phi_chance, rtol=0.35)
    assert list(g.period) == [2, 3, 4, 5, 7, 9, 10, 20] and np.isnan(g.frequency_only).all()


def test_kappa():
    right = np.array([0, 0, 1, 1, 2, 2])
    assert cohens_kappa(right, right, 3) == 1.0
    assert cohens_kappa(np.zeros(6, int), right, 3) == 0.0
    given = np.array([0, 1, 1, 1, 2, 0])  # 4 of 6 right; expected (2*2 + 3*2 + 1*2) / 36 = 1/3
    assert cohens_kappa(given, right, 3) == pytest.approx((4 / 6 - 1 / 3) / (2 / 3))


def test_ridge_is_the_plain_one():
    """Against normal equations with the strength that leave-one-out by brute force prefers."""
    generator = np.random.default_rng(3)
    table, labels = generator.standard_normal((40, 6)), generator.integers(0, 3, 40)
    table[:, 0] += labels
    train, test = np.arange(30), np.arange(30, 40)
    x, y = table[train] - table[train].mean(0), np.eye(3)[labels[train]]
    largest = np.linalg.svd(x, compute_uv=False)[0] ** 2

    def fit(rows, strength):
        m, c = table[train][rows].mean(0), y[rows].mean(0)
        a = table[train][rows] - m
        w = np.linalg.solve(a.T @ a + strength * np.eye(6), a.T @ (y[rows] - c))
        return lambda z: (z - m) @ w + c

    strengths = [largest * 10.0**k for k in range(-7, 2)]
    # the shortcut keeps the mean of all rows when one is left out only through its leverage, as is exact for ridge with an intercept
    errors = [
        sum(((fit(np.delete(np.arange(30), i), s)(table[train][i]) - y[i]) ** 2).sum() for i in range(30))
        for s in strengths
    ]
    best = strengths[int(np.argmin(errors))]
    expected = fit(np.arange(30), best)(table[test]).argmax(1)
    got = linear_answers(decompose(table, [(train, test)]), labels[:, None], 3)[:, 0]
    np.testing.assert_array_equal(got[test], expected)
    assert (got[train] == -1).all()


def test_numbers_are_held_out_once_and_classes_evenly():
    labels = np.arange(53) % 5
    parts = folds_of(labels, 1)
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in parts])), np.arange(53))
    assert all(not set(train) & set(test) for train, test in parts)
    assert all(np.ptp(np.bincount(labels[test], minlength=5)) <= 1 for _, test in parts)
    [answers] = circular_answers(decompose(np.random.default_rng(0).standard_normal((53, 4)), parts), [labels], [5])
    assert answers.min() >= 0 and answers.max() < 5
    mixed = shuffled_inside(labels, parts, np.random.default_rng(0))
    assert (mixed != labels).any()
    assert all((np.bincount(labels[test]) == np.bincount(mixed[test])).all() for _, test in parts)


def test_frequency_is_a_control():
    counts = np.where(np.arange(100) % 10 == 0, 1000.0, np.where(np.arange(100) % 5 == 0, 100.0, 10.0))
    rows = np.log(counts + 1)[:, None] * np.ones((1, 8)) + 1e-6 * np.random.default_rng(0).standard_normal((100, 8))
    g = number_geometry(rows, counts, controls=19)
    assert g.at(5)["frequency_only"] > 0.15 and g.at(5)["linear"] > 0.15
    assert abs(g.at(5)["frequency_out"]) < 0.15


def test_numbers_matched_by_frequency():
    """Oracle: rows that are nothing but frequency tell round numbers until the numbers are matched; rows that are residues go on telling."""
    n = np.arange(400)
    generator = np.random.default_rng(2)
    counts = np.exp2(8 + 1.5 * generator.standard_normal(400)) * np.where(n % 10 == 0, 16, 1)
    noise = 0.1 * np.random.default_rng(0).standard_normal((400, 6))
    labels = (n % 10 == 0).astype(int)
    rows = frequency_matched(counts, labels, 2)
    level = np.floor(np.log2(counts))
    for which in np.unique(level):
        here = rows[level[rows] == which]
        assert (labels[here] == 0).sum() == (labels[here] == 1).sum()
    frequency = np.log(counts)[:, None] * np.ones((1, 6)) + noise
    # both sets hold equally many of each class
    other = np.concatenate(
        [np.flatnonzero(labels == 1), np.random.default_rng(1).permutation(np.flatnonzero(labels == 0))[:40]]
    )
    assert probe(frequency[other], labels[other], 2, controls=0).linear > 0.3
    assert probe(frequency[rows], labels[rows], 2, controls=0).linear < 0.2
    g = number_geometry(np.eye(10)[n % 10] + noise[:, :1], counts, periods=(2, 5), controls=19)
    for t in (2, 5):
        at = g.at(t)
        assert at["matched"] > 0.9 and at["matched_size"] > 0.9 and at["matched_level"] < 0.5
        assert at["matched_rows"] % t == 0
    # preferred numbers are matched with smaller ones: a table of nothing but size then tells them apart, and the control says so
    counts = np.array(number_weights(399, "prose")) * 1e5
    sized = np.stack([n, n**2, np.log(n + 1)], 1) / np.array([400, 400**2, 6])
    at = number_geometry(sized, counts, periods=(5, 10), controls=19).at(10)
    assert at["matched"] > max(at["matched_level"], at["matched_size"])
    assert at["matched"] <= at["matched_magnitude"] + 0.05
    assert len(frequency_matched(np.where(n % 2, 1000, 1), n % 2, 2)) == 0  # nothing to match
    assert np.isnan(number_geometry(frequency, np.where(n % 2, 1000, 1), periods=(2,), controls=19).matched).all()


def test_bad_input():
    with pytest.raises(DataError, match="three numbers per class"):
        scatter(np.ones((20, 3)), 10)
    with pytest.raises(DataError, match="without variance"):
        scatter(np.ones((40, 3)), 10)
    with pytest.raises(DataError, match="20 numbers for 10 classes"):
        probe(np.random.default_rng(0).standard_normal((20, 3)), np.arange(20) % 10, 10)
