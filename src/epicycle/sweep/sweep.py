"""Many runs: every configuration trained and analysed, on any engine."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from epicycle._files import check_writable
from epicycle.analysis.grok import Grok, analyse_run, grok
from epicycle.analysis.stage import Stage, silent
from epicycle.runs.directory import open_run
from epicycle.sweep.jobs import Engine, Job, JobProgress, run_jobs
from epicycle.sweep.plan import Planned, plan
from epicycle.sweep.pool import LocalPool
from epicycle.training.config import RunConfig


def _to_stderr(text: str) -> None:
    """A worker's warning, such as a damaged checkpoint that was passed over, reaches the user's terminal."""
    sys.stderr.write(text + "\n")


def grok_job(
    before: dict[str, str], config: RunConfig, root: str, given: dict[str, Any] | None, source_root: str | None
) -> str:
    """Train and analyse one run; returns its directory."""
    [found] = grok(config, root, device="cpu", threads=1, warn=_to_stderr, given=given, source_root=source_root)
    return str(found.run.path)


def jobs_of(
    planned: Sequence[Planned],
    root: Path | str,
    given: dict[str, Any] | None = None,
    source_root: Path | str | None = None,
) -> list[Job]:
    """A job per run; those that take weights from another come after it."""
    names = {each.id for each in planned}
    source = None if source_root is None else str(source_root)
    return [
        Job(
            each.id,
            grok_job,
            (each.config, str(root), given, source),
            (each.after,) if each.after in names else (),
            float(each.pairs * each.steps),
        )
        for each in planned
    ]


def _last_line(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 65536))
            lines = file.read().splitlines()
        return json.loads(lines[-1])
    except (OSError, IndexError, json.JSONDecodeError):
        return None


def sweep(
    configs: Sequence[RunConfig],
    root: Path | str = "runs",
    engine: Engine | None = None,
    *,
    progress: Callable[[JobProgress], None] = lambda now: None,
    warn: Callable[[str], None] = lambda text: None,
    given: dict[str, Any] | None = None,
    every_seconds: float = 1.0,
    source_root: Path | str | None = None,
) -> list[Path]:
    """Train and analyse every configuration; what is finished is not done again.

    Args:
        configs: The sweep, each run once.
        root: Directory of all runs; on a cluster one that every node sees.
        engine: Where; two processes on this machine if not given.
        progress: Called about every `every_seconds`.
        warn: Called with a sentence when a worker was lost.
        given: What the user typed.
        every_seconds: Seconds between calls.
        source_root: Directory of the runs that frozen weights come from; `root` if not given.

    Returns:
        The run directories, in the order of `configs`.

    Raises:
        ConfigError: The sweep cannot be planned.
        DiskError: `root` cannot be written to.
        EpicycleError: Some runs failed; all others are finished.
    """
    planned = plan(configs, root, source_root)
    jobs = jobs_of(planned, root, given, source_root)
    if any(job.cost for job in jobs):
        check_writable(Path(root))  # once, and not by every worker
    chosen = LocalPool(min(2, len(jobs))) if engine is None else engine
    bounds = {each.id: each.config.schedule.max_steps for each in planned if each.status != "finished"}
    begun: dict[str, int] = {}

    def look(job: Job) -> float | None:
        """Since it was first looked at: a history can be ahead of the checkpoint that training goes on from."""
        line = _last_line(Path(root) / job.name / "history.jsonl") if job.name in bounds else None
        if line is None:
            return None
        first = begun.setdefault(job.name, line["step"])
        return max(line["step"] - first, 0) / max(bounds[job.name] - first, 1)

    made = run_jobs(jobs, chosen, progress=progress, look=look, warn=warn, every_seconds=every_seconds)
    order = {id(each.config): each.id for each in planned}
    return [Path(made[order[id(config)]]) for config in configs]


def grok_all(
    configs: Sequence[RunConfig],
    root: Path | str = "runs",
    *,
    workers: int = 2,
    progress: Callable[..., None] | None = None,
    warn: Callable[[str], None] = _to_stderr,
    given: dict[str, Any] | None = None,
    every_seconds: float = 1.0,
    source_root: Path | str | None = None,
    stage: Stage = silent,
) -> list[Grok]:
    """Train and analyse a few configurations on this machine, `workers` at a time, and read them all back.

    Args:
        configs: Any runs.
        root: Directory of all runs.
        workers: Processes; more than the number of cores does not pay.
        progress: Called about every `every_seconds` with (ids, step, max_steps, newest history lines, steps per second).
        warn: Called with a sentence when a worker was lost.
        given: What the user typed.
        every_seconds: Seconds between looks at the run directories.
        source_root: Directory of the runs that frozen weights come from; `root` if not given.
        stage: Told how far the analysis is.

    Raises:
        EpicycleError: Some runs failed; all others are finished.
    """
    root = Path(root)
    paths = [root / each.id for each in plan(configs, root, source_root)]
    seen_before: int | None = None

    def look(now: JobProgress) -> None:
        nonlocal seen_before
        lines = [_last_line(path / "history.jsonl") for path in paths]
        total = sum(line["step"] for line in lines if line)
        seen_before = total if seen_before is None else seen_before
        if progress is not None:
            known = [line for line in lines if line]
            progress([path.name for path in paths], min(line["step"] if line else 0 for line in lines),
                     configs[0].schedule.max_steps, known, (total - seen_before) / now.seconds)  # fmt: skip

    made = sweep(configs, root, LocalPool(min(workers, len(configs))), progress=look, warn=warn, given=given, every_seconds=every_seconds,
                 source_root=source_root)  # fmt: skip
    return [analyse_run(open_run(path), stage=stage) for path in made]
