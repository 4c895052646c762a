"""The training loop of the language track: any `transformers` model, on text or on questions.

A run that is killed at any moment goes on from its last intact checkpoint and ends with the same bits as one that was never
stopped. Under `accelerate launch` every process takes its share of each batch; the sum is the same as in one process.
"""

import contextlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from epicycle.errors import ConfigError, RunError
from epicycle.runs.directory import Run, create_run, open_run, run_id
from epicycle.training.language_config import FinetuneConfig, PretrainConfig, StepConfig, to_dict

Batch = tuple[Tensor, Tensor, Tensor]
"""Tokens (b, s), targets (b, s) with IGNORED where nothing is asked, and the same on every process."""
IGNORED = -100


class Plan(NamedTuple):
    """What to train on, and how to look at the model."""

    batch: Callable[[int], tuple[Tensor, Tensor]]  # step -> tokens (b, s), targets (b, s)
    evaluate: Callable[[Any], dict[str, Any]]  # model -> numbers for the history
    epoch_steps: int | None = None  # steps of one pass over the examples


class Report(NamedTuple):
    """What progress is told after every evaluation."""

    run: str
    step: int
    steps: int
    line: dict[str, Any]
    speed: float


class _Loss(nn.Module):
    """Sum of the cross-entropy over the targets; only positions that have one are unembedded."""

    def __init__(self, model: Any, precision: str):
        super().__init__()
        self.model, self.precision = model, precision

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            hidden = self.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
            asked = targets != IGNORED
            logits = self.model.get_output_embeddings()(hidden[asked])
        return nn.functional.cross_entropy(logits.float(), targets[asked], reduction="sum")


class Team(NamedTuple):
    """The processes that train together; one, unless a launcher started more."""

    rank: int
    size: int
    accelerator: Any

    @property
    def is_first(self) -> bool:
        """True for the process that writes."""
        return self.rank == 0

    def total(self, loss: float, count: int) -> tuple[float, int]:
        """Loss and count summed over the processes."""
        if self.accelerator is None:
            return loss, count
        found = self.accelerator.reduce(
            torch.tensor([loss, float(count)], dtype=torch.float64, device=self.accelerator.device), "sum"
        )
        return float(found[0]), int(found[1])

    def wait(self) -> None:
        """Until all processes are here."""
        if self.accelerator is not None:
            self.accelerator.wait_for_everyone()


def team(device: str) -> Team:
    """The processes of this launch.

    Raises:
        ConfigError: A launcher started several and `accelerate` is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Team(0, 1, None)
    try:
        from accelerate import Accelerator
    except ImportError:
        raise ConfigError("got several processes without the package `accelerate`; expected it to be installed. Run "
                          "pip install 'epicycle[distributed]'.") from None  # fmt: skip
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")
    return Team(accelerator.process_index, accelerator.num_processes, accelerator)


def finished_run(root: Path | str, config: PretrainConfig | FinetuneConfig) -> Run | None:
    """The run of this configuration, if it ended and its model is there."""
    path = Path(root) / run_id(config.name, to_dict(config))
    if not (path / "run.json").is_file():
        return None
    run = open_run(path)
    return run if run.record()["status"] == "finished" and (path / "model" / "model.safetensors").is_file() else None


def shared_run(root: Path | str, config: PretrainConfig | FinetuneConfig, given: dict[str, Any] | None, facts: dict[str, Any],
               members: Team) -> Run:  # fmt: skip
    """The run's directory, made by the first process."""
    values = to_dict(config)
    if members.is_first:
        create_run(Path(root), config.name, values, given or values, facts)
    members.wait()
    return create_run(Path(root), config.name, values, given or values, facts)


def train_language(
    run: Run,
    model: Any,
    tokenizer: Any,
    plan: Plan,
    config: StepConfig,
    *,
    device: str = "cpu",
    threads: int = 1,
    progress: Callable[[Report], None] = lambda report: None,
    warn: Callable[[str], None] = lambda text: None,
    members: Team | None = None,
) -> None:
    """Train a model to the end of its steps and save it as a Hugging Face directory `model/` inside the run.

    Args:
        run: Its directory; an unfinished one goes on from its last intact checkpoint.
        model: Start of training; changed in place. Parameters that require no gradient stay.
        tokenizer: Saved beside the model.
        plan: Batches and evaluation.
        config: Optimiser, steps, precision.
        device: cpu or cuda.
        threads: CPU threads.
        progress: Called after every evaluation.
        warn: Called with a sentence when a damaged checkpoint was passed over.
        members: The processes that train together.

    Raises:
        RunError: Another process trains this run, it cannot be written to, or the loss is not finite.
    """
    members = members or team(device)
    torch.set_num_threads(threads)
    if device == "cpu":  # the same attention in plain products: a third faster at these lengths than the fused form
        model.set_attn_implementation("eager")
    with run.lock() if members.is_first else contextlib.nullcontext():
        _train(run, model.to(device), tokenizer, plan, config, device, progress, warn, members)


