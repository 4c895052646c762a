"""Many runs on one machine: a process per worker, one torch thread each.

A worker takes a configuration and leaves a finished run directory; nothing else passes between processes. Progress is
read from the run directories, so a killed driver loses nothing and running again does only what is missing.
"""

import concurrent.futures
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from epicycle.analysis.grok import Grok, analyse_run, grok
from epicycle.errors import EpicycleError
from epicycle.runs.directory import open_run, run_id
from epicycle.training.config import RunConfig, to_dict


def _to_stderr(text: str) -> None:
    """A worker's warning, such as a damaged checkpoint that was passed over, reaches the user's terminal."""
    sys.stderr.write(text + "\n")


def _work(config: RunConfig, root: str, given: dict[str, Any] | None) -> str:
    [found] = grok(config, root, device="cpu", threads=1, warn=_to_stderr, given=given)
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
) -> list[Grok]:
    """Train and analyse every configuration, `workers` at a time; finished ones are read back.

    Args:
        configs: Any runs.
        root: Directory of all runs.
        workers: Processes; more than the number of cores does not pay.
        progress: Called about every `every_seconds` with (ids, step, max_steps, newest history lines, steps per second).
        given: What the user typed.
        every_seconds: Seconds between looks at the run directories.

    Raises:
        EpicycleError: The first error of a worker, after the other running ones have ended.
    """
    root = Path(root)
    paths = [root / run_id(config.name, to_dict(config)) for config in configs]
    context = multiprocessing.get_context("spawn")
    began, seen_before = time.perf_counter(), None
    with concurrent.futures.ProcessPoolExecutor(min(workers, len(configs)), mp_context=context) as pool:
        futures = [pool.submit(_work, config, str(root), given) for config in configs]
        try:
            waiting = set(futures)
            while waiting:
                done, waiting = concurrent.futures.wait(waiting, timeout=every_seconds)
                for future in done:
                    future.result()
                lines = [_last_line(path / "history.jsonl") for path in paths]
                total = sum(line["step"] for line in lines if line)
                seen_before = total if seen_before is None else seen_before
                if progress is not None:
                    known = [line for line in lines if line]
                    speed = (total - seen_before) / (time.perf_counter() - began)
                    progress([path.name for path in paths], min((line["step"] for line in known), default=0),
                             configs[0].schedule.max_steps, known, speed)  # fmt: skip
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():  # their runs go on from the last checkpoint next time
                worker.terminate()
            raise
        except EpicycleError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [analyse_run(open_run(future.result())) for future in futures]
