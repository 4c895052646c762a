"""A sweep before it runs: which runs, in which order, what is there already, what the rest will cost."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from epicycle.errors import ConfigError, EpicycleError
from epicycle.runs.directory import checkpoint_name, identity, lineage, open_run, run_id
from epicycle.tasks.modular import modular_task
from epicycle.training.config import RunConfig, to_dict
from epicycle.training.engine import make_engine
from epicycle.training.transfer import check_fit
from epicycle.training.twins import find_twin, paths_by_name

TRIALS, TRIAL_STEPS = 6, 3


class Planned(NamedTuple):
    """One run of a sweep. `steps` are those still to do at most; `after` is the run that frozen weights come from.

    A run that a finished one of another bound can be continued for counts as begun.
    """

    config: RunConfig
    id: str
    status: Literal["finished", "begun", "missing"]
    steps: int
    pairs: int
    after: str | None


class Cost(NamedTuple):
    """Runs to do, updates at most, and core-seconds at most, from a trial of a few steps on this machine."""

    runs: int
    steps: int
    core_seconds: float


def plan(configs: Sequence[RunConfig], root: Path | str, source_root: Path | str | None = None) -> tuple[Planned, ...]:
    """Runs in the order given, each source before the first run that takes weights from it.

    Args:
        configs: The sweep, each run once.
        root: Directory of all runs.
        source_root: Directory of the runs that frozen weights come from; `root` if not given.

    Raises:
        ConfigError: Two configurations are the same run, one takes weights from a run that is neither in the sweep nor
            finished on disk or does not fit, or there is none.
        EpicycleError: A formula or split is refused.
    """
    if not configs:
        raise ConfigError("got a sweep without runs; expected at least one. Name a formula.")
    root = Path(root)
    sources = root if source_root is None else Path(source_root)
    found: dict[str, Planned] = {}
    neighbours = paths_by_name(root)
    for config in configs:
        own = run_id(config.name, to_dict(config))
        if own in found:
            raise ConfigError(
                f"got run {own} twice in one sweep; expected every configuration once. Leave one out, or change its seed."
            )
        status, done = status_of(root / own)
        task = modular_task(config.task)
        after = None if config.frozen is None or config.frozen.source == "random" else config.frozen.source
        if status == "missing" and (
            twin := find_twin(config, neighbours.get(config.name, ()), will_take(config, sources))
        ):
            status, done = "begun", config.schedule.max_steps if twin.is_end else twin.step
        steps = 0 if status == "finished" else max(config.schedule.max_steps - done, 0)
        found[own] = Planned(config, own, status, steps, task.num_examples("train"), after)
    for each in found.values():
        if each.after is None:
            continue
        if each.after in found:
            other = to_dict(found[each.after].config)
        elif not (sources / each.after / "run.json").is_file():
            raise ConfigError(f"got a run that takes weights from {each.after}, which is neither in the sweep nor in {sources}; expected one of both. "
                              "Add it, or train it first.")  # fmt: skip
        elif status_of(sources / each.after)[0] != "finished":
            raise ConfigError(
                f"got a run that takes weights from {each.after}, whose training has not ended; expected a finished run. Train it first."
            )
        else:
            other = open_run(sources / each.after).record()["config"]["resolved"]
        check_fit(each.config, modular_task(each.config.task), other, each.after)
    ordered: dict[str, Planned] = {}

    def place(each: Planned) -> None:
        if each.after in found and each.after not in ordered:
            place(found[each.after])
        ordered[each.id] = each

    for each in found.values():
        if each.id not in ordered:
            place(each)
    return tuple(ordered.values())


def will_take(config: RunConfig, sources: Path) -> str | None:
    """What a run will take frozen weights from (`runs.directory.identity`), as far as its source is finished."""
    if config.frozen is None or config.frozen.source == "random":
        return None
    path = sources / config.frozen.source
    if status_of(path)[0] != "finished":
        return ""  # no twin can be told yet
    record = open_run(path).record()
    checkpoints = record["checkpoints"]
    name = max(checkpoints, default="") if config.frozen.step is None else checkpoint_name(config.frozen.step)
    if name not in checkpoints:
        return ""
    return identity(
        {"sha256": checkpoints[name], "lineage": lineage(record) if config.frozen.is_drawn_by_run else None}
    )


def status_of(path: Path) -> tuple[Literal["finished", "begun", "missing"], int]:
    """What is there of a run, and how many steps it got: those trained, or those of its last checkpoint."""
    if not (path / "run.json").is_file():
        return "missing", 0
    try:
        run = open_run(path)
        if run.record()["status"] == "finished":
            return "finished", run.record()["steps"]["trained"]
        return "begun", max(run.checkpoint_steps(), default=0)
    except EpicycleError:  # training will say what is wrong with it
        return "begun", 0


def cost(planned: Sequence[Planned], stacked_on: str | None = None) -> Cost:
    """What the rest of a sweep costs at most on one core of this machine: runs that grok stop earlier.

    One run is tried for a few steps; the others are scaled by their training pairs. `stacked_on`: device of a stacked engine, where as
    many as are to do, up to eight, are tried as a stack.
    """
    rest = [each for each in planned if each.status != "finished"]
    if not rest:
        return Cost(0, 0, 0.0)
    config = dataclasses.replace(rest[0].config, frozen=None)  # the same work, without a source to read
    count = 1 if stacked_on is None else min(len(rest), 8)
    engine = make_engine([config] * count, [modular_task(config.task)] * count, stacked_on or "cpu", 1)
    engine.train(2)
    seconds = []
    for _ in range(TRIALS):  # the fastest: what else runs for a moment is no cost of the sweep
        began = time.perf_counter()
        engine.train(TRIAL_STEPS)
        seconds.append(time.perf_counter() - began)
    per_pair = min(seconds) / TRIAL_STEPS / rest[0].pairs / count
    return Cost(len(rest), sum(each.steps for each in rest), sum(per_pair * each.pairs * each.steps for each in rest))