def _optimiser(model: Any, config: StepConfig) -> torch.optim.AdamW:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [{"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
              {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0}]  # fmt: skip
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


def _train(
    run: Run, model: Any, tokenizer: Any, plan: Plan, config: StepConfig, device: str,
    progress: Callable[[Report], None], warn: Callable[[str], None], members: Team,
) -> None:  # fmt: skip
    optimiser = _optimiser(model, config)
    names = {id(p): name for name, p in model.named_parameters()}
    resumed = _resume(run, model, optimiser, names, warn, members)
    start = resumed or 0
    if members.rank:
        torch.manual_seed(torch.initial_seed() + members.rank)  # dropout of its own
    history = run.history()
    spent = history[-1]["seconds"] if history else 0.0
    loss_of: Any = _Loss(model, config.precision)
    if members.accelerator is not None:
        loss_of = members.accelerator.prepare(loss_of)
    trained = [p for p in model.parameters() if p.requires_grad]
    began, sums = time.perf_counter(), 0.0
    count = 0
    for step in range(start, config.steps + 1):
        is_due = step % config.evaluate_every == 0 or step == config.steps
        if is_due and (resumed is None or step > resumed):
            sums, count = members.total(sums, count)
        if is_due and (resumed is None or step > resumed) and members.is_first:
            model.eval()
            found = plan.evaluate(model)
            model.train()
            line = {"step": step, "train_loss": sums / count if count else None, **found,
                    "seconds": round(spent + time.perf_counter() - began, 3)}  # fmt: skip
            if plan.epoch_steps:
                line["epoch"] = step / plan.epoch_steps
            run.append_history(line)
            _save(run, step, model, optimiser, names)
            speed = (step - start) / (time.perf_counter() - began)
            progress(Report(run.id, step, config.steps, line, speed))
        if is_due:
            sums, count = 0.0, 0
            members.wait()
        if step == config.steps:
            break
        model.train()
        tokens, targets = plan.batch(step)
        asked = int((targets != IGNORED).sum())
        mine = slice(members.rank, None, members.size)
        own_tokens, own_targets = tokens[mine], targets[mine]
        if not len(own_tokens):  # fewer examples than processes: one that asks nothing
            own_tokens, own_targets = tokens[:1], torch.full_like(targets[:1], IGNORED)
        total = loss_of(own_tokens.to(device), own_targets.to(device))
        (total * (members.size / asked)).backward()  # the launcher averages gradients over processes
        for group in optimiser.param_groups:
            group["lr"] = config.rate(step)
        nn.utils.clip_grad_norm_(trained, config.clip)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        value = float(total.detach())
        if value != value:
            raise RunError(f"got a loss that is not a number at step {step} of run {run.id}; expected a finite one. "
                           "Lower --learning-rate.")  # fmt: skip
        sums, count = sums + value, count + int((own_targets != IGNORED).sum())
    if members.is_first:
        save_model(run.path / "model", model, tokenizer)
        last = run.history()[-1]
        run.update(status="finished", outcome="trained", final={k: v for k, v in last.items() if k not in ("step", "seconds")},
                   seconds=last["seconds"])  # fmt: skip
    members.wait()


def _state(model: Any, optimiser: torch.optim.AdamW, names: dict[int, str]) -> dict[str, Tensor]:
    """Weights, both moments, the update count and the random state, by name."""
    state = {name: p.detach() for name, p in model.named_parameters()}
    for group in optimiser.param_groups:
        for p in group["params"]:
            for key, value in optimiser.state.get(p, {}).items():
                state[f"optimiser.{key}.{names[id(p)]}"] = value if value.ndim else value.reshape(1)
    state["optimiser.random"] = torch.get_rng_state()
    if torch.cuda.is_available():
        state["optimiser.random_cuda"] = torch.cuda.get_rng_state()
    return state


def _save(run: Run, step: int, model: Any, optimiser: torch.optim.AdamW, names: dict[int, str]) -> None:
    known = [s for s in run.checkpoint_steps() if s < step]
    run.save_checkpoint(step, {k: v.cpu() for k, v in _state(model, optimiser, names).items()}, tuple(known[:-1]))


def _resume(run: Run, model: Any, optimiser: torch.optim.AdamW, names: dict[int, str], warn: Callable[[str], None],
            members: Team) -> int | None:  # fmt: skip
    """Load the newest intact checkpoint; returns its step, None for none."""
    last, faults = run.last_good_checkpoint()
    seen = {line["step"] for line in run.history()}
    while last is not None and last not in seen:
        last = max((s for s in run.checkpoint_steps() if s < last and not run.damage(s)), default=None)
    if members.is_first:
        for fault in faults:
            warn(f"run {run.id}: {fault}; going on from {f'step {last}' if last is not None else 'the beginning'}")
    if last is not None:
        state = run.load_checkpoint(last)
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(state[name])
        for group in optimiser.param_groups:
            for p in group["params"]:
                found = {k: state[f"optimiser.{k}.{names[id(p)]}"] for k in ("step", "exp_avg", "exp_avg_sq")
                         if f"optimiser.{k}.{names[id(p)]}" in state}  # fmt: skip
                if found:
                    optimiser.state[p] = {
                        k: (v.reshape(()) if k == "step" else v).to(p.device) for k, v in found.items()
                    }
        torch.set_rng_state(state["optimiser.random"])
        if "optimiser.random_cuda" in state and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["optimiser.random_cuda"])
    members.wait()
    if members.is_first:
        kept = {k: v for k, v in run.record()["checkpoints"].items() if last is not None and int(k[5:13]) <= last}
        run.cut_history(-1 if last is None else last)
        run.update(status="training", checkpoints=kept)
    members.wait()
    return last


def save_model(path: Path, model: Any, tokenizer: Any) -> None:
    """Save a Hugging Face directory as a whole: it appears complete, or not at all."""
    import transformers

    scratch = path.with_name(f".{path.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    shutil.rmtree(path, ignore_errors=True)
    scratch.replace(path)


def windows(tokens: Any, batch: int, context: int) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Batches of consecutive windows of a row of tokens; every next token is asked for."""
    table = torch.as_tensor(tokens, dtype=torch.long)

    def at(step: int) -> tuple[Tensor, Tensor]:
        part = table[step * batch * context : (step + 1) * batch * context].view(batch, context)
        targets = torch.full_like(part, IGNORED)
        targets[:, :-1] = part[:, 1:]
        return part, targets

    return at
