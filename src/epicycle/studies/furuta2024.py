"""Furuta et al. 2024: the runs that its claims need, in presets, and what became of them.

A condition is a run but for its seed. Every claim names its conditions (`furuta2024_claims`); a preset trains those of the
claims it is asked for, each with the same seeds for split and weights, and nothing else.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from epicycle.errors import ConfigError
from epicycle.runs.directory import Run, create_run, open_run, run_id
from epicycle.runs.provenance import provenance
from epicycle.sweep.grid import Condition, Grid, condition_of
from epicycle.sweep.jobs import Engine, JobProgress
from epicycle.sweep.sweep import sweep
from epicycle.tasks.modular import TaskConfig
from epicycle.training.config import FrozenConfig, RunConfig, ScheduleConfig, furuta2024, to_dict

PUBLISHED_STEPS = 300_000
"""Steps after which the paper calls a run not grokked."""
SOURCE_STEPS = {"a + b": 10_000, "a*b": 10_000, "a - b": 40_000}
"""Step of the run that frozen weights come from, as in the released code."""


def scratch(formula: str, fraction: float = 0.3) -> Condition:
    """From scratch, everything trained."""
    return Condition((formula,), fraction)


def source_of(condition: Condition) -> Condition:
    """The run that a condition takes weights from: the source's formula, trained as long as the paper's."""
    assert condition.source is not None
    return Condition((condition.source,), modulus=condition.modulus, steps=SOURCE_STEPS[condition.source])


def hindered(source: str, target: str) -> Condition:
    """PG-E of a source that is said to hurt: trained twice as long as the released code trains the target, which tells twice as late."""
    return transfer(source, target, "embedding")._replace(steps=2 * SOURCE_STEPS[target])


def transfer(source: str, target: str, part: str, fraction: float = 0.3) -> Condition:
    """PG-E (part embedding) or PG-T (part body)."""
    return Condition((target,), fraction, (part,), source)


LATE: dict[tuple[str, ...], int] = {("a - b",): 4, ("a*b + b",): 6}
"""Formulas -> how many times as late as others they are read: they grok after step 10,000."""


FINELY = frozenset([("a + b",), ("a*b",), *((f"a^{n} + b^{n}",) for n in range(2, 8))])
"""Formulas that from scratch are evaluated every 10 steps, others every 100: sums of powers are half way to their accuracy within a few hundred steps, and of sums and
products it is asked which of two things came first (C18)."""


class Preset(NamedTuple):
    """How much is run. `max_steps` bounds every run; `claims` are those graded unless others are asked for (empty: all).

    `min_steps`: what is read off weights is read no earlier (times `LATE` for formulas that grok late), so that runs are compared at one
    step and not each at its own grok. Transfers are graded by when they grok alone and stop then. `drawn_by`: what chose the weights that
    they trained (`FrozenConfig.drawn_by`).
    """

    name: str
    seeds: tuple[int, ...]
    max_steps: int
    min_steps: int
    hold_evaluations: int
    claims: tuple[str, ...]
    drawn_by: Literal["run", "checkpoint"] = "run"


PRESETS: dict[str, Preset] = {
    "quick": Preset("quick", (0, 1, 2), 8_000, 4_000, 10, ("C1a", "C1c", "C2b", "C5a", "C11a", "C11c", "C12a", "C12c", "C14a", "C18a", "C19", "C21a",
                                                   "C34a", "C35")),
    "laptop": Preset("laptop", (0, 1, 2), 100_000, 10_000, 20, (
        "C1", "C2", "C3b", "C4a", "C5a", "C5b", "C6b", "C6c", "C6f", "C6g", "C7c", "C8b", "C9a", "C11", "C12", "C13", "C14", "C15", "C18a", "C18c", "C19", "C20",
        "C21", "C22", "C23", "C24a", "C25", "C27", "C29a", "C29c", "C29d", "C30b", "C33", "J", "C34", "C35", "C36")),
    "full": Preset("full", (0, 1, 2), PUBLISHED_STEPS, 10_000, 20, ("C", "J", "A5", "T1")),
}  # fmt: skip
"""quick: minutes on two cores. laptop: overnight, bounded at the released code's 100,000 steps, and without what they cannot tell: that something never groks, or what
stood far from it after 100,000 steps. full: the paper's 300,000."""


