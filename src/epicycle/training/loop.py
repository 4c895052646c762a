"""Trains runs to the grok: evaluation, checkpoints, resume, early stop.

Measures come in from above as observers; nothing here knows Fourier. A run that is killed at any moment goes on from
its last intact checkpoint and ends with the same bits as one that was never stopped, on the same device and threads.
"""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from epicycle.runs.directory import Run, create_run, open_run, run_id
from epicycle.runs.provenance import provenance
from epicycle.tasks.modular import Task, modular_task
from epicycle.training.config import RunConfig, ScheduleConfig, to_dict
from epicycle.training.engine import COMPILED, Engine, chosen_device, make_engine
from epicycle.training.grokking import Milestones, end_of, milestones, streak
from epicycle.training.transfer import take, weight_seed
from epicycle.training.twins import Twin, go_on_from_twin

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
        """Called after every evaluation with the newest history line of each run; `speed` is in steps per second, of all runs together."""
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
    source_root: Path | str | None = None,
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
        source_root: Directory of the runs that frozen weights come from; `root` if not given.

    Returns:
        The run directories, in the order of `configs`.

    Raises:
        ConfigError: The runs cannot be trained together.
        RunError: A directory belongs to another configuration, is in use, or cannot be written to.
    """
    device = chosen_device(device)
    tasks = [modular_task(config.task) for config in configs]
    facts = provenance(device=device, threads=threads, dtype="float32")
    source_root = root if source_root is None else source_root
    for config, task in zip(configs, tasks, strict=True):
        if not _has_begun(Path(root) / run_id(config.name, to_dict(config))):
            twin = begin_from_twin(config, task, root, source_root, observers, given, alone=len(configs) == 1)
            if twin is not None:
                warn(
                    f"run {run_id(config.name, to_dict(config))} goes on from step {twin.step:,} of {twin.run.id}, which differs in what ends it alone"
                )
    runs = [create_run(Path(root), c.name, to_dict(c), given or to_dict(c), facts) for c in configs]
    open_places = [i for i, run in enumerate(runs) if not _is_whole(run)]
    if not open_places:
        return runs
    with contextlib.ExitStack() as stack:
        for i in open_places:
            stack.enter_context(runs[i].lock())
        _train([configs[i] for i in open_places], [tasks[i] for i in open_places], [runs[i] for i in open_places],
               device, threads, observers, progress, warn, source_root)  # fmt: skip
    return runs


def begin_from_twin(
    config: RunConfig,
    task: Task,
    root: Path | str,
    source_root: Path | str,
    observers: Sequence[Observer],
    given: dict[str, Any] | None,
    *,
    alone: bool = True,
) -> Twin | None:
    """Begin a run where its twin ended; refuses what cannot be taken before anything is written.

    Runs that are trained together (not `alone`) have to begin together.
    """
    taken = take(config, task, source_root)
    if not alone:
        return None
    always = [each.name for each in observers if each.every == 0]
    return go_on_from_twin(config, root, taken.facts if taken else None, given, always)


def _has_begun(path: Path) -> bool:
    return (path / "run.json").is_file() and bool(open_run(path).checkpoint_steps())


def _is_whole(run: Run) -> bool:
    """True if the run is finished and its last checkpoint and its history are intact."""
    if run.record()["status"] != "finished" or not run.checkpoint_steps():
        return False
    last = run.checkpoint_steps()[-1]
    return not run.damage(last) and bool(run.history()) and run.history()[-1]["step"] == last


def _resume_step(runs: list[Run], warn: Callable[[str], None]) -> int | None:
    """Newest step at which every run has an intact checkpoint."""
    common: set[int] | None = None
    for run in runs:
        last, faults = run.last_good_checkpoint()
        for fault in faults:
            warn(f"run {run.id}: {fault}; going on from "
                 + (f"step {last}" if last is not None else "the beginning"))  # fmt: skip
        seen = {line["step"] for line in run.history()}  # a checkpoint without its history cannot be gone on from
        steps = {
            s for s in run.checkpoint_steps() if last is not None and s <= last and s in seen and not run.damage(s)
        }
        common = steps if common is None else common & steps
    return max(common) if common else None


def _train(
    configs: list[RunConfig],
    tasks: list[Task],
    runs: list[Run],
    device: str,
    threads: int,
    observers: Sequence[Observer],
    progress: Progress,
    warn: Callable[[str], None],
    source_root: Path | str,
) -> None:
    schedule = configs[0].schedule
    start = _resume_step(runs, warn)
    taken = [take(c, t, source_root) if start is None else None for c, t in zip(configs, tasks, strict=True)]
    engine = make_engine(
        configs, tasks, device, threads, [{} if each is None else each.weights for each in taken],
        [weight_seed(config, each) for config, each in zip(configs, taken, strict=True)],
    )  # fmt: skip
    _take_up(runs, engine, start, provenance(device=device, threads=threads, dtype="float32"), warn)
    for run, each in zip(runs, taken, strict=True):
        if each is not None:
            run.update(source=each.facts)
    histories = [run.history() for run in runs]
    spent = max((history[-1]["seconds"] for history in histories if history), default=0.0)
    measuring = max((history[-1].get("measuring_seconds", 0.0) for history in histories if history), default=0.0)
    done = [False] * len(runs)
    began = time.perf_counter()
    while True:
        step = engine.step
        if start is None or step > start:
            before = time.perf_counter()
            lines = _evaluate(engine, configs, tasks, observers, step, done)
            measuring += time.perf_counter() - before
            clock = {"seconds": round(spent + time.perf_counter() - began, 3), "measuring_seconds": round(measuring, 3)}
            for run, history, line in zip(runs, histories, lines, strict=True):
                if line is not None:
                    history.append(line | clock)
                    run.append_history(history[-1])
        for i, (run, history) in enumerate(zip(runs, histories, strict=True)):
            if done[i]:
                continue
            found = milestones(history, schedule.grok_accuracy)
            done[i] = end_of(history, schedule) is not None
            if (done[i] or schedule.is_kept(step) or step % schedule.checkpoint_every == 0) and step != start:
                run.save_checkpoint(step, engine.state(i), _superseded(run, schedule, step))
            if done[i]:
                _finish(run, found, step, history[-1], len(history))
        elapsed = time.perf_counter() - began
        speed = len(runs) * (step - (start or 0)) / elapsed if elapsed else 0.0
        progress(
            [run.id for run in runs], step, _last_step(histories, schedule, step), [h[-1] for h in histories], speed
        )
        if all(done):
            return
        engine.train(min(schedule.evaluate_every - step % schedule.evaluate_every, schedule.max_steps - step))


def _take_up(
    runs: list[Run], engine: Engine, start: int | None, facts: dict[str, Any], warn: Callable[[str], None]
) -> None:
    """Load the checkpoints of `start`, drop what came after them, note who goes on; None begins afresh."""
    if start is not None:
        engine.load_states([run.load_checkpoint(start) for run in runs])
    for run in runs:
        run.cut_history(-1 if start is None else start)
        record = run.record()
        if start is not None and record.get("engine") not in (None, engine.name):
            warn(f"run {run.id} began on the {record['engine']} step and goes on with the {engine.name} one: its end is not bit-identical "
                 "to an undisturbed one")  # fmt: skip
        kept = {k: v for k, v in record["checkpoints"].items() if start is not None and int(k[5:13]) <= start}
        went_on = [] if start is None else [*record.get("resumed", []), {"step": start, "provenance": facts}]
        begun = facts if start is None else record["provenance"]
        run.update(status="training", engine=engine.name, checkpoints=kept, resumed=went_on, provenance=begun)
        if start is not None and (facts["threads"], facts["device"]) != (begun.get("threads"), begun.get("device")):
            warn(f"run {run.id} began on {begun.get('device')} with {begun.get('threads')} threads and goes on with "
                 f"{facts['threads']} on {facts['device']}: its end is not bit-identical to an undisturbed one")  # fmt: skip
        old, new = begun.get("processor"), str(facts.get("processor"))  # older records have the name without the family
        if start is not None and engine.name != COMPILED and old is not None and not new.startswith(old):
            warn(
                f"run {run.id} began on processor {old} and goes on with {new}: its end may not be bit-identical to an undisturbed one"
            )


def _last_step(histories: list[list[dict[str, Any]]], schedule: ScheduleConfig, step: int) -> int:
    """The step at which training ends at the latest, or, while every run holds its grok, ends if they go on to."""
    held = min(streak(history, schedule.grok_accuracy) for history in histories)
    if not held or not schedule.hold_evaluations:
        return schedule.max_steps
    missing = max(schedule.hold_evaluations - held, 0)
    return min(max(step + missing * schedule.evaluate_every, schedule.min_steps), schedule.max_steps)


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
        due = [o for o in observers if (o.every == 0 or step % o.every == 0) and math.isfinite(line["train_loss"])]
        if due:
            weights = engine.weights(i)
            line["measures"] = {o.name: o.measure(task, config, weights) for o in due}
        lines.append(line)
    return lines


def _finish(run: Run, found: Milestones, step: int, last: dict[str, Any], evaluations: int) -> None:
    steps = {name: getattr(found, name) for name in ("memorised", "first", "sustained", "stable")}
    run.update(
        status="finished",
        outcome=found.outcome,
        evaluations=evaluations,
        steps=steps | {"trained": step},
        final={k: last[k] for k in ("train_loss", "test_loss", "train_accuracy", "test_accuracy")},
        seconds=last["seconds"],
        measuring_seconds=last.get("measuring_seconds", 0.0),
    )
