"""`epicycle runs`."""

import argparse
from typing import Any

HELP = "Lists the runs under --out: outcome, when they grokked, accuracy."


def add_options(parser: argparse.ArgumentParser) -> None:
    """This command has no options of its own."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """List runs."""
    from pathlib import Path

    from epicycle.cli.main import rich_console, say
    from epicycle.errors import RunError
    from epicycle.runs.directory import list_runs

    rows = []
    for each in list_runs(Path(options.out)):
        try:
            record = each.record()
        except RunError as error:
            say(str(error))
            continue
        rows.append({
            "id": each.id, "status": record["status"], "outcome": record["outcome"],
            "steps": record.get("steps"), "final": record.get("final"), "seconds": record.get("seconds"),
        })  # fmt: skip
    if not options.json:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for name in ("run", "status", "outcome", "grokked", "held-out accuracy", "seconds"):
            table.add_column(name, justify="left" if name in ("run", "status", "outcome") else "right", no_wrap=True,
                             overflow="ignore" if name == "run" else "ellipsis")  # fmt: skip
        for row in rows:
            first = (row["steps"] or {}).get("first")
            final = row["final"] or {}
            accuracy = final.get(
                "test_accuracy", final.get("validation_accuracy")
            )  # language runs keep the test part for `explain`
            table.add_row(row["id"], row["status"], row["outcome"] or "", "" if first is None else f"{first:,}",
                          "" if accuracy is None else f"{accuracy:.4f}",
                          f"{row['seconds']:.1f}" if row["seconds"] else "")  # fmt: skip
        rich_console().print(table if rows else f"no runs in {options.out}; begin with `epicycle demo`")
    return {"runs": rows}
