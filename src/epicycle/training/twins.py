"""Runs that differ in nothing but their bound go the same way: a longer one goes on where a shorter one ended.

`max_steps` enters training at its end alone, so the first 100,000 steps of a run of 300,000 are those of a run of 100,000 with the same
bits (same threads, same device).
"""

import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from epicycle._files import cannot_write, write_json
from epicycle.errors import EpicycleError
from epicycle.runs.directory import Run, checkpoint_name, config_hash, open_run, run_id, trajectory
from epicycle.training.config import RunConfig, ScheduleConfig, to_dict


class Twin(NamedTuple):
    """A finished run of the same configuration with another bound.

    `step` is its newest checkpoint that can be gone on from; `is_end` says that both end there, having held their grok or diverged.
    """

    run: Run
    step: int
    is_end: bool


def find_twin(config: RunConfig, paths: Iterable[Path], taken: str | None = None) -> Twin | None:
    """The twin that got furthest within the bound of a configuration; None if there is none.

    Args:
        config: The run that is about to begin.
        paths: Directories to look at; those that are no finished twins are passed over.
        taken: SHA-256 of the checkpoint that frozen weights are taken from: a twin took the same ones.
    """
    own, best = to_dict(config), None
    wanted = trajectory(own, taken)
    for path in paths:
        if path.name == run_id(config.name, own) or not (path / "run.json").is_file():
            continue
        try:
            run = open_run(path)
            record = run.record()
        except EpicycleError:
            continue
        values, took = record["config"]["resolved"], record.get("source", {}).get("sha256")
        if record["status"] != "finished" or took != taken or trajectory(values, took) != wanted:
            continue
        step = max((s for s in run.checkpoint_steps() if _can_go_on(s, config.schedule)), default=0)
        if step and (best is None or step > best.step):
            best = Twin(run, step, step == record["steps"]["trained"] < values["schedule"]["max_steps"])
    return best


def _can_go_on(step: int, schedule: ScheduleConfig) -> bool:
    return step <= schedule.max_steps and step % schedule.evaluate_every == 0


def paths_by_name(root: Path | str) -> dict[str, list[Path]]:
    """Directories under a root by the readable part of their run's id."""
    found: dict[str, list[Path]] = {}
    if Path(root).is_dir():
        for path in sorted(Path(root).iterdir()):
            found.setdefault(path.name[:-9], []).append(path)
    return found


def go_on_from_twin(
    config: RunConfig, root: Path | str, taken: dict[str, Any] | None = None, given: dict[str, Any] | None = None
) -> Twin | None:
    """Begin a run that is not there with the checkpoints and the history of its twin; None if it has none, or is there.

    Args:
        config: The run that is about to begin.
        root: Directory of all runs.
        taken: Facts about the frozen weights, as `transfer.take` gives them.
        given: What the user typed.

    Raises:
        DiskError: The disk is full or the place cannot be written to.
    """
    values = to_dict(config)
    path = Path(root) / run_id(config.name, values)
    if path.exists():
        return None
    twin = find_twin(config, Path(root).glob(f"{config.name}-????????"), taken["sha256"] if taken else None)
    if twin is None:
        return None
    steps = [step for step in twin.run.checkpoint_steps() if step <= twin.step]
    lines = [line for line in twin.run.history() if line["step"] <= twin.step]
    if any(twin.run.damage(step) for step in steps) or not lines or lines[-1]["step"] != twin.step:
        return None
    record = twin.run.record()
    begun = {
        "format": record["format"],
        "id": path.name,
        "status": "training",
        "outcome": None,
        "config": {"sha256": config_hash(values), "resolved": values, "given": given or values},
        "provenance": record["provenance"],
        "checkpoints": {checkpoint_name(step): record["checkpoints"][checkpoint_name(step)] for step in steps},
        "resumed": record.get("resumed", []),
        "continues": {"id": twin.run.id, "step": twin.step},
        **({"source": taken} if taken else {}),
    }
    _write(path, begun, lines, twin.run.path / "checkpoints")
    return twin


def _write(path: Path, record: dict[str, Any], lines: list[dict[str, Any]], checkpoints: Path) -> None:
    """The run under its own id, whole or not at all; run.json comes last, so that no half is taken for a run."""
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        (scratch / "checkpoints").mkdir(parents=True)
        for name in record["checkpoints"]:
            _share(checkpoints / name, scratch / "checkpoints" / name)
        Run(scratch).append_history(*lines)
        write_json(scratch / "run.json", record)
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
