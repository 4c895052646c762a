"""What the spectra of the runs of Furuta et al. 2024 show: one reading per seed, a number with its control and whether the rule holds.

Conventions, fixed before any run was graded and the same for all claims: a measure falls if it ends at 0.8 of where it began or
lower, and stays otherwise; a table is cosine-biased if the power of its cosine rows is at least 1.2 times that of its sine rows.
"""

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from epicycle.analysis.decomposition import DEPENDENT, decomposition_of
from epicycle.fourier.bases import additive
from epicycle.fourier.measures import fcr
from epicycle.fourier.spectra import FourierNorms, fourier_norms
from epicycle.models.sites import embedding
from epicycle.studies.furuta2024 import PUBLISHED_STEPS, Study, scratch
from epicycle.studies.furuta2024_readings import MINUS, TIMES, first_step, trained_steps, ungrokked, unread, when
from epicycle.studies.ledger import Reading
from epicycle.sweep.grid import Condition
from epicycle.tasks.label_statistics import label_statistics
from epicycle.tasks.modular import TaskConfig, modular_task, split
from epicycle.tasks.operation_names import OPERATIONS

FALLS = 0.8
BIASED = math.log(1.2)
SHUFFLES = 19
"""How often numbers are shuffled for a control."""

MEASURES = tuple((site, name) for site in ("W_E", "W_L") for name in ("ffd", "fcr"))


