"""Runs of one shape stacked in this process, for a GPU: what is ready together is trained together.

Runs that were begun before are stacked with those that got as far. If a stack fails, its runs are tried one by one, so that one
bad run takes no other with it.
"""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from epicycle.analysis.grok import grok, observers
from epicycle.errors import EpicycleError
from epicycle.sweep.jobs import Job
from epicycle.sweep.plan import status_of
from epicycle.tasks.modular import modular_task
from epicycle.training.config import RunConfig
from epicycle.training.loop import Progress, begin_from_twin

LARGEST_STACK = 64


@final
class Stacked:
    """An engine that trains grok jobs in stacks.

    Args:
        device: cuda or cpu.
        threads: CPU threads.
        largest: Runs in one stack at most.
        warn: Called with a sentence, such as that a damaged checkpoint was passed over.
        progress: Called after every evaluation of a stack.
    """

    def __init__(
        self,
        device: str = "cuda",
        threads: int = 1,
        largest: int = LARGEST_STACK,
        *,
        warn: Callable[[str], None] = lambda text: None,
        progress: Progress | None = None,
    ):
        self.device, self.threads, self.largest, self.warn, self.progress = device, threads, largest, warn, progress
        self._waiting: list[Job] = []
        self._alone: list[Job] = []

    def free(self) -> int:
        """How many more jobs it takes now: a stack of any shape is looked for among all of them."""
        return 10_000

    def begin(self, job: Job, before: dict[str, Any]) -> None:
        """Put a job aside until `finished` is called; one that a twin began is stacked with those that got as far."""
        config, root, given, source_root = job.arguments
        with contextlib.suppress(EpicycleError):  # training will say what is wrong with it
            begin_from_twin(config, modular_task(config.task), root, source_root or root, observers(config), given)
        self._waiting.append(job)

    def finished(self, seconds: float) -> list[tuple[Job, Any]]:
        """Train the largest stack among the waiting jobs, to its end."""
        if self._alone:
            return self._train([self._alone.pop(0)])
        if not self._waiting:
            return []
        shapes: dict[Any, list[Job]] = {}
        for job in self._waiting:
            shapes.setdefault(_shape(job), []).append(job)
        stack = max(shapes.values(), key=len)[: self.largest]
        self._waiting = [job for job in self._waiting if job not in stack]
        return self._train(stack)

    def _train(self, stack: list[Job]) -> list[tuple[Job, Any]]:
        root, given, source_root = stack[0].arguments[1:4]
        try:
            found = grok(
                [job.arguments[0] for job in stack],
                root,
                device=self.device,
                threads=self.threads,
                progress=self.progress,
                warn=self.warn,
                given=given,
                source_root=source_root,
            )
        except EpicycleError as error:
            if len(stack) == 1:
                return [(stack[0], error)]
            self.warn(f"a stack of {len(stack)} runs failed ({error}); trying them one by one")
            self._alone = list(stack)
            return []
        return [(job, str(Path(each.run.path))) for job, each in zip(stack, found, strict=True)]

    def close(self, *, now: bool = False) -> None:
        """Nothing to let go of."""


def _shape(job: Job) -> Any:
    """What runs of one stack have in common; how far they got is part of it, since a stack goes on from one step."""
    config: RunConfig = job.arguments[0]
    task = modular_task(config.task)
    frozen = None if config.frozen is None else config.frozen.parts
    return (
        config.model,
        config.optimiser,
        config.schedule,
        frozen,
        task.asked("train"),
        task.asked("test"),
        config.num_classes,
        task.vocabulary(config.model.readout),
        task.num_tasks,
        status_of(Path(job.arguments[1]) / job.name),
    )
