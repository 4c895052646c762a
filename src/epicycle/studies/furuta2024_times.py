"""When spectra of the runs of Furuta et al. 2024 change, beside when they grok: one reading per seed.

An event seen at one evaluation happened after the one before it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from epicycle.analysis.grok import kept_steps
from epicycle.analysis.statistics import rank_correlation
from epicycle.fourier.bases import additive
from epicycle.fourier.measures import fcr, ffd
from epicycle.fourier.spectra import fourier_norms
from epicycle.models.sites import embedding, neuron_logit_map
from epicycle.runs.directory import Run
from epicycle.studies.furuta2024 import PUBLISHED_STEPS, Study, scratch
from epicycle.studies.furuta2024_readings import (
    GROKKED,
    PLUS,
    baseline,
    first_step,
    trained_steps,
    ungrokked,
    unread,
    when,
)
from epicycle.studies.furuta2024_spectra import FALLS, MEASURES, SHUFFLES, series_of
from epicycle.studies.ledger import Reading
from epicycle.sweep.grid import Condition


class _Curve(NamedTuple):
    """A run, the steps at which it was measured, test accuracy there, where each measure began, and those that fall."""

    condition: Condition
    run: Run
    steps: np.ndarray
    accuracy: np.ndarray
    began: dict[str, float]
    falling: dict[str, np.ndarray]

    @property
    def is_whole(self) -> bool:
        return bool(self.steps[-1] >= PUBLISHED_STEPS)


def _half_between(steps: np.ndarray, values: np.ndarray) -> tuple[float, float] | None:
    """The evaluations between which a series has gone half way from its first value to its last."""
    half = (values[0] + values[-1]) / 2
    past = values >= half if values[-1] > values[0] else values <= half
    if not past.any():
        return None
    at = int(past.argmax())
    return float(steps[max(at - 1, 0)]), float(steps[at])


def _curve(condition: Condition, run: Run, study: Study, seed: int) -> _Curve:
    history = [line for line in study.history(condition, seed) if "measures" in line]
    every = {f"{name.upper()}({site})": series_of(history, site, name)[1] for site, name in MEASURES}
    falling = {name: values for name, values in every.items() if values[-1] <= FALLS * values[0]}
    steps = np.array([line["step"] for line in history], float)
    accuracy = np.array([line["test_accuracy"] for line in history])
    return _Curve(condition, run, steps, accuracy, {name: float(v[0]) for name, v in every.items()}, falling)


def _absent(absent: Sequence[Reading], is_alone: bool) -> Reading:
    """The reading of a seed of which some run cannot be read; `is_alone` if no other run of it can."""
    some = "all" if is_alone and all(r.missing == "all" for r in absent) else "some"
    return absent[0]._replace(missing=some if any(r.missing for r in absent) else "")


def inflections(conditions: Sequence[Condition], study: Study, seed: int) -> Reading:
    """Share of grokked runs in which FFD or FCR of W_E or W_L falls, together with accuracy.

    Together: Spearman correlation with test accuracy below 0, and half-times t with |log10 of their ratio| < 0.3. An event seen at one
    evaluation happened after the one before it; where that leaves open whether two half-times are so near, the run is not counted. Nor
    is one of a condition that looking up alone brings to a grok: its accuracy may rise without any rule.
    Control: the share by half-time alone had each run's accuracy been that of another run.
    """
    curves: list[_Curve] = []
    short, absent = [], []
    for condition in conditions:
        if baseline(condition, seed) >= GROKKED:
            continue
        run = study.ended(condition, seed)
        if run is None:
            absent.append(unread(study, condition, seed))
        elif first_step(run) is None:
            short += [when(condition, run)] * (trained_steps(run) < PUBLISHED_STEPS)
        else:
            curves.append(_curve(condition, run, study, seed))
    if absent:
        return _absent(absent, is_alone=not curves and not short)
    if not curves:
        return Reading(seed, None, None, None, "; ".join(short) or "no such run", is_censored=bool(short))
    rises = [_half_between(each.steps, each.accuracy) for each in curves]
    falls = [
        [_half_between(each.steps, v) for v in each.falling.values() if rank_correlation(v, each.accuracy) < 0]
        for each in curves
    ]
    hit = [_any_near(own, rise) for own, rise in zip(falls, rises, strict=True)]
    others = [_any_near(own, rise) for i, own in enumerate(falls) for j, rise in enumerate(rises) if i != j]
    share = lambda told: float(np.mean(known)) if (known := [t for t in told if t is not None]) else None  # noqa: E731
    named = {
        want: ", ".join(each.condition.label for each, told in zip(curves, hit, strict=True) if told is want)
        for want in (False, None)
    }
    note = f"{len(curves)} runs; not in: {named[False] or 'none'}; too close to tell: {named[None] or 'none'}"
    holds = False if False in hit else (None if None in hit or short else True)
    return Reading(
        seed, share(hit), share(others), holds, "; ".join([note, *short]), is_censored=holds is None and bool(short)
    )


def no_inflections(conditions: Sequence[Condition], study: Study, seed: int) -> Reading:
    """Share of runs that ended without a grok in which neither FFD nor FCR of W_E or W_L falls.

    One that was looked at to the end and in which something falls tells, whatever the others do.
    Control: the same share had the numbers been shuffled at the end.
    """
    curves: list[_Curve] = []
    absent = []
    for condition in conditions:
        run = study.finished(condition, seed)
        if run is None:
            absent.append(unread(study, condition, seed))
        elif first_step(run) is None:
            curves.append(_curve(condition, run, study, seed))
    whole = [each for each in curves if each.is_whole]
    fallen = [
        f"{each.condition.label} ({', '.join(f'{name} {v[0]:.2f} to {v[-1]:.2f}' for name, v in each.falling.items())})"
        for each in whole
        if each.falling
    ]
    if not fallen and absent:
        return _absent(absent, is_alone=not curves)
    if not curves:
        return Reading(seed, None, None, None, "no such run")
    if not fallen and len(whole) < len(curves):
        short = ", ".join(each.condition.label for each in curves if not each.is_whole)
        return Reading(
            seed, None, None, None, f"looked at less than {PUBLISHED_STEPS:,} steps: {short}", is_censored=True
        )
    shuffled = [share for each in whole if (share := _shuffled(each, seed)) is not None]
    said = f"{len(whole)} runs; something falls in: {', '.join(fallen) or 'none'}"
    control = float(np.mean(shuffled)) if shuffled else None
    return Reading(seed, 1 - len(fallen) / len(whole), control, not fallen, said)


def _shuffled(curve: _Curve, seed: int) -> float | None:
    """The share of shuffles of the numbers after which nothing falls, by the run's last weights; None if it kept none."""
    if not curve.run.checkpoint_steps():
        return None
    weights, p = curve.run.weights(), curve.condition.modulus
    tables, basis = {"W_E": embedding(weights, p), "W_L": neuron_logit_map(weights, p)}, additive(p)
    rng, stays = np.random.default_rng(seed), 0
    for _ in range(SHUFFLES):
        order = rng.permutation(p)
        norms = {site: fourier_norms(table[order], basis) for site, table in tables.items()}
        ends = {f"FFD({site})": ffd(each) for site, each in norms.items()}
        ends |= {f"FCR({site})": fcr(each).value for site, each in norms.items()}
        stays += all(end > FALLS * curve.began[name] for name, end in ends.items())
    return stays / SHUFFLES


