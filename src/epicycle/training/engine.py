"""Chooses how runs are advanced: the compiled step on a CPU, the stacked step on a GPU or without a compiler."""

from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from epicycle.errors import ConfigError
from epicycle.models.weights import initial_weights
from epicycle.tasks.modular import Task
from epicycle.training.build import library
from epicycle.training.config import RunConfig
from epicycle.training.examples import example_set, row_map
from epicycle.training.fused import FusedStep
from epicycle.training.tables import TableStep
from epicycle.training.transfer import frozen_names


class Scores(NamedTuple):
    """Loss (nats) and accuracy of every run and task, (run, task)."""

    loss: np.ndarray
    accuracy: np.ndarray


class Engine(Protocol):
    """Advances one or more runs of one shape."""

    name: str

    @property
    def step(self) -> int:
        """Updates done so far."""
        ...

    def train(self, steps: int) -> np.ndarray:
        """Do updates; losses before each, (run, step, task)."""
        ...

    def evaluate(self) -> tuple[Scores, Scores]:
        """Scores on the training pairs and on the test pairs."""
        ...

    def weights(self, run: int) -> dict[str, Tensor]:
        """A copy of one run's weights."""
        ...

    def state(self, run: int) -> dict[str, Tensor]:
        """Everything needed to go on."""
        ...

    def load_states(self, states: list[dict[str, Tensor]]) -> None:
        """Go on from saved states."""
        ...


COMPILED = "compiled, fused"
"""Name of the engine whose bits do not depend on the processor; `compiled` was one whose bits did."""


class CompiledEngine:
    """One run on the CPU, by exact_step.c."""

    def __init__(self, config: RunConfig, task: Task, weights: dict[str, Tensor], threads: int, frozen: frozenset[str]):
        readout = config.model.readout
        rows = row_map(task.examples("all", readout).tokens, config.model.positions)
        self._train, self._test = (
            example_set(*task.examples(part, readout), task.num_tasks, rows) for part in ("train", "test")
        )
        self._step = FusedStep(
            config.model, rows, weights, config.optimiser, task.num_tasks, threads, frozen, config.num_classes
        )
        self.name = COMPILED if self._step.is_fused else "compiled, as this processor rounds"

    @property
    def step(self) -> int:
        return self._step.step

    def train(self, steps: int) -> np.ndarray:
        return self._step.train(self._train, steps)[None]

    def evaluate(self) -> tuple[Scores, Scores]:
        found = [self._step.evaluate(part) for part in (self._train, self._test)]
        return Scores(found[0].loss[None], found[0].accuracy[None]), Scores(
            found[1].loss[None], found[1].accuracy[None]
        )

    def weights(self, run: int) -> dict[str, Tensor]:
        return self._step.weights()

    def state(self, run: int) -> dict[str, Tensor]:
        return self._step.state()

    def load_states(self, states: list[dict[str, Tensor]]) -> None:
        self._step.load_state(states[0])


class StackedEngine:
    """Runs of one shape on any device, by training.tables."""

    name = "stacked"

    def __init__(self, configs: list[RunConfig], tasks: list[Task], weights: list[dict[str, Tensor]], device: str,
                 frozen: frozenset[str]):  # fmt: skip
        first, task = configs[0], tasks[0]
        readout = first.model.readout
        rows = row_map(np.concatenate([t.examples("all", readout).tokens for t in tasks]), first.model.positions)
        self._step = TableStep(
            first.model, rows, weights, first.optimiser, task.num_tasks, device, frozen, first.num_classes
        )
        self._train, self._test = (
            self._step.stack([example_set(*t.examples(part, readout), t.num_tasks, rows) for t in tasks])
            for part in ("train", "test")
        )

    @property
    def step(self) -> int:
        return self._step.step

    def train(self, steps: int) -> np.ndarray:
        return self._step.train(self._train, steps)

    def evaluate(self) -> tuple[Scores, Scores]:
        return Scores(*self._step.evaluate(self._train)), Scores(*self._step.evaluate(self._test))

    def weights(self, run: int) -> dict[str, Tensor]:
        return self._step.weights(run)

    def state(self, run: int) -> dict[str, Tensor]:
        return self._step.state(run)

    def load_states(self, states: list[dict[str, Tensor]]) -> None:
        self._step.load_state(states)


def chosen_device(device: str) -> str:
    """`auto` -> cuda where there is one, else cpu.

    Raises:
        ConfigError: CUDA was asked for and there is none.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("got --device cuda, but PyTorch finds no CUDA device; expected one. Use --device cpu.")
    return device


def make_engine(
    configs: list[RunConfig], tasks: list[Task], device: str = "cpu", threads: int = 1,
    taken: list[dict[str, Tensor]] | None = None, seeds: list[int] | None = None,
) -> Engine:  # fmt: skip
    """The fastest engine that can do this on this machine.

    Args:
        configs: Runs of one shape: only formulas, seeds and splits may differ.
        tasks: Their tasks, with equal numbers of pairs.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        taken: Per run, parameters to begin with instead of random ones.
        seeds: Per run, the seed of the random ones; that of its configuration if not given.

    Raises:
        ConfigError: The runs cannot be stacked.
    """
    shapes = {(c.model, c.optimiser, c.schedule, c.frozen and c.frozen.parts, t.asked("train"), t.asked("test"), c.num_classes, t.vocabulary(c.model.readout), t.num_tasks)
              for c, t in zip(configs, tasks, strict=True)}  # fmt: skip
    if len(shapes) > 1:
        raise ConfigError(f"got {len(shapes)} different shapes among {len(configs)} stacked runs; expected one. "
                          "Train them apart.")  # fmt: skip
    if configs[0].model.attention_rate != 1 or configs[0].model.readout == "pair":
        raise ConfigError(
            "got a model with attention rate or read-out of imported checkpoints; expected one that is trained here. Leave both as they are."
        )
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    weights = [
        initial_weights(
            c.model, t.vocabulary(c.model.readout), t.examples("all", c.model.readout).tokens.shape[1], seed
        )
        for c, t, seed in zip(configs, tasks, seeds or [c.seed for c in configs], strict=True)
    ]
    for own, other in zip(weights, taken or [], strict=False):
        own.update(other)
    frozen = frozen_names(configs[0], tasks[0])
    if device == "cpu" and len(configs) == 1 and library("float") is not None:
        return CompiledEngine(configs[0], tasks[0], weights[0], threads, frozen)
    return StackedEngine(configs, tasks, weights, device, frozen)
