"""`epicycle reproduce`."""

import argparse
from typing import Any

HELP = (
    "Runs a paper's experiment offline, grades its claims and writes one report. zhou2024: pre-trains small models on number text, trains them on "
    "addition in several ways, explains each. Running it again does only what is missing."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("paper", choices=("zhou2024",), help="the paper")
    parser.add_argument("--preset", choices=("quick", "laptop"), default="quick", help="quick: numbers 0..99, about 4 minutes on two cores; laptop: "
                        "0..199, about 20 minutes")  # fmt: skip
    parser.add_argument(
        "--only", default="", metavar="P1,P8", help="claims to print and to put into --json; the report always has all"
    )
    parser.add_argument("--seeds", type=int, metavar="N", help="this many seeds, counting up; a verdict needs three")
    parser.add_argument("--seed", type=int, default=0, help="the first of them")
    parser.add_argument("--arms", default="", metavar="A,B", help="arms to train instead of the preset's")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, explain, grade, report."""
    from epicycle.cli.pretrain import given_of
    from epicycle.errors import ConfigError
    from epicycle.studies.zhou2024_claims import CLAIMS

    split = lambda text: [word.strip() for word in text.split(",") if word.strip()]  # noqa: E731
    only = split(options.only)
    known = {claim.id for claim in CLAIMS} | {claim.id.rstrip("ab") for claim in CLAIMS}
    if unknown := [name for name in only if name not in known]:
        raise ConfigError(
            f"got claim {unknown[0]!r}; expected some of {', '.join(claim.id for claim in CLAIMS)}. Choose from these."
        )
    if options.seeds is not None and options.seeds < 1:
        raise ConfigError(f"got --seeds {options.seeds}; expected at least 1. Try 3.")
    return reproduce_and_report(
        options.preset,
        options,
        given_of(options),
        arms=split(options.arms),
        seed=options.seed,
        seeds=options.seeds,
        only=only,
    )


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
    """Run a preset, write the page of the study and of every model, say what was found; returns the JSON object."""
    from epicycle.cli.main import say
    from epicycle.cli.progress import JobsProgress
    from epicycle.report.explain import write_explanation
    from epicycle.report.zhou2024 import study_page
    from epicycle.studies.zhou2024 import preset as chosen_preset
    from epicycle.studies.zhou2024 import reproduce
    from epicycle.studies.zhou2024_claims import ledger
    from epicycle.training.engine import chosen_device

    count = len(chosen_preset(preset).seeds) if seeds is None else seeds
    progress = JobsProgress()
    study = reproduce(
        preset,
        options.out,
        workers=options.threads,
        device=chosen_device(options.device),
        arms=arms,
        seeds=range(seed, seed + count),
        progress=progress,
        given=given,
    )
    progress.close()
    for found in [*study.embeddings.values(), *study.explanations.values()]:
        write_explanation(found)
    entries = ledger(study)
    page = study_page(study, entries)
    path = page.save(study.run.path / "report.html")
    for sentence in page.finding:
        say(sentence)
    say(f"report: {path}")
    shown = [e for e in entries if not only or e.claim.id in only or e.claim.id.rstrip("ab") in only]
    if only:
        for entry in shown:
            say(f"{entry.claim.id} {entry.verdict}: {entry.claim.statement} ({entry.reason})")
    return {
        "claims": [entry.as_json() for entry in shown],
        "ledger": str(path.with_suffix(".json")),
        "report": str(path),
    }
