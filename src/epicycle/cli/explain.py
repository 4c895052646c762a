"""`epicycle explain`."""

import argparse
from typing import Any

from epicycle.cli.finetune import add_prompt_options

HELP = (
    "Shows how a causal language model adds: which numbers are tokens, the spectrum of their embedding against nulls, what each layer would "
    "answer, the waves that attention and MLPs write, and what is lost without a band of them, beside random controls."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("model", metavar="MODEL", help="a run, a Hugging Face directory or a hub name")
    add_prompt_options(parser, "if not given, or what the run was trained on")
    what = parser.add_argument_group("analysis")
    what.add_argument("--split", choices=("train", "validation", "test"), default="test", help="which questions")
    what.add_argument("--swapped", action="store_true", help="ask with the larger operand first")
    what.add_argument("--limit", type=int, metavar="N", help="ask the first N questions only")
    what.add_argument(
        "--numbers",
        type=int,
        metavar="N",
        help="numbers 0..N-1 of the spectra; what answers and tokenizer allow if not given",
    )
    what.add_argument("--table", choices=("embedding", "residual"), default="embedding",
                      help="rows of the embedding, or the stream at a number's last token (tokenizers of digits)")  # fmt: skip
    what.add_argument("--draws", type=int, default=999, help="null tables per null")
    what.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="precision of the model"
    )
    what.add_argument("--helix", nargs="?", const="", metavar="T,T,..", help="fit the first operand as a helix of these periods (2,5,10,100), patch it in, and ask which heads and "
                      "MLPs build the answer")  # fmt: skip
    bands = parser.add_argument_group("removal of bands")
    bands.add_argument("--positions", choices=("answer", "all"), default="answer", help="where outputs are filtered")
    bands.add_argument("--fold-norm", action="store_true", help="fold the final norm's gain into the unembedding")
    bands.add_argument(
        "--convention",
        choices=("orthonormal", "as-printed"),
        default="orthonormal",
        help="basis; as-printed is Zhou et al. 2024, Def. A.3",
    )
    bands.add_argument(
        "--reading",
        choices=("component", "shared", "double", "row"),
        default="component",
        help="reading of the printed cut",
    )
    bands.add_argument("--high-period", type=float, default=10.4, help="longest period of the high band")
    bands.add_argument("--controls", type=int, default=3, help="random subspaces of each kind per removal")
    bands.add_argument("--control-seed", type=int, default=0, help="seed of the random subspaces")


def trained_prompts(model: str, operation: str | None = None) -> dict[str, Any] | None:
    """The questions that a fine-tuned run was trained on, or those of an operation that its text stated solved; None for other models."""
    from pathlib import Path

    from epicycle.runs.directory import open_run

    if not (Path(model) / "run.json").is_file():
        return None
    stored = open_run(model).record()["config"]["resolved"]
    if stored.get("kind") == "finetune":
        return stored["prompts"]
    solved = stored.get("text", {}).get("solved", [])
    return next((task for task in solved if operation in (None, task["operation"])), None)


def _periods(text: str | None) -> tuple[float, ...] | None:
    """What --helix asks for."""
    from epicycle.errors import ConfigError

    if text is None:
        return None
    try:
        found = tuple(float(word) for word in text.split(",") if word.strip())
        if not all(2 <= period < 1e6 for period in found) or len(set(found)) < len(found):
            raise ValueError(text)
        return found
    except ValueError:
        raise ConfigError(
            f"got --helix {text}; expected different periods of at least 2 with commas between them. Try --helix 2,5,10,100."
        ) from None


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Analyse, report."""
    from pathlib import Path

    from epicycle.analysis.ablation import AblationConfig
    from epicycle.analysis.explain import ExplainConfig, explain
    from epicycle.analysis.explanation_json import as_json
    from epicycle.cli.finetune import prompt_config
    from epicycle.cli.main import say
    from epicycle.cli.pretrain import given_of
    from epicycle.cli.progress import StageProgress
    from epicycle.models.language import load_language_model
    from epicycle.report.explain import explain_page
    from epicycle.training.engine import chosen_device

    device = chosen_device(options.device)
    ablation = AblationConfig(positions=options.positions, is_folded=options.fold_norm, convention=options.convention, reading=options.reading,
                              high_period=options.high_period, controls=options.controls, seed=options.control_seed)  # fmt: skip
    if not Path(options.model).exists():
        say(f"{options.model} is not a directory here: asking the hub")
    lm = load_language_model(options.model, device=device, dtype=options.dtype)
    say(lm.space.sentence())
    config = ExplainConfig(
        prompts=prompt_config(options, lm.space, trained_prompts(options.model, options.operation)), split=options.split, swapped=options.swapped, limit=options.limit, numbers=options.numbers, table=options.table,
        ablation=ablation, draws=options.draws, dtype=options.dtype,
        helix=_periods(options.helix),
    )  # fmt: skip
    progress = StageProgress()
    found = explain(options.model, config, options.out, device=device, threads=options.threads, loaded=lm, progress=progress,
                    given=given_of(options) | {"model_argument": str(options.model)})  # fmt: skip
    progress.close()
    page = explain_page(found)
    path = page.save(found.run.path / "report.html")
    for sentence in page.finding:
        say(sentence)
    say(f"report: {path}")
    return as_json(found, str(path))
