"""`epicycle reproduce`."""

import argparse
from typing import Any

HELP = (
    "Runs a paper's experiments offline, grades its claims and writes one report with the ledger. zhou2024: pre-trains small models on number text, "
    "trains them on addition in several ways, explains each; or grades models that you have. furuta2024: groks modular polynomials from scratch, by transfer and in mixtures. Running it "
    "again does only what is missing."
)


_ROLES = {
    "base": "the same model before tuning",
    "scratch": "one trained on sums from scratch",
    "prompted": "an untuned model, asked after four solved sums",
    "second format": "one tuned on `a,b+`",
    "products": "one tuned on products",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    from epicycle.cli.sweep import add_engine_options

    parser.add_argument(
        "paper",
        choices=("zhou2024", "furuta2024", "number-text"),
        help="the paper; or which sentences of number text make which periods",
    )
    parser.add_argument("--preset", choices=("quick", "laptop", "full"), default="quick", help="quick: 4 to 10 minutes on two cores; laptop: 20 minutes (zhou2024), half "
                        "an hour (number-text) or a night (furuta2024, 100,000 steps; on slow cores a day); full: every claim and control of zhou2024 in 40 minutes, or furuta2024's 300,000 steps")  # fmt: skip
    parser.add_argument(
        "--only",
        default="",
        metavar="P1,C11",
        help="claims to print and to put into --json; furuta2024 runs only what they need",
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="this many seeds, counting up; a verdict needs three")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--arms", default="", metavar="A,B", help="zhou2024: arms to train instead of the preset's")
    parser.add_argument(
        "--max-steps",
        type=int,
        help="furuta2024: bound of every run instead of the preset's; not of those that weights are taken from (10,000 steps, a-b 40,000)",
    )
    parser.add_argument(
        "--no-train",
        action="store_true",
        help="furuta2024: grade what is there, runs that ended at a smaller bound as far as they got, and train nothing",
    )
    parser.add_argument(
        "--pool",
        nargs="+",
        metavar="LEDGER",
        help="train nothing: grade the readings of several ledgers together (directories of studies, or their report.json), whose seeds were trained in different places",
    )
    add_engine_options(parser)
    own = parser.add_argument_group(
        "zhou2024 on models that you have",
        "Nothing is trained; claims are graded on three parts of the questions of each.",
    )
    own.add_argument(
        "--model", metavar="MODEL", help="a model tuned on sums: a run, a Hugging Face directory or a hub name"
    )
    for role, what in _ROLES.items():
        own.add_argument(f"--{role.replace(' ', '-')}", metavar="MODEL", help=what)
    own.add_argument("--limit", type=int, metavar="N", help="ask each model the first N questions only")
    own.add_argument(
        "--largest-operand",
        type=int,
        metavar="N",
        help="operands are 0..N; as far as single tokens go, at most 260, if not given",
    )
    own.add_argument(
        "--variants", action="store_true", help="the controls C2 to C5 and C11 too: every removal in ten more ways"
    )
    own.add_argument("--helix", action="store_true", help="the claims K1 and K2 too: helices and who builds the answer")
    own.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), default="float32", help="precision of the models"
    )
    parser.add_argument(
        "--figures",
        action="store_true",
        help="zhou2024: draw the 44 published figures as SVG and PNG, with a gallery page",
    )
    parser.add_argument(
        "--plan", action="store_true", help="furuta2024: only say what would be run and what it costs at most"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, explain, grade, report."""
    from epicycle.cli.pretrain import given_of
    from epicycle.cli.settings import check_seeds
    from epicycle.errors import ConfigError

    check_seeds(options)
    only = _split(options.only)
    if options.pool:
        from epicycle.cli.pool import pool

        return pool(options, given_of(options), only)
    own = {role: value for role in _ROLES if (value := getattr(options, role.replace(" ", "_")))}
    needs_model = [
        *own,
        *(name for name in ("limit", "largest_operand", "variants", "helix") if getattr(options, name)),
    ]
    if (options.model or options.figures) and options.paper != "zhou2024":
        raise ConfigError(f"got --model or --figures for {options.paper}; expected zhou2024. Leave it out.")
    if needs_model and not options.model:
        raise ConfigError(
            f"got --{needs_model[0].replace('_', '-').replace(' ', '-')} without --model; expected a model tuned on sums. Add --model."
        )
    if options.paper == "furuta2024":
        if options.arms:
            raise ConfigError("got --arms for furuta2024; expected zhou2024, which has arms. Leave it out.")
        from epicycle.cli.furuta2024 import furuta2024

        return furuta2024(options, given_of(options), only)
    if options.paper == "number-text":
        if only or options.arms or options.max_steps is not None or options.plan or options.no_train:
            raise ConfigError(
                "got --only, --arms, --max-steps, --plan or --no-train for number-text; expected none of them. Leave it out."
            )
        return _number_text(options, given_of(options))
    if options.max_steps is not None or options.plan or options.no_train:
        raise ConfigError(
            "got --max-steps, --plan or --no-train for zhou2024; expected furuta2024, whose runs have a bound. Leave it out."
        )
    from epicycle.studies.zhou2024_claims import CLAIMS

    check(only, [claim.id for claim in CLAIMS if not options.model or "-" not in claim.id])
    if options.model:
        if options.arms or options.seeds is not None:
            raise ConfigError(
                "got --arms or --seeds with --model; expected none, since nothing is trained. Leave them out."
            )
        return _given_models(options, {"tuned": options.model} | own, only)
    return reproduce_and_report(
        options.preset,
        options,
        given_of(options),
        arms=_split(options.arms),
        seed=options.seed,
        seeds=options.seeds,
        only=only,
    )


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def seeds_of(options: argparse.Namespace) -> range | None:
    """The seeds that are asked for; None for those of the preset."""
    if options.seeds is None and options.seed == 0:
        return None
    return range(options.seed, options.seed + (options.seeds or 3))


def check(only: list[str], known: list[str]) -> None:
    """Refuse names that are no claims; P8 stands for P8a and P8b."""
    from epicycle.errors import ConfigError
    from epicycle.studies.ledger import whole

    if unknown := [name for name in only if name not in {*known, *(whole(each) for each in known)}]:
        raise ConfigError(f"got claim {unknown[0]!r}; expected some of {', '.join(known)}. Choose from these.")


def _asked(entries: Any, only: list[str] | None) -> list[Any]:
    """The entries that --only names, all without it."""
    from epicycle.studies.ledger import names_of

    return [e for e in entries if not only or names_of(e.claim.id) & set(only)]


def as_json(entries: Any, path: Any) -> dict[str, Any]:
    """The JSON object of a study."""
    return {
        "claims": [entry.as_json() for entry in entries],
        "ledger": str(path.with_suffix(".json")),
        "report": str(path),
    }


def tell(entries: Any) -> None:
    """Say every verdict, why in a few words (run by run it is on the page), and what would settle the open ones; then the counts."""
    from epicycle.cli.main import say
    from epicycle.report.ledger import verdict_sentences

    for entry in entries:
        say(f"{entry.claim.id} {entry.verdict}: {entry.claim.statement} ({entry.brief})")
    if len(entries) > 1:
        say(verdict_sentences(entries, "")[0])


def _number_text(options: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    from epicycle.cli.main import say
    from epicycle.cli.progress import JobsProgress
    from epicycle.report.number_text import numbers_of, study_page, write_study
    from epicycle.studies.number_text import reproduce
    from epicycle.training.engine import chosen_device

    progress = JobsProgress()
    study = reproduce(
        options.preset,
        options.out,
        workers=options.threads,
        device=chosen_device(options.device),
        seeds=seeds_of(options),
        progress=progress,
        given=given,
    )
    progress.close()
    path = write_study(study)
    for sentence in study_page(study).finding:
        say(sentence)
    say(f"report: {path}")
    return numbers_of(study) | {"report": str(path)}


def _given_models(options: argparse.Namespace, models: dict[str, str], only: list[str]) -> dict[str, Any]:
    from epicycle.cli.explain import trained_prompts
    from epicycle.cli.finetune import prompt_config
    from epicycle.cli.main import say
    from epicycle.cli.pretrain import given_of
    from epicycle.cli.progress import StageProgress
    from epicycle.report.explain import write_explanation
    from epicycle.report.zhou2024_model import write_model_study
    from epicycle.studies.zhou2024 import explanations_of
    from epicycle.studies.zhou2024_claims import ledger
    from epicycle.studies.zhou2024_model import reproduce_model
    from epicycle.training.engine import chosen_device

    def prompts_for(role: str, lm: Any) -> Any:
        asked = {
            "products": {"operation": "multiply"},
            "second format": {"form": "polish"},
            "prompted": {"shots": 4},
        }.get(role, {})
        names = ("operation", "form", "cap", "boundary", "split_seed", "shots")
        given = argparse.Namespace(**(dict.fromkeys(names) | {"largest_operand": options.largest_operand} | asked))
        return prompt_config(given, lm.space, trained_prompts(models[role], asked.get("operation", "add")))

    progress = StageProgress()
    study = reproduce_model(models, prompts_for, options.out, limit=options.limit, variants=options.variants, helix=options.helix, device=chosen_device(options.device),
                            threads=options.threads, dtype=options.dtype, progress=progress, given=given_of(options))  # fmt: skip
    progress.close()
    for found in explanations_of(study):
        write_explanation(found)
    entries = ledger(study)
    study.run.update(command=options.typed)
    path = write_model_study(study, entries)
    shown = _asked(entries, only)
    tell(shown)
    values = as_json(shown, path)
    if options.figures:
        values["gallery"] = _gallery(study, entries)
    say(f"report: {path}")
    return values


def _gallery(study: Any, entries: Any) -> str:
    """Draw the published figures beside a study's report."""
    from epicycle.cli.main import say
    from epicycle.cli.progress import StageProgress
    from epicycle.report.zhou2024_figures import gallery_page

    progress = StageProgress()
    page = gallery_page(
        study, entries, study.run.path / "figures", lambda done, total: progress("figures", done, total)
    )
    progress.close()
    path = page.save(study.run.path / "figures.html")
    say(page.finding[0])
    say(f"gallery: {path}")
    return str(path)


def reproduce_and_report(
    preset: str,
    options: argparse.Namespace,
    given: dict[str, Any],
    *,
    arms: list[str] | None = None,
    seed: int = 0,
    seeds: int | None = None,
    only: list[str] | None = None,
) -> dict[str, Any]:
    """Run a preset of zhou2024, write the page of the study and of every model, say what was found; returns the JSON object."""
    from epicycle.cli.main import say
    from epicycle.cli.progress import JobsProgress
    from epicycle.report.explain import write_explanation
    from epicycle.report.zhou2024 import study_page
    from epicycle.studies.zhou2024 import explanations_of, reproduce
    from epicycle.studies.zhou2024_claims import ledger
    from epicycle.studies.zhou2024_presets import preset as chosen_preset
    from epicycle.training.engine import chosen_device

    count = len(chosen_preset(preset).seeds) if seeds is None else seeds
    progress = JobsProgress()
    study = reproduce(preset, options.out, workers=options.threads, device=chosen_device(options.device), arms=arms, seeds=range(seed, seed + count),
                      progress=progress, given=given)  # fmt: skip
    progress.close()
    for found in explanations_of(study):
        write_explanation(found)
    entries = ledger(study)
    page = study_page(study, entries)
    path = page.save(study.run.path / "report.html")
    for sentence in page.finding:
        say(sentence)
    shown = _asked(entries, only)
    if only:
        tell(shown)
    values = as_json(shown, path)
    if getattr(options, "figures", False):
        values["gallery"] = _gallery(study, entries)
    say(f"report: {path}")
    return values
