"""`epicycle reproduce --pool`: several ledgers graded together."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from epicycle.runs.directory import Run
    from epicycle.studies.ledger import Claim


def pool(options: argparse.Namespace, given: dict[str, Any], only: list[str]) -> dict[str, Any]:
    """Read, grade, report; the object of `reproduce --json`."""
    from epicycle.cli.main import say
    from epicycle.cli.reproduce import as_json, asked, check_names, tell
    from epicycle.errors import ConfigError
    from epicycle.studies.pool import make_pool, pooled, read_ledgers

    names = ("seeds", "seed", "arms", "max_steps", "no_train", "model", "figures", "plan")
    if refused := [name for name in names if getattr(options, name)]:
        raise ConfigError(
            f"got --pool with --{refused[0].replace('_', '-')}; expected ledgers alone, which say what was trained. Leave it out."
        )
    ledgers = read_ledgers(options.pool)
    if ledgers[0].paper != options.paper:
        raise ConfigError(
            f"got ledgers of {ledgers[0].paper} for {options.paper}; expected those of one paper. Name {ledgers[0].paper} instead."
        )
    found = pooled(ledgers, _claims(options.paper))
    check_names(only, [each.entry.claim.id for each in found])
    path = write_pooled(make_pool(ledgers, options.out, given, options.pool, only))
    entries = asked([each.entry for each in found], only)
    tell(entries)
    say(f"report: {path}")
    return as_json(entries, path)


def _claims(paper: str) -> Sequence["Claim"]:
    """The claims of a paper, as they are graded now."""
    if paper == "furuta2024":
        from epicycle.studies.furuta2024_claims import CELLS, CLAIMS, HELPED

        return (*CLAIMS, *HELPED, *CELLS)
    from epicycle.studies.zhou2024_claims import CLAIMS as ZHOU2024

    return ZHOU2024


def write_pooled(run: "Run") -> Path:
    """Write the page of a run directory of pooled ledgers; returns its path."""
    from epicycle.cli.reproduce import asked
    from epicycle.report.pool import write_pool
    from epicycle.studies.pool import pooled, read_pool

    ledgers, record = read_pool(run), run.record()
    values = record["config"]["resolved"]
    found = pooled(ledgers, _claims(values["paper"]))
    chosen = {entry.claim.id for entry in asked([each.entry for each in found], values["claims"])}
    return write_pool(run, ledgers, [each for each in found if each.entry.claim.id in chosen], record["files"])
