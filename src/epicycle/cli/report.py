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
    from epicycle.analysis.grok import analyse_run
    from epicycle.cli.main import say
    from epicycle.report.grok import write_report
    from epicycle.runs.directory import find_run

    path = write_report(analyse_run(find_run(options.run, options.out), again=options.again))
    say(f"report: {path}")
    return {"report": str(path)}
