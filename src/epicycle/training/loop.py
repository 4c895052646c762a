"""Trains runs to the grok: evaluation, checkpoints, resume, early stop.

Measures come in from above as observers; nothing here knows Fourier. A run that is killed at any moment goes on from
its last intact checkpoint and ends with the same bits as one that was never stopped, on the same device and threads.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from epicycle.runs.directory import Run, create_run
from epicycle.runs.provenance import provenance
from epicycle.tasks.modular import Task, modular_task
from epicycle.training.config import RunConfig, ScheduleConfig, to_dict
from epicycle.training.engine import chosen_device, make_engine
from epicycle.training.grokking import Milestones, has_held, milestones, streak

Weights = dict[str, Tensor]


class Observer(NamedTuple):
    """A measure taken along training: `measure(task, weights)` every `every` steps (0: at every evaluation)."""

    name: str
    every: int
    measure: Callable[[Task, RunConfig, Weights], dict[str, Any]]


class Progress(Protocol):
    """Told what training is doing; the command line draws it."""

    def __call__(
        self, runs: Sequence[str], step: int, max_steps: int, lines: Sequence[dict[str, Any]], speed: float
    ) -> None:
        """Called after every evaluation with the newest history line of each run."""
        ...


def _no_progress(runs: Sequence[str], step: int, max_steps: int, lines: Sequence[dict[str, Any]], speed: float) -> None:
    pass


def train_run(config: RunConfig, root: Path | str = "runs", **options: Any) -> Run:
    """Train one run, or return it at once if it is finished. Options as in `train_runs`."""
    return train_runs([config], root, **options)[0]


def train_runs(
    configs: Sequence[RunConfig],
    root: Path | str = "runs",
    *,
    device: str = "auto",
    threads: int = 1,
    observers: Sequence[Observer] = (),
    progress: Progress = _no_progress,
    warn: Callable[[str], None] = lambda text: None,
    given: dict[str, Any] | None = None,
) -> list[Run]:
    """Train runs of one shape together until every one has held its grok or reached `max_steps`.

    Args:
        configs: One run on a CPU; any number of equal shape on a GPU.
        root: Directory of all runs.
        device: auto, cpu or cuda.
        threads: CPU threads.
        observers: Measures taken along training, written to the history.
        progress: Called after every evaluation.
        warn: Called with a sentence when a damaged checkpoint was passed over.
        given: What the user typed, for run.json.

    Returns:
        The run directories, in the order of `configs`.

    Raises:
        ConfigError: The runs cannot be trained together.
        RunError: A directory belongs to another configuration, is in use, or cannot be written to.
    """
    device = chosen_device(device)
    tasks = [modular_task(config.task) for config in configs]
    facts = provenance(device=device, threads=threads, dtype="float32")
    runs = [create_run(Path(root), c.name, to_dict(c), given or to_dict(c), facts) for c in configs]
    open_places = [i for i, run in enumerate(runs) if run.record()["status"] != "finished"]
    if not open_places:
        return runs
    with contextlib.ExitStack() as stack:
        for i in open_places:
            stack.enter_context(runs[i].lock())
        _train([configs[i] for i in open_places], [tasks[i] for i in open_places], [runs[i] for i in open_places],
               device, threads, observers, progress, warn)  # fmt: skip
    return runs


def _resume_step(runs: list[Run], warn: Callable[[str], None]) -> int | None:
    """Newest step at which every run has an intact checkpoint."""
    common: set[int] | None = None
    for run in runs:
        last, faults = run.last_good_checkpoint()
        for fault in faults:
            warn(f"run {run.id}: {fault}; going on from "
                 + (f"step {last}" if last is not None else "the beginning"))  # fmt: skip
        steps = {s for s in run.checkpoint_steps() if last is not None and s <= last and not run.damage(s)}
        common = steps if common is None else common & steps
    return max(common) if common else None


def _train(configs: list[RunConfig], tasks: list[Task], runs: list[Run], device: str, threads: int,
           observers: Sequence[Observer], progress: Progress, warn: Callable[[str], None]) -> None:  # fmt: skip
    schedule = configs[0].schedule
    engine = make_engine(configs, tasks, device, threads)
    start = _resume_step(runs, warn)
    if start is not None:
        engine.load_states([run.load_checkpoint(start) for run in runs])
        spent = max((line["seconds"] for run in runs for line in run.history() if line["step"] <= start), default=0.0)
        for run in runs:
            run.cut_history(start)
            known = run.record()["checkpoints"]
            run.update(checkpoints={k: v for k, v in known.items() if int(k[5:13]) <= start},
                       resumed=[*run.record().get("resumed", []), start])  # fmt: skip
    else:
        spent = 0.0
        for run in runs:
            run.cut_history(-1)
            run.update(checkpoints={})
    for run in runs:
        run.update(status="training", engine=engine.name)
    histories = [run.history() for run in runs]
    done = [False] * len(runs)
    began, measuring, first_step = time.perf_counter(), 0.0, engine.step
    while True:
        step = engine.step
        if start is None or step > start:
            seconds = spent + time.perf_counter() - began
            before = time.perf_counter()
            lines = _evaluate(engine, configs, tasks, observers, step, done)
            for i, line in enumerate(lines):
                if line is not None:
                    line["seconds"] = round(seconds, 3)
                    histories[i].append(line)
                    runs[i].append_history(line)
            measuring += time.perf_counter() - before
            for i, run in enumerate(runs):
                if done[i]:
                    continue
                found = milestones(histories[i], schedule.grok_accuracy)
                held = has_held(histories[i], schedule.grok_accuracy, schedule.hold_evaluations)
                done[i] = held or step >= schedule.max_steps
                if done[i] or schedule.is_kept(step) or step % schedule.checkpoint_every == 0:
                    run.save_checkpoint(step, engine.state(i), _superseded(run, schedule, step))
                if done[i]:
                    _finish(run, found, step, spent + time.perf_counter() - began, measuring, histories[i])
            shown = [history[-1] for history in histories]
            elapsed = time.perf_counter() - began
            progress([run.id for run in runs], step, _last_step(histories, schedule, step), shown,
                     (step - first_step) / elapsed if elapsed else 0.0)  # fmt: skip
            if all(done):
                return
        count = min(schedule.evaluate_every - step % schedule.evaluate_every, schedule.max_steps - step)
        engine.train(count)


def _last_step(histories: list[list[dict[str, Any]]], schedule: ScheduleConfig, step: int) -> int:
    """The step at which training ends at the latest, or, while every run holds its grok, ends if they go on to."""
    held = min(streak(history, schedule.grok_accuracy) for history in histories)
    if not held or not schedule.hold_evaluations:
        return schedule.max_steps
    missing = max(schedule.hold_evaluations - held, 0)
    return min(step + missing * schedule.evaluate_every, schedule.max_steps)


def _superseded(run: Run, schedule: ScheduleConfig, step: int) -> tuple[int, ...]:
    """Resume checkpoints that are no longer needed: all but the newest of those that are not kept for ever."""
    old = [s for s in run.checkpoint_steps() if s < step and not schedule.is_kept(s)]
    return tuple(old[:-1])


def _evaluate(engine: Any, configs: list[RunConfig], tasks: list[Task], observers: Sequence[Observer], step: int,
              done: list[bool]) -> list[dict[str, Any] | None]:  # fmt: skip
    train, test = engine.evaluate()
    lines: list[dict[str, Any] | None] = []
    for i, (config, task) in enumerate(zip(configs, tasks, strict=True)):
        if done[i]:
            lines.append(None)
            continue
        line: dict[str, Any] = {
            "step": step,
            "train_loss": float(train.loss[i].sum()),
            "test_loss": float(test.loss[i].sum()),
            "train_accuracy": float(train.accuracy[i].mean()),
            "test_accuracy": float(test.accuracy[i].mean()),
        }
        if task.num_tasks > 1:
            line["tasks"] = {
                rule.text: {"train_accuracy": float(train.accuracy[i, k]), "test_accuracy": float(test.accuracy[i, k])}
                for k, rule in enumerate(task.rules)
            }
        due = [o for o in observers if o.every == 0 or step % o.every == 0]
        if due:
            weights = engine.weights(i)
            line["measures"] = {o.name: o.measure(task, config, weights) for o in due}
        lines.append(line)
    return lines


def _finish(run: Run, found: Milestones, step: int, seconds: float, measuring: float, history: list[dict]) -> None:
    last = history[-1]
    run.update(
        status="finished",
        outcome=found.outcome,
        steps={"memorised": found.memorised, "first": found.first, "sustained": found.sustained,
               "stable": found.stable, "trained": step},
        final={k: last[k] for k in ("train_loss", "test_loss", "train_accuracy", "test_accuracy")},
        seconds=round(seconds, 3),
        measuring_seconds=round(measuring, 3),
    )  # fmt: skip
