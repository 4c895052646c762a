"""`epicycle cite`."""

import argparse
from typing import Any

HELP = "Prints the references of epicycle and of the methods a run used, as text and BibTeX."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument("run", nargs="?", metavar="RUN", help="a run directory; all references if not given")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Print references."""
    from epicycle.report.references import LANGUAGE, REFERENCES, references

    keys = list(REFERENCES)
    if options.run:
        from epicycle.runs.directory import find_run

        resolved = find_run(options.run, options.out).record()["config"]["resolved"]
        keys = references(resolved["recipe"]) if "recipe" in resolved else list(LANGUAGE)
    if not options.json:
        import sys

        for key in keys:  # what was asked for, so on stdout: `epicycle cite RUN > refs.bib`
            sys.stdout.write(f"% {REFERENCES[key][0]}\n\n{REFERENCES[key][1]}\n\n")
    return {"references": {key: {"text": REFERENCES[key][0], "bibtex": REFERENCES[key][1]} for key in keys}}
