"""`epicycle doctor`."""

import argparse
from typing import Any

HELP = "Prints versions, threads, device and compiler, ready to be put into an issue."


def add_options(parser: argparse.ArgumentParser) -> None:
    """This command has no options of its own."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Collect the facts."""
    import torch

    from epicycle.cli.main import answer
    from epicycle.runs.provenance import provenance
    from epicycle.training.build import cache_directory, compiler, library, slow_reason

    facts = provenance(threads=options.threads) | {
        "cuda": torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        "compiler": compiler(),
        "compiled_step": {kind: library(kind) is not None for kind in ("float", "double")},
        "cache": str(cache_directory()),
    }
    if not options.json:
        for key, value in facts.items():
            answer(f"{key}: {value}")
        if reason := slow_reason():
            answer(reason)
    return facts
