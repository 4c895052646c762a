"""SQL over runs and histories, through DuckDB, and Parquet files. An extra: pip install "epicycle[query]".

Tables: `runs`, one row per run with the columns of `runs.query`; `history`, one row per evaluation with `id`, the step, losses,
accuracies, and `measures` as nested fields (measures.weights.additive.W_E.ffd).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from epicycle._files import atomic
from epicycle.errors import ConfigError, DataError
from epicycle.runs.query import COLUMNS

NUMBERS = {"modulus": "INTEGER", "train_fraction": "DOUBLE", "seed": "BIGINT", "split_seed": "BIGINT", "threads": "INTEGER", "seconds": "DOUBLE",
           **dict.fromkeys(("memorised", "first", "sustained", "stable", "trained", "max_steps", "width", "num_heads", "mlp_width", "evaluate_every"), "BIGINT"),
           **dict.fromkeys(("train_loss", "test_loss", "train_accuracy", "test_accuracy"), "DOUBLE")}  # fmt: skip
"""Columns that are numbers; all others are texts."""


def _connect() -> Any:
    try:
        import duckdb
    except ImportError:
        raise ConfigError(
            'got a query without DuckDB; expected it to be installed. Run: pip install "epicycle[query]".'
        ) from None
    return duckdb.connect()


def _with_runs(table: Sequence[dict[str, Any]]) -> Any:
    connection = _connect()
    columns = ", ".join(f'"{name}" {NUMBERS.get(name, "VARCHAR")}' for name in COLUMNS)
    connection.execute(f"CREATE TABLE runs ({columns})")
    if table:
        connection.executemany(
            f"INSERT INTO runs VALUES ({', '.join('?' * len(COLUMNS))})",
            [[each[name] for name in COLUMNS] for each in table],
        )
    return connection


def query(table: Sequence[dict[str, Any]], text: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Names and rows of a query. The query sees two tables and no file: DuckDB's access to files is off while it runs.

    Raises:
        DataError: DuckDB refuses the query.
        ConfigError: DuckDB is not installed.
    """
    import re

    connection = _with_runs(table)
    import duckdb

    try:
        files = [
            f"{each['directory']}/history.jsonl"
            for each in table
            if (Path(each["directory"]) / "history.jsonl").is_file()
        ]
        if files and re.search(r"\bhistory\b", text):
            connection.execute(
                "CREATE TABLE history AS SELECT parse_filename(parse_dirpath(filename)) AS id, * EXCLUDE filename FROM read_json(?, format='newline_delimited', "
                "filename=true, union_by_name=true, ignore_errors=true, maximum_object_size=67108864)", [files])  # fmt: skip
        connection.execute("SET enable_external_access = false")
        found = connection.execute(text)
        names = [column[0] for column in found.description or []]
        return names, [tuple(_plain(value) for value in row) for row in found.fetchall()]
    except duckdb.Error as error:
        raise DataError(
            f"got a query that DuckDB refuses ({str(error).splitlines()[0]}); expected SQL over the tables runs and history. Mend it."
        ) from None
    finally:
        connection.close()


def write_parquet(table: Sequence[dict[str, Any]], path: Path) -> None:
    """Write rows of `runs.query` as a Parquet file."""
    names = ", ".join(f'"{name}"' for name in (table[0] if table else COLUMNS))
    connection = _with_runs([dict.fromkeys(COLUMNS) | each for each in table])
    try:
        with atomic(path) as scratch:
            connection.execute(
                f"COPY (SELECT {names} FROM runs) TO '{str(scratch).replace(chr(39), chr(39) * 2)}' (FORMAT parquet)"
            )
    finally:
        connection.close()


def _plain(value: Any) -> Any:
    """A cell as JSON knows it: DuckDB gives decimals for 1.5 and dates for dates."""
    from decimal import Decimal

    if isinstance(value, Decimal):
        return float(value)
    return value if value is None or isinstance(value, bool | int | float | str | list | dict) else str(value)
