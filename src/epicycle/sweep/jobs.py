"""Jobs that depend on each other, done on some engine: a pool of processes, a cluster, one GPU.

A job leaves what it makes in run directories and returns little; so a killed worker or driver loses nothing, and running
again does only what is missing. An engine only does jobs; order, loss of workers and errors are dealt with here.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from epicycle.errors import EpicycleError, RunError

MAX_ATTEMPTS = 3
"""Times that a job may lose its worker before the sweep gives up on it."""


class Job(NamedTuple):
    """Something to do after others: `work(results of after, *arguments)`.

    `work` is a function at the top of a module, so that another process finds it. `cost` is its expected share of the
    time, in any unit, 0 where nothing is left to do; only the forecast depends on it.
    """

    name: str
    work: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    after: tuple[str, ...] = ()
    cost: float = 1.0


class Lost(NamedTuple):
    """What an engine says of a job whose worker went away, through no fault of the job."""

    reason: str


class Engine(Protocol):
    """Does jobs. `finished` gives each one back with its result, with an exception, or `Lost`."""

    def free(self) -> int:
        """How many more jobs it takes now."""
        ...

    def begin(self, job: Job, before: dict[str, Any]) -> None:
        """Begin a job; `before` holds the results it asked for."""
        ...

    def finished(self, seconds: float) -> list[tuple[Job, Any]]:
        """Jobs that ended, waiting for one at most this long."""
        ...

    def close(self, *, now: bool = False) -> None:
        """Let go of all workers; `now` stops what is running."""
        ...


class JobProgress(NamedTuple):
    """How far many jobs are.

    `running` are names of jobs, `shares` how much of its cost each of them has done, None where that cannot be seen. `done` is the cost done, by finished jobs and as
    far as it can be seen by running ones, `ended` that of the finished alone, `unseen` that of the running jobs of which it cannot. `working` are the seconds since the first job with a cost began.
    """

    running: tuple[str, ...]
    shares: tuple[float | None, ...]
    finished: int
    jobs: int
    ended: float
    done: float
    unseen: float
    total: float
    seconds: float
    working: float

    @property
    def seconds_left(self) -> float | None:
        """Forecast from the cost done; None while that is less than what is under way unseen."""
        if self.finished == self.jobs:
            return 0.0
        return self.working * (self.total - self.done) / self.done if self.done >= self.unseen and self.done else None


def run_jobs(
    jobs: Sequence[Job],
    engine: Engine,
    *,
    progress: Callable[[JobProgress], None] = lambda now: None,
    look: Callable[[Job], float | None] = lambda job: None,
    warn: Callable[[str], None] = lambda text: None,
    every_seconds: float = 1.0,
) -> dict[str, Any]:
    """Do every job once those it comes after are done, earlier ones of the list first; the engine is closed at the end.

    A job that fails does not stop the others, only those that come after it. A job that loses its worker is begun again.

    Args:
        jobs: Each named once; `after` names others.
        engine: Where they are done.
        progress: Called about every `every_seconds`.
        look: Says how much of the cost of a running job is done, 0 to 1, or None.
        warn: Called with a sentence when a worker was lost.
        every_seconds: Seconds between calls.

    Returns:
        Name -> what the job returned.

    Raises:
        EpicycleError: Some jobs failed; the error of the first, and how many, once all others have ended.
    """
    waiting, running = list(jobs), {}
    results: dict[str, Any] = {}
    failed: dict[str, EpicycleError] = {}
    attempts: dict[str, int] = {}
    total, began, working_since = sum(job.cost for job in jobs), time.perf_counter(), None
    try:
        while waiting or running:
            waiting = _hopeful(waiting, failed)
            ready = [job for job in waiting if all(name in results for name in job.after)]
            for job in ready[: engine.free()]:
                waiting.remove(job)
                running[job.name] = job
                if job.cost and working_since is None:
                    working_since = time.perf_counter()
                engine.begin(job, {name: results[name] for name in job.after})
            for job, outcome in engine.finished(every_seconds):
                del running[job.name]
                if isinstance(outcome, Lost):
                    attempts[job.name] = attempts.get(job.name, 0) + 1
                    if attempts[job.name] >= MAX_ATTEMPTS:
                        failed[job.name] = RunError(f"got a worker lost {MAX_ATTEMPTS} times in a row while doing {job.name} ({outcome.reason}); "
                                                    "expected it to live. Look for too little memory, or use fewer workers.")  # fmt: skip
                    else:
                        warn(f"{job.name}: {outcome.reason}; beginning it again, from its last checkpoint")
                        waiting.insert(0, job)
                elif isinstance(outcome, EpicycleError):
                    failed[job.name] = outcome
                    warn(f"{job.name} failed: {outcome}")
                elif isinstance(outcome, BaseException):
                    raise outcome
                else:
                    results[job.name] = outcome
            shares = [look(job) for job in running.values()]
            ended = sum(job.cost for job in jobs if job.name in results)
            spent = ended + sum(job.cost * (share or 0.0) for job, share in zip(running.values(), shares, strict=True))
            unseen = sum(job.cost for job, share in zip(running.values(), shares, strict=True) if share is None)
            now = time.perf_counter()
            working = 0.0 if working_since is None else now - working_since
            progress(JobProgress(tuple(running), tuple(shares), len(results), len(jobs), ended, spent, unseen, total, now - began, working))  # fmt: skip
    except BaseException:
        engine.close(now=True)
        raise
    engine.close()
    if failed:
        raise _several(failed, len(results), len(jobs))
    return results


def _hopeful(waiting: Sequence[Job], failed: Mapping[str, Any]) -> list[Job]:
    """The jobs that come after no failed one, however many lie between."""
    lost = set(failed)
    while more := {job.name for job in waiting if job.name not in lost and lost.intersection(job.after)}:
        lost |= more
    return [job for job in waiting if job.name not in lost]


def _several(failed: dict[str, EpicycleError], done: int, jobs: int) -> EpicycleError:
    """The first failure, with how many jobs are missing because of it and the others."""
    name, first = next(iter(failed.items()))
    if jobs == 1:
        return first
    rest = "The others are finished; run" if done else "Run"
    return type(first)(f"{jobs - done} of {jobs} jobs could not be done; the first, {name}: {first} {rest} the same command again to do what is missing.")  # fmt: skip
