"""Train a model on arithmetic in words, from one of several starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from epicycle.errors import DataError
from epicycle.models.language import LanguageModel, check_boundary, load_language_model, start_digest
from epicycle.runs.directory import Run, open_run
from epicycle.runs.provenance import provenance
from epicycle.tasks.prompts import PromptTask, prompt_task
from epicycle.training.arms import start_model
from epicycle.training.language_config import FinetuneConfig
from epicycle.training.language_loop import IGNORED, Plan, Report, finished_run, shared_run, team, train_language

KEEPS_ROWS = ("pretrained", "frozen-embedding", "frozen-input")
"""Arms whose embedding comes from the text that the base read."""


def _text_of(name: str | Path) -> dict[str, Any]:
    """What the base read, if it is a run that knows: how often each number, and tasks whose training questions it has seen solved."""
    if not (Path(name) / "run.json").is_file():
        return {}
    record = open_run(name).record()
    stored = record["config"]["resolved"]
    solved = [*stored.get("text", {}).get("solved", []), *record.get("solved", [])]
    solved += [stored["prompts"]] if stored.get("kind") == "finetune" else []
    return {"number_counts": record.get("number_counts"), "solved": solved}


class Examples:
    """Questions of one split as padded tokens, and the token of each answer."""

    def __init__(self, base: LanguageModel, task: PromptTask, split: Any, loss: str):
        ids = base.space.rows(int(max(task.questions.answer)))
        found = task.tokens(base.tokenizer, split, ids)
        self.answers = torch.as_tensor(ids[task.rows(split).answer])
        length = max(map(len, found)) + (1 if loss == "sequence" else 0)
        self.tokens = torch.zeros(len(found), length, dtype=torch.long)
        self.targets = torch.full_like(self.tokens, IGNORED)
        for i, row in enumerate(found):
            n = len(row)
            self.tokens[i, :n] = torch.tensor(row)
            if loss == "sequence":
                self.tokens[i, n] = self.answers[i]
                self.targets[i, :n] = self.tokens[i, 1 : n + 1]
            else:
                self.targets[i, n - 1] = self.answers[i]
        self.last = torch.tensor([len(row) - 1 for row in found])

    def __len__(self) -> int:
        return len(self.tokens)


def scores(model: Any, examples: Examples, device: str, size: int = 512) -> dict[str, float]:
    """Loss in nats over the whole vocabulary and accuracy of the answer token."""
    loss, right = 0.0, 0
    head = model.get_output_embeddings()
    with torch.inference_mode():
        for start in range(0, len(examples), size):
            part = slice(start, start + size)
            hidden = model.base_model(input_ids=examples.tokens[part].to(device), use_cache=False).last_hidden_state
            rows = torch.arange(len(hidden), device=device)
            logits = head(hidden[rows, examples.last[part].to(device)]).float()
            answers = examples.answers[part].to(device)
            loss += float(torch.nn.functional.cross_entropy(logits, answers, reduction="sum"))
            right += int((logits.argmax(-1) == answers).sum())
    return {"validation_loss": loss / len(examples), "validation_accuracy": right / len(examples)}


def shuffled(examples: Examples, batch: int, seed: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Batches of examples, each epoch in an order of its own that depends on the seed and the epoch alone."""
    per_epoch = -(-len(examples) // batch)

    def at(step: int) -> tuple[Tensor, Tensor]:
        epoch, place = divmod(step, per_epoch)
        order = np.random.default_rng([seed, epoch]).permutation(len(examples))
        rows = torch.as_tensor(order[place * batch : (place + 1) * batch])
        return examples.tokens[rows], examples.targets[rows]

    return at


def finetune(
    config: FinetuneConfig,
    base: str | Path,
    root: Path | str = "runs",
    *,
    device: str = "cpu",
    threads: int = 1,
    progress: Callable[[Report], None] = lambda report: None,
    warn: Callable[[str], None] = lambda text: None,
    given: dict[str, Any] | None = None,
) -> Run:
    """Train one arm on arithmetic, or return its run at once if it is finished.

    Args:
        config: Everything that determines the model; `start` must be `start_digest(base)`.
        base: The pre-trained model: a run, a Hugging Face directory or a hub name.
        root: Directory of all runs.
        device: cpu or cuda.
        threads: CPU threads.
        progress: Called after every evaluation.
        warn: Called with a sentence when a damaged checkpoint was passed over.
        given: What the user typed, for run.json.

    Returns:
        The run; its model is the Hugging Face directory `model/` inside it.

    Raises:
        DataError: The base cannot be used: answers that are not single tokens, prompts beyond its context, another model
            than the configuration names.
        RunError: The directory belongs to another run, is in use, or cannot be written to.
    """
    task = prompt_task(config.prompts)
    if start_digest(base) != config.start:
        raise DataError(f"got {base} with SHA-256 {start_digest(base)[:8]} for a configuration that starts from {config.start[:8]}; expected the "
                        "same model. Make the configuration anew.")  # fmt: skip
    if (done := finished_run(root, config)) is not None:
        return done
    members = team(device)
    facts = provenance(device=device, threads=threads, dtype=config.step.precision, processes=members.size)
    loaded = load_language_model(base)
    check_boundary(loaded, config.prompts)
    loaded.space.rows(int(max(task.questions.answer)))  # refused before anything is written
    train, validation = Examples(loaded, task, "train", config.loss), Examples(loaded, task, "validation", "answer")
    context = loaded.model.config.max_position_embeddings
    if max(train.tokens.shape[1], validation.tokens.shape[1]) > context:
        raise DataError(f"got prompts of up to {train.tokens.shape[1]} tokens for a model with {context} positions; expected at most as many. "
                        "Use fewer --shots, or another model.")  # fmt: skip
    run = shared_run(root, config, given, facts, members)
    read = _text_of(base)
    kept = {"number_counts": config.arm in KEEPS_ROWS, "solved": config.arm == "pretrained"}
    if members.is_first and (known := {name: read[name] for name in kept if kept[name] and read.get(name)}):
        run.update(**known)
    model = start_model(config.arm, loaded, int(max(task.questions.answer)), config.seed)
    plan = Plan(shuffled(train, config.step.batch, config.seed), lambda current: scores(current, validation, device),
                -(-len(train) // config.step.batch))  # fmt: skip
    train_language(run, model, loaded.tokenizer, plan, config.step, device=device, threads=threads, progress=progress, warn=warn,
                   members=members)  # fmt: skip
    return run
