"""From a configuration to a trained and analysed run."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from epicycle.analysis.circuit import Circuit, Trajectory, analyse, trajectory
from epicycle.analysis.progress import observers
from epicycle.analysis.stage import Stage, silent
from epicycle.errors import RunError
from epicycle.runs.directory import Run
from epicycle.tasks.modular import modular_task
from epicycle.training.config import RunConfig, from_dict
from epicycle.training.loop import Progress, train_runs


class Grok(NamedTuple):
    """A finished run with what was found in it, one circuit and trajectory per formula.

    There are none for three operands, or if training diverged.
    """

    run: Run
    circuits: tuple[Circuit, ...]
    trajectories: tuple[Trajectory, ...]


def config_of(run: Run) -> RunConfig:
    """The configuration a run was trained with."""
    return from_dict(run.record()["config"]["resolved"])


def _place(run: Run, kind: str, index: int) -> Path:
    return run.path / "results" / (kind if index == 0 else f"{kind}-{index + 1}")


def kept_steps(run: Run) -> list[int]:
    """Steps of the checkpoints that are kept for ever, and of the last: others are there by accident, to resume from."""
    schedule, known = config_of(run).schedule, run.checkpoint_steps()
    return [step for step in known if schedule.is_kept(step) or step == known[-1]]


def analyse_run(run: Run, *, again: bool = False, stage: Stage = silent) -> Grok:
    """Circuits and trajectories of a finished run, read back if they were computed before.

    Args:
        run: A run whose training has ended.
        again: Compute them even if they are there.
        stage: Told how far the analysis is.

    Raises:
        RunError: The run is not finished.
    """
    record = run.record()
    if record["status"] != "finished":
        raise RunError(f"got run {run.id}, whose training has not ended ({record['status']}); expected a finished run. "
                       "Run the same training command again.")  # fmt: skip
    if not run.history():
        raise RunError(
            f"got run {run.id} without its history; expected history.jsonl. Run the same training command again."
        )
    if len(run.history()) != record.get("evaluations", len(run.history())):
        raise RunError(f"got run {run.id} with {len(run.history()):,} of its {record['evaluations']:,} evaluations; expected a history.jsonl that is whole. "
                       "Run the same training command again to mend it.")  # fmt: skip
    config = config_of(run)
    task = modular_task(config.task)
    if task.operands.shape[1] != 2 or record["outcome"] == "diverged":
        return Grok(run, (), ())
    circuits, paths = [], []
    for index in range(task.num_tasks):
        place, path_place = _place(run, "circuit", index), _place(run, "trajectory", index)
        if not again and Circuit.is_current(place) and Trajectory.is_current(path_place):
            circuits.append(Circuit.load(place))
            paths.append(Trajectory.load(path_place))
            continue
        steps = kept_steps(run)
        stage(f"analysing {task.rules[index].text}", 0, 1)
        circuit = analyse(task, config, run.weights(steps[-1]), steps[-1], index=index)
        path = trajectory(task, config, {step: run.weights(step) for step in steps}, circuit, stage)
        circuit.save(place)
        path.save(path_place)
        circuits.append(circuit)
        paths.append(path)
    return Grok(run, tuple(circuits), tuple(paths))


def grok(
    configs: Sequence[RunConfig] | RunConfig,
    root: Path | str = "runs",
    *,
    device: str = "auto",
    threads: int = 1,
    progress: Progress | None = None,
    warn: Callable[[str], None] = lambda text: None,
    given: dict[str, Any] | None = None,
    source_root: Path | str | None = None,
    stage: Stage = silent,
) -> list[Grok]:
    """Train runs until they grok (or the step limit) and analyse them; finished ones are read back at once.

    Args:
        configs: One configuration, or several of one shape to be stacked on a GPU.
        root: Directory of all runs.
        device: auto, cpu or cuda.
        threads: CPU threads of one run.
        progress: Called after every evaluation.
        warn: Called with a sentence when a damaged checkpoint was passed over.
        given: What the user typed.
        source_root: Directory of the runs that frozen weights come from; `root` if not given.
        stage: Told how far the analysis is.

    Example:
        >>> from epicycle import RunConfig, TaskConfig
        >>> [found] = grok(RunConfig(task=TaskConfig(formulas=("a + b",))), threads=2)  # doctest: +SKIP
        >>> found.circuits[0].key_frequencies  # doctest: +SKIP
        (1, 2, 7, 33)
    """
    chosen = [configs] if isinstance(configs, RunConfig) else list(configs)
    more = {} if progress is None else {"progress": progress}
    runs = train_runs(chosen, root, device=device, threads=threads, observers=observers(chosen[0]), warn=warn, given=given,
                      source_root=source_root, **more)  # fmt: skip
    return [analyse_run(run, stage=stage) for run in runs]