def series_of(history: list[dict[str, Any]], site: str, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of a measure; evaluations of a diverged training have none."""
    lines = [line for line in history if "measures" in line]
    steps = np.array([line["step"] for line in lines], float)
    return steps, np.array([line["measures"]["weights"]["additive"][site][name] for line in lines], float)


def moves(
    condition: Condition, expected: Sequence[tuple[str, str, str]], study: Study, seed: int, *, needs_grok: bool = True
) -> Reading:
    """Least favourable final over initial value of some measures; control: the initial value of that measure.

    `expected`: (site, measure, falls or stays). Holds if every one does as expected.
    """
    run = study.ended(condition, seed) if needs_grok else study.finished(condition, seed)
    if run is None:
        return unread(study, condition, seed)
    if needs_grok and first_step(run) is None:
        return ungrokked(seed, condition, run)
    if not needs_grok and first_step(run) is not None:
        return Reading(seed, None, None, None, f"{when(condition, run)}: nothing to follow")
    if not needs_grok and trained_steps(run) < PUBLISHED_STEPS:
        said = f"{when(condition, run)}: looked at less than {PUBLISHED_STEPS:,} steps"
        return Reading(seed, None, None, None, said, is_censored=True)
    history = study.history(condition, seed)
    found, ratios = [], dict[str, list[float]](falls=[], stays=[])
    for site, name, what in expected:
        values = series_of(history, site, name)[1]
        ratio = float(values[-1] / values[0])
        ratios[what].append(ratio)
        found.append(
            (
                FALLS - ratio if what == "falls" else ratio - FALLS,
                float(values[-1]),
                float(values[0]),
                f"{name.upper()}({site}) of {condition.label}",
                f"{name.upper()}({site}) {values[0]:.3f} to {values[-1]:.3f}",
            )
        )
    worst = min(found)
    low, high = max(ratios["falls"], default=0.0), min(ratios["stays"], default=math.inf)
    note = f"{condition.label}: {', '.join(text for *_, text in found)}, {_thresholds(low, high)}"
    return Reading(seed, worst[1], worst[2], low <= FALLS < high, note, worst[3])


def _thresholds(low: float, high: float) -> str:
    """In words, with which thresholds between falling and staying a run does as expected: from `low` to below `high`."""
    if low >= min(high, 1.0):  # above 1 it has risen
        return "as expected by no threshold"
    if math.isinf(high):
        return f"as expected by thresholds from {low:.2f}"
    return f"as expected by thresholds {f'from {low:.2f} ' if low else ''}to {high:.2f}"


def always_dense(site: str, study: Study, seed: int) -> Reading:
    """Lowest FFD of a site of a*b over training; control: its first value."""
    run = study.ended(TIMES, seed)
    if run is None or first_step(run) is None:
        return unread(study, TIMES, seed) if run is None else ungrokked(seed, TIMES, run)
    values = series_of(study.history(TIMES, seed), site, "ffd")[1]
    return Reading(
        seed, float(values.min()), float(values[0]), bool(values.min() == 1.0), "1 is the FFD of white noise, too"
    )


def parity(powers: Sequence[int], study: Study, seed: int) -> Reading:
    """Highest final FFD(W_E) of a^n + b^n over odd n among some powers; control: the lowest over even n. FCR is in the note.

    Every odd n is compared with every even one: 5 and 7 permute the numbers modulo 97, 3 does not, and a mean would hide it.
    """
    ends: dict[tuple[str, int], list[float]] = {}
    for n in powers:
        condition = scratch(f"a^{n} + b^{n}")
        run = study.ended(condition, seed)
        if run is None:
            return unread(study, condition, seed)
        if first_step(run) is None:
            return ungrokked(seed, condition, run)
        for name in ("ffd", "fcr"):
            ends.setdefault((name, n % 2), []).append(series_of(study.history(condition, seed), "W_E", name)[1][-1])
    sparse, dense = max(ends["ffd", 1]), min(ends["ffd", 0])
    holds = sparse < dense and max(ends["fcr", 0]) < min(ends["fcr", 1])
    shown = [
        f"{name.upper()} {'odd' if odd else 'even'} {', '.join(f'{v:.3f}' for v in values)}"
        for (name, odd), values in ends.items()
    ]
    return Reading(
        seed, float(sparse), float(dense), bool(holds), f"n = {', '.join(map(str, powers))}: {'; '.join(shown)}"
    )


def bias(condition: Condition, site: str, study: Study, seed: int, *, is_cosine: bool = True) -> Reading:
    """Log of cosine over sine power of a site at the end; control: at the beginning."""
    run = study.ended(condition, seed)
    if run is None:
        return unread(study, condition, seed)
    if first_step(run) is None:
        return ungrokked(seed, condition, run)
    values = series_of(study.history(condition, seed), site, "bias")[1]
    return Reading(
        seed,
        float(values[-1]),
        float(values[0]),
        bool(values[-1] >= BIASED) == is_cosine,
        f"{condition.label}, {site}: {values[0]:.2f} to {values[-1]:.2f}",
        f"{condition.label}, {site}",
    )


def uses_sine(study: Study, seed: int) -> Reading:
    """Of W_E of a*b + a + b: at how many frequencies the same of cosine and sine leads after a shift by one number.

    The shift turns a*b + a + b into the product (a + 1)(b + 1), whose characters are even or odd. Holds if it is so at 0.9 of the
    frequencies, and at more than in any of 19 shuffles of the numbers (control), where without the shift sine leads at a quarter to
    three quarters of them. By how much it leads is not asked: that is FCR, in the note.
    """
    condition = scratch("a*b + a + b")
    run = study.ended(condition, seed)
    if run is None:
        return unread(study, condition, seed)
    if first_step(run) is None:
        return ungrokked(seed, condition, run)
    p = condition.modulus
    table, basis, rng = embedding(run.weights(), p), additive(condition.modulus), np.random.default_rng(seed)
    shifted = np.roll(table, 1, axis=0)  # its row u is the number u - 1
    norms, after = fourier_norms(table, basis), fourier_norms(shifted, basis)
    value = _agreement(after)
    blind = max(_agreement(fourier_norms(shifted[rng.permutation(p)], basis)) for _ in range(SHUFFLES))
    lead, later = float(np.mean(norms.sine > norms.cosine)), float(np.mean(after.sine > after.cosine))
    note = f"sine leads at {lead:.0%} of the frequencies, after the shift at {later:.0%}; FCR {fcr(norms).value:.3f}, after the shift {fcr(after).value:.3f}"
    return Reading(seed, value, blind, value >= 0.9 and value > blind and 0.25 <= lead <= 0.75, note)


def _agreement(norms: FourierNorms) -> float:
    """Share of the frequencies at which the same of cosine and sine leads."""
    lead = float(np.mean(norms.sine > norms.cosine))
    return max(lead, 1 - lead)


def restricted(condition: Condition, study: Study, seed: int, *, is_better: bool) -> Reading:
    """Loss with only the key frequencies in the plane of the sum (difference for a - b), over all pairs; control: the training loss.

    The first row of Table A.4 is the training loss. That of all pairs, which test errors dominate, is in the note.
    """
    run, grok = study.ended(condition, seed), study.grok(condition, seed)
    if run is None or grok is None:
        return unread(study, condition, seed)
    if first_step(run) is None or not grok.circuits:
        return ungrokked(seed, condition, run)
    if not grok.circuits[0].key_frequencies:
        holds = False if is_better else None  # without keys there is nothing that could be worse
        return Reading(seed, None, None, holds, f"{condition.label}: grokked without a key frequency")
    plane = "difference" if condition == MINUS else "sum"
    losses = grok.circuits[0].losses["additive"][plane]
    value, train = losses["restricted"], losses["full_train"]
    keys = ", ".join(map(str, grok.circuits[0].key_frequencies))
    neurons = ", ".join(map(str, grok.circuits[0].neuron_keys["additive"])) or "none"
    return Reading(
        seed,
        value,
        train,
        value < train if is_better else value > 100 * train,
        f"k = {keys} (lead the logits; {neurons} own neurons; losses depend on this choice), read at step {trained_steps(run):,}; all logits "
        f"over all pairs {losses['full']:.3g}; random planes of as many frequencies are in the run's report",
    )


def dependents(condition: Condition, study: Study, seed: int, *, expect_some: bool) -> Reading:
    """Largest rise of the loss when a frequency that is no key is removed, nats; control: the largest when a random plane is.

    A frequency matters if its rise is above 1e-9, the paper's threshold, and above the control, the largest of 19 random planes for each
    frequency: strict where some are to matter, mild where none is, since random planes cut into the keys, too.
    """
    run, grok = study.ended(condition, seed), study.grok(condition, seed)
    if run is None or grok is None:
        return unread(study, condition, seed)
    if first_step(run) is None or not grok.circuits:
        return ungrokked(seed, condition, run)
    found = decomposition_of(grok)
    if not found.keys:
        return Reading(seed, None, None, None, f"{condition.label}: grokked without a key frequency")
    blind = float(found.controls.max())
    others = found.rises[~np.isin(found.frequency, found.keys)]
    matter = int((others > max(DEPENDENT, blind)).sum())
    parts = ", ".join(
        f"{name} {found.losses[name]:.3g}"
        for name in ("key", "non-key", "residual", "key + non-key", "key + residual", "non-key + residual")
    )
    return Reading(seed, float(others.max()), blind, (matter > 0) == expect_some,
                   f"{matter} of {len(others)} frequencies ({len(found.dependent)} above 1e-9); loss of parts: {parts}; {len(found.controls)} random planes")  # fmt: skip


def same_pattern(formulas: tuple[str, ...], fraction: float, study: Study, seed: int) -> Reading:
    """Correlation of the two-dimensional logit norms of the first two formulas of a mixture; control: of the first and the third."""
    condition = Condition(formulas, fraction)
    run, grok = study.ended(condition, seed), study.grok(condition, seed)
    if run is None or grok is None:
        return unread(study, condition, seed)
    if len(grok.circuits) < 3 or first_step(run) is None:
        return ungrokked(seed, condition, run)
    maps = [np.asarray(c.logit_heat_map["additive"])[1:, 1:].ravel() for c in grok.circuits]
    value, control = (float(np.corrcoef(maps[0], maps[i])[0, 1]) for i in (1, 2))
    return Reading(
        seed, value, control, value >= 0.9 and value > control, "norms over waves of a and b, without the constant"
    )


GENERALISES = {"a + b", "a - b", "a*b", "a*b + a + b", "a^2 + b", "a^3 + 2*b", "a^3 - 2*b", *OPERATIONS["sum of powers"].values(), "(a + b)^2",
               "(a + b)^2 + a + b", "(a - b)^2", *(f"(a + b)^{n}" for n in range(3, 8))}  # fmt: skip


LARGE = 0.21
"""How far from one half the probability of superiority of a large difference is (0.8 standard deviations of normal numbers)."""


def labels_do_not_tell(study: Study) -> list[Reading]:
    """Smallest p-value, over KL and the two entropies, of a rank test between formulas that grok at r = 0.3 and the others.

    One reading, since seeds of training have no part in it: means over 100 splits; the grouping is the paper's. It does not hold if a
    p-value is below 0.05 after Bonferroni, and holds only if a large difference is excluded as well: if the 90 % intervals (bootstrap
    over formulas) of the probability that a formula of one group is above one of the other stay within 0.29 to 0.71. Control: how often
    groups drawn at random have a p-value below 0.05.
    """
    formulas, table = _label_table()
    group = np.array([text in GENERALISES for text in formulas])
    inside, outside = (np.flatnonzero(side) for side in (group, ~group))
    p, apart = _rank_tests(table[inside], table[outside])
    generator = np.random.default_rng(0)
    orders = np.stack([generator.permutation(len(table)) for _ in range(999)], 1)
    blind, _ = _rank_tests(table[orders[: len(inside)]], table[orders[len(inside) :]])
    low, high = _intervals(table[inside], table[outside], generator)
    spelled = ", ".join(
        f"{name} {value:.2f} ({a:.3f} to {b:.3f})"
        for name, value, a, b in zip(("KL", "entropy of train", "entropy of test"), apart, low, high, strict=True)
    )
    is_small = bool((low > 0.5 - LARGE).all() and (high < 0.5 + LARGE).all())
    note = f"{len(formulas)} formulas, {group.sum()} of which grok; probability that one of these is above one of the others, with 90 % intervals: {spelled}"
    return [
        Reading(0, float(p), float((blind <= 0.05).mean()), False if p <= 0.05 else (True if is_small else None), note)
    ]


def _intervals(
    inside: np.ndarray, outside: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 90 % interval of the probability of superiority per column, rows drawn again within their group."""
    drawn = [side[generator.integers(0, len(side), (len(side), 999))] for side in (inside, outside)]
    low, high = np.quantile(_rank_tests(drawn[0], drawn[1])[1], [0.05, 0.95], axis=0)
    return low, high


@cache
def _label_table() -> tuple[list[str], np.ndarray]:
    """All formulas, and their label statistics as means over 100 splits, one row each."""
    formulas = [text for family in OPERATIONS.values() for text in family.values()]
    tasks = [modular_task(TaskConfig(formulas=(text,))) for text in formulas]
    sides = [split(TaskConfig(split_seed=seed), tasks[0].operands) for seed in range(100)]  # all have all pairs
    means = [np.mean([label_statistics(task, sides=each) for each in sides], axis=0) for task in tasks]
    return formulas, np.round(means, 12)  # formulas with the same labels in another order are ties


def _rank_tests(inside: np.ndarray, outside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mann-Whitney tests of two groups of rows, (n, ..., columns) and (m, ..., columns).

    Returns:
        The smallest p-value of all columns after Bonferroni (...), and the probability of superiority (..., columns).
    """
    tests = mannwhitneyu(inside, outside, axis=0, method="asymptotic")
    p = np.minimum(1.0, inside.shape[-1] * tests.pvalue.min(-1))
    return p, tests.statistic / (len(inside) * len(outside))
