"""When spectra of the runs of Furuta et al. 2024 change, beside when they grok: one reading per seed.

An event seen at one evaluation happened after the one before it.
"""

from collections.abc import Sequence

import numpy as np

from epicycle.analysis.grok import kept_steps
from epicycle.analysis.statistics import rank_correlation
from epicycle.fourier.bases import additive
from epicycle.fourier.measures import ffd
from epicycle.fourier.spectra import fourier_norms
from epicycle.models.sites import embedding
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
from epicycle.studies.furuta2024_spectra import FALLS, MEASURES, series_of
from epicycle.studies.ledger import Reading
from epicycle.sweep.grid import Condition

_Curve = tuple[Condition, np.ndarray, np.ndarray, dict[str, np.ndarray]]
"""A run's condition, the steps at which it was measured, test accuracy there, and the measures that fall."""


def _half_between(steps: np.ndarray, values: np.ndarray) -> tuple[float, float] | None:
    """The evaluations between which a series has gone half way from its first value to its last."""
    half = (values[0] + values[-1]) / 2
    past = values >= half if values[-1] > values[0] else values <= half
    if not past.any():
        return None
    at = int(past.argmax())
    return float(steps[max(at - 1, 0)]), float(steps[at])


def inflections(conditions: Sequence[Condition], study: Study, seed: int, *, of_grokked: bool) -> Reading:
    """Share of grokked runs in which FFD or FCR of W_E or W_L falls, together with accuracy; or of the others in which none falls.

    Together: Spearman correlation with test accuracy below 0, and half-times t with |log10 of their ratio| < 0.3. An event seen at one
    evaluation happened after the one before it; where that leaves open whether two half-times are so near, the run is not counted. Nor
    is one of a condition that looking up alone brings to a grok: its accuracy may rise without any rule.
    Control: the share by half-time alone had each run's accuracy been that of another run. Of `conditions`, those that (did not) grok.
    One run that was looked at to the end without a grok, and in which something falls, tells, whatever the others do.
    """
    curves: list[_Curve] = []
    short, absent = [], []
    for condition in conditions:
        if of_grokked and baseline(condition, seed) >= GROKKED:
            continue
        run = study.ended(condition, seed) if of_grokked else study.finished(condition, seed)
        if run is None:
            absent.append(unread(study, condition, seed))
            continue
        if (first_step(run) is not None) != of_grokked:
            short += [when(condition, run)] * (of_grokked and trained_steps(run) < PUBLISHED_STEPS)
            continue
        history = [line for line in study.history(condition, seed) if "measures" in line]
        steps = np.array([line["step"] for line in history], float)
        accuracy = np.array([line["test_accuracy"] for line in history])
        every = {f"{name.upper()}({site})": series_of(history, site, name)[1] for site, name in MEASURES}
        falling = {name: values for name, values in every.items() if values[-1] <= FALLS * values[0]}
        curves.append((condition, steps, accuracy, falling))
    if not of_grokked and (told := _fallen(curves, seed)):
        return told
    if absent:
        some = "all" if not curves and not short and all(r.missing == "all" for r in absent) else "some"
        return absent[0]._replace(missing=some if any(r.missing for r in absent) else "")
    if not curves:
        return Reading(seed, None, None, None, "; ".join(short) or "no such run", is_censored=bool(short))
    if not of_grokked:
        if short := [c.label for c, steps, *_ in curves if steps[-1] < PUBLISHED_STEPS]:
            said = f"looked at less than {PUBLISHED_STEPS:,} steps: {', '.join(short)}"
            return Reading(seed, None, None, None, said, is_censored=True)
        return Reading(seed, 1.0, None, True, f"{len(curves)} runs; something falls in: none")
    rises = [_half_between(steps, accuracy) for _, steps, accuracy, _ in curves]
    falls = [
        [_half_between(steps, v) for v in falling.values() if rank_correlation(v, accuracy) < 0]
        for _, steps, accuracy, falling in curves
    ]
    hit = [_any_near(own, rise) for own, rise in zip(falls, rises, strict=True)]
    others = [_any_near(own, rise) for i, own in enumerate(falls) for j, rise in enumerate(rises) if i != j]
    share = lambda told: float(np.mean(known)) if (known := [t for t in told if t is not None]) else None  # noqa: E731
    named = {
        want: ", ".join(c.label for (c, *_), told in zip(curves, hit, strict=True) if told is want)
        for want in (False, None)
    }
    note = f"{len(curves)} runs; not in: {named[False] or 'none'}; too close to tell: {named[None] or 'none'}"
    holds = False if False in hit else (None if None in hit or short else True)
    return Reading(
        seed, share(hit), share(others), holds, "; ".join([note, *short]), is_censored=holds is None and bool(short)
    )


def _fallen(curves: Sequence[_Curve], seed: int) -> Reading | None:
    """The reading if something falls in a run that was looked at to the end; value: the share of such runs in which nothing does."""
    whole = [(c, falling) for c, steps, _, falling in curves if steps[-1] >= PUBLISHED_STEPS]
    fallen = [
        f"{c.label} ({', '.join(f'{name} {v[0]:.2f} to {v[-1]:.2f}' for name, v in falling.items())})"
        for c, falling in whole
        if falling
    ]
    if not fallen:
        return None
    said = f"{len(whole)} runs; something falls in: {', '.join(fallen)}"
    return Reading(seed, 1 - len(fallen) / len(whole), None, False, said)


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
        return Reading(
            seed,
            None,
            None,
            None,
            "FFD does not fall at every eta to date",
        )
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
        run = study.ended(condition, seed)
        if run is None:
            return unread(study, condition, seed)
        steps, values = series_of(study.history(condition, seed), "W_E", "ffd")
        if first_step(run) is None or values[-1] > FALLS * values[0]:
            return Reading(
                seed,
                None,
                None,
                None,
                f"{when(condition, run)}: FFD {values[0]:.3f} to {values[-1]:.3f}, no fall to date",
                is_censored=first_step(run) is None and trained_steps(run) < PUBLISHED_STEPS,
            )
        half = _half_between(steps, values)
        assert half is not None  # it falls
        times.append(half[1])
    return Reading(seed, times[0], times[1], times[0] < times[1])
