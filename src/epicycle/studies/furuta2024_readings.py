"""What readings of the runs of Furuta et al. 2024 are made of: when a run grokked, what needs no rule, what is not there.

Conventions, fixed before any run was graded and the same for all claims: grokked is a test accuracy of 0.99 at an evaluation.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from epicycle.runs.directory import Run
from epicycle.studies.furuta2024 import PUBLISHED_STEPS, Study, scratch, source_of
from epicycle.studies.ledger import Reading
from epicycle.sweep.grid import Condition
from epicycle.tasks.modular import TaskConfig, looked_up

GROKKED = 0.99
"""Test accuracy, in the paper's sense and ours."""

Measure = Callable[[Study, int], Reading]

PLUS, MINUS, TIMES = (scratch(text) for text in ("a + b", "a - b", "a*b"))


def several(parts: Sequence[Measure], study: Study, seed: int) -> Reading:
    """Holds if every part holds; value and control are those of the first part that does not, or of the first."""
    readings = [part(study, seed) for part in parts]
    note = "; ".join(reading.note for reading in readings if reading.note)
    absent = missing_of(readings)
    if refuted := [r for r in readings if r.holds is False]:
        return refuted[0]._replace(note=note)
    if open_ := [r for r in readings if r.holds is None]:
        return open_[0]._replace(note=note, is_censored=any(r.is_censored for r in open_), missing=absent)
    return readings[0]._replace(note=note)


def missing_of(readings: Sequence[Reading]) -> Literal["", "some", "all"]:
    """Whether runs of several readings are not there."""
    if all(r.missing == "all" for r in readings):
        return "all"
    return "some" if any(r.missing for r in readings) else ""


def missing(seed: int, condition: Condition) -> Reading:
    """The reading of a run that is not there."""
    return Reading(seed, None, None, None, f"not run: {condition.label}", is_censored=True, missing="all")


def unread(study: Study, condition: Condition, seed: int) -> Reading:
    """The reading of what weights show, where there are none to read: not there, or from before the step at which they are read."""
    run = study.finished(condition, seed)
    if run is None:
        return missing(seed, condition)
    said = f"{when(condition, run)}, and training ended at {trained_steps(run):,}, before the step at which it is read"
    return Reading(seed, None, None, None, said, is_censored=True)


def baseline(condition: Condition, seed: int) -> float:
    """Test accuracy that looking up a trained question with interchangeable numbers, or guessing, would reach."""
    return looked_up(
        TaskConfig(
            formulas=condition.formulas, modulus=condition.modulus, train_fraction=condition.fraction, split_seed=seed
        )
    )


def poor_source(study: Study, conditions: Sequence[Condition], seed: int) -> Reading | None:
    """A reading that tells nothing, if frozen weights come from a run that had not grokked; None if all sources had."""
    for condition in conditions:
        if condition.source is not None:
            source = source_of(condition)
            origin = study.finished(source, seed)
            if origin is None:
                return missing(seed, source)
            if first_step(origin) is None and trained_steps(origin) < (source.steps or 0):
                return missing(seed, source)  # what stands in for it is shorter
            if first_step(origin) is None:
                return Reading(seed, None, None, None, f"{condition.label}: its source had not grokked")
    return None


def first_step(run: Run) -> int | None:
    """Step at which a run grokked first, None if it did not."""
    return run.record()["steps"]["first"]


def trained_steps(run: Run) -> int:
    """Steps that a run was trained for."""
    return run.record()["steps"]["trained"]


def ungrokked(seed: int, condition: Condition, run: Run) -> Reading:
    """The reading of a run in which there is nothing to follow, since it has not grokked; it might have if trained longer."""
    return Reading(
        seed,
        None,
        None,
        None,
        f"{when(condition, run)}: nothing to follow",
        is_censored=trained_steps(run) < PUBLISHED_STEPS and run.record()["outcome"] != "diverged",
    )


def when(condition: Condition, run: Run) -> str:
    """In words, at which step a run grokked, or how far it came."""
    first = first_step(run)
    said = (
        f"at step {first:,}"
        if first is not None
        else f"not by {trained_steps(run):,} ({run.record()['final']['test_accuracy']:.1%} at its end)"
    )
    return f"{condition.label}: {said}"
