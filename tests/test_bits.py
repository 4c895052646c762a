"""One seed is one training on every processor: the compiled step rounds the same way whatever it is compiled for."""

import dataclasses
import hashlib
import platform
from pathlib import Path

import pytest
import torch

from epicycle.models.weights import initial_weights
from epicycle.tasks.modular import TaskConfig, modular_task
from epicycle.training import build
from epicycle.training.config import RECIPES, ScheduleConfig
from epicycle.training.engine import COMPILED, CompiledEngine

CASES = {
    "a+b": ("furuta2024", TaskConfig(formulas=("a+b",)), "float64"),
    "columns that fill no line": ("furuta2024", TaskConfig(formulas=("a-b",), modulus=59), "margin"),
    "mixture": ("furuta2024", TaskConfig(formulas=("a+b", "a*b"), modulus=31), "float64"),
    "positions and biases": ("nanda2023", TaskConfig(formulas=("a+b",), modulus=31), "float64"),
    "float32 loss": ("furuta2024", TaskConfig(formulas=("a+b",), modulus=31), "float32"),
    "StableMax": ("furuta2024", TaskConfig(formulas=("a+b",), modulus=31), "stablemax"),
}


KNOWN = {
    "a+b": "9e6337ab97e5757f",
    "columns that fill no line": "049c663213e400e3",
    "mixture": "506fdc2d255ff39e",
    "positions and biases": "0fbb7c966163e44f",
    "float32 loss": "3bd9734c69aab0df",
    "StableMax": "7c9797a0845480da",
}


def _has_fused() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    words = set(cpuinfo.read_text().split()) if cpuinfo.is_file() else set()
    return platform.machine() == "x86_64" and {"avx2", "fma"} <= words and build.compiler() is not None


needs_fused = pytest.mark.skipif(not _has_fused(), reason="no x86-64 processor with FMA and AVX2, or no C compiler")


def _bits(case, dtype=torch.float32, threads=1, steps=60):
    recipe, task_config, loss = CASES[case]
    config = RECIPES[recipe](task_config, ScheduleConfig(), 0)
    task = modular_task(task_config)
    readout = config.model.readout
    positions = task.examples("train", readout).tokens.shape[1]
    weights = initial_weights(config.model, task.vocabulary(readout), positions, 0, dtype)
    config = dataclasses.replace(config, optimiser=dataclasses.replace(config.optimiser, loss=loss))
    engine = CompiledEngine(config, task, weights, threads, frozenset())
    assert engine.name == COMPILED
    losses = engine.train(steps)
    trained = engine.weights(0)
    found = hashlib.sha256(losses.tobytes())
    for name in sorted(trained):
        found.update(trained[name].numpy().tobytes())
    return found.hexdigest()[:16]


@pytest.fixture
def compiled_for(monkeypatch, tmp_path):
    """Use a step that is compiled with other flags."""

    def use(*flags):
        monkeypatch.setattr(build, "NATIVE", {platform.machine(): flags})
        monkeypatch.setenv("EPICYCLE_CACHE", str(tmp_path))
        build.library.cache_clear()
        assert build.library() is not None

    yield use
    build.library.cache_clear()


@needs_fused
@pytest.mark.parametrize("flags", [("-march=haswell",), ("-march=native", "-mtune=generic")], ids=" ".join)
def test_bits_are_those_of_every_other_processor(compiled_for, flags):
    """Vectors half as wide, and a compiler that tunes for another maker: it then adds products up otherwise where it may."""
    here = {case: _bits(case) for case in CASES}
    compiled_for(*flags)
    assert {case: _bits(case) for case in CASES} == here


@needs_fused
@pytest.mark.slow
@pytest.mark.parametrize("threads", [1, 2])
def test_bits_of_the_step_in_double_precision_and_of_two_threads(compiled_for, threads):
    dtypes = (torch.float32, torch.float64)
    here = [_bits(case, dtype, threads) for case in CASES for dtype in dtypes]
    compiled_for("-march=haswell")
    assert [_bits(case, dtype, threads) for case in CASES for dtype in dtypes] == here


@needs_fused
def test_bits_are_those_of_the_committed_ledgers():
    """Literal, from a Zen 4 in November 2026; the version that trained them on Zen 4 and Zen 5 has the same."""
    assert {case: _bits(case) for case in CASES} == KNOWN
