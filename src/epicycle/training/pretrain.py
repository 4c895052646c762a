"""Pre-train a small GPT-2 on number text or on a folder of files."""

import dataclasses
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from epicycle.errors import ConfigError, DataError
from epicycle.models.tokenizer import END, train_tokenizer
from epicycle.runs.directory import Run
from epicycle.runs.provenance import provenance
from epicycle.training.arms import new_gpt2
from epicycle.training.corpus import corpus_digest, corpus_tokens, size_of, text_files, tokenizer_texts
from epicycle.training.language_config import PretrainConfig
from epicycle.training.language_loop import Plan, Report, finished_run, shared_run, team, train_language, windows

HELD_OUT = 64
"""Windows of held-out text that the validation loss looks at."""


def pretrain(
    config: PretrainConfig,
    root: Path | str = "runs",
    *,
    corpus: Sequence[Path | str] = (),
    device: str = "cpu",
    threads: int = 1,
    observe: Callable[[Any, Any], dict[str, Any]] = lambda model, tokenizer: {},
    progress: Callable[[Report], None] = lambda report: None,
    warn: Callable[[str], None] = lambda text: None,
    given: dict[str, Any] | None = None,
) -> Run:
    """Pre-train a model, or return its run at once if it is finished.

    Args:
        config: Everything that determines the model.
        root: Directory of all runs.
        corpus: Text files or folders, read in an order that the seed shuffles; number text if empty.
        device: cpu or cuda.
        threads: CPU threads.
        observe: (model, tokenizer) -> further numbers for the history, at every evaluation.
        progress: Called after every evaluation.
        warn: Called with a sentence when a damaged checkpoint was passed over.
        given: What the user typed, for run.json.

    Returns:
        The run; its model is the Hugging Face directory `model/` inside it.

    Raises:
        ConfigError: The corpus is not the one of the configuration, or the tokenizer has no room for the numbers.
        DataError: No text is found.
        RunError: The directory belongs to another run, is in use, or cannot be written to.
    """
    files = text_files([Path(path) for path in corpus]) if corpus else None
    digest = corpus_digest(files) if files is not None else None
    if digest != config.corpus:
        raise ConfigError(f"got a corpus of SHA-256 {(digest or 'none')[:8]} for a configuration with {(config.corpus or 'none')[:8]}; expected the "
                          "same text. Make the configuration with its `training.corpus.corpus_digest`.")  # fmt: skip
    if (
        files is not None
    ):  # neighbours in a folder are alike: read in their order, a model follows the file it reads last
        random.Random(f"corpus {config.seed}").shuffle(files)
    members = team(device)
    facts = provenance(device=device, threads=threads, dtype=config.step.precision, processes=members.size)
    if (done := finished_run(root, config)) is not None:
        return done
    tokenizer = train_tokenizer(tokenizer_texts(config.text, files), config.text.largest, config.vocabulary)
    shape, step = config.shape, config.step
    need = step.steps * step.batch * shape.context
    other = dataclasses.replace(config.text, seed=config.text.seed + 2**31)
    if files is None:
        tokens = corpus_tokens(tokenizer, config.text, None, need)
        validation = corpus_tokens(tokenizer, other, None, HELD_OUT * shape.context)
    else:
        held_out = HELD_OUT * shape.context
        if (size := size_of(tokenizer, files, 2 * held_out)) < 2 * held_out:
            raise DataError(
                f"got a corpus of {size:,} tokens; expected at least {2 * held_out:,}, half of which are held out. Give more text."
            )
        validation = corpus_tokens(tokenizer, config.text, files, held_out)
        tokens = corpus_tokens(tokenizer, config.text, files, need, skip=held_out)
    run = shared_run(root, config, given, facts, members)
    numbers = tokenizer.convert_tokens_to_ids([str(n) for n in range(config.text.largest + 1)])
    if members.is_first:
        run.update(number_counts=np.bincount(tokens, minlength=len(tokenizer))[numbers].tolist())
    model = new_gpt2(shape, len(tokenizer), tokenizer.convert_tokens_to_ids(END), config.seed)
    held, _ = windows(validation, HELD_OUT, shape.context)(0)

    def evaluate(current: Any) -> dict[str, Any]:
        with torch.inference_mode():
            logits = current(input_ids=held.to(device)).logits[:, :-1]
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), held[:, 1:].flatten().to(device))
        return {"validation_loss": float(loss), **observe(current, tokenizer)}

    plan = Plan(windows(tokens, step.batch, shape.context), evaluate)
    train_language(
        run, model, tokenizer, plan, step, device=device, threads=threads, progress=progress, warn=warn, members=members
    )
    return run
