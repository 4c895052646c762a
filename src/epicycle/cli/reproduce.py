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
    parser.add_argument("--only", default="", metavar="P1,P8", help="claims to grade; all if not given")
    parser.add_argument("--arms", default="", metavar="A,B", help="arms to train instead of the preset's")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train, explain, grade, report."""
    from epicycle.cli.main import say
    from epicycle.cli.pretrain import given_of
    from epicycle.cli.progress import JobsProgress
    from epicycle.errors import ConfigError
    from epicycle.report.zhou2024 import study_page
    from epicycle.studies.zhou2024 import reproduce
    from epicycle.studies.zhou2024_claims import CLAIMS, ledger

    split = lambda text: [word.strip() for word in text.split(",") if word.strip()]  # noqa: E731
    only = split(options.only)
    known = {claim.id for claim in CLAIMS} | {claim.id.rstrip("ab") for claim in CLAIMS}
    if unknown := [name for name in only if name not in known]:
        raise ConfigError(
            f"got claim {unknown[0]!r}; expected some of {', '.join(claim.id for claim in CLAIMS)}. Choose from these."
        )
    progress = JobsProgress()
    study = reproduce(
        options.preset,
        options.out,
        workers=options.threads,
        arms=split(options.arms),
        progress=progress,
        given=given_of(options),
    )
    progress.close()
    entries = ledger(study, only)
    page = study_page(study, entries)
    path = page.save(study.run.path / "report.html")
    for sentence in page.finding:
        say(sentence)
    say(f"report: {path}")
    return {
        "claims": [entry.as_json() for entry in entries],
        "ledger": str(path.with_suffix(".json")),
        "report": str(path),
    }
