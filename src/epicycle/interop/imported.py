"""A foreign checkpoint as a finished run, so that every analysis, report and query works on it."""

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from epicycle._files import sha256
from epicycle.analysis.progress import measure_activations, measure_weights
from epicycle.errors import ConfigError, DataError
from epicycle.interop.checkpoints import convert, read_state
from epicycle.models.readout import read_out
from epicycle.runs.directory import Run, create_run, run_id
from epicycle.runs.provenance import provenance
from epicycle.tasks.modular import Task, TaskConfig, modular_task
from epicycle.training.config import OptimiserConfig, RunConfig, to_dict


def import_checkpoint(
    path: Path | str,
    task: TaskConfig,
    root: Path | str = "runs",
    *,
    layout: str = "auto",
    key: str | None = None,
    attention_rate: float = 1.0,
    scores: Literal["scaled", "unscaled"] = "scaled",
    extra_tokens: int = 0,
    step: int = 0,
    given: dict[str, Any] | None = None,
) -> Run:
    """Make a run of a checkpoint that another project trained.

    Args:
        path: .safetensors, .npz or .pt file.
        task: What it was trained on; the split decides which pairs count as trained on, so give the one it had where it is known.
        root: Directory of all runs.
        layout: Of its tensors; guessed if `auto`.
        key: Beginning of the names of its tensors, where a file holds several models.
        attention_rate: Of a model of Zhong et al. 2023.
        scores: Whether its attention scores are divided by sqrt(head width).
        extra_tokens: Tokens it has beyond those of the formulas, such as those of other formulas of its mixture.
        step: Step it was saved at, for the record.
        given: What the user typed.

    Raises:
        DataError: It cannot be opened, or does not fit the task.
    """
    if step < 0 or extra_tokens < 0:
        raise ConfigError(
            f"got step {step} and {extra_tokens} extra tokens; expected 0 or more. Leave out what is not known."
        )
    state = read_state(path, key)
    found = convert(state, task.modulus, layout, attention_rate=attention_rate, scores=scores)
    built = modular_task(task)
    need = built.vocabulary(found.model.readout)
    have = found.weights["embed.W_E"].shape[1]
    asked, places = built.examples("train", found.model.readout).tokens.shape[1], found.weights.get("pos_embed.W_pos")
    if places is not None and len(places) < asked:
        raise DataError(f"got a model that reads {len(places)} tokens for {built.rules[0].text}, a question of {asked}; expected a formula of as many operands as it was "
                        "trained on. Name that.")  # fmt: skip
    if found.model.readout == "pair" and have != need:
        raise DataError(
            f"got an embedding of {have} tokens in layout {found.layout}, whose tokens are the numbers modulo p; expected --modulus {have}. Give that."
        )
    if have != need + extra_tokens:
        raise DataError(f"got an embedding of {have} tokens; expected {need + extra_tokens} for {' and '.join(rule.text for rule in built.rules)} modulo {task.modulus} in layout "
                        f"{found.layout}. Give its own --modulus, formulas and --layout{f'; --extra-tokens {have - need} if it has more on purpose' * (have > need)}.")  # fmt: skip
    config = RunConfig(
        task=task,
        model=found.model,
        optimiser=OptimiserConfig(classes=found.classes),
        recipe="nanda2023" if found.model.positions else "furuta2024",
    )
    name = re.sub(r"[^\w.-]", "-", f"import-{Path(path).stem[:24]}{'-' + key[:16] if key else ''}")
    values = to_dict(config) | {
        "imported": {
            "file": Path(path).name,
            "sha256": sha256(Path(path)),
            "layout": found.layout,
            "key": key,
            "step": step,
            **({"extra_tokens": extra_tokens} if extra_tokens else {}),
        }
    }
    line = _scores(built, found.weights, config) | {"step": step, "seconds": 0.0, "measuring_seconds": 0.0}
    line["measures"] = {"weights": measure_weights(built, config, found.weights)}
    if built.operands.shape[1] == 2:
        line["measures"]["activations"] = measure_activations(built, config, found.weights)
    place = Path(root) / run_id(name, values)
    if (place / "run.json").is_file():
        existing = create_run(Path(root), name, values, given or values, {})
        if existing.record()["status"] == "finished":
            return existing
    run = create_run(Path(root), name, values, given or values, provenance(device="cpu", threads=1, dtype="float32"))
    with run.lock():
        run.cut_history(-1)
        run.append_history(line)
        run.save_checkpoint(step, found.weights)
        steps = dict.fromkeys(
            ("memorised", "first", "sustained", "stable")
        )  # when it happened cannot be told from one checkpoint
        run.update(status="finished", outcome="imported", engine="imported", steps=steps | {"trained": step}, seconds=0.0, measuring_seconds=0.0,
                   final={k: line[k] for k in ("train_loss", "test_loss", "train_accuracy", "test_accuracy")})  # fmt: skip
    return run


def _scores(task: Task, weights: dict[str, torch.Tensor], config: RunConfig) -> dict[str, Any]:
    """Loss and accuracy on both sides of the split, losses summed and accuracies averaged over formulas as in training."""
    found: dict[str, Any] = {}
    tasks: dict[str, dict[str, float]] = {rule.text: {} for rule in task.rules}
    for part in ("train", "test"):
        examples = task.examples(part, config.model.readout)
        logits = read_out(weights, torch.from_numpy(examples.tokens), config.model.attention).logits.double()
        logits = logits[:, : config.num_classes]
        labels = torch.from_numpy(examples.labels)
        loss = torch.nn.functional.cross_entropy(logits, labels, reduction="none").numpy()
        right = (logits.argmax(1) == labels).numpy()
        masks = [examples.task == i for i in range(task.num_tasks)]
        found[f"{part}_loss"] = float(sum(loss[mask].mean() for mask in masks))
        found[f"{part}_accuracy"] = float(np.mean([right[mask].mean() for mask in masks]))
        for rule, mask in zip(task.rules, masks, strict=True):
            tasks[rule.text][f"{part}_accuracy"] = float(right[mask].mean())
    return found | ({"tasks": tasks} if task.num_tasks > 1 else {})
