"""`epicycle sweep`."""

import argparse
from typing import Any

from epicycle.cli.settings import add_setting_options, check_seeds, with_settings

HELP = (
    "Trains many runs: every formula, train fraction, modulus and seed, from scratch or with parts frozen from other runs of the sweep. Says what is "
    "there already and what the rest costs before it begins; running it again does only what is missing."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    from epicycle.tasks.operation_names import OPERATIONS

    parser.add_argument(
        "formulas", nargs="*", metavar="FORMULA", help="a formula or name; a mixture with commas, such as a+b,a*b"
    )
    parser.add_argument(
        "--family", action="append", default=[], choices=tuple(OPERATIONS), help="all published operations of a family"
    )
    parser.add_argument("--train-fractions", default="0.3", metavar="R,R", help="shares of all pairs to train on")
    parser.add_argument("--moduli", default="97", metavar="P,P", help="moduli")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds of split and weights, counting up")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument(
        "--split-seed", type=int, help="one split for all seeds of the weights; if not given, that of the weights"
    )
    parser.add_argument(
        "--weight-seed",
        type=int,
        help="one seed of the weights for all seeds of the split; if not given, that of the split",
    )
    parser.add_argument(
        "--sources",
        default="",
        metavar="F,F",
        help="formulas, or mixtures such as 'a+b and a*b', whose runs (first train fraction) the frozen parts come from; random: this run's own weights",
    )
    parser.add_argument(
        "--source-runs",
        default="",
        metavar="R,R",
        help="finished runs under --out that the frozen parts come from, for every seed",
    )
    parser.add_argument(
        "--freeze",
        default="",
        metavar="P,P",
        help="embedding, body, embedding+body, ...: each a transfer matrix of its own",
    )
    parser.add_argument(
        "--recipe", choices=("furuta2024", "nanda2023"), default="furuta2024", help="named configuration"
    )
    parser.add_argument("--max-steps", type=int, default=300_000, help="optimiser updates at most")
    parser.add_argument(
        "--hold-evaluations",
        type=int,
        default=20,
        help="stop after this many evaluations in a row at 99 %% test accuracy",
    )
    parser.add_argument("--min-steps", type=int, default=0, help="steps to do even if the grok was held before")
    add_engine_options(parser)
    add_setting_options(parser)
    parser.add_argument("--plan", action="store_true", help="only say what would be run and what it costs at most")


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Where many runs are trained."""
    parser.add_argument(
        "--engine",
        choices=("local", "stacked", "ray"),
        default="local",
        help="processes here, stacks on a GPU, or a Ray cluster",
    )
    parser.add_argument("--address", default="auto", help="of the Ray cluster: auto, host:port, or local")


def configs(options: argparse.Namespace) -> list[Any]:
    """Every run of the sweep, those that others take weights from first."""
    import dataclasses

    from epicycle.errors import ConfigError
    from epicycle.runs.directory import find_run, run_id
    from epicycle.tasks.modular import TaskConfig
    from epicycle.tasks.operation_names import OPERATIONS
    from epicycle.tasks.operations import formula
    from epicycle.training.config import OF_MIXTURES, RECIPES, FrozenConfig, ScheduleConfig, to_dict

    targets = [tuple(part.strip() for part in text.split(",")) for text in options.formulas]
    if lonely := [
        text
        for text, parts in zip(options.formulas, targets, strict=True)
        if "," in text and len([part for part in parts if part]) < 2
    ]:
        raise ConfigError(
            f"got {lonely[0]!r}, a mixture of one; expected at least two formulas with a comma between them. Leave the comma out."
        )
    targets += [(text,) for family in options.family for text in OPERATIONS[family].values()]
    spelled = [tuple(formula(text).text for text in parts) for parts in targets]
    if twice := [parts for i, parts in enumerate(spelled) if parts in spelled[:i]]:
        raise ConfigError(f"got {' and '.join(twice[0])} twice; expected every formula or mixture once. Leave one out.")
    check_seeds(options)
    if options.split_seed is not None and options.weight_seed is not None and options.seeds > 1:
        raise ConfigError(
            f"got --seeds {options.seeds} with --split-seed and --weight-seed; expected one of the two to vary. Leave one out, or give --seeds 1."
        )
    if bool(options.sources or options.source_runs) != bool(options.freeze):
        raise ConfigError(
            "got --freeze without a source, or a source without --freeze; expected both or none. Add --freeze embedding, or --sources a+b (or random)."
        )
    fractions, moduli = (
        _numbers(options.train_fractions, float, "--train-fractions"),
        _numbers(options.moduli, int, "--moduli"),
    )
    schedule = ScheduleConfig(
        max_steps=options.max_steps, hold_evaluations=options.hold_evaluations, min_steps=options.min_steps
    )
    sources = _texts(options.sources)
    lenders = [find_run(name, options.out).id for name in _texts(options.source_runs)]
    kinds = [tuple(_texts(part, "+")) for part in options.freeze.split(",")]
    if options.freeze and () in kinds:
        raise ConfigError(
            f"got an empty name in --freeze {options.freeze!r}; expected parts such as embedding,body. Take a comma out."
        )
    for flag, values in (
        ("--train-fractions", fractions),
        ("--moduli", moduli),
        ("--sources", [text if text == "random" else _mixture(text) for text in sources]),
        ("--source-runs", lenders),
        ("--freeze", [tuple(sorted(parts)) for parts in kinds]),
    ):
        if again := [value for i, value in enumerate(values) if value in values[:i]]:
            between = " and " if flag == "--sources" else "+"
            named = between.join(again[0]) if isinstance(again[0], tuple) else again[0]
            raise ConfigError(f"got {named} twice in {flag}; expected every value once. Leave one out.")

    has_mixture = any(len(parts) > 1 for parts in [*targets, *(_mixture(text) for text in sources if text != "random")])

    def make(formulas: tuple[str, ...], fraction: float, modulus: int, seed: int) -> Any:
        task = TaskConfig(
            formulas=formulas,
            train_fraction=fraction,
            modulus=modulus,
            split_seed=seed if options.split_seed is None else options.split_seed,
        )
        config = RECIPES[options.recipe](task, schedule, seed if options.weight_seed is None else options.weight_seed)
        return with_settings(config, options, OF_MIXTURES if has_mixture and len(formulas) == 1 else ())

    found: dict[str, Any] = {}
    add = lambda config: found.setdefault(run_id(config.name, to_dict(config)), config)  # noqa: E731
    for seed in range(options.seed, options.seed + options.seeds):
        for modulus in moduli:
            names = list(lenders)
            for source in sources:
                origin = None if source == "random" else make(_mixture(source), fractions[0], modulus, seed)
                names.append("random" if origin is None else run_id(origin.name, to_dict(origin)))
                if origin is not None:
                    add(origin)
                    if names[-1] in lenders:
                        raise ConfigError(f"got {names[-1]} in --source-runs, which is seed {seed} of {source} in --sources; expected every source once. Leave one out.")  # fmt: skip
            for name in names:
                for parts in kinds:
                    for formulas in targets:
                        for fraction in fractions:
                            add(
                                dataclasses.replace(
                                    make(formulas, fraction, modulus, seed),
                                    frozen=FrozenConfig(parts=parts, source=name),
                                )
                            )
            for formulas in targets:
                for fraction in fractions:
                    add(make(formulas, fraction, modulus, seed))
    return list(found.values())


def _mixture(text: str) -> tuple[str, ...]:
    """The formulas of a source; several have `and` between them, as in the table of runs."""
    from epicycle.tasks.operations import formula

    return tuple(formula(part.strip()).text for part in text.split(" and "))


def _texts(text: str, between: str = ",") -> list[str]:
    return [part.strip() for part in text.split(between) if part.strip()]


def _numbers(text: str, kind: Any, flag: str) -> list[Any]:
    from epicycle.errors import ConfigError

    try:
        return [kind(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"got {flag} {text!r}; expected numbers with commas between them. Mend it.") from None


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Plan, train, report."""
    import hashlib
    from pathlib import Path

    from epicycle.cli.main import say
    from epicycle.cli.pretrain import given_of
    from epicycle.cli.progress import JobsProgress
    from epicycle.report.sweep import finding, numbers_of, write_sweep
    from epicycle.sweep.grid import grid_of
    from epicycle.sweep.plan import cost, plan
    from epicycle.sweep.sweep import sweep
    from epicycle.training.engine import chosen_device

    check_address(options)
    chosen = configs(options)
    grid = grid_of(chosen, options.out)
    planned = plan(chosen, options.out)
    rest = cost(planned, chosen_device(options.device) if options.engine == "stacked" else None)
    say(f"{len(planned):,} run{'s' * (len(planned) != 1)}, {rest.runs:,} to do: {spelled_cost(options, rest)}")
    if options.plan:
        return plan_as_json(planned, rest)
    engine = engine_of(options, chosen_device(options.device))
    progress = JobsProgress()
    sweep(chosen, options.out, engine, progress=progress, warn=say, given=given_of(options))
    progress.close()
    name = hashlib.sha256("\n".join(sorted(each.id for each in planned)).encode()).hexdigest()[:8]
    path = write_sweep(grid, options.typed, Path(options.out) / f"sweep-{name}.html")
    runs = numbers_of(grid)
    say(finding(grid))
    say(f"report: {path}")
    return {"runs": runs, "report": str(path)}


