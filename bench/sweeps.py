"""Bars of sweeps: two workers against one, Ray against the local pool, listing thousands of runs."""

import json
import shutil
import tempfile
import time
from pathlib import Path

from epicycle.runs.query import chosen, rows
from epicycle.sweep.cluster import RayCluster
from epicycle.sweep.pool import LocalPool
from epicycle.sweep.sweep import sweep
from epicycle.tasks.modular import TaskConfig
from epicycle.training.config import RunConfig, ScheduleConfig, furuta2024


def configs(count: int, steps: int, modulus: int = 97) -> list[RunConfig]:
    """Runs of a + b, 30 %, that differ in their seeds."""
    schedule = ScheduleConfig(max_steps=steps, hold_evaluations=0)
    return [furuta2024(TaskConfig(modulus=modulus, split_seed=seed), schedule, seed) for seed in range(count)]


def seconds(chosen_configs: list[RunConfig], engine_of) -> float:
    """Wall seconds of a sweep in a directory of its own, start of the engine included."""
    with tempfile.TemporaryDirectory() as root:
        began = time.perf_counter()
        sweep(chosen_configs, root, engine_of(root))
        return time.perf_counter() - began


def ray_seconds(chosen_configs: list[RunConfig]) -> tuple[float, float]:
    """Wall seconds of starting a cluster on this machine, and of a sweep on it once it is there."""
    with tempfile.TemporaryDirectory() as root:
        began = time.perf_counter()
        engine = RayCluster(root, "local", 2)
        started = time.perf_counter()
        sweep(chosen_configs, root, engine)
        return started - began, time.perf_counter() - started


def listing() -> float:
    """Seconds to read and filter 2,000 runs."""
    with tempfile.TemporaryDirectory() as root:
        [path] = sweep(configs(1, 100, 31), root, LocalPool(1))
        for i in range(1999):
            copy = Path(root) / f"copy-{i:08x}"
            copy.mkdir()
            shutil.copy(path / "run.json", copy)
        began = time.perf_counter()
        table, _ = rows(root)
        assert len(chosen(table, ["formula=a+b", "modulus=31", "first=none"])) == 2000
        return time.perf_counter() - began


def main() -> None:
    """Measure and print one JSON object."""
    each = 1000
    one = seconds(configs(3, each), lambda root: LocalPool(1))
    two = seconds(configs(6, each), lambda root: LocalPool(2))
    short = configs(50, 1000, 31)
    pool = seconds(short, lambda root: LocalPool(2))
    start, ray = ray_seconds(short)
    found = {"two_workers": one / two, "one_seconds": one, "two_seconds": two, "ray": ray / pool, "ray_seconds": ray, "ray_start": start,
             "ray_with_start": (start + ray) / pool, "pool_seconds": pool, "listing": listing()}  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    main()