def _any_near(own: Sequence[tuple[float, float] | None], rise: tuple[float, float] | None) -> bool | None:
    """Whether one of several half-times is near another, None if that cannot be told."""
    told = [_near(t, rise) for t in own]
    return True if True in told else (None if None in told else False)


def _near(t: tuple[float, float] | None, other: tuple[float, float] | None) -> bool | None:
    """|log10(t / other)| < 0.3 for all times between the evaluations, or for none (False), or for some (None)."""
    if t is None or other is None:
        return False
    (t0, t1), (o0, o1) = t, other
    factor = 10**0.3
    if t1 < factor * max(o0, 1) and o1 < factor * max(t0, 1):
        return True
    return False if t0 >= factor * o1 or o0 >= factor * t1 else None


def thresholds(study: Study, seed: int) -> Reading:
    """Half-time of the fall of FFD(W_E) of a + b at eta 0.3; control: at eta 0.7. From kept checkpoints, interpolated."""
    run = study.ended(PLUS, seed)
    if run is None or first_step(run) is None:
        return unread(study, PLUS, seed) if run is None else ungrokked(seed, PLUS, run)
    steps = np.array(kept_steps(run))
    p = run.record()["config"]["resolved"]["task"]["modulus"]
    norms = [fourier_norms(embedding(run.weights(int(step)), p), additive(p)) for step in steps]
    times = {}
    for eta in (0.3, 0.5, 0.7):
        values = np.array([ffd(each, eta) for each in norms])
        times[eta] = _crossing(steps, values, (values[0] + values[-1]) / 2)
    if None in times.values():
        said = ", ".join(f"{eta}" for eta, time in times.items() if time is None)
        return Reading(seed, times[0.3], times[0.7], False, f"grokked, and FFD does not fall at eta {said}")
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


def earlier_fall(formula: str, study: Study, seed: int) -> Reading:
    """Half-time of the fall of FFD(W_E) at r = 0.5; control: at r = 0.3. Of a run that grokked without a fall it is never."""
    times, notes = [], []
    for condition in (scratch(formula, 0.5), scratch(formula)):
        run = study.ended(condition, seed)
        if run is None:
            return unread(study, condition, seed)
        if first_step(run) is None:
            return ungrokked(seed, condition, run)
        steps, values = series_of(study.history(condition, seed), "W_E", "ffd")
        half = _half_between(steps, values) if values[-1] <= FALLS * values[0] else None
        times.append(half[1] if half else math.inf)
        notes.append(f"{condition.label}: FFD {values[0]:.3f} to {values[-1]:.3f}")
    value, control = (time if math.isfinite(time) else None for time in times)
    return Reading(seed, value, control, times[0] < times[1], "; ".join(notes))
