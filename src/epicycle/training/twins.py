"""Runs that differ in nothing but what ends them go the same way: a longer one goes on where a shorter one ended.

`max_steps` and the like enter training at its end alone, so the first 100,000 steps of a run of 300,000 are those of a run of 100,000,
with the same bits of weights and history (same threads, device and engine). Which of the checkpoints to resume from are still there
may differ; the log-spaced ones that are kept for ever do not.
"""

import contextlib
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from epicycle._files import cannot_write, write_json
from epicycle.errors import EpicycleError, RunError
from epicycle.runs.directory import (
    Run,
    checkpoint_name,
    config_hash,
    identity,
    open_run,
    run_id,
    taken_from,
    trajectory,
)
from epicycle.training.config import RunConfig, to_dict
from epicycle.training.grokking import end_of


class Twin(NamedTuple):
    """A run of the same configuration that ends otherwise, finished or broken off.

    `step` is a checkpoint of it that the other can go on from; `is_end` says that the other ends there, too.
    """

    run: Run
    step: int
    is_end: bool


def find_twin(config: RunConfig, paths: Iterable[Path], taken: str | None = None) -> Twin | None:
    """The twin that got furthest before the end of a configuration; None if there is none. Checkpoints are not opened.

    Args:
        config: The run that is about to begin.
        paths: Directories to look at; those that are no twins are passed over.
        taken: What frozen weights are taken from (`runs.directory.identity`): a twin took the same ones.
    """
    return max(_twins(config, paths, taken), key=lambda twin: twin.step, default=None)


def _alike(config: RunConfig, paths: Iterable[Path], taken: str | None) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Every run, with its record, that goes the same way as a configuration; what is half-written or cannot be read is passed over."""
    wanted = trajectory(to_dict(config), taken)
    for path in paths:
        if path.name.startswith(".") or not (path / "run.json").is_file():
            continue
        try:
            run = open_run(path)
            record = run.record()
        except EpicycleError:
            continue
        if taken_from(record) == taken and trajectory(record["config"]["resolved"], taken) == wanted:
            yield run, record


def _twins(config: RunConfig, paths: Iterable[Path], taken: str | None) -> Iterator[Twin]:
    """Every checkpoint of every twin that the run can go on from."""
    own = run_id(config.name, to_dict(config))
    for run, record in _alike(config, (path for path in paths if path.name != own), taken):
        if record["status"] not in ("finished", "training"):
            continue
        end = end_of(run.history(), config.schedule)
        last = config.schedule.max_steps if end is None else min(end, config.schedule.max_steps)
        for step in run.checkpoint_steps():
            if 0 < step <= last and step % config.schedule.evaluate_every == 0:
                yield Twin(run, step, step == end)


def stand_in(config: RunConfig, paths: Iterable[Path], taken: str | None = None) -> Run | None:
    """The finished twin that tells how far a configuration has got: the longest within its bound, or None.

    It ended where the configuration ends, too, or at an earlier bound of its own.

    Args:
        config: The run that is not there.
        paths: Directories to look at; those that are no twins are passed over.
        taken: What frozen weights are taken from (`runs.directory.identity`): a twin took the same ones.
    """
    found = {}
    for run, record in _alike(config, paths, taken):
        history = run.history() if record["status"] == "finished" else []
        if not history or "measures" not in history[0]:
            continue
        trained, end = record["steps"]["trained"], end_of(history, config.schedule)
        if end is None or trained == end:  # else it went on after the configuration's end
            found[trained] = run
    return found[max(found)] if found else None


def paths_by_name(root: Path | str) -> dict[str, list[Path]]:
    """Directories under a root by the readable part of their run's id."""
    found: dict[str, list[Path]] = {}
    if Path(root).is_dir():
        for path in sorted(Path(root).iterdir()):
            found.setdefault(path.name[:-9], []).append(path)
    return found


def go_on_from_twin(
    config: RunConfig,
    root: Path | str,
    taken: dict[str, Any] | None = None,
    given: dict[str, Any] | None = None,
    measures: Sequence[str] = (),
) -> Twin | None:
    """Begin a run that is not there with the checkpoints and the history of its twin; None if it has none, or is there.

    Args:
        config: The run that is about to begin.
        root: Directory of all runs.
        taken: Facts about the frozen weights, as `transfer.take` gives them.
        given: What the user typed.
        measures: Names of what is measured at every evaluation; a twin without them is passed over.

    Raises:
        DiskError: The disk is full or the place cannot be written to.
    """
    path = Path(root) / run_id(config.name, to_dict(config))
    if path.exists():
        return None
    paths = sorted(Path(root).glob(f"{config.name}-????????"))
    for twin in sorted(_twins(config, paths, identity(taken) if taken else None), key=lambda twin: -twin.step):
        with contextlib.suppress(RunError), _idle(twin.run):
            lines = [line for line in twin.run.history() if line["step"] <= twin.step]
            is_whole = lines and lines[-1]["step"] == twin.step and not twin.run.damage(twin.step)
            if is_whole and set(measures) <= set(lines[0].get("measures", {})):
                _write(path, config, twin, lines, taken, given)
                return twin
    return None


def _idle(run: Run) -> contextlib.AbstractContextManager[None]:
    """Hold a run that was broken off, so that nobody trains it meanwhile; a finished one does not change.

    Raises:
        RunError: Another process is training it.
    """
    return contextlib.nullcontext() if run.record()["status"] == "finished" else run.lock()


def _write(
    path: Path,
    config: RunConfig,
    twin: Twin,
    lines: list[dict[str, Any]],
    taken: dict[str, Any] | None,
    given: dict[str, Any] | None,
) -> None:
    """The run under its own id, whole or not at all; run.json comes last, so that no half is taken for a run."""
    record, values = twin.run.record(), to_dict(config)
    steps = [step for step in twin.run.checkpoint_steps() if step <= twin.step and not twin.run.damage(step)]
    begun = {
        "format": record["format"],
        "id": path.name,
        "status": "training",
        "outcome": None,
        "config": {"sha256": config_hash(values), "resolved": values, "given": given or values},
        "provenance": record["provenance"],
        "engine": record.get("engine"),
        "checkpoints": {checkpoint_name(step): record["checkpoints"][checkpoint_name(step)] for step in steps},
        "resumed": [each for each in record.get("resumed", []) if each["step"] <= twin.step],
        "continues": {"id": twin.run.id, "step": twin.step},
        **({"source": taken} if taken else {}),
    }
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        (scratch / "checkpoints").mkdir(parents=True)
        for name in begun["checkpoints"]:
            _share(twin.run.path / "checkpoints" / name, scratch / "checkpoints" / name)
        Run(scratch).append_history(*lines)
        write_json(scratch / "run.json", begun)
        scratch.rename(path)
    except OSError as error:
        if not (path / "run.json").is_file():  # else another process was faster
            raise cannot_write(path, error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _share(file: Path, other: Path) -> None:
    """One file under two names where the disk can, a copy where it cannot: checkpoints are never written to, only replaced."""
    try:
        other.hardlink_to(file)
    except OSError:
        shutil.copyfile(file, other)
