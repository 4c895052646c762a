"""Weights that a run takes from another run and keeps.

Source: Furuta et al. 2024, section 6 and their released fine-tuning script: frozen parameters have no gradient, so no weight
decay either; everything else begins afresh. Their weights are unseeded, so what is trained never began as it did in the source; with one
seed for both it would, and the body that an embedding grew up with would come back with it. Hence `weight_seed`.
"""

import dataclasses
import hashlib
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from epicycle.errors import ConfigError, RunError
from epicycle.fourier.bands import keep
from epicycle.fourier.bases import BASES
from epicycle.models.sites import embedding
from epicycle.models.weights import shapes
from epicycle.runs.directory import checkpoint_name, find_run, lineage
from epicycle.tasks.modular import Task, modular_task
from epicycle.training.config import FrozenConfig, RunConfig, from_dict

PREFIXES = {"embedding": ("embed.", "pos_embed."), "body": ("blocks.",), "unembedding": ("unembed.",)}
"""Part -> how the names of its parameters begin."""


class Taken(NamedTuple):
    """Parameters taken from a run, and facts about it for the record."""

    weights: dict[str, Tensor]
    facts: dict[str, Any]


def frozen_names(config: RunConfig, task: Task) -> frozenset[str]:
    """Names of the parameters that a configuration does not train."""
    if config.frozen is None:
        return frozenset()
    beginnings = tuple(prefix for part in config.frozen.parts for prefix in PREFIXES[part])
    return frozenset(name for name in _shapes(config, task) if name.startswith(beginnings))


def _shapes(config: RunConfig, task: Task, extra_tokens: int = 0) -> dict[str, tuple[int, ...]]:
    readout = config.model.readout
    return shapes(
        config.model, task.vocabulary(readout) + extra_tokens, task.examples("train", readout).tokens.shape[1]
    )


def take(config: RunConfig, task: Task, root: Path | str) -> Taken | None:
    """The frozen weights of a configuration, read from their run; None where it takes none.

    Args:
        config: The run that is about to begin.
        task: Its task.
        root: Directory in which the other run lies.

    Raises:
        RunError: The run is not there, has not ended, has no such checkpoint, or one that is not what its configuration says.
        ConfigError: Its model or modulus is another, or its weights have other shapes.
    """
    frozen = config.frozen
    if frozen is None or frozen.source == "random":
        return None
    run = find_run(Path(root) / frozen.source, root)
    record = run.record()
    if record["status"] != "finished":
        raise RunError(
            f"got run {run.id} to take weights from, whose training has not ended; expected a finished run. Train it first."
        )
    check_fit(config, task, record["config"]["resolved"], run.id)
    step = _step(frozen, run.checkpoint_steps(), run.id)
    found, expected = run.weights(step), _shapes(config, task)
    kept = frozen_names(config, task)
    for name in sorted(kept):
        have = tuple(found[name].shape) if name in found else None
        if have != expected[name]:
            raise RunError(
                f"got {name} of run {run.id} with shape {have}; expected {expected[name]} by its configuration. Train it again."
            )
    facts = {
        "id": run.id,
        "step": step,
        "sha256": record["checkpoints"][checkpoint_name(step)],
        "outcome": record["outcome"],
        "task": record["config"]["resolved"]["task"],
    }
    if frozen.is_drawn_by_run:
        facts["lineage"] = lineage(record)
    weights = {name: found[name] for name in kept}
    if not frozen.without:
        return Taken(weights, facts)
    left, share = _without(weights, frozen, config.task.modulus)
    return Taken(left, facts | {"without": sorted(frozen.without), "basis": frozen.basis, "share": share})


def _without(weights: dict[str, Tensor], frozen: FrozenConfig, modulus: int) -> tuple[dict[str, Tensor], float]:
    """The weights with frequencies taken out of the numbers' embedding, and the share of its power (about its mean) that they had."""
    table = embedding(weights, modulus)
    part = keep(table, BASES[frozen.basis](modulus), np.array(frozen.without))
    left = weights["embed.W_E"].clone()
    left[:, :modulus] -= torch.from_numpy(part.T).to(left.dtype)
    whole = float(((table - table.mean(0)) ** 2).sum())
    return weights | {"embed.W_E": left}, float((part**2).sum()) / whole if whole else math.nan


def check_fit(config: RunConfig, task: Task, other: dict[str, Any], run_id: str) -> None:
    """Refuse a source that is another kind of model, or counts modulo another number, which equal shapes can hide, or has other shapes.

    How it was initialised does not matter.

    Args:
        config: The run that is to take weights.
        task: Its task.
        other: The source's configuration, as its record has it.
        run_id: The source's id.

    Raises:
        ConfigError: It does not fit.
    """
    if "model" not in other or "task" not in other:
        raise ConfigError(
            f"got run {run_id} to take weights from, which is no run of `grok`; expected one. Name another."
        )
    source = from_dict(other)
    pairs = [("modulus", config.task.modulus, source.task.modulus)]
    pairs += [
        (each.name, getattr(config.model, each.name), getattr(source.model, each.name))
        for each in dataclasses.fields(config.model)
        if each.name != "init"
    ]
    for name, wanted, have in pairs:
        if wanted != have:
            raise ConfigError(f"got run {run_id} to take weights from, with {name} {have}; expected {wanted} as in this run. "
                              "Choose a run of the same modulus, recipe and width.")  # fmt: skip
    extra = other.get("imported", {}).get("extra_tokens", 0)
    wanted, have = _shapes(config, task), _shapes(source, modular_task(source.task), extra)
    for name in sorted(frozen_names(config, task)):
        if wanted[name] != have.get(name):
            raise ConfigError(f"got {name} of run {run_id} with shape {have.get(name)}; expected {wanted[name]} for this model. A mixture that needs tokens of its "
                              "own can take the body, or parts of a mixture of as many tokens.")  # fmt: skip


def weight_seed(config: RunConfig, taken: Taken | None) -> int:
    """Seed of the weights that a run begins with: its own, or one that only it has, made of its own and of what it takes weights from.

    Of the source's configuration and step, not of its bits: these differ between processors, and the same seeds would begin otherwise there.
    """
    if taken is None or config.frozen is None or not config.frozen.afresh:
        return config.seed
    facts = taken.facts
    source = f"{facts['lineage']} {facts['step']}" if config.frozen.is_drawn_by_run else facts["sha256"]
    return int(hashlib.sha256(f"{config.seed} {source}".encode()).hexdigest()[:15], 16)


def _step(frozen: FrozenConfig, known: list[int], run_id: str) -> int:
    if not known or (frozen.step is not None and frozen.step not in known):
        raise RunError(
            f"got step {frozen.step} of run {run_id}; checkpoints exist at {', '.join(map(str, known)) or 'none'}. Choose one of these."
        )
    return known[-1] if frozen.step is None else frozen.step
