"""Whether, when and from how many pairs the runs of Furuta et al. 2024 grok: one reading per seed, with its control.

That a run does not grok can only be told at the paper's 300,000 steps. What readings are made of is in `furuta2024_readings`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from epicycle.studies.furuta2024 import PUBLISHED_STEPS, Study
from epicycle.studies.furuta2024_readings import (
    GROKKED,
    MINUS,
    PLUS,
    TIMES,
    baseline,
    first_step,
    missing,
    missing_of,
    poor_source,
    trained_steps,
    when,
)
from epicycle.studies.ledger import Reading
from epicycle.sweep.grid import Condition
from epicycle.tasks.modular import TaskConfig, modular_task


class Looked(NamedTuple):
    """What one run of a condition shows. `has_grokked` is None where it cannot be told: stopped too early, not there, poor source."""

    best: float | None
    baseline: float | None
    steps: int | None
    has_grokked: bool | None
    note: str
    is_missing: bool = False

    @property
    def is_short(self) -> bool:
        """It is there and could still grok."""
        return self.best is not None and self.has_grokked is None


def _look(condition: Condition, study: Study, seed: int) -> Looked:
    absent = poor_source(study, [condition], seed)
    run = study.finished(condition, seed)
    if absent is None and run is None:
        absent = missing(seed, condition)
    if absent is not None or run is None:
        is_missing = absent is not None and bool(absent.missing)
        return Looked(None, baseline(condition, seed), None, None, absent.note if absent else "", is_missing)
    best = max(line["test_accuracy"] for line in study.history(condition, seed))
    steps = trained_steps(run)
    told = True if best >= GROKKED else (False if steps >= PUBLISHED_STEPS else None)
    return Looked(best, baseline(condition, seed), steps, told, when(condition, run))


def _absent(looks: Sequence[Looked], seed: int) -> Reading:
    """The reading where some runs show nothing: not there, or with a poor source."""
    first = next(look for look in looks if look.best is None)
    gone = [look.is_missing for look in looks]
    how = "all" if all(gone) else "some" if any(gone) else ""
    is_censored = any(gone) or any(look.is_short for look in looks)
    return Reading(seed, None, None, None, first.note, is_censored=is_censored, missing=how)


def groks(conditions: Sequence[Condition], study: Study, seed: int) -> Reading:
    """Lowest best test accuracy of several conditions; control: the baseline without a rule of that one.

    One run that has not grokked by the paper's last step tells that the rule does not hold, whatever the others do. A condition whose
    baseline is a grok already is left out, and named: there accuracy tells nothing of a rule.
    """
    every = [_look(condition, study, seed) for condition in conditions]
    looks = [look for look in every if look.baseline is not None and look.baseline < GROKKED]
    empty = [
        f"{look.note} (tells nothing: looking up gives {look.baseline:.1%})" for look in every if look not in looks
    ]
    if not looks:
        return Reading(seed, None, None, None, "; ".join(empty))
    told = [look.has_grokked for look in looks]
    if False not in told and any(look.best is None for look in looks):
        return _absent(looks, seed)
    found = [look for look in looks if look.best is not None]
    holds = False if False in told else (None if None in told else True)
    worst = min(found, key=lambda look: look.best or 0.0)
    return Reading(
        seed,
        worst.best,
        worst.baseline,
        holds,
        "; ".join([*(look.note for look in looks), *empty]),
        is_censored=holds is None,
    )


def does_not(
    conditions: Sequence[Condition], study: Study, seed: int, *, bands: Sequence[tuple[float, float]] = ()
) -> Reading:
    """Highest best test accuracy of several conditions that should not grok; control: the baseline of that one.

    `bands`: between what values each one's best test accuracy is to end, where the paper gives it. One run that has grokked, or is
    above its band, tells that the rule does not hold, whatever the others do.
    """
    looks = [_look(condition, study, seed) for condition in conditions]
    told = [look.has_grokked for look in looks]
    for i, (low, high) in enumerate(bands):
        best = looks[i].best
        if best is not None and (best > high or (told[i] is False and best < low)):
            told[i] = True  # as little what the paper has as a grok
    if True not in told and any(look.best is None for look in looks):
        return _absent(looks, seed)
    best = max((look for look in looks if look.best is not None), key=lambda look: look.best or 0.0)
    note = "; ".join(look.note for look in looks)
    if True not in told and None in told:
        short = min(
            look.steps for look, each in zip(looks, told, strict=True) if each is None and look.steps is not None
        )
        said = f"looked at up to {short:,} of {PUBLISHED_STEPS:,} steps. {note}"
        return Reading(seed, best.best, best.baseline, None, said, is_censored=True)
    return Reading(seed, best.best, best.baseline, True not in told, note)


def order(study: Study, seed: int, *, with_minus: bool) -> Reading:
    """Step at which a - b (or the later of a + b and a*b) grokked; control: the step of a + b."""
    runs = {c: study.finished(c, seed) for c in (PLUS, TIMES, *([MINUS] if with_minus else []))}
    if None in runs.values():
        return missing(seed, next(c for c, run in runs.items() if run is None))
    first = {c: first_step(run) for c, run in runs.items() if run is not None}
    note = "; ".join(when(c, run) for c, run in runs.items() if run is not None)
    early = [(first[c], trained_steps(run)) for c in (PLUS, TIMES) if (run := runs[c]) is not None]
    value = max((step for step, _ in early if step is not None), default=None)
    if not with_minus:
        told = [step < 10_000 if step is not None else (False if end >= 10_000 else None) for step, end in early]
        holds = False if False in told else (None if None in told else True)
        return Reading(seed, value, first[PLUS], holds, note, is_censored=holds is None)
    last, end = first[MINUS], trained_steps(runs[MINUS])  # type: ignore[arg-type]
    if (last or end) >= 40_000:
        return Reading(seed, last, first[PLUS], False, note)
    if last is None:
        return Reading(seed, None, first[PLUS], None, note, is_censored=True)
    told = [step < last if step is not None else (False if end >= last else None) for step, end in early]
    holds = False if False in told else (None if None in told else True)
    return Reading(seed, last, first[PLUS], holds, note, is_censored=holds is None)


def faster(
    condition: Condition, rival: Condition, study: Study, seed: int, *, factor: float = 1.0, is_slower: bool = False
) -> Reading:
    """Step at which a run grokked; control: that of its rival. Holds if it is earlier (or later) by a factor."""
    if (poor := poor_source(study, (condition, rival), seed)) is not None:
        return poor
    for each in (condition, rival):
        if study.finished(each, seed) is None:
            return missing(seed, each)
    run, other = study.finished(condition, seed), study.finished(rival, seed)
    assert run is not None and other is not None
    first, second = first_step(run), first_step(other)
    note, what = f"{when(condition, run)}; {when(rival, other)}", condition.label
    if second is None and first is None:
        short = min(trained_steps(run), trained_steps(other)) < PUBLISHED_STEPS
        if short and trained_steps(other) >= PUBLISHED_STEPS and condition.steps is not None:
            note += f" (the rival does not grok, so that only a run of {PUBLISHED_STEPS:,} steps with the frozen weights could tell, which this claim does not train)"
        return Reading(seed, first, second, None, note, what, is_censored=short)
    if second is None and first is not None:  # the rival's step is beyond what it was trained for
        is_beaten = trained_steps(other) > first / factor if is_slower else trained_steps(other) >= factor * first
        return Reading(
            seed, first, second, (not is_slower) if is_beaten else None, note, what, is_censored=not is_beaten
        )
    assert second is not None
    if first is None:
        beyond = trained_steps(run) >= factor * second
        return Reading(seed, None, second, (is_slower if beyond else None), note, what, is_censored=not beyond)
    return Reading(seed, first, second, first >= factor * second if is_slower else first * factor < second, note, what)


def hastened(
    pairs: Sequence[tuple[Condition, Condition]],
    study: Study,
    seed: int,
    *,
    factor: float = 1.0,
    is_slower: bool = False,
) -> Reading:
    """Step at which a run grokked over that of its rival: of several pairs one that does not hold, or else the least favourable.

    Control: the rival's step with the next seed over the same; what luck alone does to a time. A run that never grokked counts with
    the steps it was trained for: then the value is a bound.
    """
    readings = [faster(*pair, study, seed, factor=factor, is_slower=is_slower) for pair in pairs]
    note = "; ".join(reading.note for reading in readings)
    ratios = [_ratio(*pair, study, seed) for pair in pairs]
    rank = [ratio if is_slower else -ratio for ratio in (math.inf if r is None else r for r, _ in ratios)]
    place = {False: 0, None: 1, True: 2}
    worst = min(range(len(pairs)), key=lambda i: (place[readings[i].holds], rank[i]))
    value, bound = ratios[worst]
    seeds = study.preset.seeds
    other = seeds[(seeds.index(seed) + 1) % len(seeds)]
    luck = [run and first_step(run) for run in (study.finished(pairs[worst][1], s) for s in (other, seed))]
    control = luck[0] / luck[1] if luck[0] and luck[1] and other != seed else None
    is_censored = readings[worst].holds is None and any(r.is_censored for r in readings)
    return readings[worst]._replace(
        value=value, control=control, note=note, what=bound, is_censored=is_censored, missing=missing_of(readings)
    )


def _ratio(condition: Condition, rival: Condition, study: Study, seed: int) -> tuple[float | None, str]:
    """Step of one over that of the other, and what kind of bound it is; None if neither grokked, or one is not there."""
    runs = study.finished(condition, seed), study.finished(rival, seed)
    if runs[0] is None or runs[1] is None:
        return None, ""
    first, second = first_step(runs[0]), first_step(runs[1])
    if first is None and second is None:
        return None, ""
    bound = ""
    if first is None:
        bound = "at least: not grokked yet"
    elif second is None:
        bound = "at most: rival not grokked yet"
    return (first or trained_steps(runs[0])) / (second or trained_steps(runs[1])), bound


def mixture(
    formulas: tuple[str, ...], fraction: float, study: Study, seed: int, *, expect: str, last: str = ""
) -> Reading:
    """Best of the lowest test accuracy among the formulas of a mixture, at one evaluation. `expect`: all (at one evaluation), not all; `last`: the formula to come last."""
    condition = Condition(formulas, fraction)
    run = study.finished(condition, seed)
    if run is None:
        return missing(seed, condition)
    history = study.history(condition, seed)
    first: dict[str, int | None] = {}
    best = {name: max(line["tasks"][name]["test_accuracy"] for line in history) for name in history[0]["tasks"]}
    for name in best:
        first[name] = next((line["step"] for line in history if line["tasks"][name]["test_accuracy"] >= GROKKED), None)
    note = f"{condition.label}: " + ", ".join(
        f"{name} {'not by ' + format(trained_steps(run), ',') + f' ({best[name]:.1%})' if step is None else f'at {step:,}'}" for name, step in first.items())  # fmt: skip
    together = max(min(task["test_accuracy"] for task in line["tasks"].values()) for line in history)
    is_whole = together >= GROKKED
    told = is_whole or trained_steps(run) >= PUBLISHED_STEPS
    holds: bool | None = is_whole if expect == "all" else not is_whole
    if is_whole and last:
        rest = max(step or 0 for name, step in first.items() if name != last)
        own = first[last] or 0
        holds = None if own == rest else own > rest  # seen at one evaluation: which came later cannot be told
    return Reading(
        seed,
        together,
        baseline(Condition((min(best, key=lambda name: best[name]),), fraction), seed),
        holds if told else None,
        note,
        is_censored=not told,
    )


def plateaus(pairs: Sequence[tuple[tuple[str, ...], Condition]], study: Study, seed: int) -> Reading:
    """Smallest gain in best test accuracy of the last formula of a mixture over the same formula alone; control: three standard errors.

    These are of the difference of two accuracies on as many test pairs.
    """
    gains, notes, told, margin = [], [], True, 0.0
    for formulas, alone in pairs:
        mixed = Condition(formulas, alone.fraction)
        runs = study.finished(mixed, seed), study.finished(alone, seed)
        if runs[0] is None or runs[1] is None:
            return missing(seed, mixed if runs[0] is None else alone)
        together = max(line["tasks"][formulas[-1]]["test_accuracy"] for line in study.history(mixed, seed))
        single = max(line["test_accuracy"] for line in study.history(alone, seed))
        gains.append((together - single, together))
        notes.append(f"{formulas[-1]}: {together:.1%} together, {single:.1%} alone")
        told = told and min(trained_steps(run) for run in runs if run is not None) >= PUBLISHED_STEPS
        count = modular_task(
            TaskConfig(formulas=alone.formulas, modulus=alone.modulus, train_fraction=alone.fraction)
        ).num_examples("test")
        margin = max(margin, 3 * math.sqrt((together * (1 - together) + single * (1 - single)) / count))
    value = min(gain for gain, _ in gains)
    if any(together >= GROKKED for _, together in gains):
        return Reading(seed, value, margin, False, "; ".join(notes))
    return Reading(seed, value, margin, value > margin if told else None, "; ".join(notes), is_censored=not told)


def smallest_fraction(conditions: Sequence[Condition], published: float | None, study: Study, seed: int) -> Reading:
    """Smallest train fraction that groks, 1 if none does. Holds within 0.1 of the published one, or if neither groks at any."""
    if (poor := poor_source(study, conditions, seed)) is not None:
        return poor
    found: float | None = None
    for condition in sorted(conditions, key=lambda c: c.fraction):
        run = study.finished(condition, seed)
        if run is None:
            return missing(seed, condition)
        if first_step(run) is not None:
            found = condition.fraction
            break
        if trained_steps(run) < PUBLISHED_STEPS:
            said = f"{when(condition, run)}: looked at less than {PUBLISHED_STEPS:,} steps"
            return Reading(seed, None, None, None, said, is_censored=True)
    holds = (
        found is None and published is None
        if found is None or published is None
        else abs(found - published) <= 0.1 + 1e-9
    )
    return Reading(seed, 1.0 if found is None else found, None, holds, "not even at 0.9" if found is None else "")


def helped(
    cells: Sequence[tuple[str, Sequence[Condition], Sequence[Condition]]], known: Sequence[str], study: Study, seed: int
) -> Reading:
    """How many transfers let a formula grok from a smaller fraction than from scratch; control: how many from a larger one.

    `cells`: (label, conditions with frozen weights, conditions from scratch), each over all fractions. Holds if the only ones are
    those `known`.
    """
    easier, waiting, harder = [], [], 0
    for label, frozen, plain in cells:
        readings = [smallest_fraction(conditions, None, study, seed) for conditions in (frozen, plain)]
        if open_ := [r for r in readings if r.value is None]:
            waiting.append(open_[0]._replace(is_censored=any(r.is_censored for r in open_)))
            continue
        value, other = (r.value or 0.0 for r in readings)
        if value < other:
            easier.append(label)
        harder += value > other
    if waiting:
        return waiting[0]._replace(
            is_censored=any(r.is_censored for r in waiting),
            missing="some" if easier or harder else missing_of(waiting),
        )
    return Reading(
        seed, float(len(easier)), float(harder), set(easier) == set(known), f"easier: {', '.join(easier) or 'none'}"
    )
