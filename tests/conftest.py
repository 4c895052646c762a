import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import shutil
import subprocess

import pytest
import torch

from epicycle.tasks.modular import TaskConfig
from epicycle.training.config import ScheduleConfig, furuta2024

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def unsynced():
    """Files are not forced to the disk: only a power cut could tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture
def tiny():
    """A configuration that trains in a second: p = 11, 300 steps, never stopped early."""

    def make(formula="a+b", steps=300, seed=0, **changes):
        schedule = ScheduleConfig(max_steps=steps, evaluate_every=50, measure_every=100, checkpoint_every=100,
                                  hold_evaluations=0)  # fmt: skip
        task = TaskConfig(formulas=(formula,) if isinstance(formula, str) else formula, modulus=11, train_fraction=0.5)
        import dataclasses

        return dataclasses.replace(furuta2024(task, schedule, seed), **changes)

    return make


@pytest.fixture
def cut_at():
    """Train until the evaluation at a step and break off there."""
    from epicycle.training.loop import train_run

    class Stop(Exception):
        pass

    def train(stop_at, config, root, **options):
        def stop(runs, step, *_):
            if step == stop_at:
                raise Stop

        with pytest.raises(Stop):
            train_run(config, root, device="cpu", progress=stop, **options)

    return train


@pytest.fixture
def browse(tmp_path):
    """Open a page in headless Chromium; what it logged and printed. Skips where there is none."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")

    def run(path, *options):
        return subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
             f"--user-data-dir={tmp_path}/profile", "--virtual-time-budget=3000", *options, path.as_uri()],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip

    return run
