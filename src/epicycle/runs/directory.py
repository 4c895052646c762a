"""A run on disk.

    <name>-<8 hex of the configuration's SHA-256>/
      run.json          configuration, provenance, status, outcome, SHA-256 of every checkpoint
      history.jsonl     one line per evaluation
      checkpoints/step-00001000.safetensors
      results/<analysis>/{result.json, arrays.safetensors}
      report.html report.json

run.json is replaced as a whole; history.jsonl is only ever appended to, except that resuming cuts it back to the
checkpoint that training goes on from.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, final

from epicycle._files import atomic, cannot_write, save_tensors, sha256, to_json, write_json
from epicycle.errors import RunError

FORMAT = 1


ENDS = ("max_steps", "min_steps", "hold_evaluations", "grok_accuracy")
"""Settings of a schedule that say when training is over and nothing else."""


def config_hash(config: dict[str, Any]) -> str:
    """SHA-256 of the configuration's canonical JSON."""
    text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def trajectory(config: dict[str, Any], taken: str | None = None) -> str:
    """Eight hex digits that runs share which differ in what ends them alone: one is the beginning of the other.

    Args:
        config: Resolved configuration.
        taken: What frozen weights came from (`taken_from`); it stands for the source's id, which has a bound, too.
    """
    schedule = config.get("schedule")
    if isinstance(schedule, dict):
        schedule = {name: value for name, value in schedule.items() if name not in ENDS}
    frozen = config.get("frozen")
    if frozen and taken:
        frozen = frozen | {"source": taken}
    return config_hash(config | {"schedule": schedule, "frozen": frozen})[:8]


def taken_from(record: dict[str, Any]) -> str | None:
    """What a run took frozen weights from; None for runs that took none, and those of other kinds."""
    source = record.get("source")
    return identity(source) if isinstance(source, dict) and "sha256" in source else None


def lineage(record: dict[str, Any]) -> str:
    """Eight hex digits of what a run's weights come from, whatever the machine made of it.

    That is its configuration without its schedule, which says how long it is trained and how often looked at, and the same of the run that
    it took frozen weights from, with the step.
    """
    config, source = record["config"]["resolved"], record.get("source") or {}
    frozen = config.get("frozen")
    if frozen and "lineage" in source:
        frozen = frozen | {"source": source["lineage"], "step": source["step"]}
    return config_hash(config | {"schedule": None, "frozen": frozen})[:8]


def identity(source: dict[str, Any]) -> str:
    """The SHA-256 of a checkpoint that weights are taken from and, where it chooses those beside them, its run's lineage."""
    return " ".join(filter(None, (source["sha256"], source.get("lineage"))))


def run_id(name: str, config: dict[str, Any]) -> str:
    """`<name>-<8 hex>`; the same configuration always has the same id."""
    return f"{name}-{config_hash(config)[:8]}"