def preset(name: str) -> Preset:
    """A preset by name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in PRESETS:
        raise ConfigError(f"got preset {name!r}; expected {', '.join(PRESETS)}. Choose one.")
    return PRESETS[name]


def config(condition: Condition, seed: int, chosen: Preset) -> RunConfig:
    """The run of a condition and seed; the seed is that of the split and of the weights, as in the released code's --seed."""
    task = TaskConfig(
        formulas=condition.formulas, modulus=condition.modulus, train_fraction=condition.fraction, split_seed=seed
    )
    made = furuta2024(task, _schedule(condition, chosen), seed)
    if not condition.parts:
        return made
    source = "random"
    if condition.source is not None:
        origin = config(source_of(condition), seed, chosen)
        source = run_id(origin.name, to_dict(origin))
    return dataclasses.replace(
        made, frozen=FrozenConfig(parts=condition.parts, source=source, drawn_by=chosen.drawn_by)
    )


def _schedule(condition: Condition, chosen: Preset) -> ScheduleConfig:
    if condition.steps is not None:
        return ScheduleConfig(max_steps=condition.steps, hold_evaluations=0)
    least = 0 if condition.source else chosen.min_steps * LATE.get(condition.formulas, 1)
    is_fine = condition.source is None and condition.formulas in FINELY
    every, hold = (10, 10 * chosen.hold_evaluations) if is_fine else (100, chosen.hold_evaluations)
    return ScheduleConfig(
        max_steps=chosen.max_steps, hold_evaluations=hold, min_steps=min(least, chosen.max_steps), evaluate_every=every
    )


