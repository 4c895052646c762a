"""Jobs on a Ray cluster, one or many machines. An extra: pip install "epicycle[cluster]".

Every node must see the directory of all runs: runs are the results, and nothing else travels. A job is one Ray task on one core,
pinned to a node of this engine's choosing, so that a node which fails (dead, full disk, or without the directory) gets no more.
Ray moves configurations between processes by pickle, over its own connections; no file is ever unpickled.
"""

import os
import uuid
from pathlib import Path
from typing import Any, final

from epicycle.errors import ConfigError, DiskError, RunError
from epicycle.sweep.jobs import Job, Lost

CONNECT_SECONDS = 5


def _knock(address: str) -> None:
    """Try a host:port before Ray does, which would go on trying for minutes: whether something there speaks HTTP/2, as Ray's services do.

    Raises:
        OSError: Nothing answers, or something else than Ray.
        ValueError: It is not a host and a port.
    """
    import socket

    found = (os.environ.get("RAY_ADDRESS") or "auto") if address == "auto" else address
    if found == "auto":  # Ray looks for a cluster that was started here
        return
    host, _, port = found.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise ValueError("that is no host:port")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0") in ("0", ""):
            connection.sendall(
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
            )  # and our settings: none
            answer = b""
            while len(answer) < 4 and (more := connection.recv(4 - len(answer))):
                answer += more
            if len(answer) < 4 or answer[3] != 4:  # the first frame of a server is one of settings
                raise OSError("something else than Ray listens there")


class _Outcome:
    """What a task gives back: a result or an error the user can mend; other errors are Ray's to raise."""

    def __init__(self, result: Any = None, error: Exception | None = None):
        self.result, self.error = result, error


def _do(work: Any, before: dict[str, Any], arguments: tuple[Any, ...], token: str, threads: int) -> _Outcome:
    from epicycle.errors import EpicycleError

    os.environ["OMP_NUM_THREADS"] = str(threads)
    if not Path(token).is_file():
        return _Outcome(error=DiskError(f"got a node that does not see {Path(token).parent}; expected a directory that every node shares. Use --out on a "
                                        "shared disk."))  # fmt: skip
    try:
        return _Outcome(result=work(before, *arguments))
    except EpicycleError as error:
        return _Outcome(error=error)


@final
class RayCluster:
    """An engine over the cores of a Ray cluster.

    Args:
        root: Directory of all runs, seen by every node.
        address: `auto` or host:port of a running cluster, or `local` to start one on this machine.
        workers: Jobs at a time at most; all cores of the cluster if None.

    Raises:
        ConfigError: Ray is not installed, or nothing answers at the address.
    """

    def __init__(self, root: Path | str, address: str = "auto", workers: int | None = None):
        try:
            import ray
        except ImportError:
            raise ConfigError(
                'got --engine ray without Ray; expected it to be installed. Run: pip install "epicycle[cluster]".'
            ) from None
        self._ray, self._workers = ray, workers
        self._was_connected = ray.is_initialized()
        if not self._was_connected:
            self._connect(address)
        Path(root).mkdir(parents=True, exist_ok=True)
        self._token = Path(root).resolve() / f".sweep-{uuid.uuid4().hex}"
        self._token.write_text("", encoding="utf-8")
        self._task = ray.remote(num_cpus=1, max_retries=0)(_do)
        self._running: dict[Any, tuple[Job, str]] = {}
        self._shunned: set[str] = set()
        self._done: list[tuple[Job, Any]] = []

    def _connect(self, address: str) -> None:
        import logging

        options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False} if address == "local" else {
            "address": address, "logging_level": logging.ERROR, "log_to_driver": False}  # fmt: skip
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            if address != "local":
                _knock(address)
            self._ray.init(**options)
        except Exception as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConfigError(f"got Ray address {address!r}, where no cluster answers ({first}); expected a running one. Start it with `ray start --head`, or "
                              "use --address local.") from None  # fmt: skip

    def _nodes(self) -> dict[str, int]:
        """Node -> jobs it takes now, fullest last."""
        busy: dict[str, int] = {}
        for _, node in self._running.values():
            busy[node] = busy.get(node, 0) + 1
        free = {node["NodeID"]: int(node["Resources"].get("CPU", 0)) - busy.get(node["NodeID"], 0) for node in self._ray.nodes()
                if node["Alive"] and node["NodeID"] not in self._shunned}  # fmt: skip
        return {node: count for node, count in sorted(free.items(), key=lambda item: -item[1]) if count > 0}

    def free(self) -> int:
        """How many more jobs it takes now."""
        count = sum(self._nodes().values())
        return count if self._workers is None else max(min(count, self._workers - len(self._running)), 0)

    def begin(self, job: Job, before: dict[str, Any]) -> None:
        """Begin a job on the node with most free cores."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        node = next(iter(self._nodes()), None)
        if node is None:  # the last one went away since `free` was asked
            self._done.append((job, Lost("its node went away before it began")))
            return
        task = self._task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False))
        self._running[task.remote(job.work, before, job.arguments, str(self._token), 1)] = (job, node)

    def finished(self, seconds: float) -> list[tuple[Job, Any]]:
        """Jobs that ended, waiting for one at most this long.

        Raises:
            RunError: No node is left that takes jobs.
        """
        if self._done:
            told, self._done = self._done, []
            return told
        if not self._running:
            if not self._nodes():
                raise RunError("got a cluster without a node that can take jobs; expected at least one that is alive and can write to the directory of all runs. "
                               "Start a node, then run the same command again.")  # fmt: skip
            return []
        done, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=0)
        if not done:
            done, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return [self._outcome(reference) for reference in done]

    def _outcome(self, reference: Any) -> tuple[Job, Any]:
        job, node = self._running.pop(reference)
        try:
            outcome = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # a fault of ours inside the job
            return job, error.as_instanceof_cause()
        except self._ray.exceptions.RayError as error:
            return job, Lost(f"its worker or node went away ({type(error).__name__})")
        if isinstance(outcome.error, DiskError) and self._others(node):
            self._shunned.add(node)
            return job, Lost(f"node {node[:8]} cannot write and gets no more jobs ({outcome.error})")
        return job, outcome.result if outcome.error is None else outcome.error

    def _others(self, node: str) -> bool:
        """True if another node is alive that has not failed."""
        return any(
            each["Alive"] and each["NodeID"] not in self._shunned | {node} and each["Resources"].get("CPU", 0) >= 1
            for each in self._ray.nodes()
        )

    def close(self, *, now: bool = False) -> None:
        """Let go of the cluster; `now` stops what is running: its run goes on from the last checkpoint next time."""
        for reference in self._running if now else ():
            self._ray.cancel(reference, force=True)
        self._token.unlink(missing_ok=True)
        if not self._was_connected:
            self._ray.shutdown()
