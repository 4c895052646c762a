"""Runs of one shape stacked in this process, for a GPU: what is ready together is trained together."""

from pathlib import Path
from typing import Any, final

from epicycle.analysis.grok import grok
from epicycle.errors import EpicycleError
from epicycle.sweep.jobs import Job
from epicycle.tasks.modular import modular_task
from epicycle.training.config import RunConfig

LARGEST_STACK = 64


@final
class Stacked:
    """An engine that trains grok jobs in stacks.

    Args:
        device: cuda or cpu.
        threads: CPU threads.
        largest: Runs in one stack at most.
    """

    def __init__(self, device: str = "cuda", threads: int = 1, largest: int = LARGEST_STACK):
        self.device, self.threads, self.largest = device, threads, largest
        self._waiting: list[Job] = []

    def free(self) -> int:
        """How many more jobs it takes now: a stack of any shape is looked for among all of them."""
        return 10_000

    def begin(self, job: Job, before: dict[str, Any]) -> None:
        """Put a job aside until `finished` is called."""
        self._waiting.append(job)

    def finished(self, seconds: float) -> list[tuple[Job, Any]]:
        """Train the largest stack among the waiting jobs, to its end."""
        if not self._waiting:
            return []
        shapes: dict[Any, list[Job]] = {}
        for job in self._waiting:
            shapes.setdefault(_shape(job.arguments[0]), []).append(job)
        stack = max(shapes.values(), key=len)[: self.largest]
        self._waiting = [job for job in self._waiting if job not in stack]
        root, given, source_root = stack[0].arguments[1:4]
        try:
            found = grok(
                [job.arguments[0] for job in stack],
                root,
                device=self.device,
                threads=self.threads,
                given=given,
                source_root=source_root,
            )
        except EpicycleError as error:
            return [(job, error) for job in stack]
        return [(job, str(Path(each.run.path))) for job, each in zip(stack, found, strict=True)]

    def close(self, *, now: bool = False) -> None:
        """Nothing to let go of."""


def _shape(config: RunConfig) -> Any:
    """What runs of one stack have in common."""
    task = modular_task(config.task)
    frozen = None if config.frozen is None else config.frozen.parts
    return (
        config.model,
        config.optimiser,
        config.schedule,
        frozen,
        len(task.train),
        len(task.test),
        task.vocabulary(config.model.readout),
        task.num_tasks,
    )
