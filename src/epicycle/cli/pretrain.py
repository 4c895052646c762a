"""`epicycle pretrain`."""

import argparse
from typing import Any

HELP = (
    "Pre-trains a small GPT-2 on number text (statements in which numbers occur as in prose; with --sums some state a sum), or on a folder of "
    "text. The result is a Hugging Face directory inside a run. Several processes: accelerate launch --multi_gpu --num_processes 2 -m epicycle pretrain ... (the flag also starts CPU processes, with --device cpu)."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    text = parser.add_argument_group("text")
    text.add_argument("--largest", type=int, default=199, help="numbers 0..N are single tokens")
    text.add_argument(
        "--kinds",
        default="",
        metavar="A,B",
        help="kinds of statements, with commas; all if not given (--list-kinds names them)",
    )
    text.add_argument("--without", default="", metavar="A,B", help="kinds of statements to leave out")
    text.add_argument("--law", choices=("prose", "uniform"), default="prose", help="how often numbers occur")
    text.add_argument(
        "--sums",
        type=int,
        metavar="N",
        help="mix in solved sums of numbers 0..N: the training questions of `epicycle finetune` with the same --largest-operand, --split-seed and sentences; pairs held out there never occur",
    )
    text.add_argument(
        "--products", type=int, metavar="N", help="mix in solved products of numbers 0..N, as far as the largest number"
    )
    text.add_argument(
        "--solved-share",
        type=float,
        metavar="SHARE",
        help="share of statements that are solved sums or products; 0.5 if not given",
    )
    text.add_argument(
        "--split-seed", type=int, help="split of the questions that are solved in the text; 0 if not given"
    )
    text.add_argument("--list-kinds", action="store_true", help="print one statement of each kind and stop")
    text.add_argument(
        "--corpus", nargs="+", default=[], metavar="PATH", help="text files or folders instead of number text"
    )
    text.add_argument("--vocabulary", type=int, default=4096, help="entries of the tokenizer at most")
    shape = parser.add_argument_group("model")
    shape.add_argument("--num-layers", type=int, default=2, help="layers")
    shape.add_argument("--width", type=int, default=256, help="residual width")
    shape.add_argument("--num-heads", type=int, default=8, help="attention heads")
    shape.add_argument("--context", type=int, default=64, help="positions")
    shape.add_argument(
        "--dropout", type=float, default=0.0, help="0.1 is GPT-2's; 0 makes one process and several agree"
    )
    add_step_options(parser, steps=5200, batch=8, learning_rate=4e-3, weight_decay=0.2)
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and number text")


def add_step_options(
    parser: argparse.ArgumentParser, *, steps: int | None, batch: int, learning_rate: float, weight_decay: float
) -> None:
    """The options of an optimiser, which both trainings take."""
    group = parser.add_argument_group("training")
    if steps is not None:
        group.add_argument("--steps", type=int, default=steps, help="updates")
    group.add_argument("--batch", type=int, default=batch, help="sequences per update, over all processes")
    group.add_argument("--learning-rate", type=float, default=learning_rate, help="peak step size of AdamW")
    group.add_argument("--schedule", choices=("linear", "constant"), default="linear", help="after the warm-up")
    group.add_argument("--warmup-steps", type=int, default=50, help="steps of linear warm-up")
    group.add_argument("--weight-decay", type=float, default=weight_decay, help="decoupled weight decay on matrices")
    group.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto",
                       help="of matrix products; auto takes bfloat16 where the processor has it and the width is 256 or more")  # fmt: skip
    group.add_argument(
        "--evaluate-every",
        type=int,
        metavar="STEPS",
        help="steps between evaluations and checkpoints; a tenth if not given",
    )


def chosen_precision(precision: str, width: int, device: str) -> str:
    """The precision that `auto` stands for on this machine."""
    if precision != "auto":
        return precision
    if device == "cuda":
        return "bfloat16"
    import torch

    has_it = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bfloat16" if has_it and width >= 256 and torch.cpu._is_avx512_bf16_supported() else "float32"


