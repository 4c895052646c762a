"""Jobs that depend on each other, on one machine: a process per worker, one torch thread each.

A job leaves what it makes in run directories and returns little; so a killed driver loses nothing, and running again only
does what is missing.
"""

import concurrent.futures
import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from epicycle.errors import EpicycleError


class Job(NamedTuple):
    """Something to do after others: `work(results of after, *arguments)`.

    `work` is a function at the top of a module, so that another process finds it. `cost` is its expected share of the
    time, in any unit; only the forecast depends on it.
    """

    name: str
    work: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    after: tuple[str, ...] = ()
    cost: float = 1.0


class JobProgress(NamedTuple):
    """What progress is told: names of the running jobs, costs done and in all, seconds so far."""

    running: tuple[str, ...]
    finished: int
    jobs: int
    done: float
    total: float
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """Forecast from the cost of the finished jobs; None before the first has ended."""
        return self.seconds * (self.total - self.done) / self.done if self.done else None


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int = 2,
    progress: Callable[[JobProgress], None] = lambda now: None,
    every_seconds: float = 1.0,
) -> dict[str, Any]:
    """Do every job once those it comes after are done, earlier ones of the list first.

    Args:
        jobs: Each named once; `after` names others.
        workers: Processes.
        progress: Called about every `every_seconds`.
        every_seconds: Seconds between calls.

    Returns:
        Name -> what the job returned.

    Raises:
        EpicycleError: The first error of a job; no other is begun.
    """
    context = multiprocessing.get_context("spawn")
    waiting = list(jobs)
    results: dict[str, Any] = {}
    running: dict[concurrent.futures.Future[Any], Job] = {}
    total, began = sum(job.cost for job in jobs), time.perf_counter()
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            while waiting or running:
                for job in [job for job in waiting if all(name in results for name in job.after)][
                    : workers - len(running)
                ]:
                    waiting.remove(job)
                    running[pool.submit(job.work, {name: results[name] for name in job.after}, *job.arguments)] = job
                done, _ = concurrent.futures.wait(
                    running, timeout=every_seconds, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in done:
                    results[running.pop(future).name] = future.result()
                spent = sum(job.cost for job in jobs if job.name in results)
                names = tuple(job.name for job in running.values())
                progress(JobProgress(names, len(results), len(jobs), spent, total, time.perf_counter() - began))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():  # their runs go on from the last checkpoint next time
                worker.terminate()
            raise
        except EpicycleError:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return results
