"""`epicycle reproduce --pool`: several ledgers graded together."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epicycle.report.page import Page
    from epicycle.runs.directory import Run
    from epicycle.studies.pool import Pooled
    from epicycle.studies.stored import Ledger

MEANT_FOR_TRAINING = {
    "preset": "quick", "seeds": None, "seed": 0, "arms": "", "max_steps": None, "no_train": False, "plan": False, "engine": "local", "address": "auto", "model": None, "figures": False,
    "base": None, "scratch": None, "prompted": None, "second_format": None, "products": None, "limit": None, "largest_operand": None, "variants": False, "helix": False, "dtype": "float32",
}  # fmt: skip
"""Options that say nothing of ledgers, with what they are if not given."""


def pool(options: argparse.Namespace, given: dict[str, Any], only: list[str]) -> dict[str, Any]:
    """Read, grade, report; the object of `reproduce --json`."""
    from epicycle.cli.main import say
    from epicycle.cli.reproduce import as_json, tell
    from epicycle.errors import ConfigError
    from epicycle.report.pool import reservations
    from epicycle.studies.pool import make_pool
    from epicycle.studies.stored import read_ledgers

    if refused := [name for name, usual in MEANT_FOR_TRAINING.items() if getattr(options, name, usual) != usual]:
        raise ConfigError(
            f"got --pool with --{refused[0].replace('_', '-')}; expected ledgers alone, which say what was trained. Leave it out."
        )
    ledgers = read_ledgers(options.pool)
    if ledgers[0].paper != options.paper:
        raise ConfigError(
            f"got ledgers of {ledgers[0].paper} for {options.paper}; expected those of one paper. Name {ledgers[0].paper} instead."
        )
    found, page = _graded(ledgers, options.pool, only)
    run = make_pool(ledgers, options.out, given, options.pool, only)
    path = page.save(run.path / "report.html")
    run.update(status="finished", outcome="reproduced")
    entries = [each.entry for each in found]
    tell(entries)
    for sentence in reservations(found, ledgers):
        say(sentence)
    say(f"report: {path}")
    return as_json(entries, path)


def _graded(ledgers: "Sequence[Ledger]", files: Sequence[str], only: Sequence[str]) -> "tuple[list[Pooled], Page]":
    """The claims that are asked for, and their page."""
    from epicycle.errors import ConfigError
    from epicycle.report.pool import pool_page
    from epicycle.studies.ledger import names_of
    from epicycle.studies.pool import pooled, ungraded

    if ledgers[0].paper == "furuta2024":
        from epicycle.studies.furuta2024_claims import CELLS, HELPED
        from epicycle.studies.furuta2024_claims import CLAIMS as FURUTA2024

        claims = (*FURUTA2024, *HELPED, *CELLS)
    else:
        from epicycle.studies.zhou2024_claims import CLAIMS as ZHOU2024

        claims = tuple(ZHOU2024)
    every = pooled(ledgers, claims)
    known = set().union(*(names_of(each.entry.claim.id) for each in every))
    if unknown := [name for name in only if name not in known]:
        ids = ", ".join(each.entry.claim.id for each in every)
        raise ConfigError(f"got claim {unknown[0]!r}; expected some of {ids}. Choose from these.")
    found = [each for each in every if not only or names_of(each.entry.claim.id) & set(only)]
    return found, pool_page(ledgers, found, files, [] if only else ungraded(found, claims))


def write_pooled(run: "Run") -> Any:
    """Write the page of a run directory of pooled ledgers again; returns its path."""
    from epicycle.studies.pool import read_pool

    record = run.record()
    _, page = _graded(read_pool(run), record["files"], record["config"]["resolved"]["claims"])
    return page.save(run.path / "report.html")
