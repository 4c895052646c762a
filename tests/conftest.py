import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import pytest
import torch

from epicycle.tasks.modular import TaskConfig
from epicycle.training.config import ScheduleConfig, furuta2024

torch.set_num_threads(1)


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
