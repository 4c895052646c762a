"""`epicycle finetune`."""

import argparse
from typing import Any

from epicycle.cli.pretrain import add_step_options

HELP = (
    "Trains a model on sums or products in words, starting in one of several ways: from the pre-trained model, from scratch, or from scratch "
    "with a frozen embedding (pre-trained, planted Fourier waves, or random)."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    from epicycle.training.arm_names import ARMS

    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a run, a Hugging Face directory or a hub name: shape, tokenizer and pre-trained weights",
    )
    parser.add_argument(
        "--arm",
        choices=tuple(ARMS),
        default="pretrained",
        help="; ".join(f"{name}: {text}" for name, text in ARMS.items()),
    )
    add_prompt_options(parser)
    parser.add_argument(
        "--loss", choices=("answer", "sequence"), default="answer", help="on the answer token, or on every token"
    )
    parser.add_argument("--epochs", type=int, default=36, help="passes over the training questions")
    add_step_options(parser, steps=None, batch=32, learning_rate=2e-3, weight_decay=1.0)
    parser.add_argument("--seed", type=int, default=0, help="seed of random weights and of the order of examples")


def add_prompt_options(parser: argparse.ArgumentParser, default: str = "if not given") -> None:
    """The options that say what is asked; those that are not given are filled by `prompt_config`."""
    task = parser.add_argument_group("questions")
    task.add_argument("--operation", choices=("add", "multiply"), help=f"the operation; add {default}")
    task.add_argument(
        "--form", choices=("sentences", "bare", "polish"), help=f"five sentences, a+b=, or a,b+; sentences {default}"
    )
    task.add_argument(
        "--largest-operand",
        type=int,
        metavar="N",
        help=f"operands 0..N; half of the largest single token, at most 260, {default}",
    )
    task.add_argument(
        "--cap",
        type=int,
        metavar="N",
        help=f"largest answer asked; for products the largest single token, at most 10,000, {default}",
    )
    task.add_argument(
        "--boundary",
        choices=("space", "colon"),
        help=f"sentences end in 'Answer: ' or in 'Answer:'; what the number tokens need {default}",
    )
    task.add_argument("--split-seed", type=int, help=f"seed of sentences, split and demonstrations; 0 {default}")
    task.add_argument("--shots", type=int, metavar="K", help=f"solved examples in front of every question; 0 {default}")


def prompt_config(options: argparse.Namespace, space: Any, own: dict[str, Any] | None = None) -> Any:
    """The questions that the options describe; what is not given comes from `own`, a run's questions, or from the number space."""
    from epicycle.tasks.prompts import MULTIPLICATION_CAP, PromptConfig

    names = ("operation", "form", "largest_operand", "cap", "boundary", "split_seed", "shots")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if own is not None:
        return PromptConfig(**{**own, **given})
    largest = 260 if given.get("operation") == "multiply" else max(3, min(260, (space.count - 1) // 2))
    usual: dict[str, Any] = {"largest_operand": largest, "boundary": "colon" if space.form == "spaced" else "space"}
    if given.get("operation") == "multiply":
        usual |= {
            "largest_operand": max(3, min(260, space.count - 1)),
            "cap": max(6, min(MULTIPLICATION_CAP, space.count - 1)),
        }
    return PromptConfig(**(usual | given))


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and say how well it answers."""
    from epicycle.analysis.explain import trained_share
    from epicycle.cli.explain import trained_prompts
    from epicycle.cli.main import say
    from epicycle.cli.pretrain import chosen_precision, given_of, step_config
    from epicycle.cli.progress import LanguageProgress
    from epicycle.errors import ConfigError
    from epicycle.models.language import load_language_model, start_digest
    from epicycle.tasks.prompts import prompt_task
    from epicycle.training.engine import chosen_device
    from epicycle.training.finetune import finetune
    from epicycle.training.language_config import FinetuneConfig

    device = chosen_device(options.device)
    if options.epochs < 1 or options.batch < 1:
        raise ConfigError(
            f"got {options.epochs} epochs of batches of {options.batch}; expected at least 1 of each. Try 25 and 32."
        )
    base = load_language_model(options.model)
    prompts = prompt_config(options, base.space, trained_prompts(options.model, options.operation))
    task = prompt_task(prompts)
    if options.arm == "pretrained" and (seen := trained_share(options.model, task, task.split["test"])):
        say(
            f"{seen:.0%} of the test questions are of pairs that {options.model} has already seen solved: its accuracy on them is no test of what it learned"
        )
    base.space.rows(max(prompts.largest_answer, prompts.largest_operand))
    steps = -(-len(task.split["train"]) // options.batch) * options.epochs
    config = FinetuneConfig(
        arm=options.arm, start=start_digest(options.model), prompts=prompts, loss=options.loss,
        step=step_config(options, steps, (0.9, 0.98), chosen_precision(options.precision, base.width, device)), seed=options.seed,
    )  # fmt: skip
    progress = LanguageProgress()
    made = finetune(
        config,
        options.model,
        options.out,
        device=device,
        threads=options.threads,
        progress=progress,
        warn=say,
        given=given_of(options),
    )
    progress.close()
    record = made.record()
    say(f"run: {made.path}")
    say(f"model: {made.path / 'model'} (validation accuracy {record['final']['validation_accuracy']:.1%})")
    say(f"next: epicycle explain {made.path}")
    return {"id": made.id, "directory": str(made.path), "model": str(made.path / "model"), "arm": options.arm, "seed": options.seed,
            "final": record["final"], "seconds": record["seconds"]}  # fmt: skip