def closure(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """The conditions with the sources that they take weights from, each once, sources first."""
    sources = [source_of(c) for c in conditions if c.source is not None]
    return tuple(dict.fromkeys([*sources, *conditions]))


class Study(Grid):
    """The runs of a preset on disk, by condition and seed.

    Args:
        run: The study's own directory, beside its runs.
        chosen: The preset.
        conditions: What was run.
        stand_ins: Where a run is missing, take the finished one of another bound that got furthest without going on after its end.
    """

    def __init__(self, run: Run, chosen: Preset, conditions: tuple[Condition, ...], *, stand_ins: bool = False):
        super().__init__(
            {(c, seed): config(c, seed, chosen) for c in conditions for seed in chosen.seeds},
            run.path.parent,
            stand_ins=stand_ins,
        )
        self.run, self.preset = run, chosen


def wanted_runs(conditions: Sequence[Condition], chosen: Preset, root: Path | str) -> list[RunConfig]:
    """Every run of some conditions, but those whose source has ended without a grok: they would tell nothing."""
    found = []
    for condition in conditions:
        for seed in chosen.seeds:
            if condition.source is not None:
                source = config(source_of(condition), seed, chosen)
                path = Path(root) / run_id(source.name, to_dict(source))
                steps = open_run(path).record().get("steps") if (path / "run.json").is_file() else None
                if steps is not None and steps["first"] is None:
                    continue
            found.append(config(condition, seed, chosen))
    return found


def reproduce(
    name: str,
    conditions: Sequence[Condition],
    root: Path | str = "runs",
    engine: Callable[[], Engine] | None = None,
    *,
    seeds: Sequence[int] | None = None,
    max_steps: int | None = None,
    claims: Sequence[str] = (),
    train: bool = True,
    progress: Callable[[JobProgress], None] = lambda now: None,
    warn: Callable[[str], None] = lambda text: None,
    given: dict[str, Any] | None = None,
) -> Study:
    """Train what is missing of some conditions, and read everything back.

    Args:
        name: quick, laptop or full.
        conditions: From the claims that are to be graded.
        root: Directory of all runs.
        engine: Makes the place where they are trained, once for the sources and once for the rest; two processes on this machine if not given.
        seeds: Seeds instead of the preset's.
        max_steps: Bound instead of the preset's.
        claims: Ids of the claims they belong to; they tell studies of the same runs apart.
        train: False to read back what is there, runs of a smaller bound as far as they got, and train nothing.
        progress: Called about every second.
        warn: Called with a sentence when a worker was lost.
        given: What the user typed.

    Raises:
        ConfigError: Nothing is to be trained, and nothing is there.
        EpicycleError: Some runs failed; all others are finished.
    """
    chosen = study_preset(name, seeds, max_steps)
    wanted = closure(conditions)
    if not train:
        places = {(c, seed): config(c, seed, chosen) for c in wanted for seed in chosen.seeds}
        if wanted and not any(map(Grid(places, root, stand_ins=True).runs, wanted)):
            raise ConfigError(
                f"got nothing to train and {root} without a finished run of these claims; expected some. Leave --no-train out, or name another --out."
            )
        run = _study_run(chosen, wanted, root, given, claims, train=False)
        with run.lock():
            run.update(status="finished", outcome="reproduced", provenance=provenance())
        return Study(run, chosen, wanted, stand_ins=True)
    first = engine() if engine else None  # refuses what cannot work before anything is written
    run = _study_run(chosen, wanted, root, given, claims)
    with run.lock():
        sources = tuple(dict.fromkeys(source_of(c) for c in wanted if c.source is not None))
        for stage in (sources, wanted):  # sources first: some might not grok
            if configs := wanted_runs(stage, chosen, root):
                sweep(configs, root, first or (engine() if engine else None), progress=progress, warn=warn, given=given)
                first = None
        run.update(status="finished", outcome="reproduced", provenance=provenance())
    return Study(run, chosen, wanted)


def study_preset(name: str, seeds: Sequence[int] | None = None, max_steps: int | None = None) -> Preset:
    """A preset with other seeds or another bound.

    Raises:
        ConfigError: The bound is beyond the paper's: its claims are about runs that are given up there.
    """
    chosen = preset(name)
    if max_steps is not None and max_steps > PUBLISHED_STEPS:
        raise ConfigError(
            f"got {max_steps:,} steps; expected at most the {PUBLISHED_STEPS:,} after which the paper gives a run up. Train longer with `epicycle grok` or `epicycle sweep`."
        )
    return chosen._replace(seeds=tuple(seeds) if seeds else chosen.seeds, max_steps=max_steps or chosen.max_steps)


def _study_run(
    chosen: Preset,
    wanted: tuple[Condition, ...],
    root: Path | str,
    given: dict[str, Any] | None,
    claims: Sequence[str],
    *,
    train: bool = True,
) -> Run:
    values = {
        "kind": "study", "paper": "furuta2024", "preset": chosen.name, "seeds": list(chosen.seeds), "max_steps": chosen.max_steps, "min_steps": chosen.min_steps,
        "hold_evaluations": chosen.hold_evaluations, "claims": list(claims), **({} if train else {"stand_ins": True}), "drawn_by": chosen.drawn_by,
        "conditions": [{"formulas": list(c.formulas), "fraction": c.fraction, "parts": list(c.parts), "source": c.source, **({} if c.modulus == 97 else {"modulus": c.modulus}), **({"steps": c.steps} if c.steps else {})} for c in wanted],
    }  # fmt: skip
    return create_run(Path(root), f"furuta2024-{chosen.name}", values, given or values, provenance())


def read_study(run: Run) -> Study:
    """The study that a directory holds."""
    values = run.record()["config"]["resolved"]
    chosen = preset(values["preset"])._replace(
        seeds=tuple(values["seeds"]),
        max_steps=values["max_steps"],
        min_steps=values.get("min_steps", 0),
        hold_evaluations=values["hold_evaluations"],
        drawn_by=values.get("drawn_by", "checkpoint"),  # as before there was a choice
    )
    conditions = tuple(map(condition_of, values["conditions"]))
    return Study(run, chosen, conditions, stand_ins=values.get("stand_ins", False))
