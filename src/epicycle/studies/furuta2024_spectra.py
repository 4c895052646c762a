"""What the spectra of the runs of Furuta et al. 2024 show: one reading per seed, a number with its control and whether the rule holds.

Conventions, fixed before any run was graded and the same for all claims: a measure falls if it ends at 0.8 of where it began or
lower, and stays otherwise; a table is cosine-biased if the power of its cosine rows is at least 1.2 times that of its sine rows.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import mannwhitneyu

from epicycle.analysis.grok import config_of
from epicycle.analysis.decomposition import DEPENDENT, decomposition_of
from epicycle.analysis.statistics import rank_correlation
from epicycle.fourier.bases import additive
from epicycle.fourier.measures import ffd
from epicycle.fourier.spectra import fourier_norms
from epicycle.models.sites import embedding
from epicycle.studies.furuta2024 import PUBLISHED_STEPS, Study, scratch
from epicycle.studies.furuta2024_accuracy import MINUS, PLUS, TIMES, first_step, missing, trained_steps, when
from epicycle.studies.ledger import Reading
from epicycle.sweep.grid import Condition
from epicycle.tasks.label_statistics import label_statistics
from epicycle.tasks.modular import TaskConfig, modular_task, split
from epicycle.tasks.operation_names import OPERATIONS

FALLS = 0.8


BIASED = math.log(1.2)


MEASURES = tuple((site, name) for site in ("W_E", "W_L") for name in ("ffd", "fcr"))


def _series(history: list[dict[str, Any]], site: str, name: str) -> tuple[np.ndarray, np.ndarray]:
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
    run = study.finished(condition, seed)
    if run is None:
        return missing(seed, condition)
    if (first_step(run) is not None) != needs_grok:
        return Reading(seed, None, None, None, f"{when(condition, run)}: nothing to follow")
    if not needs_grok and trained_steps(run) < PUBLISHED_STEPS:
        said = f"{when(condition, run)}: looked at less than {PUBLISHED_STEPS:,} steps"
        return Reading(seed, None, None, None, said, is_censored=True)
    history = study.history(condition, seed)
    found = []
    for site, name, what in expected:
        values = _series(history, site, name)[1]
        ratio = values[-1] / values[0]
        margin = FALLS - ratio if what == "falls" else ratio - FALLS
        found.append(
            (
                margin,
                float(values[-1]),
                float(values[0]),
                f"{name.upper()}({site}) of {condition.label}",
                f"{name.upper()}({site}) {values[0]:.3f} to {values[-1]:.3f}",
            )
        )
    worst = min(found)
    holds = all(
        margin >= 0 if what == "falls" else margin > 0
        for (margin, *_), (_, _, what) in zip(found, expected, strict=True)
    )
    return Reading(
        seed, worst[1], worst[2], holds, f"{condition.label}: " + ", ".join(text for *_, text in found), worst[3]
    )


def always_dense(study: Study, seed: int) -> Reading:
    """Lowest FFD(W_E) of a*b over training; control: its first value."""
    run = study.finished(TIMES, seed)
    if run is None or first_step(run) is None:
        return missing(seed, TIMES) if run is None else Reading(seed, None, None, None, when(TIMES, run))
    values = _series(study.history(TIMES, seed), "W_E", "ffd")[1]
    return Reading(
        seed, float(values.min()), float(values[0]), bool(values.min() == 1.0), "1 is the FFD of white noise, too"
    )


def parity(study: Study, seed: int) -> Reading:
    """Mean final FFD(W_E) of a^n + b^n over odd n; control: over even n. FCR is in the note."""
    ends: dict[tuple[str, int], list[float]] = {}
    for n in range(2, 8):
        condition = scratch(f"a^{n} + b^{n}")
        run = study.finished(condition, seed)
        if run is None:
            return missing(seed, condition)
        if first_step(run) is None:
            return Reading(seed, None, None, None, when(condition, run))
        for name in ("ffd", "fcr"):
            ends.setdefault((name, n % 2), []).append(_series(study.history(condition, seed), "W_E", name)[1][-1])
    mean = {key: float(np.mean(values)) for key, values in ends.items()}
    holds = mean["ffd", 1] < mean["ffd", 0] and mean["fcr", 0] < mean["fcr", 1]
    return Reading(
        seed, mean["ffd", 1], mean["ffd", 0], holds, f"FCR odd {mean['fcr', 1]:.3f}, even {mean['fcr', 0]:.3f}"
    )


def _half_time(steps: np.ndarray, values: np.ndarray, begin: float, end: float) -> float | None:
    """First step at which a series has gone half way from `begin` to `end`."""
    half = (begin + end) / 2
    past = values >= half if end > begin else values <= half
    return float(steps[past.argmax()]) if past.any() else None


def inflections(study: Study, seed: int, *, of_grokked: bool) -> Reading:
    """Share of grokked runs in which FFD or FCR of W_E or W_L falls, together with accuracy; or of the others in which none falls.

    Together: Spearman correlation with test accuracy below 0, and half-times within a factor of two (|log10| < 0.3). Control: the
    share by half-time alone had each run's accuracy been that of another run.
    """
    curves = []
    for condition in study.conditions:
        run = study.finished(condition, seed)
        if run is None or len(condition.formulas) > 1 or condition.parts or (first_step(run) is not None) != of_grokked:
            continue
        history = [line for line in study.history(condition, seed) if "measures" in line]
        steps = np.array([line["step"] for line in history], float)
        accuracy = np.array([line["test_accuracy"] for line in history])
        falling = [v for site, name in MEASURES if (v := _series(history, site, name)[1])[-1] <= FALLS * v[0]]
        curves.append((condition, steps, accuracy, falling))
    if not curves:
        return Reading(seed, None, None, None, "no such run")
    if not of_grokked:
        if short := [c.label for c, steps, *_ in curves if steps[-1] < PUBLISHED_STEPS]:
            said = f"looked at less than {PUBLISHED_STEPS:,} steps: {', '.join(short)}"
            return Reading(seed, None, None, None, said, is_censored=True)
        still = [c.label for c, _, _, falling in curves if falling]
        return Reading(
            seed,
            1 - len(still) / len(curves),
            None,
            not still,
            f"{len(curves)} runs; something falls in: {', '.join(still) or 'none'}",
        )
    rises = [_half_time(steps, accuracy, accuracy[0], accuracy[-1]) for _, steps, accuracy, _ in curves]
    falls = [
        [_half_time(steps, v, v[0], v[-1]) for v in falling if rank_correlation(v, accuracy) < 0]
        for _, steps, accuracy, falling in curves
    ]
    hit = [any(_near(t, rise) for t in own) for own, rise in zip(falls, rises, strict=True)]
    others = [any(_near(t, rise) for t in own) for i, own in enumerate(falls) for j, rise in enumerate(rises) if i != j]
    late = [c.label for (c, *_), ok in zip(curves, hit, strict=True) if not ok]
    return Reading(
        seed,
        float(np.mean(hit)),
        float(np.mean(others)) if others else None,
        all(hit),
        f"{len(curves)} runs; not in: {', '.join(late) or 'none'}",
    )


def _near(t: float | None, other: float | None) -> bool:
    return t is not None and other is not None and abs(math.log10(max(t, 1) / max(other, 1))) < 0.3


def thresholds(study: Study, seed: int) -> Reading:
    """Half-time of the fall of FFD(W_E) of a + b at eta 0.3; control: at eta 0.7. From kept checkpoints, interpolated."""
    run = study.finished(PLUS, seed)
    if run is None or first_step(run) is None:
        return missing(seed, PLUS)
    schedule, known = config_of(run).schedule, run.checkpoint_steps()
    steps = np.array([step for step in known if schedule.is_kept(step) or step == known[-1]])
    p = run.record()["config"]["resolved"]["task"]["modulus"]
    norms = [fourier_norms(embedding(run.weights(int(step)), p), additive(p)) for step in steps]
    times = {}
    for eta in (0.3, 0.5, 0.7):
        values = np.array([ffd(each, eta) for each in norms])
        times[eta] = _crossing(steps, values, (values[0] + values[-1]) / 2)
    if None in times.values():
        return Reading(seed, None, None, False, "FFD does not fall at every eta")
    holds = times[0.3] > times[0.5] > times[0.7]  # type: ignore[operator]
    return Reading(
        seed,
        times[0.3],
        times[0.7],
        holds,
        f"eta 0.5: step {times[0.5]:,.0f}; resolution: checkpoints a factor 1.4 apart",
    )


def _crossing(steps: np.ndarray, values: np.ndarray, level: float) -> float | None:
    """Step at which a falling series first meets a level, on a straight line between two looks."""
    below = np.flatnonzero(values <= level)
    if not len(below) or below[0] == 0:
        return None
    i = below[0]
    share = (values[i - 1] - level) / (values[i - 1] - values[i])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))


def earlier_fall(study: Study, seed: int) -> Reading:
    """Half-time of the fall of FFD(W_E) of a + b at r = 0.5; control: at r = 0.3."""
    times = []
    for condition in (scratch("a + b", 0.5), PLUS):
        run = study.finished(condition, seed)
        if run is None:
            return missing(seed, condition)
        steps, values = _series(study.history(condition, seed), "W_E", "ffd")
        if first_step(run) is None or values[-1] > FALLS * values[0]:
            return Reading(
                seed,
                None,
                None,
                None,
                f"{when(condition, run)}: FFD {values[0]:.3f} to {values[-1]:.3f}, no fall to date",
            )
        times.append(_half_time(steps, values, values[0], values[-1]))
    return Reading(seed, times[0], times[1], times[0] < times[1])


def bias(condition: Condition, site: str, study: Study, seed: int, *, is_cosine: bool = True) -> Reading:
    """Log of cosine over sine power of a site at the end; control: at the beginning."""
    run = study.finished(condition, seed)
    if run is None:
        return missing(seed, condition)
    if first_step(run) is None:
        return Reading(seed, None, None, None, when(condition, run))
    values = _series(study.history(condition, seed), site, "bias")[1]
    return Reading(
        seed,
        float(values[-1]),
        float(values[0]),
        bool(values[-1] >= BIASED) == is_cosine,
        f"{condition.label}, {site}",
        f"{condition.label}, {site}",
    )


def uses_sine(study: Study, seed: int) -> Reading:
    """Bias of W_E for a*b + a + b; control: for a*b."""
    found = [bias(condition, "W_E", study, seed) for condition in (scratch("a*b + a + b"), TIMES)]
    if any(reading.value is None for reading in found):
        return next(reading for reading in found if reading.value is None)
    value, control = found[0].value, found[1].value
    assert value is not None and control is not None
    return Reading(seed, value, control, abs(value) < abs(control) / 2, "log of cosine over sine power")


def restricted(condition: Condition, study: Study, seed: int, *, is_better: bool) -> Reading:
    """Loss with only the key frequencies in the plane of the sum (difference for a - b); control: the loss of all logits."""
    run = study.finished(condition, seed)
    if run is None:
        return missing(seed, condition)
    grok = study.grok(condition, seed)
    if first_step(run) is None or grok is None or not grok.circuits[0].key_frequencies:
        return Reading(seed, None, None, None, when(condition, run))
    plane = "difference" if condition == MINUS else "sum"
    losses = grok.circuits[0].losses["additive"][plane]
    value, full = losses["restricted"], losses["full"]
    keys = ", ".join(map(str, grok.circuits[0].key_frequencies))
    return Reading(
        seed,
        value,
        full,
        value < full if is_better else value > 100 * full,
        f"k = {keys}; random planes of as many frequencies are in the run's report",
    )


def dependents(condition: Condition, study: Study, seed: int, *, expect_some: bool) -> Reading:
    """How many frequencies that are no keys raise the loss when they are removed; control: random planes that do."""
    run, grok = study.finished(condition, seed), study.grok(condition, seed)
    if run is None or grok is None:
        return missing(seed, condition)
    if first_step(run) is None or not grok.circuits:
        return Reading(seed, None, None, None, when(condition, run))
    found = decomposition_of(grok)
    blind = int((found.controls > DEPENDENT).sum())
    parts = ", ".join(
        f"{name} {found.losses[name]:.3g}"
        for name in ("key", "non-key", "residual", "key + non-key", "key + residual", "non-key + residual")
    )
    return Reading(seed, float(len(found.dependent)), float(blind), bool(found.dependent) == expect_some,
                   f"loss of parts: {parts}; control of {len(found.controls)} random planes")  # fmt: skip


def same_pattern(formulas: tuple[str, ...], fraction: float, study: Study, seed: int) -> Reading:
    """Correlation of the two-dimensional logit norms of the first two formulas of a mixture; control: of the first and the third."""
    condition = Condition(formulas, fraction)
    run, grok = study.finished(condition, seed), study.grok(condition, seed)
    if run is None or grok is None:
        return missing(seed, condition)
    if len(grok.circuits) < 3 or first_step(run) is None:
        return Reading(seed, None, None, None, f"{when(condition, run)}: the mixture was not learned")
    maps = [np.asarray(c.logit_heat_map["additive"])[1:, 1:].ravel() for c in grok.circuits]
    value, control = (float(np.corrcoef(maps[0], maps[i])[0, 1]) for i in (1, 2))
    return Reading(
        seed, value, control, value >= 0.9 and value > control, "norms over waves of a and b, without the constant"
    )


GENERALISES = {"a + b", "a - b", "a*b", "a*b + a + b", "a^2 + b", "a^3 + 2*b", "a^3 - 2*b", *OPERATIONS["sum of powers"].values(), "(a + b)^2",
               "(a + b)^2 + a + b", "(a - b)^2", *(f"(a + b)^{n}" for n in range(3, 8))}  # fmt: skip


def labels_do_not_tell(study: Study, seed: int) -> Reading:
    """Smallest p-value, over KL and the two entropies, of a rank test between formulas that grok at r = 0.3 and the others.

    Statistics are means over 100 splits (seeds 100 s to 100 s + 99); the grouping is the paper's. Holds if no p-value is below 0.05
    after Bonferroni. Control: the same with the groups drawn at random.
    """
    formulas = [text for family in OPERATIONS.values() for text in family.values()]
    tasks = [modular_task(TaskConfig(formulas=(text,))) for text in formulas]
    sides = [
        split(TaskConfig(split_seed=100 * seed + i), tasks[0].operands) for i in range(100)
    ]  # all formulas have all pairs
    rows = []
    for task in tasks:
        splits = [label_statistics(task, sides=each) for each in sides]
        rows.append(np.mean(splits, axis=0))
    table, group = np.array(rows), np.array([text in GENERALISES for text in formulas])
    random = np.random.default_rng(seed).permutation(group)
    p, control = (
        min(1.0, 3 * min(float(mannwhitneyu(table[g, i], table[~g, i]).pvalue) for i in range(3)))
        for g in (group, random)
    )
    return Reading(seed, p, control, p > 0.05, "KL, entropy of train, entropy of test labels; 35 formulas")
