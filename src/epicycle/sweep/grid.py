"""The runs of a sweep by condition and seed, opened when they are asked for."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from epicycle.analysis.grok import Grok, analyse_run
from epicycle.errors import ConfigError
from epicycle.runs.directory import Run, open_run, run_id
from epicycle.sweep.plan import will_take
from epicycle.tasks.operations import formula
from epicycle.training.config import OF_MIXTURES, RunConfig, settings_of, to_dict
from epicycle.training.grokking import end_of
from epicycle.training.twins import paths_by_name, stand_in


class Condition(NamedTuple):
    """A run but for its seed. `parts` are frozen: random ones, or those of the run of `source` (its formula, or its id).

    `steps`: it is trained so long exactly; until it has held its grok if None.
    """

    formulas: tuple[str, ...]
    fraction: float = 0.3
    parts: tuple[str, ...] = ()
    source: str | None = None
    modulus: int = 97
    steps: int | None = None

    @property
    def label(self) -> str:
        """How tables name it."""
        kept = f", {'+'.join(self.parts)} {f'of {self.source}' if self.source else 'random'}" if self.parts else ""
        modulus = "" if self.modulus == 97 else f" mod {self.modulus}"
        exactly = f", {self.steps:,} steps" if self.steps else ""
        return f"{' and '.join(self.formulas)}{modulus}, r = {self.fraction:g}{kept}{exactly}"

    @property
    def rival(self) -> "Condition":
        """The same from scratch."""
        return self._replace(parts=(), source=None, steps=None)


def condition_of(values: Mapping[str, Any]) -> Condition:
    """The condition that JSON holds."""
    return Condition(
        tuple(values["formulas"]),
        values["fraction"],
        tuple(values["parts"]),
        values["source"],
        values.get("modulus", 97),
        values.get("steps"),
    )


class Grid:
    """Runs on disk by condition and seed.

    Args:
        configs: Configuration of every condition and seed.
        root: Directory of all runs.
        stand_ins: Where a run is missing, take the finished one of another bound that got furthest without going on after its end.
    """

    def __init__(
        self, configs: Mapping[tuple[Condition, int], RunConfig], root: Path | str, *, stand_ins: bool = False
    ):
        self.configs, self.root = dict(configs), Path(root)
        self._neighbours = paths_by_name(root) if stand_ins else {}
        self.conditions = tuple(dict.fromkeys(condition for condition, _ in configs))
        self.seeds = tuple(sorted({seed for _, seed in configs}))
        self.finished = functools.cache(self._finished)
        self.history = functools.cache(self._history)
        self.grok = functools.cache(self._grok)

    def _finished(self, condition: Condition, seed: int) -> Run | None:
        """The finished run, or what stands in for it; None where it is missing."""
        values = self.configs.get((condition, seed))
        if values is None:
            return None
        path = self.root / run_id(values.name, to_dict(values))
        if (path / "run.json").is_file() and (run := open_run(path)).record()["status"] == "finished":
            return run
        if near := self._neighbours.get(values.name):
            return stand_in(values, near, will_take(values, self.root))
        return None

    def ended(self, condition: Condition, seed: int) -> Run | None:
        """The finished run, but none that stands in for it and stopped after its grok, before the run would: it would be read too early."""
        run, values = self.finished(condition, seed), self.configs.get((condition, seed))
        if run is None or values is None or run.record()["steps"]["first"] is None:
            return run
        is_own = run.id == run_id(values.name, to_dict(values))
        return run if is_own or end_of(run.history(), values.schedule) is not None else None

    def _history(self, condition: Condition, seed: int) -> list[dict[str, Any]]:
        """Its evaluations; none where it is missing."""
        run = self.finished(condition, seed)
        return [] if run is None else run.history()

    def _grok(self, condition: Condition, seed: int) -> Grok | None:
        """The run with its circuits, computed where they are not there yet."""
        run = self.finished(condition, seed)
        return None if run is None else analyse_run(run)

    def runs(self, condition: Condition) -> list[Run]:
        """The finished runs of a condition, by seed."""
        return [run for seed in self.seeds if (run := self.finished(condition, seed)) is not None]


def grid_of(configs: list[RunConfig], root: Path | str) -> Grid:
    """A grid from a list of configurations, which have everything in common that a condition does not say.

    A source that is among them, with the seeds of the run that takes its weights, is named by its formula, any other by its id. Where all
    have the same weight seed and several split seeds, these are the seeds of the grid.

    Raises:
        ConfigError: A run is there twice, or settings differ.
    """
    _check_settings(configs)
    splits = len({c.seed for c in configs}) == 1 < len({c.task.split_seed for c in configs})
    spelled = {c.task.formulas: tuple(formula(text).text for text in c.task.formulas) for c in configs}
    names = {
        (run_id(c.name, to_dict(c)), c.seed, c.task.split_seed): " and ".join(spelled[c.task.formulas]) for c in configs
    }
    found = {}
    for c in configs:
        source = (
            None
            if c.frozen is None or c.frozen.source == "random"
            else names.get((c.frozen.source, c.seed, c.task.split_seed), c.frozen.source)
        )
        parts = () if c.frozen is None else c.frozen.parts
        condition = Condition(spelled[c.task.formulas], c.task.train_fraction, parts, source, c.task.modulus)
        place = condition, c.task.split_seed if splits else c.seed
        if place in found:
            raise ConfigError(
                f"got {condition.label} twice with seed {place[1]}; expected seeds of the split or of the weights to vary, not both. Make two grids."
            )
        found[place] = c
    return Grid(found, root)


def _check_settings(configs: list[RunConfig]) -> None:
    """Refuse runs that differ in a setting which no condition names; those of mixtures say nothing of single formulas."""
    if out := next((c for c in configs if c.frozen is not None and c.frozen.without), None):
        raise ConfigError(
            f"got {out.name} with frequencies taken out of its embedding; expected runs that a table has a place for. List them with `epicycle runs --columns id,without,first`."
        )
    every = [(settings_of(c), len(c.task.formulas) > 1) for c in configs]
    for name in settings_of(configs[0]) if configs else ():
        found = list(dict.fromkeys(own[name] for own, is_mixture in every if is_mixture or name not in OF_MIXTURES))
        if len(found) > 1:
            raise ConfigError(
                f"got runs with {name} {found[0]} and {found[1]}; expected one value, since a table would mix them. Make two grids."
            )