def spelled_cost(options: argparse.Namespace, rest: Any) -> str:
    """What is left to do at most, in words; the start of processes and the analysis of each run, some seconds, are not in it."""
    from epicycle.cli.progress import spelled_seconds

    workers = 1 if options.engine == "stacked" else max(min(options.threads, rest.runs), 1)
    where = "in stacks" if options.engine == "stacked" else f"on {workers} core{'s' * (workers != 1)} of this machine"
    return f"at most {rest.steps:,} steps, {spelled_seconds(rest.core_seconds / workers)} of training {where} if none groks early"


def plan_as_json(planned: Any, rest: Any) -> dict[str, Any]:
    """What --plan prints: every run, and the cost of those to do."""
    return {
        "runs": [{"id": each.id, "status": each.status, "steps": each.steps} for each in planned],
        "steps": rest.steps,
        "core_seconds": rest.core_seconds,
    }


def check_address(options: argparse.Namespace) -> None:
    """Refuse the address of a cluster without the engine that needs one.

    Raises:
        ConfigError: There is one.
    """
    from epicycle.errors import ConfigError

    if options.address != "auto" and options.engine != "ray":
        raise ConfigError(
            f"got --address {options.address} with --engine {options.engine}; expected --engine ray. Add it, or leave the address out."
        )


def engine_of(options: argparse.Namespace, device: str) -> Any:
    """The engine that the options name."""
    from epicycle.cli.main import say
    from epicycle.errors import ConfigError

    if options.engine == "ray":
        from epicycle.sweep.cluster import RayCluster

        return RayCluster(options.out, options.address)
    if options.engine == "stacked":
        from epicycle.cli.progress import TrainingProgress
        from epicycle.sweep.batch import Stacked

        return Stacked(device, options.threads, warn=say, progress=TrainingProgress())
    if device != "cpu":
        raise ConfigError(
            "got --engine local with a GPU; expected --engine stacked, which trains runs of one shape together there. Or add --device cpu."
        )
    from epicycle.sweep.pool import LocalPool

    return LocalPool(options.threads)
