"""Jobs on this machine: a process per worker, one torch thread each."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool
from typing import Any, final

from epicycle.errors import ConfigError
from epicycle.sweep.jobs import Job, Lost

UNGUARDED = 87
"""Exit status of a worker that was about to start workers of its own: the script that wants them runs on import."""


@final
class LocalPool:
    """Worker processes, each in a pool of its own, so that one that is killed takes no other with it.

    Args:
        workers: Processes; more than the number of cores does not pay.

    Workers import the script that starts them: in one of your own, guard what it does with `if __name__ == "__main__":`.
    """

    def __init__(self, workers: int = 2):
        if getattr(
            multiprocessing.current_process(), "_inheriting", False
        ):  # a worker that is still importing the script
            sys.exit(UNGUARDED)
        self._idle: list[concurrent.futures.ProcessPoolExecutor] = []
        self._spare = workers
        self._running: dict[concurrent.futures.Future[Any], tuple[Job, concurrent.futures.ProcessPoolExecutor]] = {}

    def free(self) -> int:
        """How many more jobs it takes now."""
        return len(self._idle) + self._spare

    def begin(self, job: Job, before: dict[str, Any]) -> None:
        """Begin a job in a free worker."""
        worker = self._idle.pop() if self._idle else self._hire()
        with _one_thread():  # the first job starts the process, which reads this when it loads its BLAS
            try:
                future = worker.submit(job.work, before, *job.arguments)
            except BrokenProcessPool:  # it was killed while it had nothing to do
                self._spare += 1
                worker = self._hire()
                future = worker.submit(job.work, before, *job.arguments)
        self._running[future] = (job, worker)

    def _hire(self) -> concurrent.futures.ProcessPoolExecutor:
        self._spare -= 1
        return concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), _end_with, (os.getpid(),)
        )

    def finished(self, seconds: float) -> list[tuple[Job, Any]]:
        """Jobs that ended, waiting for one at most this long."""
        done, _ = concurrent.futures.wait(
            self._running, timeout=seconds, return_when=concurrent.futures.FIRST_COMPLETED
        )
        found: list[tuple[Job, Any]] = []
        for future in done:
            job, worker = self._running.pop(future)
            error = future.exception()
            if isinstance(error, BrokenProcessPool):
                processes = _processes(worker)
                worker.shutdown()  # until it is known how they ended
                if any(process.exitcode == UNGUARDED for process in processes):
                    raise ConfigError('got a script that starts workers when it is imported; expected a guard, as workers import it too. '
                                      'Put what it does below if __name__ == "__main__":.')  # fmt: skip
                self._spare += 1
                found.append((job, Lost("its worker process was killed")))
            else:
                self._idle.append(worker)
                found.append((job, future.result() if error is None else error))
        return found

    def close(self, *, now: bool = False) -> None:
        """End all workers; `now` stops what is running: its run goes on from the last checkpoint next time."""
        for worker in [*self._idle, *(worker for _, worker in self._running.values())]:
            processes = _processes(worker) if now else []
            worker.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()


def _processes(worker: concurrent.futures.ProcessPoolExecutor) -> list[Any]:
    """Its processes; the pool has no public way to stop a job, nor to ask how one ended."""
    return list((worker._processes or {}).values())


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start inside use one thread each: with more, workers wait for each other's spinning threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _end_with(driver: int) -> None:
    """Make this worker end when its driver does, so that a killed driver leaves no run locked."""

    def watch() -> None:
        while os.getppid() == driver:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
