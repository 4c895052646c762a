"""`epicycle report`."""

import argparse
from typing import Any

HELP = "Writes the report of a finished run again, from what is on disk."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("run", metavar="RUN", help="a run directory, or the id of a run under --out")
    parser.add_argument("--again", action="store_true", help="compute the analyses again instead of reading them")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Render again."""
    from pathlib import Path

    from epicycle.analysis.grok import analyse_run
    from epicycle.cli.main import say
    from epicycle.report.grok import write_report
    from epicycle.runs.directory import open_run

    place = Path(options.run)
    if not place.exists():
        place = Path(options.out) / options.run
    path = write_report(analyse_run(open_run(place), again=options.again))
    say(f"report: {path}")
    return {"report": str(path)}
