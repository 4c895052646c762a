"""What a frozen embedding of a + b lends to 2a + b: take frequencies out of it and see what becomes of the grok.

Usage: python examples/what_an_embedding_lends.py ROOT RUN [RUN ...]

RUN are runs of a + b under ROOT. Of each embedding three sets are taken out, one after the other: the doubles 2k of all k that stand out from
permuted numbers; as a control the frequency of most power that is no double; and all that neither stands out nor is a double.
"""

import dataclasses
import sys
from collections.abc import Iterator

import numpy as np

from epicycle import RunConfig
from epicycle.fourier.bands import keep
from epicycle.fourier.bases import additive
from epicycle.fourier.nulls import null_test
from epicycle.fourier.operand_waves import folded
from epicycle.models.sites import embedding
from epicycle.runs.directory import Run, open_run
from epicycle.sweep.pool import LocalPool
from epicycle.sweep.sweep import sweep
from epicycle.training.config import FrozenConfig, ScheduleConfig, from_dict

TARGETS = ("2a + b", "2a - b")
STEPS = 15_000


def arms(run: Run) -> dict[str, tuple[int, ...]]:
    """Name -> frequencies that are taken out of the embedding of a run."""
    p = from_dict(run.record()["config"]["resolved"]).task.modulus
    table = embedding(run.weights(), p)
    test = null_test(table - table.mean(0), additive(p), "permuted", 999)
    keys = {k + 1 for k in np.flatnonzero(test.p_family <= 0.01).tolist()}
    doubles = {folded(2 * k, p) for k in keys}
    largest = max(keys - doubles, key=lambda k: float((keep(table, additive(p), np.array([k])) ** 2).sum()))
    rest = set(range(1, p // 2 + 1)) - keys - doubles
    named = {
        "nothing": set(),
        "doubles": doubles,
        "the largest that is no double": {largest},
        "all that is neither": rest,
    }
    return {name: tuple(sorted(gone)) for name, gone in named.items()}


def planned(runs: list[Run]) -> Iterator[tuple[Run, str, str, RunConfig]]:
    """Source, target, arm and configuration of every run."""
    for run in runs:
        source = from_dict(run.record()["config"]["resolved"])
        for target in TARGETS:
            for arm, without in arms(run).items():
                if without or arm == "nothing":
                    task = dataclasses.replace(source.task, formulas=(target,))
                    frozen = FrozenConfig(parts=("embedding",), source=run.id, without=without)
                    schedule = ScheduleConfig(max_steps=STEPS, hold_evaluations=20)
                    yield run, target, arm, dataclasses.replace(source, task=task, frozen=frozen, schedule=schedule)  # fmt: skip


def main(root: str, *names: str) -> None:
    """Train what is missing, print a table."""
    plan = list(planned([open_run(f"{root}/{name}") for name in names]))
    paths = sweep([config for *_, config in plan], root, LocalPool(2))
    print(
        "| source | formula | taken out | share of power | grokked at step | test accuracy |\n|---|---|---|---|---|---|"
    )
    for (source, target, arm, config), path in zip(plan, paths, strict=True):
        record = open_run(path).record()
        gone = ", ".join(map(str, config.frozen.without)) if config.frozen and len(config.frozen.without) < 10 else ""
        share, first = record["source"].get("share", 0.0), record["steps"]["first"]
        reached = f"{first:,}" if first else f"not by {record['steps']['trained']:,}"
        print(f"| {source.id} | {target} | {arm}{f': {gone}' if gone else ''} | {share:.1%} | {reached} | {record['final']['test_accuracy']:.1%} |")  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
