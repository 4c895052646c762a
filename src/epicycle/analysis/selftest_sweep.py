"""Oracles of the measures that compare runs: clock or pizza, parts of the logits, rates and censored times, forms of tables."""

import math
from collections.abc import Callable, Iterator

import numpy as np

from epicycle.analysis.checks import Check
from epicycle.analysis.clock import circularity, distance_irrelevance, noise_irrelevance
from epicycle.analysis.decomposition import decompose
from epicycle.analysis.statistics import paired, rate, time_to_event
from epicycle.tasks.forms import product_form, sum_form


def clock_and_pizza() -> Iterator[Check]:
    """Pizza logits depend on the distance alone; white noise has a closed form; circles are circular."""
    p = 59
    a, b = np.divmod(np.arange(p * p), p)
    pizza = np.abs(np.cos(np.pi * 3 * (a - b) / p)).reshape(p, p)
    yield Check("pizza, one frequency", "distance irrelevance", 0, distance_irrelevance(pizza) or 0.0, 1e-12)
    draws = [distance_irrelevance(np.random.default_rng(i).standard_normal((p, p))) or 0.0 for i in range(200)]
    yield Check(
        "white-noise logits, 200 draws", "distance irrelevance", noise_irrelevance(p), float(np.mean(draws)), 5e-4
    )
    n = np.arange(p)
    circles = np.concatenate(
        [
            np.stack([np.cos(2 * np.pi * k * n / p), np.sin(2 * np.pi * k * n / p)], 1) * s
            for k, s in ((3, 2.0), (11, 1.0))
        ],
        1,
    )
    yield Check("two circles", "circularity", 1, circularity(circles), 1e-12)


def logit_parts() -> Iterator[Check]:
    """A clock on two waves and a third: keys alone, chance for the rest, the third one found."""
    p = 31
    a, b, c = np.ogrid[:p, :p, :p]
    wave = lambda k: np.cos(2 * np.pi * k * (a + b - c) / p)  # noqa: E731
    labels = np.add.outer(np.arange(p), np.arange(p)) % p
    found = decompose(20.0 * (wave(3) + wave(7)) + 4.0 * wave(5), labels, (3, 7), "sum", controls=4)
    n = np.arange(p)
    logits = 20.0 * (np.cos(2 * np.pi * 3 * n / p) + np.cos(2 * np.pi * 7 * n / p))  # by distance from the answer
    expected = float(np.log(np.exp(logits - logits[0]).sum()))
    yield Check("clock on k = 3, 7 with k = 5 beside", "loss of the key part", expected, found.losses["key"], 1e-10)
    yield Check(
        "clock on k = 3, 7 with k = 5 beside", "loss of the residual", math.log(p), found.losses["residual"], 1e-9
    )
    yield Check("clock on k = 3, 7 with k = 5 beside", "frequency that matters", 5, float(sum(found.dependent)), 0)


def statistics() -> Iterator[Check]:
    """Wilson's formula; Kaplan-Meier worked by hand; a sign test of six."""
    z = 1.959963984540054
    yield Check("3 of 3", "lower end of Wilson's interval", 1 / (1 + z**2 / 3), rate(3, 3).low, 1e-12)
    found = time_to_event([3, 5, 5, None, 8, None], [3, 5, 5, 6, 8, 10])
    yield Check(
        "events 3, 5, 5, 8, lost at 6 and 10",
        "restricted mean",
        3 + 2 * 5 / 6 + 3 / 2 + 2 / 4,
        found.restricted_mean,
        1e-12,
    )
    yield Check("events 3, 5, 5, 8, lost at 6 and 10", "survival after 8", 0.25, float(found.survival[-1]), 1e-12)
    yield Check(
        "six of six earlier", "p of the sign test", 2 / 64, paired([1.0] * 6, [2.0] * 6, [9] * 6, [9] * 6).p_time, 1e-12
    )


def table_forms() -> Iterator[Check]:
    """Planted h(g1 + g2) and h(g1 * g2) are found, the other form is refuted, a random table has neither."""
    p, generator = 31, np.random.default_rng(0)
    g1, g2, h = generator.permutation(p), generator.permutation(p), generator.integers(0, 5, p)
    tables = {
        "sum": h[(g1[:, None] + g2) % p],
        "product": generator.permutation(p)[g1[:, None] * g2 % p],
        "random table": generator.integers(0, p, (p, p)),
    }
    for name, table in tables.items():
        for form in (sum_form(table), product_form(table)):
            yield Check(
                f"planted {name}" if name != "random table" else name,
                f"has the form of a {form.kind}",
                float(name == form.kind),
                float(bool(form.exists)),
                0,
            )


SWEEP_ORACLES: dict[str, Callable[[], Iterator[Check]]] = {
    oracle.__name__: oracle for oracle in (clock_and_pizza, logit_parts, statistics, table_forms)
}
"""Name -> generator of checks."""