@final
@dataclasses.dataclass(frozen=True)
class Run:
    """One run directory. Make it with `create_run`, open it with `open_run`."""

    path: Path

    @property
    def id(self) -> str:
        """The directory's name."""
        return self.path.name

    def record(self) -> dict[str, Any]:
        """The content of run.json."""
        return _read_record(self.path)

    def update(self, **changes: Any) -> None:
        """Replace fields of run.json."""
        write_json(self.path / "run.json", self.record() | changes)

    def history(self) -> list[dict[str, Any]]:
        """All evaluations, oldest first; a torn last line is left out."""
        file = self.path / "history.jsonl"
        if not file.exists():
            return []
        lines = []
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return lines

    def append_history(self, *lines: dict[str, Any]) -> None:
        """Add evaluations and sync them to disk."""
        file = self.path / "history.jsonl"
        try:
            with file.open("a", encoding="utf-8") as out:
                out.writelines(to_json(line) + "\n" for line in lines)
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise cannot_write(file, error) from error

    def cut_history(self, step: int) -> None:
        """Drop every evaluation after `step`."""
        kept = [line for line in self.history() if line["step"] <= step]
        with atomic(self.path / "history.jsonl") as scratch:
            scratch.write_text("".join(to_json(line) + "\n" for line in kept), encoding="utf-8")

    def save_checkpoint(self, step: int, state: dict[str, Any], drop: tuple[int, ...] = ()) -> None:
        """Write a checkpoint, note its hash, then delete the steps in `drop`."""
        name = checkpoint_name(step)
        digest = save_tensors(self.path / "checkpoints" / name, state)
        gone = {checkpoint_name(old) for old in drop}
        known = {k: v for k, v in self.record()["checkpoints"].items() if k not in gone}
        self.update(checkpoints=known | {name: digest})
        for old in gone:
            (self.path / "checkpoints" / old).unlink(missing_ok=True)

    def checkpoint_steps(self) -> list[int]:
        """Steps of all checkpoints that run.json knows, ascending."""
        return sorted(int(name[5:13]) for name in self.record()["checkpoints"])

    def damage(self, step: int) -> str | None:
        """What is wrong with a checkpoint, or None."""
        name = checkpoint_name(step)
        file = self.path / "checkpoints" / name
        if not file.exists():
            return f"checkpoint {name} is missing"
        if sha256(file) != self.record()["checkpoints"].get(name):
            return f"checkpoint {name} is corrupted (its SHA-256 differs from the one in run.json)"
        return None

    def load_checkpoint(self, step: int) -> dict[str, Any]:
        """The tensors of one checkpoint, after checking its hash.

        Raises:
            RunError: There is no such checkpoint, or it is damaged.
        """
        from safetensors.torch import load_file

        if step not in self.checkpoint_steps():
            known = ", ".join(map(str, self.checkpoint_steps())) or "none"
            raise RunError(f"got step {step} of run {self.id}; checkpoints exist at {known}. Choose one of these.")
        if fault := self.damage(step):
            raise RunError(f"got a damaged run {self.id}: {fault}. Run the same training command again to mend it.")
        return load_file(self.path / "checkpoints" / checkpoint_name(step))

    def last_good_checkpoint(self) -> tuple[int | None, list[str]]:
        """The newest step whose checkpoint is intact, and what is wrong with each newer one."""
        faults = []
        for step in reversed(self.checkpoint_steps()):
            if fault := self.damage(step):
                faults.append(fault)
            else:
                return step, faults
        return None, faults

    def weights(self, step: int | None = None) -> dict[str, Any]:
        """Weights at a checkpoint, the last one if no step is given; no optimiser state."""
        if step is None:
            steps = self.checkpoint_steps()
            if not steps:
                raise RunError(f"got run {self.id} without a checkpoint; expected one. Train it first.")
            step = steps[-1]
        return {k: v for k, v in self.load_checkpoint(step).items() if not k.startswith("optimiser.")}

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for this process.

        Raises:
            RunError: Another process holds it.
            DiskError: It cannot be written to.
        """
        try:
            file = (self.path / ".lock").open("w")
        except OSError as error:
            raise cannot_write(self.path, error) from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"got run {self.id}, which another process is training; expected it to be free. "
                    "Wait for that process, or stop it."
                ) from None
            yield


def checkpoint_name(step: int) -> str:
    """File name of a checkpoint."""
    return f"step-{step:08d}.safetensors"


def _read_record(path: Path) -> dict[str, Any]:
    file = path / "run.json"
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"got {path}, which has no run.json; expected a run directory. "
                       "`epicycle runs` lists those that exist; move a directory that lost its run.json away.") from None  # fmt: skip
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(f"got {file}, which cannot be read as JSON ({type(error).__name__}); expected a run record. "
                       "Move the directory away and train again.") from None  # fmt: skip
    config = record.get("config") if isinstance(record, dict) else None
    if not isinstance(config, dict) or not {"resolved", "sha256"} <= set(config) or "checkpoints" not in record:
        raise RunError(f"got {file}, which lacks the fields of a run record; expected one written by epicycle. "
                       "Move the directory away.")  # fmt: skip
    if record.get("format", 0) > FORMAT:
        raise RunError(f"got a run of format {record['format']}; this epicycle reads up to {FORMAT}. Upgrade epicycle.")
    return record


def create_run(root: Path, name: str, config: dict[str, Any], given: dict[str, Any], facts: dict[str, Any]) -> Run:
    """Open the run of this configuration under `root`, or begin it.

    Args:
        root: Directory of all runs.
        name: Readable first part of the id.
        config: Resolved configuration; its hash is the id's second part.
        given: What the user passed.
        facts: Provenance.

    Raises:
        RunError: The directory exists and holds a run of another configuration, or something that is no run.
    """
    path = Path(root) / run_id(name, config)
    if path.exists() and any(entry.name not in (".lock",) for entry in path.iterdir() if entry.suffix != ".part"):
        record = _read_record(path)
        if record["config"]["sha256"] != config_hash(config) or record["config"]["resolved"] != config:
            raise RunError(f"got run directory {path}, which belongs to another configuration; expected that of this "
                           "command. Move it away or choose another --out.")  # fmt: skip
        return Run(path)
    record = {
        "format": FORMAT,
        "id": path.name,
        "status": "started",
        "outcome": None,
        "config": {"sha256": config_hash(config), "resolved": config, "given": given},
        "provenance": facts,
        "checkpoints": {},
    }
    write_json(path / "run.json", record)
    return Run(path)


def open_run(path: Path | str) -> Run:
    """Open an existing run directory.

    Raises:
        RunError: It is not a run, or its id does not fit its configuration.
    """
    run = Run(Path(path).resolve())
    stored = run.record()["config"]
    if config_hash(stored["resolved"]) != stored["sha256"]:
        raise RunError(f"got run {run.id}, whose configuration was changed after it was written; expected SHA-256 "
                       f"{stored['sha256'][:8]}. Restore run.json or train again.")  # fmt: skip
    return run


def find_run(name: Path | str, root: Path | str) -> Run:
    """The run in directory `name`, or the run of that id under `root`.

    Raises:
        RunError: There is none, or it is not intact.
    """
    return open_run(name if Path(name).exists() else Path(root) / name)


def list_runs(root: Path) -> list[Run]:
    """All runs directly under a directory, by name."""
    if not Path(root).is_dir():
        return []
    entries = (
        entry for entry in sorted(Path(root).iterdir()) if not entry.name.startswith(".")
    )  # those are half-written
    return [Run(entry) for entry in entries if (entry / "run.json").is_file()]
