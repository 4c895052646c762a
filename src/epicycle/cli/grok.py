"""`epicycle grok`."""

import argparse
from typing import Any

from epicycle.cli.settings import add_setting_options, check_seeds, with_settings

HELP = (
    "Trains a one-layer transformer on modular arithmetic until it answers questions it has never seen, then shows which "
    "frequencies it uses. Several formulas train one model on the mixture."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("formulas", nargs="+", metavar="FORMULA",
                        help="such as a+b, a^2+ab+b^2, a/b, 2a-3b, random:0 (quote it in a shell)")  # fmt: skip
    task = parser.add_argument_group("task")
    task.add_argument(
        "--modulus", type=int, help="answers are taken modulo this; if not given 97, or 113 for nanda2023"
    )
    task.add_argument("--train-fraction", type=float, default=0.3, help="share of all pairs to train on")
    seeds = parser.add_argument_group("seeds")
    seeds.add_argument("--seed", type=int, default=0, help="seed of the initial weights")
    seeds.add_argument("--split-seed", type=int, help="seed of the split; if not given, that of the weights")
    seeds.add_argument("--seeds", type=int, default=1, metavar="N", help="train this many runs, seeds counting up")
    training = parser.add_argument_group("training")
    training.add_argument(
        "--recipe", choices=("furuta2024", "nanda2023"), default="furuta2024", help="named configuration"
    )
    training.add_argument("--max-steps", type=int, default=300_000, help="optimiser updates at most")
    training.add_argument("--evaluate-every", type=int, default=100, help="steps between evaluations")
    training.add_argument("--measure-every", type=int, default=1000, help="steps between spectra of logits and neurons")
    training.add_argument("--checkpoint-every", type=int, default=1000, help="steps between checkpoints to resume from")
    training.add_argument(
        "--from",
        dest="source",
        metavar="RUN",
        help="a finished run, its id or directory, whose weights the frozen parts keep",
    )
    training.add_argument("--freeze", metavar="PART", help="embedding, body (attention and MLP) or unembedding, or two of them, embedding+body: "
                          "not trained; random without --from")  # fmt: skip
    training.add_argument("--without-frequencies", metavar="K,K", help="frequencies to take out of the embedding of --from before it is kept, to see which of them the "
                          "new formula lives on; as a control take others of as much power")  # fmt: skip
    training.add_argument("--frequency-basis", choices=("additive", "multiplicative"), default="additive",
                          help="cycles per p numbers, or per p - 1 discrete logarithms")  # fmt: skip
    training.add_argument(
        "--min-steps",
        type=int,
        default=0,
        help="steps to do even if the grok was held before, to read runs at one step",
    )
    training.add_argument("--hold-evaluations", type=int, default=20,
                          help="stop after this many evaluations in a row at 99 %% test accuracy; 0 never stops early")  # fmt: skip
    add_setting_options(parser)


def configs(options: argparse.Namespace) -> list[Any]:
    """The run configurations that the options describe."""
    import dataclasses

    from epicycle.errors import ConfigError
    from epicycle.tasks.modular import TaskConfig
    from epicycle.training.config import PUBLISHED_MODULUS, RECIPES, FrozenConfig, ScheduleConfig

    check_seeds(options)
    schedule = ScheduleConfig(
        max_steps=options.max_steps, evaluate_every=options.evaluate_every, measure_every=options.measure_every,
        checkpoint_every=options.checkpoint_every, hold_evaluations=options.hold_evaluations,
        min_steps=options.min_steps,
    )  # fmt: skip
    frozen = None
    if options.freeze is not None and not options.freeze.strip():
        raise ConfigError(
            "got --freeze without a part; expected embedding, body or unembedding. Name one, or leave it out."
        )
    if options.source and not options.freeze:
        raise ConfigError(
            f"got --from {options.source} without --freeze; expected the part to take and keep. Add --freeze embedding."
        )
    if options.freeze:
        if "," in options.freeze:
            raise ConfigError(
                f"got --freeze {options.freeze}; expected the parts of this run with + between them. Write {options.freeze.replace(',', '+')}."
            )
        parts = tuple(part.strip() for part in options.freeze.split("+"))
        source = _source(options).id if options.source else "random"
        frozen = FrozenConfig(parts=parts, source=source, without=_frequencies(options), basis=options.frequency_basis)
    elif options.without_frequencies is not None or options.frequency_basis != "additive":
        raise ConfigError(
            "got frequencies to leave out, and nothing to freeze; expected the embedding of a run. Add --from RUN --freeze embedding."
        )
    modulus = options.modulus if options.modulus is not None else PUBLISHED_MODULUS[options.recipe]
    found = []
    for seed in range(options.seed, options.seed + options.seeds):
        task = TaskConfig(
            formulas=tuple(options.formulas), modulus=modulus, train_fraction=options.train_fraction,
            split_seed=seed if options.split_seed is None else options.split_seed,
        )  # fmt: skip
        config = dataclasses.replace(RECIPES[options.recipe](task, schedule, seed), frozen=frozen)
        found.append(with_settings(config, options))
    return found


def _frequencies(options: argparse.Namespace) -> tuple[int, ...]:
    """Those of --without-frequencies."""
    from epicycle.errors import ConfigError

    words = [word.strip() for word in (options.without_frequencies or "").split(",")]
    if options.without_frequencies is None:
        return ()
    if not all(word.isascii() and word.isdigit() for word in words):
        raise ConfigError(
            f"got --without-frequencies {options.without_frequencies!r}; expected integers with commas between them, such as 16,30,39. Name some, or leave it out."
        )
    return tuple(sorted(map(int, words)))


def _source(options: argparse.Namespace) -> Any:
    """The run of --from."""
    from epicycle.runs.directory import find_run

    return find_run(options.source, options.out)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, analyse, report."""
    chosen = configs(options)
    given = {k: v for k, v in vars(options).items() if k not in ("command", "version", "json", "out")}
    return grok_and_report(chosen, options, given)


def grok_and_report(chosen: list[Any], options: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """Train and analyse configurations, write their reports, say what was found; returns the JSON object."""
    from epicycle.analysis.grok import grok
    from epicycle.cli.main import say
    from epicycle.cli.progress import StageProgress, TrainingProgress
    from epicycle.report.grok import grok_page
    from epicycle.runs.directory import run_id
    from epicycle.sweep.sweep import grok_all
    from epicycle.tasks.modular import looked_up, modular_task
    from epicycle.training.build import slow_reason
    from epicycle.training.config import to_dict
    from epicycle.training.engine import chosen_device
    from epicycle.training.transfer import take

    device = chosen_device(options.device)
    source_root = _source(options).path.parent if getattr(options, "source", None) else None
    for config in chosen:
        # refuses what cannot be trained before anything is said or written
        take(config, modular_task(config.task), source_root or options.out)
    for config in chosen:
        say(f"run: {options.out}/{run_id(config.name, to_dict(config))}")
    if device == "cpu" and (reason := slow_reason()):
        say(reason)
    progress, analysis = TrainingProgress(), StageProgress()

    def stage(what: str, done: int, total: int) -> None:
        progress.close()
        analysis(what, done, total)

    if device == "cpu" and len(chosen) > 1 and options.threads > 1:
        found = grok_all(chosen, options.out, workers=options.threads, progress=progress, given=given,
                         source_root=source_root, stage=stage)  # fmt: skip
    else:
        batches = [[config] for config in chosen] if device == "cpu" else [chosen]
        options_ = {
            "device": device,
            "threads": options.threads,
            "progress": progress,
            "warn": say,
            "given": given,
            "source_root": source_root,
            "stage": stage,
        }
        found = [each for batch in batches for each in grok(batch, options.out, **options_)]
    progress.close()
    analysis.close()
    runs, pages = [], []
    for each in found:
        page = grok_page(each)
        path = page.save(each.run.path / "report.html")
        runs.append(as_json(each, str(path)))
        pages.append(str(path))
        say()
        for sentence in page.finding:
            say(sentence)
        say(f"report: {path}")
    if len(runs) > 1:
        say()
        say(_over_seeds(runs, max(looked_up(config.task) for config in chosen)))
    return {"runs": runs, "report": pages[0]}


def _over_seeds(runs: list[dict[str, Any]], looking: float) -> str:
    """How many of several seeds grokked, and when; `looking`: what looking up alone answers."""
    from epicycle.analysis.statistics import rate, time_to_event

    first = [each["steps"]["first"] for each in runs]
    trained = [each["steps"]["trained"] for each in runs]
    hit, median = rate(sum(step is not None for step in first), len(first)), time_to_event(first, trained).median
    if hit.count:
        when = f"the earliest at step {min(step for step in first if step is not None):,}, median {'beyond what was trained' if median is None else f'{median:,.0f}'}"
    else:
        when = f"none within {max(trained):,} steps"
    held = sum(each["steps"]["sustained"] is not None for each in runs)
    often = "" if held == hit.count else f", {held or 'none'} of them for three evaluations in a row"
    return (
        f"{hit.count} of {hit.total} seeds grokked (95 % interval {hit.low:.0%} to {hit.high:.0%}){often}; {when}"
        + (f"; looking up alone answers {looking:.1%}" if looking >= 0.99 else "")
    )


def as_json(grok: Any, report: str) -> dict[str, Any]:
    """The JSON object of one run."""
    from epicycle.report.grok import verdict

    record, history = grok.run.record(), grok.run.history()
    weights = next(
        (line["measures"]["weights"] for line in reversed(history) if "weights" in line.get("measures", {})), {}
    )
    short = ("ffd", "ffd_joint", "fcr", "gini")
    trained = record["steps"]["trained"]
    return {
        "id": record["id"],
        "directory": str(grok.run.path),
        "seed": record["config"]["resolved"]["seed"],
        "outcome": record["outcome"],
        "steps": {k: record["steps"][k] for k in ("memorised", "first", "sustained", "stable", "trained")},
        "final": record["final"],
        "measures": {
            site: {m: weights["additive"][site][m] for m in short} for site in ("W_E", "W_L") if "additive" in weights
        },
        "measures_by_basis": {name: values for name, values in weights.items() if not name.startswith("weight_norm")},
        "basis": grok.circuits[0].basis if grok.circuits else None,
        "key_frequencies": list(grok.circuits[0].key_frequencies) if grok.circuits else [],
        "circuits": [
            {
                "formula": c.formula,
                "basis": c.basis,
                "key_frequencies": list(c.key_frequencies),
                "operand_frequencies": list(c.operand_frequencies),
                "verdict": verdict(c),
            }
            for c in grok.circuits
        ],
        "seconds": record["seconds"],
        "steps_per_second": trained / record["seconds"] if record["seconds"] else None,
        "report": report,
    }
