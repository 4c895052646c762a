"""`epicycle runs`."""

import argparse
from typing import Any

HELP = (
    "Lists, filters, compares and exports the runs under --out. Columns: id, formula, modulus, train_fraction, seed, frozen, source, outcome, first, "
    "test_accuracy and more (--columns all)."
)
SHOWN = ("id", "status", "outcome", "first", "trained", "test_accuracy", "seconds")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this command."""
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="COND",
        help="outcome=grokked, first<5000, formula~b^2, frozen=none; may be repeated",
    )
    parser.add_argument("--sort", metavar="COLUMN", help="order of the rows; those without a value last")
    parser.add_argument("--descending", action="store_true", help="largest first")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N rows")
    parser.add_argument("--columns", metavar="A,B", help="columns to show, or all")
    parser.add_argument(
        "--group-by", metavar="A,B", help="success per group: grokked, 95 %% interval, Kaplan-Meier median step"
    )
    parser.add_argument("--compare", nargs="+", metavar="RUN", help="these runs side by side, where they differ")
    parser.add_argument("--export", metavar="FILE", help="write the rows to a .csv or .parquet file")
    parser.add_argument(
        "--sql", metavar="QUERY", help="a query over the tables runs and history (needs the extra `query`)"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """List runs."""
    from pathlib import Path

    from epicycle.cli.main import say
    from epicycle.errors import ConfigError, DataError
    from epicycle.runs.query import check_columns, chosen, rows

    if options.out != "runs" and not Path(options.out).is_dir():  # the default need not be there yet
        raise DataError(
            f"got --out {options.out}, which is no directory; expected one that holds runs. Check the path."
        )
    if options.descending and not options.sort:
        raise ConfigError("got --descending without --sort; expected a column to sort by. Add --sort first.")
    ways = [
        f"--{name.replace('_', '-')}" for name in ("sql", "compare", "group_by") if getattr(options, name) is not None
    ]
    if len(ways) > 1:
        raise ConfigError(f"got {' and '.join(ways)}; expected one of them. Leave one out.")
    ignored = [f"--{name}" for name in ("sort", "limit", "columns") if getattr(options, name) is not None]
    if ways and ignored:
        raise ConfigError(f"got {ways[0]} with {' and '.join(ignored)}, which is for the list of runs; expected {ways[0]} over all runs that --where leaves. "
                          f"Leave {'them' if len(ignored) > 1 else 'it'} out.")  # fmt: skip
    if options.export is not None:
        _check_export(options.export, are_runs=not ways)
    if options.limit is not None and options.limit < 1:
        raise ConfigError(f"got --limit {options.limit}; expected at least 1. Try 20.")
    table, faults = rows(options.out)
    for fault in faults:
        say(fault)
    table = chosen(table, options.where)
    if options.sort:
        name = options.sort
        check_columns([name])
        known, missing = [r for r in table if r[name] is not None], [r for r in table if r[name] is None]
        table = sorted(known, key=lambda r: r[name], reverse=options.descending) + missing
    table = table[: options.limit]
    if options.sql is not None:
        from epicycle.runs.sql import query

        names, found = query(table, options.sql)
        _print(options, names, [list(each) for each in found])
        if options.export:
            _export(options.export, [dict(zip(names, each, strict=True)) for each in found])
        return {"columns": names, "rows": [list(each) for each in found]}
    if options.compare:
        return _compare(options, table)
    if options.group_by is not None:
        return _groups(options, table)
    columns = _columns(options.columns)
    if options.export:
        kept = _columns("all" if options.columns is None else options.columns)
        _export(options.export, [{name: each[name] for name in kept} for each in table])
        say(f"{len(table):,} run{'s' * (len(table) != 1)}: {options.export}")
    if not table:
        say(
            f"no runs in {options.out}{' that meet every condition' if options.where else '; begin with `epicycle demo`'}"
        )
    elif not options.export:
        _print(options, columns, [[each[name] for name in columns] for each in table])
    return {
        "runs": [
            each | {"steps": {name: each[name] for name in ("memorised", "first", "sustained", "stable", "trained")}}
            for each in table
        ]
    }


def _columns(text: str | None) -> list[str]:
    from epicycle.runs.query import COLUMNS, check_columns

    names: list[str] = (
        [*SHOWN] if text is None else [*COLUMNS] if text == "all" else [name.strip() for name in text.split(",")]
    )
    check_columns(names)
    return names


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.2e}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _print(options: argparse.Namespace, names: list[str], table: list[list[Any]]) -> None:
    """Aligned columns on stdout, nothing cut: an id can be copied, a pipe gets whole lines."""
    if options.json:
        return
    import sys

    cells = [names, *([_cell(value) for value in each] for each in table)]
    right = [
        bool(table) and all(value is None or isinstance(value, int | float) for value in column)
        for column in zip(*table, strict=True)
    ] or [False] * len(names)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for each in cells:
        line = "  ".join(
            text.rjust(width) if is_right else text.ljust(width)
            for text, width, is_right in zip(each, widths, right, strict=True)
        )
        sys.stdout.write(line.rstrip() + "\n")


def _compare(options: argparse.Namespace, table: list[dict[str, Any]]) -> dict[str, Any]:
    from epicycle.errors import ConfigError
    from epicycle.runs.directory import find_run
    from epicycle.runs.query import differences, row

    runs = [row(find_run(name, options.out)) for name in dict.fromkeys(options.compare)]
    if len(runs) < 2:
        raise ConfigError(f"got --compare with {len(runs)} run; expected at least two different ones. Name another.")
    found = differences(runs)
    if options.export:
        _export(
            options.export,
            [
                {"column": name} | {each["id"]: value for each, value in zip(runs, values, strict=True)}
                for name, values in found.items()
            ],
        )
    _print(
        options, ["", *(f"run {i + 1}" for i in range(len(runs)))], [[name, *values] for name, values in found.items()]
    )
    return {"runs": runs, "differences": found}


def _check_export(path: str, *, are_runs: bool) -> None:
    """Refuse a file that cannot be written before anything is computed."""
    from epicycle.errors import ConfigError

    if not path.endswith((".csv", ".parquet")):
        raise ConfigError(f"got --export {path}; expected a name that ends in .csv or .parquet. Try runs.csv.")
    if path.endswith(".parquet") and not are_runs:
        raise ConfigError(
            f"got --export {path} for a table that does not list runs; expected a name that ends in .csv. Try table.csv."
        )


def _export(path: str, table: list[dict[str, Any]]) -> None:
    from pathlib import Path

    from epicycle.runs.query import write_csv

    if path.endswith(".csv"):
        write_csv(table, Path(path))
    else:
        from epicycle.runs.sql import write_parquet

        write_parquet(table, Path(path))


def _looked_up(directory: str) -> float:
    """Test accuracy that needs no rule, of the task of a run."""
    from pathlib import Path

    from epicycle.runs.directory import open_run
    from epicycle.tasks.modular import TaskConfig, looked_up

    task = open_run(Path(directory)).record()["config"]["resolved"]["task"]
    return looked_up(TaskConfig(**task | {"formulas": tuple(task["formulas"])}))


def _groups(options: argparse.Namespace, table: list[dict[str, Any]]) -> dict[str, Any]:
    from epicycle.analysis.statistics import rate, time_to_event
    from epicycle.cli.main import say
    from epicycle.runs.query import grouped, lender, longest, mixed

    by = [name.strip() for name in options.group_by.split(",")]
    every = [each for each in table if each["kind"] == "grok"]
    imported = sum(each["outcome"] == "imported" for each in every)
    trained = [each for each in every if each["status"] == "finished" and each["outcome"] != "imported"]
    counts = {"not finished": len(every) - len(trained) - imported, "imported": imported}
    if any(counts.values()):
        say(f"left out: {', '.join(f'{count:,} {what}' for what, count in counts.items() if count)}")
    kept = longest(trained)
    if len(kept) < len(trained):
        say(f"left out: {len(trained) - len(kept):,} shorter runs of configurations that differ in their bound alone")
    found, lines = [], []
    for key, runs in grouped(kept, by).items():
        hit = rate(sum(each["first"] is not None for each in runs), len(runs))
        held = sum(each["sustained"] is not None for each in runs)
        time = time_to_event([each["first"] for each in runs], [each["trained"] for each in runs])
        best = max(each["test_accuracy"] for each in runs)
        looking = max(_looked_up(each["directory"]) for each in runs)
        several = mixed(runs)
        if several:
            say(
                f"{', '.join(map(str, key))}: these {len(runs)} runs differ in {', '.join(several)}, so there is no interval; add that to --group-by, or --where"
            )
        elif source := lender(runs):
            say(f"{', '.join(map(str, key))}: all {len(runs)} runs take weights from {source}, so the interval is about seeds given this one source")  # fmt: skip
        found.append(dict(zip(by, key, strict=True)) | {"runs": hit.total, "grokked": hit.count, "sustained": held, "low": None if several else hit.low, "high": None if several else hit.high, "mixed": several, "median": time.median,
                                                        "restricted_mean": time.restricted_mean, "horizon": time.horizon, "best_final_accuracy": best, "lookup_accuracy": looking})  # fmt: skip
        lines.append(
            [
                *key,
                f"{hit.count} of {hit.total}",
                held,
                "mixed" if several else f"{hit.low:.0%} to {hit.high:.0%}",
                "" if time.median is None else f"{time.median:,.0f}",
                f"{time.restricted_mean:,.0f} up to {time.horizon:,.0f}",
                best,
                looking,
            ]
        )
    if options.export:
        _export(options.export, found)
    _print(
        options,
        [
            *by,
            "grokked",
            "sustained",
            "95 % interval",
            "median step",
            "mean step, restricted",
            "best final accuracy",
            "by looking up",
        ],
        lines,
    )
    return {"groups": found}
