"""`epicycle selftest`."""

import argparse
from typing import Any

HELP = "Runs every measure on networks and signals whose answer is known in closed form. Exit code 1 if one fails."


def add_options(parser: argparse.ArgumentParser) -> None:
    """This command has no options of its own."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run all oracles and print the table."""
    from epicycle.analysis.selftest import selftest
    from epicycle.cli.main import rich_console

    found = selftest()
    if not options.json:
        from rich.table import Table

        table = Table()
        for name in ("oracle", "measure", "expected", "measured", "error", "tolerance", ""):
            table.add_column(name, justify="left" if name in ("oracle", "measure") else "right")
        for row in found:
            table.add_row(row.oracle, row.measure, f"{row.expected:.6g}", f"{row.measured:.6g}", f"{row.error:.1e}",
                          f"{row.tolerance:.0e}", "ok" if row.passed else "[red]FAILED[/]")  # fmt: skip
        console = rich_console()
        console.print(table)
        console.print(f"{sum(row.passed for row in found)} passed, {sum(not row.passed for row in found)} failed")
    return {"oracles": [row.as_json() for row in found], "exit_code": 0 if all(row.passed for row in found) else 1}