def step_config(options: argparse.Namespace, steps: int, betas: tuple[float, float], precision: str) -> Any:
    """The training settings that the options describe."""
    from epicycle.training.language_config import StepConfig

    return StepConfig(
        steps=steps, batch=options.batch, learning_rate=options.learning_rate, schedule=options.schedule, warmup_steps=options.warmup_steps,
        weight_decay=options.weight_decay, betas=betas, precision=precision,  # type: ignore[arg-type]
        evaluate_every=max(1, steps // 10) if options.evaluate_every is None else options.evaluate_every,
    )  # fmt: skip


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Pre-train and say where the model is."""
    from epicycle.cli.main import say
    from epicycle.tasks.number_text import KINDS, Draw, NumberTextConfig, kinds_of

    if options.list_kinds:
        draw = Draw(NumberTextConfig(largest=max(options.largest, 200)))
        found = {name: make(draw) for name, make in KINDS.items()}
        for name, text in found.items():
            say(f"{name:16} {text}")
        return {"kinds": found}
    from pathlib import Path

    from epicycle.cli.progress import LanguageProgress
    from epicycle.errors import ConfigError
    from epicycle.studies.zhou2024 import embedding_watch
    from epicycle.training.corpus import corpus_digest, text_files
    from epicycle.training.engine import chosen_device
    from epicycle.training.language_config import PretrainConfig, ShapeConfig
    from epicycle.training.pretrain import pretrain

    device = chosen_device(options.device)
    split = lambda text: tuple(word.strip() for word in text.split(",") if word.strip())  # noqa: E731
    kinds, left_out = split(options.kinds), split(options.without)
    if unknown := [name for name in left_out if name not in KINDS]:
        raise ConfigError(f"got --without {unknown[0]!r}; expected some of {', '.join(KINDS)}. Choose from these.")
    if left_out:
        kinds = tuple(
            name for name in (kinds or kinds_of(NumberTextConfig(largest=options.largest))) if name not in left_out
        )
        if not kinds:
            raise ConfigError(
                "got --without every kind of statement; expected at least one that stays. Leave out fewer."
            )
    if "" in options.corpus:
        raise ConfigError(
            "got an empty --corpus; expected text files or folders. Name one, such as `--corpus .` for this folder."
        )
    corpus = [Path(path) for path in options.corpus]
    solved = solved_tasks(options)
    if corpus and (options.kinds or options.without or solved or options.law != "prose"):
        raise ConfigError(
            "got --corpus with --kinds, --without, --law, --sums or --products; expected one kind of text. Leave out the options of number text."
        )
    shape = ShapeConfig(num_layers=options.num_layers, width=options.width, num_heads=options.num_heads, context=options.context,
                        dropout=options.dropout)  # fmt: skip
    share = {} if options.solved_share is None else {"solved_share": options.solved_share}
    config = PretrainConfig(
        text=NumberTextConfig(largest=options.largest, kinds=kinds, law=options.law, seed=options.seed, solved=solved, **share),
        corpus=corpus_digest(text_files(corpus)) if corpus else None, vocabulary=options.vocabulary, shape=shape,
        step=step_config(options, options.steps, (0.9, 0.95), chosen_precision(options.precision, options.width, device)), seed=options.seed,
    )  # fmt: skip
    progress = LanguageProgress()
    made = pretrain(config, options.out, corpus=corpus, device=device, threads=options.threads, observe=embedding_watch, progress=progress,
                    warn=say, given=given_of(options))  # fmt: skip
    progress.close()
    record = made.record()
    say(f"run: {made.path}")
    say(f"model: {made.path / 'model'} (validation loss {record['final']['validation_loss']:.3f} nats)")
    if solved:
        shots = " --shots 4" if options.context >= 64 else ""
        operation = "" if options.sums is not None else " --operation multiply"
        say(
            f"next: epicycle explain {made.path}{shots}, or epicycle finetune {made.path}{operation} --epochs 5 --learning-rate 1e-4 --weight-decay 0"
        )
    else:
        say(f"next: epicycle finetune {made.path} --arm frozen-embedding, or epicycle explain {made.path}")
    return {
        "id": made.id,
        "directory": str(made.path),
        "model": str(made.path / "model"),
        "final": record["final"],
        "seconds": record["seconds"],
    }


def solved_tasks(options: argparse.Namespace) -> tuple[Any, ...]:
    """The tasks whose training questions are stated in the text with their answers."""
    from epicycle.errors import ConfigError
    from epicycle.tasks.prompts import PromptConfig

    if options.sums is None and options.products is None:
        if options.solved_share is not None or options.split_seed is not None:
            raise ConfigError(
                "got --solved-share or --split-seed without --sums or --products; expected solved questions to go with them. Add --sums 99."
            )
        return ()
    found, split_seed = [], options.split_seed or 0
    if options.sums is not None:
        found.append(PromptConfig(largest_operand=options.sums, split_seed=split_seed))
    if options.products is not None:
        found.append(
            PromptConfig(
                operation="multiply",
                largest_operand=options.products,
                cap=options.largest,
                split_seed=split_seed,
            )
        )
    return tuple(found)


def given_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the user typed, for run.json."""
    return {k: v for k, v in vars(options).items() if k not in ("version", "json", "out", "typed")}
