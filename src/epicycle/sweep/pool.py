"""Many runs on one machine: a process per worker, one torch thread each.

A worker takes a configuration and leaves a finished run directory; nothing else passes between processes. Progress is
read from the run directories, so a killed driver loses nothing and running again does only what is missing.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from epicycle.analysis.grok import Grok, analyse_run, grok
from epicycle.runs.directory import open_run, run_id
from epicycle.sweep.jobs import Job, JobProgress, run_jobs
from epicycle.training.config import RunConfig, to_dict


def _to_stderr(text: str) -> None:
    """A worker's warning, such as a damaged checkpoint that was passed over, reaches the user's terminal."""
    sys.stderr.write(text + "\n")


def _work(
    before: dict[str, str], config: RunConfig, root: str, given: dict[str, Any] | None, source_root: str | None
) -> str:
    [found] = grok(config, root, device="cpu", threads=1, warn=_to_stderr, given=given, source_root=source_root)
    return str(found.run.path)


def _last_line(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 65536))
            lines = file.read().splitlines()
        return json.loads(lines[-1])
    except (OSError, IndexError, json.JSONDecodeError):
        return None


def grok_all(
    configs: Sequence[RunConfig],
    root: Path | str = "runs",
    *,
    workers: int = 2,
    progress: Callable[..., None] | None = None,
    given: dict[str, Any] | None = None,
    every_seconds: float = 1.0,
    source_root: Path | str | None = None,
) -> list[Grok]:
    """Train and analyse every configuration, `workers` at a time; finished ones are read back.

    Args:
        configs: Any runs.
        root: Directory of all runs.
        workers: Processes; more than the number of cores does not pay.
        progress: Called about every `every_seconds` with (ids, step, max_steps, newest history lines, steps per second).
        given: What the user typed.
        every_seconds: Seconds between looks at the run directories.
        source_root: Directory of the runs that frozen weights come from; `root` if not given.

    Raises:
        EpicycleError: The first error of a worker, after the other running ones have ended.
    """
    root = Path(root)
    paths = [root / run_id(config.name, to_dict(config)) for config in configs]
    jobs = [
        Job(str(i), _work, (config, str(root), given, None if source_root is None else str(source_root)))
        for i, config in enumerate(configs)
    ]
    seen_before: int | None = None

    def look(now: JobProgress) -> None:
        nonlocal seen_before
        lines = [_last_line(path / "history.jsonl") for path in paths]
        total = sum(line["step"] for line in lines if line)
        seen_before = total if seen_before is None else seen_before
        if progress is not None:
            known = [line for line in lines if line]
            progress([path.name for path in paths], min((line["step"] for line in known), default=0),
                     configs[0].schedule.max_steps, known, (total - seen_before) / now.seconds)  # fmt: skip

    made = run_jobs(jobs, workers=min(workers, len(configs)), progress=look, every_seconds=every_seconds)
    return [analyse_run(open_run(made[job.name])) for job in jobs]
